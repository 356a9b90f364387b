"""Server-sent events: a session's event stream, and one answer as it is being written.

HTML Standard, "Server-sent events". A comment every 15 s keeps proxies from closing an idle stream.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from events.access import Caller
from events.bounds import EVENT_STREAMS, READERS
from events.errors import ChatError, SlowConsumer
from events.event import Codec, to_json
from events.ids import new_id
from events.joining import Joined
from events.outbox import Sink
from events.room import Connection
from events.seat import ENDED
from server.admission import Visitor
from server.services import Services
from server.transports.base import Channel, Transport
from server.transports.codecs import AnswerCodec, EventStreamCodec, one_line

KEEP_ALIVE = 15.0
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
RETRY = b"retry: 2000\n\n"
COMMENT = b": still here\n\n"
#: Milliseconds, at random, that are added where an EventSource is to come again: a herd comes back spread.
SPREAD = (1000, 4000)


class EventStream(Sink):
    """The writing end of one response. What it is given waits here until the response takes it."""

    __slots__ = ("_ended", "_limit", "_ready", "_waiting", "conn", "error")

    def __init__(self, services: Services) -> None:
        super().__init__(services.hub.flusher)
        self._limit = services.settings.outbox_limit
        self._waiting: list[bytes] = []
        self._ready = asyncio.Event()
        self._ended = False
        self.error: ChatError | None = None
        self.conn: Connection | None = None

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._ready.set()

    def cut(self) -> None:
        self.end(SlowConsumer())

    @property
    def account(self) -> str | None:
        if self._ended:
            return None
        return "" if self.conn is None else self.conn.caller.account

    def end(self, error: ChatError | None = None) -> None:
        """No more; `error` is told as an event."""
        self.error = self.error or error
        self._ended = True
        self.flusher.held.discard(self)
        self._ready.set()

    async def serve(self, receive: Receive, send: Send, finished: Callable[[], bool]) -> None:
        """Send until the client goes, the stream is ended, or `finished` says so."""
        listening = asyncio.create_task(until_gone(receive))
        listening.add_done_callback(lambda _: self.end())
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        await self._ready.wait()
                except TimeoutError:
                    await send({"type": "http.response.body", "body": COMMENT, "more_body": True})
                    continue
                self._ready.clear()
                waiting, self._waiting = self._waiting, []
                data = b"".join(waiting)
                if data:
                    # While the response is stuck, what comes goes by the rules for slow readers.
                    self.pause(self._limit)
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    self.resume()
                if self._ended or (finished() and not self._waiting and self.out is None):
                    break
            if not listening.done():
                body = b""
                if self.error is not None:
                    body = b"event: error\ndata: " + to_json(self.error.as_dict()) + b"\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": False})
        except OSError:
            pass  # the client is gone
        finally:
            listening.cancel()


class StreamConnection(Connection):
    """For one session, and silent."""

    __slots__ = ()

    cap = EVENT_STREAMS
    ends_with_its_session = speaks_by_requests = True
    sink: EventStream

    def end(self, error: ChatError) -> None:
        self.sink.end(error)


class UnreadStream(EventStream):
    """One that nobody reads: what matters is when it ends."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        self._ready.set()

    async def until(self, finished: Callable[[], bool]) -> None:
        """Raises the error with which it was ended."""
        while self.error is None and not finished():
            await self._ready.wait()
            self._ready.clear()
        if self.error is not None:  # perhaps before the answer had begun
            raise self.error


def by_event_source(method: str, headers: Headers) -> bool:
    """Whether a page's EventSource asks, as the HTML Standard has it ask; `fetch` goes by the status."""
    accepts = headers.get("accept") == "text/event-stream"
    return method == "GET" and accepts and "no-cache" in headers.get("cache-control", "")


def come_again(error: ChatError, spread: Callable[[int, int], int] = random.randint) -> Response:
    """A refusal that passes, to an EventSource: any status but 200 would be its last."""
    after = (error.retry_after or 0) + spread(*SPREAD)
    body = b"retry: %d\nevent: error\ndata: " % after + to_json(error.as_dict()) + b"\n\n"
    return Response(body, headers={name.decode(): value.decode() for name, value in HEADERS})


Stream = TypeVar("Stream", bound=EventStream)


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStreamDoor:
    """Opens event streams."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._codec = EventStreamCodec()
        self.streams: set[EventStream] = set()
        self._readers: Counter[str] = Counter()  # of one stream each, by message id

    async def admit(self, scope: Scope, caller: Caller) -> None:
        """Before anything is made, of one who is known. Raises Draining, RateLimited, ServerFull."""
        admission, address = self._services.admission, self._address(scope)
        admitted = admission.admit(Visitor(address, caller=caller))
        if not isinstance(admitted, Caller):
            scope["parley.late"] = True  # whoever waits for a refusal has been waited for
            await admitted
        admission.place(StreamConnection, caller, address)

    def _address(self, scope: Scope) -> str:
        return self._services.address_of(scope["client"], scope["headers"])

    async def _open(
        self, scope: Scope, caller: Caller, codec: Codec, kind: type[Stream]
    ) -> tuple[Stream, Connection]:
        services = self._services
        address = self._address(scope)
        services.admission.place(StreamConnection, caller, address)
        services.gate.requests.end(scope)
        stream = kind(services)
        conn = StreamConnection(new_id("conn"), caller, codec, stream, "sse", services.clock())
        conn.address = address
        stream.conn = conn
        self.streams.add(stream)
        await services.admission.enter(conn)
        return stream, conn

    def _close(self, stream: EventStream, conn: Connection, reason: str) -> None:
        self.streams.discard(stream)
        self._services.admission.left(conn, reason)

    async def events(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        session_id: str,
        after: str | None,
        after_revision: int | None,
        limit: int,
        lineage: str | None,
    ) -> None:
        """`GET …/{id}/events`: `welcome`, then what happens. Raises ChatError before anything is sent."""
        services = self._services
        await self.admit(scope, caller)
        stream, conn = await self._open(scope, caller, self._codec, EventStream)
        reason = "closed"
        try:
            joined = await services.joining.join(
                conn, session_id, after_revision, limit, lineage, after=after
            )
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            welcome = {**joined.reply, "recovered": joined.recovered, "connection_id": conn.id}
            head = RETRY + b"id: " + joined.reply["position"].encode() + b"\nevent: welcome\ndata: "
            stream.push(head + one_line(to_json(welcome)) + b"\n\n")
            joined.then()
            await stream.serve(receive, send, lambda: False)
            reason = stream.error.code if stream.error else reason
        finally:
            self._close(stream, conn, reason)

    async def answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        session_id: str,
        first: "Begin",
    ) -> None:
        """One stream as `data:` lines. `first` begins the answer, once its reader is in the room: nothing of
        it can be missed. Raises ChatError before anything is sent."""
        head = AnswerHead(send)

        async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
            return await head.meanwhile(first(conn, stream))

        try:
            async with self._reading(scope, caller, session_id, begin, EventStream) as (stream, codec):
                await head.send()
                await stream.serve(receive, send, lambda: codec.ended)
        except ChatError as error:
            if not head.sent:
                raise
            body = b"event: error\ndata: " + to_json(error.as_dict()) + b"\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": False})

    async def whole(
        self, scope: Scope, receive: Receive, caller: Caller, session_id: str, first: "Begin"
    ) -> str | None:
        """The id of one stream when it has ended; None if its client went before. Raises ChatError."""

        async def ended() -> str:
            async with self._reading(scope, caller, session_id, first, UnreadStream) as (stream, codec):
                await stream.until(lambda: codec.ended)
                return codec.message_id

        answering = asyncio.create_task(ended())
        listening = asyncio.create_task(until_gone(receive))
        try:
            await asyncio.wait((answering, listening), return_when=asyncio.FIRST_COMPLETED)
            return answering.result() if answering.done() else None
        finally:
            listening.cancel()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    @asynccontextmanager
    async def _reading(
        self, scope: Scope, caller: Caller, session_id: str, first: "Begin", kind: type[Stream]
    ) -> AsyncIterator[tuple[Stream, AnswerCodec]]:
        """A reader of one stream, from its beginning on. Raises ChatError."""
        codec = AnswerCodec()
        stream, conn = await self._open(scope, caller, codec, kind)
        reason = "closed"
        try:
            joined: Joined = await self._services.joining.join(conn, session_id, limit=1, hidden=True)
            try:
                answer = await first(conn, stream)
                self._services.gate.limits.admit(READERS, self._readers[answer.message_id])
            except BaseException:
                joined.then()
                raise
            self._readers[answer.message_id] += 1
            codec.message_id, codec.next_index = answer.message_id, answer.next_index
            codec.ended = answer.ended
            stream.push(answer.head)
            member = conn.member(session_id)
            if member is not None:
                # It has the text up to here; what waits is clipped to what it lacks.
                floor = ENDED if answer.ended else answer.next_index
                member.idx = {**(member.idx or {}), answer.message_id: floor}
                member.rev = min(member.rev, answer.revision)
            joined.then()
            yield stream, codec
        except ChatError as error:
            reason = error.code
            raise
        finally:
            if codec.message_id:
                self._read_no_more(codec.message_id)
            self._close(stream, conn, reason)

    def _read_no_more(self, message_id: str) -> None:
        self._readers[message_id] -= 1
        if not self._readers[message_id]:
            del self._readers[message_id]

    async def finished(self, send: Send, answer: "StreamedAnswer") -> None:
        """A stream that has ended already."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": RETRY + answer.head, "more_body": False})


class AnswerHead:
    """The response's beginning: sent when the answer begins, or before when that takes long, so that no
    proxy gives up (a worker may think before it begins)."""

    def __init__(self, send: Send, every: float = KEEP_ALIVE) -> None:
        self._send, self._every, self.sent = send, every, False

    async def send(self) -> None:
        if not self.sent:
            self.sent = True
            await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._send({"type": "http.response.body", "body": RETRY, "more_body": True})

    async def meanwhile(self, work: Awaitable["StreamedAnswer"]) -> "StreamedAnswer":
        beginning = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([beginning], timeout=self._every))[0]:
                await self.send()
                await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
            return beginning.result()
        finally:
            beginning.cancel()


class StreamedAnswer:
    """Where a reader of one stream begins: the finished lines up to `next_index`, and whether that is all."""

    __slots__ = ("ended", "head", "message_id", "next_index", "revision")

    def __init__(self, message_id: str, head: bytes, next_index: int, revision: int, ended: bool) -> None:
        self.message_id, self.head = message_id, head
        self.next_index, self.revision, self.ended = next_index, revision, ended


#: Begins an answer whose reader is in the room.
Begin = Callable[[Connection, EventStream], Awaitable[StreamedAnswer]]


#: Calls of REST open event streams (`server.routes.messages`, `server.routes.streams`).
TRANSPORT = Transport(
    "sse",
    Channel(
        "events",
        "/api/chat/sessions/{session_id}/events",
        "Server-sent events: `event: name`, `data: payload`, `id: position`; commands go by REST",
        commands=False,
    ),
)
