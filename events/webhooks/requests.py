"""Requests to an address outside over connections that are kept: one `POST` at a time on each, bounded in
time and bytes. Knows nothing of what is sent.

Without a library: a request costs one write and one callback, where a client's layers cost ten times as much.
"""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, cast

import httptools
from msgspec import Struct

from events.agents.network import ADDRESSES, CONNECT, Admits, admitted
from events.agents.upstreams import Refused, UpstreamOrigin
from events.tasks import Tasks

#: Bytes of an answer that are read: what is more ends the connection.
LARGEST: Final = 64 * 1024
#: Connections that wait for the next request, of one address.
KEPT: Final = 16


class Answered(Struct, frozen=True):
    """`status` 0: there was no answer, and `error` says why. `retry_after` in seconds, 0 for none. `body`
    where it was asked for."""

    status: int
    error: str = ""
    retry_after: float = 0.0
    body: bytes = b""


Then = Callable[[Answered], None]


class Exchange(asyncio.Protocol):
    """One connection."""

    def __init__(self, ended: Callable[["Exchange"], None], largest: int) -> None:
        self._ended, self._largest = ended, largest
        self._transport: asyncio.Transport | None = None
        self._then: Then | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._wants_body = self._silent = False
        self._headed = self._complete = False
        self._body: list[bytes] = []
        self._size, self._retry_after = 0, 0.0
        self.served = 0

    @property
    def free(self) -> bool:
        return self._then is None and self._transport is not None and not self._transport.is_closing()

    def post(self, request: bytes, then: Then, seconds: float, *, wants_body: bool) -> None:
        """`then` is called once, from the loop."""
        assert self._transport is not None
        self._then, self._wants_body, self._silent = then, wants_body, True
        self._body, self._size, self._retry_after = [], 0, 0.0
        self._headed = self._complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._late)
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _late(self) -> None:
        self._done(Answered(0, "no answer in time"), keep=False)

    def _done(self, answered: Answered, *, keep: bool) -> None:
        then, self._then = self._then, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.served += 1
        if not keep:
            self.close()
        if then is not None:
            self._ended(self)
            then(answered)

    @property
    def unheard(self) -> bool:
        """A kept connection that its server had given up: nothing of the request was answered."""
        return self._silent and self.served > 0

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's have no class of asyncio's

    def data_received(self, data: bytes) -> None:
        self._silent = False
        if self._then is None or self._parser is None:
            self.close()  # it speaks without having been asked
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._done(Answered(0, "the answer is no HTTP"), keep=False)
            return
        if self._complete:
            self._answered(keep=self._parser.should_keep_alive())
        elif self._size > self._largest:
            self._done(Answered(0, "the answer is too large"), keep=False)

    def connection_lost(self, error: Exception | None) -> None:
        parser, then = self._parser, self._then
        if then is None:
            self._ended(self)
            return
        if parser is not None and self._headed and not parser.should_keep_alive():
            self._answered(keep=False)  # its end is the connection's
            return
        self._done(Answered(0, "the connection was closed"), keep=False)

    # --- httptools

    def on_message_begin(self) -> None:
        self._headed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value.isdigit():
            self._retry_after = min(float(value), 86400.0)

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._headed = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        if self._wants_body:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._complete = self._headed

    def _answered(self, *, keep: bool) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        self._done(Answered(status, "", self._retry_after, b"".join(self._body)), keep=keep)


class HookTarget:
    """One URL, and the connections to it."""

    def __init__(
        self,
        origin: UpstreamOrigin,
        path: str,
        admits: Admits,
        tasks: Tasks,
        context: Callable[[], ssl.SSLContext],
        largest: int = LARGEST,
    ) -> None:
        """`largest`: bytes of an answer."""
        self._origin, self._admits, self._tasks = origin, admits, tasks
        self._context, self._largest = context, largest
        self._kept: list[Exchange] = []
        self._open: set[Exchange] = set()
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        if origin.port != {"http": 80, "https": 443}[origin.scheme]:
            host += f":{origin.port}"
        self._head = (
            f"POST {path or '/'} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: parley-webhooks\r\n"
            "Content-Type: application/json\r\nAccept-Encoding: identity\r\n"
        ).encode()

    def post(self, head: bytes, body: bytes, then: Then, seconds: float, *, wants_body: bool = False) -> None:
        """`head` are further headers, each with its line's end."""
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (self._head, head, len(body), body)
        while self._kept:
            exchange = self._kept.pop()
            if exchange.free:
                again = partial(self._again, exchange, request, then, seconds, wants_body)
                exchange.post(request, again, seconds, wants_body=wants_body)
                return
        self._tasks.spawn(self._connect(request, then, seconds, wants_body))

    def close(self) -> None:
        for exchange in tuple(self._open):
            exchange.close()
        self._kept.clear()

    def _again(
        self, exchange: Exchange, request: bytes, then: Then, seconds: float, wants_body: bool, got: Answered
    ) -> None:
        if not got.status and exchange.unheard and got.error == "the connection was closed":
            self._tasks.spawn(self._connect(request, then, seconds, wants_body))
        else:
            then(got)

    async def _connect(self, request: bytes, then: Then, seconds: float, wants_body: bool) -> None:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds):
                exchange = await self._connected()
        except Refused as error:
            then(Answered(0, str(error)[:200]))
        except TimeoutError:
            then(Answered(0, "no connection in time"))
        except ssl.SSLError as error:
            then(Answered(0, f"TLS: {error.reason or 'failed'}"[:200]))
        except (OSError, UnicodeError):
            then(Answered(0, "no connection"))
        else:
            self._open.add(exchange)
            left = seconds - (asyncio.get_running_loop().time() - began)
            exchange.post(request, then, max(left, 0.1), wants_body=wants_body)

    async def _connected(self) -> Exchange:
        """Raises Refused, OSError."""
        loop, origin = asyncio.get_running_loop(), self._origin
        context = self._context() if origin.scheme == "https" else None
        failure: Exception = OSError("the host has no address")
        for address in (await admitted(self._admits, origin.host, origin.port))[:ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT):
                    _, exchange = await loop.create_connection(
                        lambda: Exchange(self._ended, self._largest),
                        address,
                        origin.port,
                        ssl=context,
                        server_hostname=origin.host if context is not None else None,
                    )
                return exchange
            except (OSError, TimeoutError) as error:
                failure = error
        raise failure

    def _ended(self, exchange: Exchange) -> None:
        if exchange.free and len(self._kept) < KEPT:
            self._kept.append(exchange)
        elif not exchange.free:
            self._open.discard(exchange)
            if exchange in self._kept:
                self._kept.remove(exchange)
        else:
            exchange.close()
