"""uvicorn's WebSocket protocol class (`ws=`): the opening handshake, and who gets the connection then.

A connection begins as an ordinary ASGI websocket (`asgi.py`). The application may take it over
(`WebSocketProtocol.take_over`): from then on messages go straight to its handler, the ASGI task ends, and
an idle connection owns no task, no queue and no timer. An application that has a method
`at_once(scope, protocol) -> bool` may do so before there is a task at all (True: taken over, or refused).
Knows nothing of Engine.IO.

uvicorn calls a `ws=` class without a written contract; what is leaned on (0.54.0,
`protocols/http/httptools_impl.py`): the keyword arguments of `__init__`, `connection_made`, the rebuilt
request through `data_received`, then `set_protocol`; at its end `shutdown()` on all of
`server_state.connections`, and waiting until that and `server_state.tasks` are empty.
tests/engine/test_pins.py fails when that changes.
"""

import asyncio
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from server.engine import frames
from server.engine.asgi import AsgiWebSocket, Headers, Scope, http_response, words_of
from server.engine.connection import WebSocketConnection, WebSocketHandler, log
from server.engine.heads import Head, ambiguous, asks_for_websocket, has_body
from server.engine.parser import FrameParser, MessageHandler

#: Bytes of a request head: a long bearer token in the query fits, a flood does not.
HEAD_LIMIT = 16384
#: Sec-WebSocket-Key: sixteen bytes in base64.
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
)


class WebSocketProtocol(WebSocketConnection):
    """A WebSocket from its request on."""

    __slots__ = ("__weakref__", "_head", "_key", "app_state", "asgi")

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state)
        self.app_state = app_state
        self.asgi: AsgiWebSocket | None = None
        self._key = b""  # Sec-WebSocket-Accept, until the request has been answered
        self._head = b""

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.asgi is not None:
            self.asgi.writable.clear()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.asgi is not None:
            self.asgi.writable.set()

    def _lost(self, code: int) -> None:
        asgi, self.asgi = self.asgi, None
        if asgi is not None:
            asgi.lost(code)
        super()._lost(code)

    def shutdown(self) -> None:
        """uvicorn is stopping: 1012 tells a client to come back."""
        if self._parser is None:
            self.refuse(503, *words_of(self.config, 503, []))
        elif not self._closing:
            self._send_close(frames.SERVICE_RESTART, "")
            self._lost(frames.SERVICE_RESTART)

    # --- the handshake

    def _head_received(self, data: bytes) -> None:
        """The request as the HTTP protocol class hands it on: in one piece, but nobody promised that."""
        if self.asgi is not None:  # a client may not speak before it is answered, but some do
            self._head += data
            if len(self._head) > HEAD_LIMIT:
                self.abort()
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if len(self._head if end < 0 else self._head[:end]) > HEAD_LIMIT:
            self.refuse(431)
        elif end >= 0:
            lines, self._head = self._head[:end].split(b"\r\n"), self._head[end + 4 :]
            request = lines[0].split(b" ")
            headers = []
            for line in lines[1:]:
                name, colon, value = line.partition(b":")
                if not colon or not name or name != name.strip():
                    return self.refuse(400)
                headers.append((name.lower(), value.strip()))
            if len(request) != 3:
                return self.refuse(400)
            head = Head(headers)
            if asks_for_websocket(head) and not has_body(head):
                self.upgrade(request[0], request[1], head)
            else:
                self.refuse(400)

    def upgrade(self, method: bytes, target: bytes, head: Head) -> None:
        """The opening handshake (RFC 6455 section 4.2.1); `head` asks for a WebSocket, and has no body."""
        first = head.first
        key = first.get(b"sec-websocket-key", b"")
        if method != b"GET" or ambiguous(head) or _KEY.fullmatch(key) is None:
            return self.refuse(400)
        if first.get(b"sec-websocket-version") != b"13":
            return self.refuse(426, [(b"sec-websocket-version", b"13")])
        digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
        self._key = binascii.b2a_base64(digest, newline=False)
        scope = self._scope(target, head)
        at_once = getattr(self.config.loaded_app, "at_once", None)
        try:
            if at_once is not None and at_once(scope, self):
                return
        except Exception:  # noqa: BLE001 - whatever it is, the connection must not stay
            log.exception("error in the application")
            return self.refuse(500)
        self.asgi = AsgiWebSocket(self, scope, self.accept, self.refuse)
        task = asyncio.get_running_loop().create_task(self.asgi.run(self.config.loaded_app))
        self.server_state.tasks.add(task)
        task.add_done_callback(self.server_state.tasks.discard)

    def _scope(self, target: bytes, head: Head) -> Scope:
        if not target.startswith(b"/"):  # RFC 9112 section 3.2.2: the absolute form is to be taken, too
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        raw_path, _, query = target.partition(b"?")
        return websocket_scope(self, raw_path, query, head)

    def refuse(self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        """Answer the request with an HTTP error and end the connection."""
        if not self._closing:
            self._closing = True
            fields = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
            self.transport.write(http_response(status, fields, body))
            self.transport.close()

    def accept(self, subprotocol: str | None, headers: Headers, max_size: int | None = None) -> None:
        """Answer the request for the ASGI application; from here on frames are read. `max_size` as in
        `take_over`: an application gives it with its `websocket.accept`, as `parley.max_size`."""
        assert self.asgi is not None
        fields = [*self.server_state.default_headers, *headers]
        self._accept(self.asgi, max_size, b"", subprotocol, fields)

    def _accept(
        self, receiver: MessageHandler, max_size: int | None, first: bytes, subprotocol: str | None,
        headers: Headers = (),
    ) -> None:  # fmt: skip
        key, self._key = self._key, b""
        answer = _SWITCHING + key + b"\r\n"
        if subprotocol is not None:
            answer += b"sec-websocket-protocol: " + subprotocol.encode("latin-1") + b"\r\n"
        for name, value in headers:
            answer += name + b": " + value + b"\r\n"
        self._parser = FrameParser(receiver, self, max_size or self.config.ws_max_size)
        self.transport.write(answer + b"\r\n" + first)
        if self.handler is not None:
            self.handler.fd = self.descriptor()
        if self._head:
            head, self._head = self._head, b""
            self.data_received(head)

    # --- for the application

    def take_over(
        self,
        handler: WebSocketHandler,
        subprotocol: str | None = None,
        first: bytes = b"",
        max_size: int | None = None,
    ) -> None:
        """Hand the connection to `handler`, once, from within the ASGI application or its `at_once`.

        Answers the upgrade request if that is not done yet, in one write with `first` (finished frames).
        Messages that came before are handed over at once. If the peer has already gone, `handler.lost`
        comes in the loop's next turn. `max_size` in bytes is for messages, instead of uvicorn's setting.
        """
        asgi, self.asgi = self.asgi, None
        if self._closing or (asgi is None and not self._key):
            asyncio.get_running_loop().call_soon(handler.lost, frames.ABNORMAL)
            return
        if asgi is not None:
            asgi.taken_over = True
        self.handler = handler
        if self._slow:
            handler.pause_writing()
        if self._parser is None or asgi is None:
            self._accept(handler, max_size, first, subprotocol)
            return
        self._parser.receiver = handler
        self._parser.max_size = max_size or self._parser.max_size
        if first:
            self.transport.write(first)
        handler.fd = self.descriptor()
        for data, is_text in asgi.pending():
            if self.handler is handler:
                (handler.text if is_text else handler.binary)(data)
        asgi.resume_reading()
        if self._parser is not None and (held := self._parser.held + self._held):  # it began before
            self.holds(held)

    def hand_over(self, to: Any) -> bytes:
        """The connection, on which nothing has been answered, is `to`'s from here on: a Protocol of asyncio
        with a `shutdown()` for uvicorn, of whose connections it has to be taken out again. Returns what the
        client has said behind its request."""
        said, self._head = self._head, b""
        self._closing = True
        self.server_state.connections.discard(self)
        self.server_state.connections.add(to)
        self.transport.set_protocol(to)
        return said


def websocket_scope(protocol: WebSocketProtocol, raw_path: bytes, query: bytes, head: Head) -> Scope:
    """The ASGI connection scope (ASGI 3.0, HTTP and WebSocket specification 2.4)."""
    transport = protocol.transport
    path = raw_path.decode("latin-1")
    if "%" in path:
        path = unquote(path)
    root = protocol.config.root_path
    protocols = head.listed(b"sec-websocket-protocol")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if transport.get_extra_info("sslcontext") else "ws",
        "server": address(transport.get_extra_info("sockname")),
        "client": address(transport.get_extra_info("peername")),
        "root_path": root,
        "path": root + path,
        "raw_path": root.encode("latin-1") + raw_path,
        "query_string": query,
        "headers": head,
        "subprotocols": [each.strip() for each in protocols.decode("latin-1").split(",")]
        if protocols
        else [],
        "state": protocol.app_state.copy(),
        "extensions": {"parley.protocol": {"protocol": protocol}, "websocket.http.response": {}},
    }


def address(name: Any) -> tuple[str, int] | None:
    """Host and port of a socket's name; None for a Unix socket."""
    return name[:2] if isinstance(name, tuple) else None
