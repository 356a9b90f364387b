"""One request for a chat completion, and its answer read piece by piece within bounds.

The upstream may be hostile: it can spoil its own answer, and cost nobody else anything. Knows the wire
format, not what an agent is."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress
from typing import Any

import httpcore
import msgspec
from msgspec import Struct

from events.agents.base import AnswerFailed, Usage
from events.agents.eventstream import EventReader, TooLarge
from events.agents.upstreams import Refused, UpstreamOrigin

#: Seconds that an upstream's Retry-After is heeded for; one that says more is tried again at our own pace.
LONGEST_WAIT = 10.0
#: The largest integer that a client counts exactly (RFC 8259, section 6) and every database keeps.
MOST_TOKENS = 2**53 - 1
#: Seconds on the event loop without a turn for others, and then as many for them alone: an upstream that
#: floods a node with small events takes half of it at most.
SLICE = 0.005
#: Seconds that are waited after the last event for the body's end, so that its connection can serve again.
DRAIN = 1.0


class AnswerBounds(Struct, frozen=True):
    """What an upstream may send for one answer. Its head is held to 100 KiB by httpcore."""

    #: Bytes of one event: room for a whole answer of STREAM_MAX_SIZE, its line ends and quotes escaped.
    event: int = 512 * 1024
    #: Bytes of the body. Models that think send hundreds for each token, of which nothing is kept.
    body: int = 64 * 1024 * 1024
    #: Bytes of an error's body that the log gets.
    error: int = 2000
    #: Seconds for the whole answer, all tries together.
    seconds: float = 3600.0


class Call(Struct, frozen=True):
    origin: UpstreamOrigin
    target: str
    key: str
    body: bytes


class Timeouts(Struct, frozen=True):
    """Seconds until something of the answer comes, seconds from each event to the next, and the loop's time
    at which all of it ends."""

    first: float
    between: float
    until: float


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    delta: _Delta | None = None
    finish_reason: Any = None


class _Completion(Struct):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None


class _Turns:
    """Lets others have the event loop every now and then."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._due = self._time() + SLICE

    async def yield_if_due(self) -> None:
        if self._time() >= self._due:
            await asyncio.sleep(SLICE)
            self._due = self._time() + SLICE


class _Broken(Exception):
    """The answer is not one. The text is for the log."""


async def ask(
    pool: httpcore.AsyncConnectionPool, call: Call, timeouts: Timeouts, bounds: AnswerBounds
) -> AsyncGenerator[str | Usage, None]:
    """The answer's pieces; "" for an event without text (a model that thinks). Raises AnswerFailed."""
    try:
        async with aclosing(_ask(pool, call, timeouts, bounds)) as pieces:
            async for piece in pieces:
                yield piece
    except AnswerFailed:
        raise
    except Exception as error:
        raise _failure(error) from error


async def _ask(
    pool: httpcore.AsyncConnectionPool, call: Call, timeouts: Timeouts, bounds: AnswerBounds
) -> AsyncGenerator[str | Usage, None]:
    loop = asyncio.get_running_loop()
    first = min(loop.time() + timeouts.first, timeouts.until)
    async with AsyncExitStack() as held:
        async with asyncio.timeout_at(first):
            response = await held.enter_async_context(_sent(pool, call))
        body = await held.enter_async_context(aclosing(_body(response, bounds.body)))
        if response.status != 200:
            async with asyncio.timeout_at(first):
                raise _refusal(response, await _beginning(body, bounds.error))
        _check_plain(response)
        async with aclosing(_read(body, EventReader(bounds.event), timeouts, first)) as pieces:
            async for piece in pieces:
                yield piece


def _sent(pool: httpcore.AsyncConnectionPool, call: Call) -> AbstractAsyncContextManager[httpcore.Response]:
    origin = call.origin
    url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=call.target)
    headers: dict[bytes | str, bytes | str] = {
        "Authorization": f"Bearer {call.key}",
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        # What comes is counted as it comes: nothing small that unpacks into something large.
        "Accept-Encoding": "identity",
        "User-Agent": "parley",
    }
    return pool.stream("POST", url, headers=headers, content=call.body)


async def _read(
    body: AsyncIterator[bytes], events: EventReader, timeouts: Timeouts, deadline: float
) -> AsyncGenerator[str | Usage, None]:
    loop = asyncio.get_running_loop()
    finished, turns = False, _Turns()
    while (data := await _next(body, min(deadline, timeouts.until))) is not None:
        for event in events.feed(data):
            if event.startswith(b"[DONE]"):
                await _drain(body)
                break
            text, ends, usage = _decoded(event)
            finished = finished or ends
            now = loop.time()
            deadline = now + timeouts.between if text else max(deadline, now + timeouts.between)
            yield text
            if usage is not None:
                yield Usage(usage)
            await turns.yield_if_due()
        await turns.yield_if_due()
    if not finished:
        raise AnswerFailed(
            "UPSTREAM_ERROR", "the upstream stopped in the middle of its answer", retry_after=0
        )


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
    encoding = _header(response, b"content-encoding")
    if encoding not in ("", "identity"):
        raise _Broken(f"it is packed ({encoding[:50]}), which was not asked for")


def _header(response: httpcore.Response, name: bytes) -> str:
    values = [value for key, value in response.headers if key.lower() == name]
    return b", ".join(values).decode("latin-1").strip().lower()


def _decoded(event: bytes) -> tuple[str, bool, int | None]:
    """(text, whether it is the last of it, tokens used). Whatever is not as it should be raises."""
    try:
        chunk = msgspec.json.decode(event, type=_Completion)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Some send the halves of a surrogate pair one by one, which only Python's own decoder takes.
        whole = json.dumps(json.loads(event), ensure_ascii=False)
        chunk = msgspec.json.decode(whole.encode("utf-8", "replace"), type=_Completion)
    if chunk.error is not None:
        raise _Broken(f"it tells of an error: {chunk.error}")
    usage = _tokens(chunk.usage)
    if not chunk.choices:
        return "", False, usage
    choice = chunk.choices[0]
    content = (choice.delta.content if choice.delta else None) or ""
    # NUL cannot be stored.
    return content.replace("\0", ""), choice.finish_reason is not None, usage


def _tokens(account: msgspec.Raw) -> int | None:
    """The count of an upstream's account, if that is one: no answer fails for it."""
    try:
        usage = msgspec.json.decode(account)
    except msgspec.DecodeError:
        return None  # a number out of all range
    count = usage.get("total_tokens") if isinstance(usage, dict) else None
    if isinstance(count, bool) or not isinstance(count, int | float) or not count >= 0:
        return None
    return int(min(count, MOST_TOKENS))


def _refusal(response: httpcore.Response, beginning: bytes) -> AnswerFailed:
    """What a status means. The log alone has the upstream's words, which may hold parts of the key."""
    status = response.status
    detail = f"status {status}: {beginning.decode('utf-8', 'replace')}"
    if status == 429:
        wait = _retry_after(_header(response, b"retry-after"))
        text = "the upstream takes no more requests now"
        return AnswerFailed("UPSTREAM_RATE_LIMIT", text, retry_after=wait, detail=detail)
    if status in (401, 403):
        return AnswerFailed("UPSTREAM_UNAUTHORIZED", "the upstream refused the key", detail=detail)
    if status >= 500:
        return AnswerFailed("UPSTREAM_ERROR", "the upstream has a fault", retry_after=0, detail=detail)
    again = 0.0 if status in (408, 409) else None
    return AnswerFailed(
        "UPSTREAM_ERROR", "the upstream refused the request", retry_after=again, detail=detail
    )


def _failure(error: Exception) -> AnswerFailed:
    detail = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, Refused):
        return AnswerFailed("AGENT_UNAVAILABLE", "the agent's upstream is not allowed", detail=detail)
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return AnswerFailed("UPSTREAM_TIMEOUT", "the upstream took too long", retry_after=0, detail=detail)
    if isinstance(error, httpcore.NetworkError | httpcore.RemoteProtocolError):
        text = "the connection to the upstream failed"
        return AnswerFailed("UPSTREAM_ERROR", text, retry_after=0, detail=detail)
    return AnswerFailed("UPSTREAM_ERROR", "the upstream's answer is not valid", detail=detail)


def _retry_after(text: str) -> float:
    """Seconds, as the upstream says (RFC 9110, section 10.2.3; dates are not looked at)."""
    try:
        wait = float(text or 0)
    except ValueError:
        return 0.0
    return wait if 0.0 < wait < LONGEST_WAIT else 0.0
