"""HTTP for the `mcp` library: to addresses that were checked, within bounds, and to no other place.

Only where the extra `mcp` is installed.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import httpcore
import httpx2
import msgspec
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED

from events.agents.upstreams import Refused, UpstreamOrigin

#: Bytes of one message of a server. Whoever wants to show pictures names their address.
MESSAGE = 1024 * 1024
#: Bytes of one response: a stream of messages, of which the last is the answer.
RESPONSE = 16 * 1024 * 1024
#: Seconds for a connection. How long a call may take, its caller says.
CONNECT = 10.0

_TIMEOUTS = {"connect": CONNECT, "pool": CONNECT, "read": None, "write": 30.0}


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


class CheckedTransport(httpx2.AsyncBaseTransport):
    """A fault of the network becomes the answer to its own request: raised, it would end the session, and all
    calls that run in it."""

    def __init__(self, pool: httpcore.AsyncConnectionPool, origin: UpstreamOrigin) -> None:
        self._pool, self._origin = pool, origin

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and "last-event-id" not in request.headers:
            # A stream of what a server wants of its client: nothing is offered to it.
            return httpx2.Response(405)
        try:
            return await self._sent(request)
        except Refused:
            return _failed("its address is not allowed")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            return _failed(f"the connection failed ({type(error).__name__})")

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
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
                extensions={"timeout": _TIMEOUTS},
            )
        )
        made = httpx2.Response(response.status, headers=response.headers, stream=_Body(response))
        if made.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            return _failed("its answer is packed, which was not asked for")
        return made


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        kind = [value for name, value in response.headers if name.lower() == b"content-type"]
        streamed = kind[:1] and kind[0].lower().startswith(b"text/event-stream")
        self._limit = RESPONSE if streamed else MESSAGE

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        body: AsyncIterable[bytes] = self._response.aiter_stream()
        try:
            async with aclosing(body) as pieces:  # type: ignore[type-var]
                async for data in pieces:
                    size += len(data)
                    if size > self._limit:
                        raise httpx2.StreamError(f"more than {self._limit} bytes")
                    yield data
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            # The library takes this one for the request's fault, and every other for the session's.
            raise httpx2.StreamError(f"the connection failed ({type(error).__name__})") from error

    async def aclose(self) -> None:
        await self._response.aclose()


def _failed(reason: str) -> httpx2.Response:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": CONNECTION_CLOSED, "message": reason}}
    headers = {"Content-Type": "application/json"}
    return httpx2.Response(502, headers=headers, content=msgspec.json.encode(error))
