"""Answers as server-sent events: asking an agent, resuming, stopping; and `POST /api/chat`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from events import schema, stream_events
from events.access import Caller
from events.asking import Asked
from events.errors import SessionNotFound, StreamNotFound, ValidationFailed
from events.parts import shown
from events.rest import Rest, piece
from events.room import Connection
from server.routes.common import call, caller_of, doors_of, perform, reply
from server.routes.reading import body_of, clean, services_of, session_id_of, struct_of
from server.routes.sessions import origin_of
from server.services import Services
from server.transports.codecs import END, data_line
from server.transports.eventstream import Begin, EventStream, StreamedAnswer
from storage.records import MessageRecord


def line(payload: dict[str, Any], event_id: str | None = None) -> bytes:
    head = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
    return head + data_line(payload)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a reader is: before chunk `index` of a stream, or behind its end. Of any, if none is named."""

    message_id: str | None
    index: int
    ended: bool = False

    def within(self, message_id: str) -> "ResumePoint":
        """The same in this stream; a place in another stream does not count here."""
        return self if self.message_id in (None, message_id) else ResumePoint(message_id, 0)

    def event_id(self, message_id: str) -> str:
        return f"{message_id}:{END if self.ended else self.index}"


async def answer_from(
    services: Services,
    record: MessageRecord,
    place: ResumePoint,
    head: bytes = b"",
    *,
    in_order: bool = False,
) -> StreamedAnswer:
    """The text of a stream from a place on. `in_order`: where its pieces are not known any more, its end
    alone tells all parts; else all of the text comes before."""
    rest = await services.streams.read(record, place.index)
    lines = [head]
    ended = rest.status != "streaming"
    if not (ended and (place.ended or (in_order and rest.lacks))):
        lines += _pieces(record, rest, ended)
    if ended:
        end = stream_events.ended(record, whole=rest.lacks)
        lines.append(line({"type": "stream_end", **end}, f"{record.message_id}:{END}"))
    return StreamedAnswer(record.message_id, b"".join(lines), rest.next_index, record.revision, ended)


def _pieces(record: MessageRecord, rest: Rest, ended: bool) -> Iterator[bytes]:
    """What is told of the rest: an event for each run of a part."""
    index = rest.index
    for run in rest.runs:
        told = piece(record.session_id, record.message_id, index, run)
        if not rest.known and not ended and rest.parts is not None:
            told["parts"] = shown(rest.parts)
        index += run.count
        yield line(told, f"{record.message_id}:{index}")


FROM_THE_BEGINNING = ResumePoint(None, 0)


def answer_begins(
    services: Services, asked: Asked, head: bytes, place: ResumePoint, *, in_order: bool = False
) -> Begin:
    """The function that waits for the answer to a question. `in_order` as in `answer_from`."""
    asks, message = asked.named

    async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
        request = {"message_id": message.message_id, "seq": message.seq}
        placeholder = await services.answers.answering.answer_to(asks, message)
        current = await services.messages.get(message.session_id, placeholder.message_id)
        start = {"type": "stream_start", "message_id": current.message_id, "request": request}
        here = place.within(current.message_id)
        told = head + line(start, here.event_id(current.message_id))
        return await answer_from(services, current, here, told, in_order=in_order)

    return begin


def _place(request: Request) -> ResumePoint:
    """By `Last-Event-ID`, or `?from_index=`. Raises ValidationFailed."""
    last = request.headers.get("last-event-id", "")
    message_id, _, index = last.rpartition(":")
    given = clean(dict(request.query_params)).get("from_index", "0")
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise ValidationFailed("a whole number", field="from_index")
    if not last:
        return ResumePoint(None, int(given))
    if message_id and index == END:
        return ResumePoint(message_id, 0, ended=True)
    if not message_id or not (index.isascii() and index.isdigit()) or len(index) > 15:
        raise ValidationFailed(f"<message_id>:<index> or <message_id>:{END}", field="Last-Event-ID")
    return ResumePoint(message_id, int(index))


async def ask(request: Request, receive: Receive, send: Send) -> None:
    """`POST …/messages/stream`."""
    caller = await caller_of(request)
    asked, as_stream = await _asked(request, caller, session_id_of(request))
    await _answer(request, receive, send, caller, asked, as_stream=as_stream)


async def chat(request: Request, receive: Receive, send: Send) -> None:
    """`POST /api/chat`: a session, made in one step with its first message, then the answer. Both are
    committed before `session` is sent, and each bucket is asked before."""
    caller = await caller_of(request)
    asked, as_stream = await _asked(request, caller)
    await _answer(request, receive, send, caller, asked, as_stream=as_stream, tells_session=True)


async def _asked(request: Request, caller: Caller, session_id: str | None = None) -> tuple[Asked, bool]:
    """Commits the question; whether its answer is wanted as a stream. What the request brought is held no
    longer than this takes."""
    services, body = services_of(request), await _question(request)
    _place(request)
    if body.stream:
        await doors_of(request).event_streams.admit(request.scope, caller)
    ask, within = services.answers.asking.ask, session_id or body.session_id
    asked = await perform(request, ask, caller, within, body, origin_of(request))
    return asked.named, body.stream


async def _question(request: Request) -> schema.ChatRequest:
    given = await body_of(request)
    key = request.headers.get("idempotency-key")
    if key and given.get("client_message_id") is None:
        given["client_message_id"] = key
    return struct_of(schema.ChatRequest, given)


async def _answer(
    request: Request,
    receive: Receive,
    send: Send,
    caller: Caller,
    asked: Asked,
    *,
    as_stream: bool,
    tells_session: bool = False,
) -> None:
    services, place = services_of(request), _place(request)
    door, message = doors_of(request).event_streams, asked.message
    session_id = message.session_id
    head = b"event: session\n" + line({"type": "session", "session_id": session_id})
    begin = answer_begins(services, asked, head if tells_session else b"", place)
    if as_stream:
        await door.answer(request.scope, receive, send, caller, session_id, begin)
        return
    message_id = await door.whole(request.scope, receive, caller, session_id, begin)
    if message_id is None:
        return
    view = await services.messages.views([await services.messages.get(session_id, message_id)])
    payload = {"session_id": session_id, "request": {"message_id": message.message_id, "seq": message.seq}}
    await reply(payload | {"message": view[0]}, 201)(request.scope, receive, send)


async def resume(request: Request, receive: Receive, send: Send) -> None:
    """`GET /api/chat/streams/{message_id}`."""
    services, caller = services_of(request), await caller_of(request)
    record = await _visible(services, caller, request.path_params["message_id"])
    if record.message_type != "stream":
        raise StreamNotFound
    place = _place(request).within(record.message_id)
    session_id, message_id = record.session_id, record.message_id

    async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
        return await answer_from(services, await services.messages.get(session_id, message_id), place)

    door = doors_of(request).event_streams
    if record.status != "streaming":
        if place.ended:  # to an EventSource a 204 alone says that there is nothing more to ask for
            await Response(status_code=204)(request.scope, receive, send)
            return
        await door.finished(send, await answer_from(services, record, place))
        return
    del record  # not held while it is read
    await door.admit(request.scope, caller)
    await door.answer(request.scope, receive, send, caller, session_id, begin)


async def _visible(services: Services, caller: Caller, message_id: str) -> MessageRecord:
    """Raises StreamNotFound, also for a message in a session that the caller may not see."""
    clean({"message_id": message_id})
    record = await services.store.get(message_id)
    if record is None:
        raise StreamNotFound
    try:
        await services.sessions.readable(caller, record.session_id)
    except SessionNotFound as error:
        raise StreamNotFound from error
    return record


async def cancel(request: Request) -> Response:
    """`POST …/cancel`, by the id of an answer or of its question."""
    services, caller = services_of(request), await caller_of(request)
    record = await _visible(services, caller, request.path_params["message_id"])
    payload = {"session_id": record.session_id, "message_id": record.message_id}
    return reply(await services.dispatcher.call("stream_cancel", caller, payload, limited=True))


ROUTES = [
    call("POST", "/api/chat", chat),
    call("POST", "/api/chat/sessions/{session_id}/messages/stream", ask),
    call("GET", "/api/chat/streams/{message_id}", resume),
    call("POST", "/api/chat/streams/{message_id}/cancel", cancel),
]
