"""One request to a model, and its answer read piece by piece within bounds.

The upstream may be hostile: it can spoil its own answer, and cost nobody else anything. Knows HTTP; an
`AnswerReader` (`events/agents/api.py`) reads the answer's content.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress

import httpcore
from msgspec import Struct

from events.agents import failures
from events.agents.api import AnswerReader
from events.agents.base import AnswerFailed
from events.agents.deltas import Delta
from events.agents.eventstream import EventReader, TooLarge
from events.agents.faults import UpstreamFault
from events.agents.pacing import Pacing
from events.agents.upstreams import UpstreamOrigin

#: Bytes of a request that are sent, and encrypted, in one turn of the loop.
PIECE = 64 * 1024
#: Seconds that are waited after the last event for the body's end, so that its connection can serve again.
DRAIN = 1.0


class AnswerBounds(Struct, frozen=True):
    """What an upstream may send for one answer. Its head is held to 100 KiB by httpcore."""

    #: Bytes of one event: room for a whole answer of STREAM_MAX_SIZE, its line ends and quotes escaped.
    event: int = 512 * 1024
    #: Bytes of one event where the last repeats all of the answer, and what was asked for.
    whole: int = 1024 * 1024
    #: Bytes of the body. Models that think send hundreds for each token, of which nothing is kept.
    body: int = 64 * 1024 * 1024
    #: Bytes of an error's body that the log gets.
    error: int = 2000
    #: Seconds for the whole answer, all tries together.
    seconds: float = 3600.0


class Call(Struct, frozen=True):
    """`headers`: the key, and what the agent's config adds. `reader` is new, and reads one answer."""

    origin: UpstreamOrigin
    target: str
    headers: dict[str, str]
    body: bytes
    reader: AnswerReader
    method: str = "POST"


class Timeouts(Struct, frozen=True):
    """Seconds until something of the answer comes, seconds from each event to the next, and the loop's time
    at which all of it ends."""

    first: float
    between: float
    until: float


class _Broken(Exception):
    """The answer is not one. The text is for the log."""


async def ask(
    pool: httpcore.AsyncConnectionPool, call: Call, timeouts: Timeouts, bounds: AnswerBounds
) -> AsyncGenerator[Delta, None]:
    """What the answer consists of; "" for a sign of life without text. Raises AnswerFailed."""
    try:
        async with aclosing(_ask(pool, call, timeouts, bounds)) as pieces:
            async for piece in pieces:
                yield piece
    except AnswerFailed:
        raise
    except UpstreamFault as error:
        raise failures.told(error.fault) from error
    except Exception as error:
        raise failures.broken(error) from error


async def _ask(
    pool: httpcore.AsyncConnectionPool, call: Call, timeouts: Timeouts, bounds: AnswerBounds
) -> AsyncGenerator[Delta, None]:
    loop = asyncio.get_running_loop()
    first = min(loop.time() + timeouts.first, timeouts.until)
    async with AsyncExitStack() as held:
        async with asyncio.timeout_at(first):
            response = await held.enter_async_context(sent(pool, call))
        body = await held.enter_async_context(aclosing(_body(response, bounds.body)))
        if response.status != 200:
            async with asyncio.timeout_at(first):
                raise failures.refused(response, await _beginning(body, bounds.error))
        _check_plain(response)
        most = bounds.whole if call.reader.repeats else bounds.event
        answer = Answer(EventReader(most), call.reader, most)
        async with aclosing(_read(body, answer, timeouts, first)) as pieces:
            async for piece in pieces:
                yield piece


async def whole(pool: httpcore.AsyncConnectionPool, call: Call, seconds: float, most: int) -> bytes:
    """The body of what is no answer and no stream. Raises AnswerFailed."""
    try:
        async with (
            asyncio.timeout(seconds),
            sent(pool, call) as response,
            aclosing(_body(response, most)) as body,
        ):
            if response.status != 200:
                raise failures.refused(response, await _beginning(body, AnswerBounds().error))
            _check_plain(response)
            return b"".join([data async for data in body])
    except AnswerFailed:
        raise
    except Exception as error:
        raise failures.broken(error) from error


def sent(pool: httpcore.AsyncConnectionPool, call: Call) -> AbstractAsyncContextManager[httpcore.Response]:
    origin = call.origin
    url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=call.target)
    headers: dict[bytes | str, bytes | str] = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        # What comes is counted as it comes: nothing small that unpacks into something large.
        "Accept-Encoding": "identity",
        "User-Agent": "parley",
    }
    headers.update(call.headers)
    if len(call.body) <= PIECE:
        return pool.stream(call.method, url, headers=headers, content=call.body)
    headers["Content-Length"] = str(len(call.body))
    return pool.stream(call.method, url, headers=headers, content=_in_pieces(call.body))


async def _in_pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(body), PIECE):
        yield body[at : at + PIECE]


class Answer:
    """The body of an answer: a stream of events, or one JSON where a server streams none."""

    def __init__(self, events: EventReader, content: AnswerReader, limit: int) -> None:
        self.content = content
        self.done = False
        self._events, self._limit = events, limit
        self._is_json: bool | None = None
        self._json = bytearray()

    def feed(self, data: bytes) -> Iterator[list[Delta]]:
        """Raises TooLarge, UpstreamFault, ValueError."""
        if self._is_json is None:
            data = data.lstrip()
            if data:
                # No line of an event stream begins so. What the head says is not looked at: some say wrong.
                self._is_json = data.startswith((b"{", b"["))
        return self._of_json(data) if self._is_json else self._of_events(data)

    def _of_json(self, data: bytes) -> Iterator[list[Delta]]:
        if len(self._json) + len(data) > self._limit:
            raise TooLarge("the answer is too large")
        self._json += data
        yield []

    def _of_events(self, data: bytes) -> Iterator[list[Delta]]:
        told = self._events.lines
        for event in self._events.feed(data):
            if event.startswith(b"[DONE]"):
                self.done = True
                return
            told = self._events.lines
            yield self.content.feed(event, self._events.name)
            if self.content.done:
                self.done = True
                return
        if self._events.lines > told:
            yield []  # a comment, or a part of an event: a sign of life

    def end(self) -> list[Delta]:
        return self.content.feed(bytes(self._json)) if self._json else []


async def _read(
    body: AsyncIterator[bytes], answer: Answer, timeouts: Timeouts, deadline: float
) -> AsyncGenerator[Delta, None]:
    loop = asyncio.get_running_loop()
    turns = Pacing()
    while not answer.done and (data := await _next(body, min(deadline, timeouts.until))) is not None:
        turns.begin()
        for deltas in answer.feed(data):
            now = loop.time()
            spoken = any(isinstance(delta, str) for delta in deltas)
            deadline = now + timeouts.between if spoken else max(deadline, now + timeouts.between)
            for delta in deltas:
                yield delta
            if not spoken:
                yield ""
            await turns.yield_if_due()
        await turns.yield_if_due()
    for delta in answer.end():
        yield delta
    if answer.done:
        await _drain(body)
    if not answer.content.finished:
        raise failures.stopped(retry_after=0)


async def _next(body: AsyncIterator[bytes], deadline: float) -> bytes | None:
    async with asyncio.timeout_at(deadline):
        return await anext(body, None)


async def _drain(body: AsyncIterator[bytes]) -> None:
    """The answer has ended: whatever follows changes nothing any more."""
    with suppress(TimeoutError, TooLarge, httpcore.NetworkError, httpcore.ProtocolError):
        async with asyncio.timeout(DRAIN):
            async for _ in body:
                pass


async def _body(response: httpcore.Response, limit: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for data in response.aiter_stream():
        size += len(data)
        if size > limit:
            raise TooLarge("the answer is too large")
        yield data


async def _beginning(body: AsyncIterator[bytes], limit: int) -> bytes:
    begun = b""
    async for data in body:
        begun += data[:limit]
        if len(begun) >= limit:
            break
    return begun[:limit]


def _check_plain(response: httpcore.Response) -> None:
    encoding = failures.header(response, b"content-encoding")
    if encoding not in ("", "identity"):
        raise _Broken(f"it is packed ({encoding[:50]}), which was not asked for")
