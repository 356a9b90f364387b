"""`/api/ag-ui`: the calls of AG-UI's `HttpAgent`, and of CopilotKit's pages, to whom this is their
runtime."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message as Sent
from starlette.types import Receive, Send

from events.access import Caller
from events.errors import ChatError, SessionNotFound, StreamNotFound
from events.event import to_json
from events.schema import Message
from server.contract import VERSION
from server.dialects.agui.asking import RUN_ID, GoesOn, RunCall, carry_out
from server.dialects.agui.bodies import LARGEST, RunInput, RunStop, input_in
from server.dialects.agui.runevents import RunEvents
from server.dialects.agui.snapshot import messages_of, state_of
from server.dialects.answerlines import AnswerLine, Frames, ToldInFrames
from server.dialects.chats import Chat
from server.dialects.files import own_file
from server.dialects.following import FileUrls, goes_on, open_turns, turn_begins
from server.dialects.openai.asking import model_of
from server.identity import peer
from server.routes.common import call, caller_of, doors_of, features_of, perform, reply
from server.routes.reading import body_of, bytes_of, clean, services_of, struct_of
from server.routes.sessions import origin_of
from server.routes.streams import FROM_THE_BEGINNING, answer_begins
from server.services import Services
from server.transports.codecs import data_line
from server.transports.eventstream import HEADERS, Begin
from server.transports.growing import Growing, growing_events
from storage.records import MessageRecord, SessionRecord

Json = dict[str, Any]
#: Messages of a thread that a page is shown.
SHOWN = 500
#: The agent of a page that names none (CopilotKit's `DEFAULT_AGENT_ID`), and which that is.
DEFAULT, FIRST = "default", 1


class RunFrames(Frames):
    """Events as server-sent events, after `before`."""

    def __init__(self, events: RunEvents, before: Sequence[Json] = ()) -> None:
        super().__init__()
        self._events, self._before = events, before

    def opening(self) -> bytes:
        before, self._before = self._before, ()
        return b"".join(map(data_line, before))

    def before_interrupt(self, events: Sequence[Json]) -> None:
        self._events.before_interrupt(events)

    def tell(self, line: AnswerLine) -> Iterator[bytes]:
        yield from map(data_line, self._events.tell(line))
        self.ended = self._events.ended

    def grows(self) -> Growing | None:
        return growing_events(self._events.grows())


class ToldRun(ToldInFrames):
    """An interrupt stands behind the thread as it is then: AG-UI wants whatever a resume needs before it."""

    def __init__(self, send: Send, frames: RunFrames, thread: Callable[[], Awaitable[list[Json]]]) -> None:
        super().__init__(send, frames)
        self._run, self._thread = frames, thread

    async def __call__(self, message: Sent) -> None:
        body = message.get("body", b"")
        if b'data: {"type":"stream_end"' in body and b'"status":"waiting"' in body:
            with suppress(ChatError):  # what waits is told all the same
                self._run.before_interrupt(await self._thread())
        await super().__call__(message)


async def run(request: Request, receive: Receive, send: Send) -> None:
    """`POST /api/ag-ui/{agent_id}` and `…/agent/{agent_id}/run`. A client that goes does not stop the
    answer."""
    caller = await caller_of(request)
    thread_id, begin, events = await _asked(request, caller)
    told = ToldRun(send, RunFrames(events, [events.begins()]), partial(_thread, request, caller, thread_id))
    door = doors_of(request).event_streams
    await door.answer(request.scope, receive, told, caller, thread_id, begin, at_once=True)


async def _asked(request: Request, caller: Caller) -> tuple[str, Begin, RunEvents]:
    """Carries the run out: its thread, and what is told of it. What the request brought is held no longer
    than this takes."""
    services = services_of(request)
    body = await _body_of(request)
    agent_id = await _agent_of(services, request.path_params["agent_id"])
    await doors_of(request).event_streams.admit(request.scope, caller)
    own = own_file(peer.origin_seen(request.scope, services.settings), services.settings.root_path)
    chat = Chat(services, caller, body.thread_id, origin_of(request))
    told = await perform(request, carry_out, RunCall(chat, features_of(request).files, agent_id, body, own))
    events = _events_of(body)
    if isinstance(told, GoesOn):
        events.knows(told.has)
        begin = goes_on(services, told.answer)
    else:
        begin = answer_begins(services, told, b"", FROM_THE_BEGINNING, in_order=True)
    return body.thread_id, begin, events


def _events_of(body: RunInput) -> RunEvents:
    return RunEvents(body.thread_id, body.run_id, modern=body.protocol_version is not None)


_HEAD = {name.decode(): value.decode() for name, value in HEADERS}


# --- what a page shows that comes (again)


async def connect(request: Request, receive: Receive, send: Send) -> None:
    """`POST …/agent/{agent_id}/connect`: the thread as it is, and the answer that is open until its end.
    Nothing of a thread that is not there, or not the caller's."""
    services, caller = services_of(request), await caller_of(request)
    thread_id, events = await _shown(request)
    try:
        session, _ = await services.sessions.readable(caller, thread_id)
    except SessionNotFound:
        await Response(headers=_HEAD)(request.scope, receive, send)
        return
    turn = next(iter(await open_turns(services, session.session_id)), None)
    door, begin = doors_of(request).event_streams, None
    if turn is not None:
        await door.admit(request.scope, caller)
        begin = await turn_begins(services, caller, session, turn)
    frames = RunFrames(events, [events.begins(), *await _snapshot(request, caller, session, turn or {})])
    if begin is not None:
        told = ToldRun(send, frames, partial(_thread, request, caller, session.session_id))
        await door.answer(request.scope, receive, told, caller, session.session_id, begin, at_once=True)
        return
    last = await services.messages.newest(session, 1)
    line = AnswerLine("stream_end", status=_status_of(last), error=last[0].error if last else None)
    body_of_run = frames.opening() + b"".join(frames.tell(line))
    await Response(body_of_run, headers=_HEAD)(request.scope, receive, send)


def _status_of(last: Sequence[MessageRecord]) -> str:
    """Of the last message, if it is an answer: that it is not whole, nothing else says."""
    status = last[0].status if last and last[0].sender_type == "agent" else "complete"
    return status if status in ("failed", "interrupted") else "complete"


async def _shown(request: Request) -> tuple[str, RunEvents]:
    """The thread that a page shows. All else that it says of it is not looked at."""
    body = await _body_of(request)
    return body.thread_id, _events_of(body)


async def _body_of(request: Request) -> RunInput:
    most = max(LARGEST, services_of(request).settings.ws_message_size_limit)
    return input_in(await bytes_of(request, most))


async def _snapshot(request: Request, caller: Caller, session: SessionRecord, turn: Json) -> list[Json]:
    """What was said, but for the answer to the turn, which is told as it comes, and may have begun
    meanwhile."""
    page = await _page(request, caller, session.session_id)
    told_apart = {turn.get("answer_id"), *_answers_to(page["messages"], turn.get("message_id"))}
    messages = [each for each in page["messages"] if each.message_id not in told_apart]
    return await _told(request, caller, messages)


async def _thread(request: Request, caller: Caller, session_id: str) -> list[Json]:
    """All of it, or nothing: who is there may have more messages than are shown."""
    page = await _page(request, caller, session_id)
    return [] if page["has_more"] else await _told(request, caller, page["messages"])


async def _page(request: Request, caller: Caller, session_id: str) -> Json:
    query = {"session_id": session_id, "limit": SHOWN, "order": "desc"}
    page = await services_of(request).dispatcher.call("history", caller, query, limited=True)
    return {**page, "messages": page["messages"][::-1]}


async def _told(request: Request, caller: Caller, messages: Sequence[Message]) -> list[Json]:
    services = services_of(request)
    urls = FileUrls(features_of(request).files, caller, peer.origin_seen(request.scope, services.settings))
    await urls.look_up(
        to_json([each.parts for each in messages if each.sender_type == "user" and each.parts])
    )
    told: list[Json] = [{"type": "MESSAGES_SNAPSHOT", "messages": messages_of(messages, caller, urls.of)}]
    state = state_of(messages)
    return told if state is None else [{"type": "STATE_SNAPSHOT", "snapshot": state}, *told]


def _answers_to(messages: Sequence[Message], question_id: str | None) -> list[str]:
    return [
        each.message_id
        for each in messages
        if question_id is not None and each.sender_type == "agent" and each.reply_to == question_id
    ]


# --- stop


async def stop(request: Request) -> Response:
    """`POST …/agent/{agent_id}/stop/{thread_id}`: 200 also where there is nothing to stop."""
    services, caller = services_of(request), await caller_of(request)
    thread_id = request.path_params["thread_id"]
    clean({"thread_id": thread_id})
    body = struct_of(RunStop, await body_of(request))
    try:
        await services.sessions.writable(caller, thread_id)
        turn = await _to_stop(services, thread_id, body.run_id)
        if turn is not None:
            payload = {"session_id": thread_id, "message_id": turn["message_id"]}
            await services.dispatcher.call("stream_cancel", caller, payload, limited=True)
            interrupt = {"type": "RUN_ERROR", "message": "Run stopped by user", "code": "STOPPED"}
            return reply({"stopped": True, "interrupt": interrupt})
    except (SessionNotFound, StreamNotFound):
        pass
    return reply({"stopped": False, "message": "nothing of this thread is open"})


async def _to_stop(services: Services, thread_id: str, run_id: str | None) -> Json | None:
    """The question that a run asked; else what the thread is at, for a run that goes on is another's
    question."""
    turns = await open_turns(services, thread_id)
    for turn in turns if run_id is not None else ():
        question = await services.store.get(turn["message_id"])
        if question is not None and question.metadata.get(RUN_ID) == run_id:
            return dict(turn)
    return next(iter(turns), None)


# --- agents


async def _agent_of(services: Services, name: str) -> int:
    """By its name or id. Raises AgentNotFound, ValidationFailed."""
    if name == DEFAULT and not await services.agents.named(name):
        return FIRST
    return await model_of(services, name)


async def info(request: Request) -> Response:
    """`GET /api/ag-ui/info`, as CopilotKit's runtime tells of itself."""
    services, _ = services_of(request), await caller_of(request)
    lines = [line for line in await services.agents.lines(with_config=False) if line.is_active]
    named = Counter(line.name for line in lines)
    agents = {}
    for line in lines:
        told = agents[str(line.id)] = {"name": line.name, "description": ""}
        if named[line.name] == 1 and not line.name.isdigit():
            agents[line.name] = told
        if line.id == FIRST:
            agents.setdefault(DEFAULT, told)
    return reply(
        {
            "version": VERSION,
            "agents": agents,
            "mode": "sse",
            "audioFileTranscriptionEnabled": False,
            "a2uiEnabled": False,
            "openGenerativeUIEnabled": False,
            "suggestions": False,
            "telemetryDisabled": True,
        }
    )


ROUTES = [
    call("GET", "/api/ag-ui/info", info),
    call("POST", "/api/ag-ui/{agent_id}", run),
    call("POST", "/api/ag-ui/agent/{agent_id}/run", run),
    call("POST", "/api/ag-ui/agent/{agent_id}/connect", connect),
    call("POST", "/api/ag-ui/agent/{agent_id}/stop/{thread_id}", stop),
]
