"""HTTP for the `mcp` library: to addresses that were checked, within bounds, and to no other place.

Only where the extra `mcp` is installed.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import httpcore
import httpx2
import msgspec
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED
from msgspec import Struct

from events.agents.eventstream import EventReader, TooLarge
from events.agents.pacing import Pacing
from events.agents.upstreams import Refused, UpstreamOrigin
from events.outline import Nested, check_outline, commas

#: Bytes of one message of a server. Whoever wants to show pictures names their address.
MESSAGE = 1024 * 1024
#: Arrays and objects in one message, and values: the library makes objects of them, in one turn of the loop.
WIDE, VALUES = 16 * 1024, 50_000
#: Bytes of one response: a stream of messages, of which the last is the answer.
RESPONSE = 4 * 1024 * 1024
#: Seconds for a connection, and for a server to take what asks nothing of it. How long a call may take, its
#: caller says.
CONNECT, NOTED = 10.0, 10.0
#: Seconds before the rest of a response is asked for, and how often it is: the library asks again for ever,
#: as fast as a server wants.
RESUMING, RESUMED = 1.0, 300
#: Calls of a session that have not ended. Servers that leave callers waiting hold a connection for each.
MOST_OPEN = 256

_T = TypeVar("_T")


@asynccontextmanager
async def streamable_http(
    pool: httpcore.AsyncConnectionPool, origin: UpstreamOrigin, url: str, headers: dict[str, str]
) -> AsyncGenerator[object, None]:
    """The library's transport over our connections."""
    given = {**headers, "User-Agent": "parley", "Accept-Encoding": "identity"}
    transport = CheckedTransport(pool, origin)
    async with (
        httpx2.AsyncClient(transport=transport, headers=given, trust_env=False, timeout=None) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=MESSAGE) as streams,
    ):
        yield streams


class _Sent(Struct):
    """What the library posts: a request has a method and an id."""

    method: str | None = None
    id: int | str | None = None
    params: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def gives_up(self) -> int | str | None:
        """The request that it gives up."""
        if self.method != "notifications/cancelled":
            return None
        return msgspec.json.decode(self.params, type=_Cancelled).requestId


class _Cancelled(Struct):
    requestId: int | str


class _GivenUp(Exception):
    """Nobody waits for the answer any more."""


class _Call:
    """A request of the library's, which goes on reading its answer after it has given the request up."""

    def __init__(self) -> None:
        self._given_up = False
        self._resumed = 0
        self._waiting: asyncio.Timeout | None = None

    def give_up(self) -> None:
        self._given_up = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def wait(self, work: Awaitable[_T]) -> _T:
        """Raises _GivenUp."""
        try:
            async with asyncio.timeout(0 if self._given_up else None) as waiting:
                self._waiting = waiting
                return await work
        except TimeoutError as error:
            raise _GivenUp from error if not waiting.expired() else None
        finally:
            self._waiting = None

    async def may_resume(self) -> bool:
        self._resumed += 1
        if self._resumed <= RESUMED and not self._given_up:
            await asyncio.sleep(RESUMING)
        return self._resumed <= RESUMED and not self._given_up


#: The call that a task of the library's is about: it asks for the rest of a response without saying so.
_CALL: Final[ContextVar[_Call | None]] = ContextVar("parley.mcp.call", default=None)


class CheckedTransport(httpx2.AsyncBaseTransport):
    """A fault of the network becomes the answer to its own request: raised, it would end the session, and all
    calls that run in it."""

    def __init__(self, pool: httpcore.AsyncConnectionPool, origin: UpstreamOrigin) -> None:
        self._pool, self._origin = pool, origin
        # By id. Each is its task's own, and is gone with it.
        self._calls: WeakValueDictionary[int | str, _Call] = WeakValueDictionary()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = None
        if request.method == "POST":
            said = msgspec.json.decode(await request.aread(), type=_Sent)
            if said.method is not None and said.id is not None:
                if len(self._calls) >= MOST_OPEN:
                    return _failed("too many calls of it have not ended")
                call = self._calls[said.id] = _Call()
                _CALL.set(call)
            elif (given_up := self._calls.get(said.gives_up or "")) is not None:
                given_up.give_up()
        elif request.method == "GET":
            call = _CALL.get()
            if "last-event-id" not in request.headers or call is None or not await call.may_resume():
                # A stream of what a server wants of its client: nothing is offered to it.
                return httpx2.Response(405)
        try:
            return await (call.wait(self._sent(request, call)) if call else self._noted(request))
        except Refused:
            return _failed("its address is not allowed")
        except _GivenUp:
            return _failed("nobody waits for it")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            return _failed(f"the connection failed ({type(error).__name__})")

    async def _noted(self, request: httpx2.Request) -> httpx2.Response:
        """What asks for no answer. The library says nothing else before this is done."""
        try:
            async with asyncio.timeout(NOTED):
                response = await self._sent(request, None)
                await response.aclose()
                return httpx2.Response(response.status_code)
        except TimeoutError:
            return _failed("it does not answer")

    async def _sent(self, request: httpx2.Request, call: _Call | None) -> httpx2.Response:
        url = request.url
        place = (url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme))
        if place != (self._origin.scheme, self._origin.host, self._origin.port):
            return _failed("it leads to another server")
        response = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=place[0], host=place[1], port=place[2], target=url.raw_path),
                headers=request.headers.raw,
                content=await request.aread(),
                extensions={"timeout": {"connect": CONNECT, "pool": CONNECT, "read": None, "write": 30.0}},
            )
        )
        made = httpx2.Response(response.status, headers=response.headers)
        if made.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            return _failed("its answer is packed, which was not asked for")
        streams = made.headers.get("content-type", "").lower().startswith("text/event-stream")
        if streams:
            made.headers["content-type"] = "text/event-stream"  # in UTF-8, as it is checked
        body = _Stream(response, call) if streams else _Whole(response, call)
        return httpx2.Response(response.status, headers=made.headers, stream=body)


class _Body(httpx2.AsyncByteStream):
    """An answer's, in pieces as they come, within `limit` bytes."""

    limit = MESSAGE

    def __init__(self, response: httpcore.Response, call: _Call | None) -> None:
        self._response, self._call = response, call or _Call()

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        size, pacing = 0, Pacing()
        try:
            async with aclosing(self._response.aiter_stream()) as pieces:  # type: ignore[type-var]
                while (data := await self._call.wait(anext(pieces, None))) is not None:
                    size += len(data)
                    if size > self.limit:
                        raise httpx2.StreamError(f"more than {self.limit} bytes")
                    pacing.begin()
                    yield data
                    await pacing.yield_if_due()
        except _GivenUp as error:
            raise httpx2.StreamError("nobody waits for it") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            # The library takes this one for the request's fault, and every other for the session's.
            raise httpx2.StreamError(f"the connection failed ({type(error).__name__})") from error

    async def aclose(self) -> None:
        await self._response.aclose()


class _Whole(_Body):
    """One message."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self._pieces()) as pieces:
            body = b"".join([data async for data in pieces])
        _check(body)
        yield body


class _Stream(_Body):
    """Events, each of which is a message."""

    limit = RESPONSE

    async def __aiter__(self) -> AsyncIterator[bytes]:
        events = EventReader(2 * MESSAGE)
        async with aclosing(self._pieces()) as pieces:
            async for data in pieces:
                _check_each(events, data)
                yield data
        # The library reads an event that has not ended, too.
        _check_each(events, b"\n\n")


def _check_each(events: EventReader, data: bytes) -> None:
    """Raises StreamError."""
    try:
        for event in events.feed(data):
            _check(event)
    except TooLarge as error:
        raise httpx2.StreamError(str(error)) from error


def _check(message: bytes) -> None:
    """Before the library reads it. Raises StreamError."""
    try:
        check_outline(message, WIDE)
    except Nested as error:
        raise httpx2.StreamError(str(error)) from error
    if commas(message) > VALUES:
        raise httpx2.StreamError(f"more than {VALUES} values")


def _failed(reason: str) -> httpx2.Response:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": CONNECTION_CLOSED, "message": reason}}
    headers = {"Content-Type": "application/json"}
    return httpx2.Response(502, headers=headers, content=msgspec.json.encode(error))
