"""The writing ends of event streams, and where an answer begins in one. Knows no door.

HTML Standard, "Server-sent events". A comment every 15 s keeps proxies from closing an idle stream.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Send

from events.bounds import EVENT_STREAMS
from events.errors import ChatError, SlowConsumer
from events.event import Event, to_json
from events.held import SMALL
from events.outbox import Sink
from events.room import Connection
from server.engine.answers import OpenBody
from server.services import Services
from server.transports.growing import Growing

KEEP_ALIVE = 15.0
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
#: Bytes of an event that may leave at once: to tell of it takes no time to speak of.
SHORT = 4096
RETRY = b"retry: 2000\n\n"
COMMENT = b": still here\n\n"
#: Milliseconds, at random, that are added where an EventSource is to come again: a herd comes back spread.
SPREAD = (1000, 4000)


class EventStream(Sink):
    """The writing end of one response. Bytes wait here until the response takes them."""

    __slots__ = ("_body", "_ended", "_growing", "_limit", "_ready", "_waiting", "_wrote", "conn", "error")

    def __init__(self, services: Services) -> None:
        super().__init__(services.hub.flusher)
        self._limit = services.settings.outbox_limit
        self._waiting: list[bytes] = []
        self._ready = asyncio.Event()
        self._ended = False
        self._wrote = 0.0  # when something left last, by the loop
        self._body: OpenBody | None = None
        self._growing: Growing | None = None  # while nothing waits: pieces of the text leave at once
        self.error: ChatError | None = None
        self.conn: Connection | None = None

    def write(self, data: bytes) -> None:
        if self._growing is not None and self._body is not None:
            self._body.write(data)
            self._wrote = self.flusher.loop.time()
            return
        self._waiting.append(data)
        self._ready.set()

    def at_once(self, event: Event) -> bytes | None:
        """A piece of the text that is being told, as the response's own bytes; None: it goes through the
        response's layers, behind what was told so far."""
        growing, body = self._growing, self._body
        if growing is None or body is None:
            return None
        is_more = event.sizes and growing.label in (event.part, None) and len(event.data) < SHORT
        if is_more and body.takes:
            return growing.frame(event)
        self._slow_down()
        return None

    def _slow_down(self) -> None:
        """What comes next goes behind what has left at once."""
        if self._growing is not None:
            out = self.leaving()
            if out:
                self.write(out)
            self._growing = None

    def cut(self) -> None:
        self.end(SlowConsumer())

    @property
    def account(self) -> str | None:
        if self._ended:
            return None
        return "" if self.conn is None else self.conn.caller.account

    def end(self, error: ChatError | None = None) -> None:
        """Ends the stream; `error` is sent as an event."""
        self.error = self.error or error
        self._ended = True
        self.flusher.held.discard(self)
        self._ready.set()

    async def serve(
        self,
        receive: Receive,
        send: Send,
        finished: Callable[[], bool],
        body: OpenBody | None = None,
        grows: Callable[[], Growing | None] = lambda: None,
    ) -> None:
        """Send until the client goes, the stream is ended, or `finished` says so. What `grows` goes to `body`
        as long as nothing else is told."""
        listening = asyncio.create_task(until_gone(receive))
        listening.add_done_callback(lambda _: self.end())
        self._body, self._wrote = body, self.flusher.loop.time()
        try:
            while True:
                data = await self._next()
                if data:
                    # While the response is stuck, events go by the rules for slow readers.
                    self.pause(self._limit)
                    await self._sent(data, send)
                    self.resume()
                del data  # it may be long until there is more
                if self._ended or (finished() and not self._waiting and not self.out):
                    break
                if body is not None and not (self._waiting or self.out or self.backlog):
                    self._growing = grows()
            if not listening.done():
                last = b""
                if self.error is not None:
                    last = b"event: error\ndata: " + to_json(self.error.as_dict()) + b"\n\n"
                await send({"type": "http.response.body", "body": last, "more_body": False})
        except OSError:
            pass  # the client is gone
        finally:
            listening.cancel()
            self._growing = None

    async def _next(self) -> bytes:
        """What goes through the response's layers: what waits; a comment where nothing has left for long."""
        while not self._ready.is_set():
            try:
                async with asyncio.timeout_at(self._wrote + KEEP_ALIVE):
                    await self._ready.wait()
            except TimeoutError:
                if self.flusher.loop.time() >= self._wrote + KEEP_ALIVE:
                    self._slow_down()
                    return COMMENT
        self._ready.clear()
        self._slow_down()
        waiting, self._waiting = self._waiting, []
        return b"".join(waiting)

    async def _sent(self, data: bytes, send: Send) -> None:
        """It may have to wait for what was sent before; from then on the request's connection counts it."""
        held = len(data) if len(data) > SMALL else 0
        if held:
            self.holds(held)
        try:
            await send({"type": "http.response.body", "body": data, "more_body": True})
            self._wrote = self.flusher.loop.time()
        finally:
            if held:
                self.holds(-held)


class StreamConnection(Connection):
    """For one session, and silent."""

    __slots__ = ()

    cap = EVENT_STREAMS
    ends_with_its_session = speaks_by_requests = True
    sink: EventStream

    def end(self, error: ChatError) -> None:
        self.sink.end(error)


class UnreadStream(EventStream):
    """A stream that nobody reads: only its end matters."""

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


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


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
