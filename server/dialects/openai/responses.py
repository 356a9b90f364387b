"""`/v1/responses`: OpenAI's Responses API. A response is a question and its answer."""

from collections.abc import Sequence
from typing import Any

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from events.access import Caller
from events.agents.replies import HISTORY_MESSAGES
from events.asking import Asked
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
from server.dialects.openai.asking import OpenAICall, ask, key_in, session_in
from server.dialects.openai.errors import not_whole
from server.dialects.openai.responsebodies import InputItemsQuery, ResponseQuery, ResponseRequest
from server.dialects.openai.responseevents import ResponseEvents
from server.dialects.openai.responseinput import item_of, said_in
from server.dialects.openai.responseobject import (
    PREFIX,
    ResponseHead,
    answered,
    head_of,
    response,
    unanswered,
)
from server.routes.common import caller_of, doors_of, perform, reply
from server.routes.reading import body_of, clean, query_of, services_of, struct_of
from server.routes.sessions import origin_of
from server.routes.streams import FROM_THE_BEGINNING, answer_begins, line
from server.services import Services
from server.transports.eventstream import Begin, EventStream, StreamedAnswer
from storage.records import MessageRecord, TurnRecord


async def create(request: Request, receive: Receive, send: Send) -> None:
    """`POST /v1/responses`. A client that goes does not stop the answer."""
    services, caller = services_of(request), await caller_of(request)
    body = struct_of(ResponseRequest, await body_of(request))
    asked_for = await _call_of(services, caller, body, request)
    door = doors_of(request).event_streams
    if body.stream:
        await door.admit(request.scope, caller)
    asked = await perform(request, ask, services, caller, asked_for, origin_of(request))
    question = asked.message
    head = head_of(question, await _model(services, asked.asks.agent_id), background=bool(body.background))
    begin = _begin(services, asked)
    if body.stream:
        told = ToldInFrames(send, ResponseEvents(head))
        await door.answer(request.scope, receive, told, caller, question.session_id, begin, at_once=True)
        return
    if body.background:
        await reply(await _shown(services, head, question))(request.scope, receive, send)
        return
    message_id = await door.whole(request.scope, receive, caller, question.session_id, begin)
    if message_id is None:
        return
    record = await services.messages.get(question.session_id, message_id)
    whole = record.status == "complete" and record.finish_reason != "error"
    answer = reply(answered(head, record)) if whole else not_whole(record, response_id=head.id)
    await answer(request.scope, receive, send)


async def _call_of(services: Services, caller: Caller, body: ResponseRequest, request: Request) -> OpenAICall:
    """Raises ValidationFailed, MessageNotFound."""
    if body.text is not None and body.text.format is not None and body.text.format.type != "text":
        raise ValidationFailed("agents answer with text", field="text.format")
    earlier, question = said_in(body.input)
    metadata = dict(body.metadata or {})
    session_id = session_in(body.conversation, metadata)
    if body.previous_response_id is not None:
        before = await _question(services, caller, body.previous_response_id)
        if session_id not in (None, before.session_id):
            raise ValidationFailed("is of another session", field="previous_response_id", joint=" ")
        session_id = before.session_id
    return OpenAICall(
        body.model,
        earlier,
        question,
        session_id,
        metadata,
        body.when_busy,
        key_in(request.headers.get("idempotency-key")),
        field="input",
        instructions=body.instructions,
    )


# --- one response


async def retrieve(request: Request, receive: Receive, send: Send) -> None:
    """`GET /v1/responses/{response_id}`, as it is now, or as its events from one on."""
    services, caller = services_of(request), await caller_of(request)
    query = query_of(ResponseQuery, request)
    question, turn = await _asked(services, caller, request)
    head = head_of(question, await _model(services, turn.agent_id))
    if not query.stream:
        await reply(await _shown(services, head, question))(request.scope, receive, send)
        return
    after = -1 if query.starting_after is None else query.starting_after
    told = ToldInFrames(send, ResponseEvents(head, after))
    door = doors_of(request).event_streams
    await door.admit(request.scope, caller)
    asks = services.answers.answering.asks_of(caller, turn.agent_id, None)
    begin = _begin(services, Asked(asks, question))
    await door.answer(request.scope, receive, told, caller, question.session_id, begin, at_once=True)


async def cancel(request: Request) -> Response:
    """`POST …/cancel`: from the first moment on."""
    services, caller = services_of(request), await caller_of(request)
    question, turn = await _asked(services, caller, request)
    payload = {"session_id": question.session_id, "message_id": question.message_id}
    await services.dispatcher.call("stream_cancel", caller, payload, limited=True)
    head = head_of(question, await _model(services, turn.agent_id))
    return reply(await _shown(services, head, question))


async def input_items(request: Request) -> Response:
    """`GET …/input_items`: the question, and what its call brought along."""
    services, caller = services_of(request), await caller_of(request)
    query = query_of(InputItemsQuery, request)
    question, _ = await _asked(services, caller, request)
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


async def _asked(services: Services, caller: Caller, request: Request) -> tuple[MessageRecord, TurnRecord]:
    """Raises MessageNotFound."""
    question = await _question(services, caller, request.path_params["response_id"])
    turn = await services.answers.answering.turn_of(question.message_id)
    if turn is None or question.deleted_at is not None:
        raise MessageNotFound
    return question, turn


async def _question(services: Services, caller: Caller, response_id: str) -> MessageRecord:
    """Raises MessageNotFound, also for one in a session that the caller may not see."""
    clean({"response_id": response_id})
    if not response_id.startswith(PREFIX):
        raise MessageNotFound
    record = await services.store.get(response_id.removeprefix(PREFIX))
    if record is None:
        raise MessageNotFound
    try:
        await services.sessions.readable(caller, record.session_id)
    except SessionNotFound as error:
        raise MessageNotFound from error
    return record


async def _shown(services: Services, head: ResponseHead, question: MessageRecord) -> dict[str, Any]:
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
    return answered(head, answer)


_STATES = {"running": "in_progress"}


# --- what the routes share


def _begin(services: Services, asked: Asked) -> Begin:
    """Waits for the answer; a question that was given up ends its response, too."""
    begins = answer_begins(services, asked, b"", FROM_THE_BEGINNING, in_order=True)

    async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
        try:
            return await begins(conn, stream)
        except (StreamClosed, AgentNotFound) as error:
            question = asked.message.message_id
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
