"""A run of AG-UI's as commands: a question, one that is asked again, answers to what an answer waits for.
Knows no route and no event."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec

from events.asking import Asked
from events.errors import MessageNotFound, StreamOpen, ValidationFailed
from events.files import FileService
from events.pagetools import PageTool, brought
from events.parts import Data
from events.schema import ChatRequest
from server.dialects.agui.bodies import KnownMessage, RunInput, RunMessage, counting, known
from server.dialects.agui.given import said_in
from server.dialects.agui.toolevents import named_by
from server.dialects.chats import Chat
from server.dialects.files import GivenMessage, asked_with, check_size, stored
from server.dialects.pagetools import page_tools
from storage import interrupts
from storage.records import MessageRecord

#: In a question's metadata: the run that asked it.
RUN_ID = "run_id"

Json = dict[str, Any]


class RunCall(NamedTuple):
    """One request of a caller's. `own_file` finds a file's id in its address."""

    chat: Chat
    files: FileService
    agent_id: int
    body: RunInput
    own_file: Callable[[str], str | None]


class GoesOn(NamedTuple):
    """An answer that was given what it waits for; its reader has these messages."""

    answer: MessageRecord
    has: Sequence[KnownMessage]


async def carry_out(call: RunCall) -> Asked | GoesOn:
    """Raises SessionNotFound, Forbidden, AgentNotFound, ValidationFailed, ..., Unavailable."""
    body = call.body
    messages = counting(body.messages)
    if messages and messages[-1].role == "user" and not body.resume:
        body.messages = []  # others are not looked at
    if body.resume:
        return await _resumed(call)
    if not messages:
        raise ValidationFailed("say something", field="messages")
    if messages[-1].role == "tool":
        return await _tools_gave(call, messages)
    if messages[-1].role != "user":
        raise ValidationFailed("the last one is a user's, or what a tool of the page gave", field="messages")
    return await _asked(call, messages[-1])


# --- questions


async def _asked(call: RunCall, message: RunMessage) -> Asked:
    """A question that the session has already is the same run once more, or is to be answered anew."""
    chat = call.chat
    await chat.session(call.agent_id)
    first = await chat.find(message.id)
    if first is None:
        return await _question(call, message)
    turn = await chat.services.answers.answering.turn_of(first.message_id)
    if turn is not None and (turn.state != "done" or first.metadata.get(RUN_ID) == call.body.run_id):
        return await chat.asked(first.message_id)
    again = {"message_id": await chat.shown_version(first)} | _busy(call) | _tools(call)
    try:
        done = await chat.give("regenerate", again)
    except StreamOpen:
        return await chat.asked(first.message_id)
    return await chat.asked(done["message_id"])


async def _question(call: RunCall, message: RunMessage) -> Asked:
    chat, body = call.chat, call.body
    said, metadata = said_in(message, call.own_file), _metadata(body, message)
    message.content = None  # files within it are held once
    _add_page(said, body)
    check_size(said, metadata, chat.services.settings.ws_message_size_limit)
    dispatcher = chat.services.dispatcher
    upload = partial(dispatcher.limit, "upload", chat.caller)
    records = await stored(call.files, chat.caller, chat.id, said, upload, dispatcher.waiting)
    request = ChatRequest(
        client_message_id=message.id,
        parts=said.parts,
        metadata=metadata,
        when_busy=body.when_busy,
        tools=_page_tools(body),
    )
    asking = chat.services.answers.asking.ask(chat.caller, chat.id, request, chat.origin)
    return await asked_with(call.files, records, asking)


def _add_page(said: GivenMessage, body: RunInput) -> None:
    """What the page knows, for its agent: beside the words."""
    if body.context:
        told = [{"description": each.description, "value": each.value} for each in body.context]
        said.parts.append(Data(name="context", data=told))
    if body.state not in (None, {}, []):
        said.parts.append(Data(name="state", data=body.state))


def _metadata(body: RunInput, message: RunMessage) -> Json:
    told: Json = {**(message.metadata or {}), RUN_ID: body.run_id}
    if body.forwarded_props not in (None, {}, []):
        told["forwarded_props"] = body.forwarded_props
    return told


def _page_tools(body: RunInput) -> list[PageTool] | None:
    given = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters or {}}
        for tool in body.tools or ()
    ]
    return page_tools(given)


def _tools(call: RunCall) -> Json:
    tools = brought(_page_tools(call.body))
    return {} if tools is None else {"tools": tools}


def _busy(call: RunCall) -> Json:
    return {} if call.body.when_busy is None else {"when_busy": call.body.when_busy}


# --- answers


async def _tools_gave(call: RunCall, messages: Sequence[RunMessage]) -> GoesOn:
    """Their calls name the answer. What was given already is the same once more, or too late."""
    names = [named_by(each.tool_call_id or "") for each in messages]
    latest = names[-1]
    if latest is None:
        raise ValidationFailed("no call of this thread's", field="messages")
    answer = await _answer(call, latest.message_id)
    of_parts = {part["id"]: part for part in answer.parts or ()}
    given = []
    for message, name in zip(messages, names, strict=True):
        part = None if name is None or name.message_id != answer.message_id else of_parts.get(name.own_id)
        if part is None:
            continue  # of an answer before
        interrupt = _of_call(answer.interrupts or (), part.get("tool_call_id"))
        if interrupt is not None and interrupts.is_open(interrupt):
            given.append({"interrupt_id": interrupt["id"], **_gave(message, interrupt)})
    return await _goes_on(call, answer, given)


def _gave(message: RunMessage, interrupt: Json) -> Json:
    if message.error:
        return {"status": "cancelled", "payload": {"error": message.error}}
    content: Any = message.content
    if isinstance(content, list):
        content = "\n\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    if "response_schema" in interrupt:
        with suppress(msgspec.DecodeError):  # it may want a text
            content = msgspec.json.decode(content or "null")
    return {"status": "resolved", "payload": content or ""}


async def _resumed(call: RunCall) -> GoesOn:
    entries = [(named_by(entry.interrupt_id), entry) for entry in call.body.resume or ()]
    ids = {name.message_id for name, _ in entries if name is not None}
    if len(ids) != 1 or any(name is None for name, _ in entries):
        raise ValidationFailed("interrupts of one run", field="resume")
    answer = await _answer(call, ids.pop())
    given = []
    for name, entry in entries:
        assert name is not None
        payload = {} if entry.payload is msgspec.UNSET else {"payload": entry.payload}
        given.append({"interrupt_id": name.own_id, "status": entry.status, **payload})
    return await _goes_on(call, answer, given)


async def _answer(call: RunCall, message_id: str) -> MessageRecord:
    record = await call.chat.find(message_id)
    if record is None or record.message_type != "stream":
        raise MessageNotFound
    return record


async def _goes_on(call: RunCall, answer: MessageRecord, given: Sequence[Json]) -> GoesOn:
    for each in given:
        await call.chat.give("answer", {"message_id": answer.message_id, **each})
    return GoesOn(answer, known(call.body.messages))


def _of_call(known: Sequence[Json], call_id: Any) -> Json | None:
    """The last one about a call: it may be asked about twice."""
    return next((each for each in reversed(known) if each.get("tool_call_id") == call_id), None)
