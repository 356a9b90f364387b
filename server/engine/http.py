"""uvicorn's HTTP protocol class (`http=`) with a bounded head and no patience for slow ones.

Stock uvicorn takes a head of any length in any time: an endless header line is memory, and two hundred
connections that never finish theirs are two hundred descriptors. Also hands an upgrade request to our
WebSocket class without rebuilding it as bytes, and tells whoever waits that the client has hung up.

Leans on uvicorn 0.54.0's HttpToolsProtocol: its callbacks, `cycle`, `headers`, `url`, `scope`,
`handle_websocket_upgrade`; tests/engine/test_pins.py guards them.
"""

import asyncio
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.engine.asgi import http_response
from server.engine.protocol import HEAD_LIMIT, WebSocketProtocol, address

#: Seconds for a request's head, from the connection's or the request's first byte.
HEAD_TIMEOUT = 15.0


class Waiter(Protocol):
    """Whoever keeps a request waiting for something to say."""

    def hung_up(self) -> None:
        """The client has gone: there is nobody to answer."""

    def stopping(self) -> None:
        """The server is stopping: answer now."""


class HttpProtocol(HttpToolsProtocol):
    """`waiter` is told what happens to the connection while it keeps a request waiting; an application
    finds this object at `scope["extensions"]["parley.http"]["protocol"]`."""

    waiter: Waiter | None = None
    _head = 0  # bytes of the head so far
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        # as uvicorn's, but it asks for the transport's socket: on uvloop an object that then lives as
        # long as the connection, and two system calls more
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = address(transport.get_extra_info("sockname"))
        self.client = address(transport.get_extra_info("peername"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        super().connection_lost(exc)
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter.hung_up()

    def shutdown(self) -> None:
        super().shutdown()
        if self.waiter is not None:
            self.waiter.stopping()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head > HEAD_LIMIT and not self.transport.is_closing():
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        if self._timer is None:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        if self._head <= HEAD_LIMIT:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value) + 4
        if self._head <= HEAD_LIMIT:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_done()
        if self._head > HEAD_LIMIT:
            return
        self.scope["extensions"] = {"parley.http": {"protocol": self}}
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._head <= HEAD_LIMIT:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._head <= HEAD_LIMIT:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if self._head > HEAD_LIMIT:
            return
        if not (self.ws_protocol_class and issubclass(self.ws_protocol_class, WebSocketProtocol)):
            return super().handle_websocket_upgrade()
        self._head_done()
        self.connections.discard(self)
        protocol = self.ws_protocol_class(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        method = self.scope["method"].encode()
        # parser and protocol hold each other, the scope holds this: both would wait for the collector
        self.parser = self.scope = None  # type: ignore[assignment]
        protocol.upgrade(method, self.url, self.headers)

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_TIMEOUT, self._too_slow)

    def _head_done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        self._head_done()
        headers = [*self.server_state.default_headers, (b"connection", b"close")]
        self.transport.write(http_response(status, headers, b""))
        self.transport.close()
