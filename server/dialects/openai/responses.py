"""`/v1/responses`: OpenAI's Responses API. A response is a question and its answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import structs, to_builtins
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from events.access import Caller
from events.agents.replies import HISTORY_MESSAGES
from events.asking import Asked, unsaid
from events.errors import (
    AgentNotFound,
    ChatError,
    MessageNotFound,
    SessionNotFound,
    StreamClosed,
    ValidationFailed,
)
from events.room import Connection
from events.views import PAGE_BYTES
from server.dialects.answerlines import ToldInFrames
from server.dialects.behind import Behind
from server.dialects.openai.asking import OpenAICall, ask, begin, begins_of, session_in
from server.dialects.openai.conversation import read
from server.dialects.openai.errors import is_whole, not_whole
from server.dialects.openai.responsebodies import InputItemsQuery, ResponseQuery, ResponseRequest
from server.dialects.openai.responseevents import ResponseEvents
from server.dialects.openai.responseinput import entries_of, item_of
from server.dialects.openai.responseobject import (
    ResponseHead,
    ResponseName,
    answered,
    head_of,
    named,
    response,
    unanswered,
)
from server.dialects.openai.toolcalls import behind_parts, page_tools
from server.dialects.repeats import key_in
from server.routes.common import caller_of, doors_of, perform, reply
from server.routes.reading import body_of, clean, query_of, services_of, struct_of
from server.routes.sessions import origin_of
from server.routes.streams import line
from server.services import Services
from server.transports.eventstream import Begin, EventStream, StreamedAnswer
from storage.records import MessageRecord, TurnRecord


async def create(request: Request, receive: Receive, send: Send) -> None:
    """`POST /v1/responses`. A client that goes does not stop the answer."""
    services, caller = services_of(request), await caller_of(request)
    head, events, begins, question, wants = await _begun(request, caller)
    door, behind = doors_of(request).event_streams, events.behind
    if wants.stream:
        told = ToldInFrames(send, events)
        await door.answer(request.scope, receive, told, caller, question.session_id, begins, at_once=True)
        return
    if wants.background:
        await reply(await _shown(services, head, question, behind))(request.scope, receive, send)
        return
    message_id = await door.whole(request.scope, receive, caller, question.session_id, begins)
    if message_id is None:
        return
    record = await services.messages.get(question.session_id, message_id)
    whole = is_whole(record)
    answer = reply(answered(head, record, behind)) if whole else not_whole(record, response_id=head.id)
    await answer(request.scope, receive, send)


class ResponseWants(NamedTuple):
    """How a request is to be answered."""

    stream: bool
    background: bool


async def _begun(
    request: Request, caller: Caller
) -> tuple[ResponseHead, ResponseEvents, Begin, MessageRecord, ResponseWants]:
    """Commits what is asked, and names its response. What the request brought is held no longer than this
    takes."""
    services, body = services_of(request), struct_of(ResponseRequest, await body_of(request))
    asked_for = await _call_of(services, caller, body, request)
    if body.stream:
        await doors_of(request).event_streams.admit(request.scope, caller)

    async def commit(call: OpenAICall) -> Asked:
        return await perform(request, ask, services, caller, call, origin_of(request))

    asked, waited, behind = await begin(services, caller, asked_for, commit)
    model = await _model(services, asked.asks.agent_id)
    wants = ResponseWants(bool(body.stream), bool(body.background))
    head = head_of(asked.message, model, behind, background=wants.background)
    events = ResponseEvents(head, behind=behind)
    return head, events, _begins(services, asked, events, waited), asked.named.message, wants


async def _call_of(services: Services, caller: Caller, body: ResponseRequest, request: Request) -> OpenAICall:
    """Raises ValidationFailed, MessageNotFound."""
    if body.text is not None and body.text.format is not None and body.text.format.type != "text":
        raise ValidationFailed("agents answer with text", field="text.format")
    metadata = dict(body.metadata or {})
    session_id = session_in(body.conversation, metadata)
    if body.previous_response_id is not None:
        before, _ = await _question(services, caller, body.previous_response_id)
        if session_id not in (None, before.session_id):
            raise ValidationFailed("is of another session", field="previous_response_id", joint=" ")
        session_id = before.session_id
    given = [to_builtins(tool) for tool in body.tools or () if body.tool_choice != "none"]
    return OpenAICall(
        body.model,
        read(entries_of(body.input), "input"),
        session_id,
        metadata,
        body.when_busy,
        key_in(request.headers.get("idempotency-key")),
        "input",
        page_tools(given, "tools"),
        body.instructions,
    )


# --- one response


async def retrieve(request: Request, receive: Receive, send: Send) -> None:
    """`GET /v1/responses/{response_id}`, as it is now, or as its events from one on."""
    services, caller = services_of(request), await caller_of(request)
    query = query_of(ResponseQuery, request)
    question, turn, behind = await _asked(services, caller, request)
    head = head_of(question, await _model(services, turn.agent_id), behind)
    question = unsaid(question)  # its words are not held while the answer is read
    if not query.stream:
        await reply(await _shown(services, head, question, behind))(request.scope, receive, send)
        return
    after = -1 if query.starting_after is None else query.starting_after
    events = ResponseEvents(head, after, behind)
    told = ToldInFrames(send, events)
    door = doors_of(request).event_streams
    await door.admit(request.scope, caller)
    asks = services.answers.answering.asks_of(caller, turn.agent_id, None)
    begins = _begins(services, Asked(asks, question), events, await _answer_of(services, turn))
    await door.answer(request.scope, receive, told, caller, question.session_id, begins, at_once=True)


async def _answer_of(services: Services, turn: TurnRecord) -> MessageRecord | None:
    if turn.answer_id is None:
        return None
    return await services.messages.get(turn.session_id, turn.answer_id)


async def cancel(request: Request) -> Response:
    """`POST …/cancel`: from the first moment on."""
    services, caller = services_of(request), await caller_of(request)
    question, turn, behind = await _asked(services, caller, request)
    payload = {"session_id": question.session_id, "message_id": question.message_id}
    await services.dispatcher.call("stream_cancel", caller, payload, limited=True)
    head = head_of(question, await _model(services, turn.agent_id), behind)
    return reply(await _shown(services, head, question, behind))


async def input_items(request: Request) -> Response:
    """`GET …/input_items`: the question, and what its call brought along."""
    services, caller = services_of(request), await caller_of(request)
    query = query_of(InputItemsQuery, request)
    question, _, _ = await _asked(services, caller, request)
    items = [item_of(record) for record in await _input_of(services, question)]
    if query.order == "asc":
        items.reverse()
    if query.after is not None:
        at = next((n for n, item in enumerate(items) if item["id"] == query.after), None)
        if at is None:
            raise ValidationFailed("is none of the items", field="after", joint=" ")
        items = items[at + 1 :]
    page = items[: query.limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": "", "last_id": ""}
    return reply({"object": "list", "data": page, **ends, "has_more": len(items) > len(page)})


async def _input_of(services: Services, question: MessageRecord) -> Sequence[MessageRecord]:
    """The newest first. What was brought along stands at the beginning of its session."""
    before, _ = await services.store.page(
        question.session_id,
        before_seq=question.seq,
        order="desc",
        limit=HISTORY_MESSAGES,
        max_bytes=PAGE_BYTES,
    )
    brought = []
    for record in before:
        if not record.metadata.get("brought"):
            break
        brought.append(record)
    return [question, *brought]


async def _asked(
    services: Services, caller: Caller, request: Request
) -> tuple[MessageRecord, TurnRecord, Behind | None]:
    """Raises MessageNotFound."""
    question, name = await _question(services, caller, request.path_params["response_id"])
    turn = await services.answers.answering.turn_of(question.message_id)
    if turn is None or question.deleted_at is not None:
        raise MessageNotFound
    if not name.parts:
        return question, turn, None
    if turn.answer_id is None:
        raise MessageNotFound
    answer = await services.messages.get(question.session_id, turn.answer_id)
    return question, turn, behind_parts(answer, name.parts, name.characters)


async def _question(
    services: Services, caller: Caller, response_id: str
) -> tuple[MessageRecord, ResponseName]:
    """Raises MessageNotFound, also for one in a session that the caller may not see."""
    name = named(clean({"response_id": response_id})["response_id"])
    record = None if name is None else await services.store.get(name.question_id)
    if name is None or record is None:
        raise MessageNotFound
    try:
        await services.sessions.readable(caller, record.session_id)
    except SessionNotFound as error:
        raise MessageNotFound from error
    return record, name


async def _shown(
    services: Services, head: ResponseHead, question: MessageRecord, behind: Behind | None
) -> dict[str, Any]:
    """The response as it is now."""
    turn = await services.answers.answering.turn_of(question.message_id)
    if turn is None or turn.answer_id is None:
        if turn is not None and turn.state == "done":
            return unanswered(head, turn.outcome or "cancelled")
        return response(head, "queued" if turn is None else _STATES.get(turn.state, turn.state))
    answer = await services.messages.get(question.session_id, turn.answer_id)
    if answer.status == "streaming":
        rest = await services.streams.read(answer, 0)
        answer = structs.replace(answer, content=rest.content, parts=rest.parts)
    return answered(head, answer, behind)


_STATES = {"running": "in_progress"}


# --- what the routes share


def _begins(
    services: Services, asked: Asked, events: ResponseEvents, waited: MessageRecord | None = None
) -> Begin:
    """Waits for the answer; a question that was given up ends its response, too."""
    begins, question = begins_of(services, asked, waited), asked.message.message_id

    async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
        events.count_for(stream)
        try:
            return await begins(conn, stream)
        except (StreamClosed, AgentNotFound) as error:
            end = {"type": "stream_end", "message_id": question, "status": _outcome(error)}
            return StreamedAnswer(question, line(end), 0, 0, ended=True)

    return begin


def _outcome(error: ChatError) -> str:
    """Of a question without an answer."""
    details = error.details if isinstance(error.details, dict) else {}
    return str(details.get("status") or "failed")


async def _model(services: Services, agent_id: int) -> str:
    """The name by which an agent is asked."""
    agent = await services.agents.get(agent_id)
    if agent is None or agent.name.isdigit() or len(await services.agents.named(agent.name)) > 1:
        return str(agent_id)
    return agent.name
