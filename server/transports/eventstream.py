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
from events.event import to_json
from events.held import SMALL
from events.outbox import Sink
from events.room import Connection
from server.services import Services

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
    """The writing end of one response. Bytes wait here until the response takes them."""

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
        """Ends the stream; `error` is sent as an event."""
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
                    # While the response is stuck, events go by the rules for slow readers.
                    self.pause(self._limit)
                    await self._sent(data, send)
                    self.resume()
                del waiting, data  # it may be long until there is more
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

    async def _sent(self, data: bytes, send: Send) -> None:
        """It may have to wait for what was sent before; from then on the request's connection counts it."""
        held = len(data) if len(data) > SMALL else 0
        if held:
            self.holds(held)
        try:
            await send({"type": "http.response.body", "body": data, "more_body": True})
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
