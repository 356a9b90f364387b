"""uvicorn's WebSocket protocol class (`ws=`): handshake, closing handshake, and the way from the transport
to whoever takes the messages.

A connection begins as an ordinary ASGI websocket (`asgi.py`). The application may take it over
(`WebSocketProtocol.take_over`): from then on messages go straight to its receiver, the ASGI task ends, and
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
from collections.abc import Iterable
from typing import Any, Protocol, cast
from urllib.parse import unquote

from server.engine import frames, strangers
from server.engine.asgi import AsgiWebSocket, Headers, Scope, http_response, log, words_of
from server.engine.heads import Head, ambiguous, asks_for_websocket, has_body
from server.engine.parser import FrameParser, ProtocolError, Receiver, TooBig

#: Bytes of a request head: a long bearer token in the query fits, a flood does not.
HEAD_LIMIT = 16384
#: Seconds for the peer's answer to our Close frame (RFC 6455 section 7.1.1 leaves it open).
CLOSE_TIMEOUT = 3.0
#: Pings of one turn that are answered; of further ones the newest is (RFC 6455 section 5.5.3).
PONGS = 16
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
)


class Taker(Protocol):
    """What takes a connection over. `lost` comes exactly once, unless the taker itself called `close` or
    `abort`: then not at all. Nothing else comes after any of the three. Three methods it may have:
    `pong(data)` gets the peer's Pong frames, `too_big(error)` a message beyond the limit, to answer before
    the end, `holds(by)` how many bytes more, or fewer, wait for the end of their message. `fd` is ours to set
    (`WebSocketProtocol.descriptor`)."""

    fd: int

    def text(self, data: bytes, /) -> None:
        """A whole text message, valid UTF-8."""

    def binary(self, data: bytes, /) -> None: ...

    def pause_writing(self) -> None:
        """The peer reads slower than we write: what is written now waits in memory."""

    def resume_writing(self) -> None: ...

    def lost(self, code: int, /) -> None:
        """Over; `code` is the peer's, 1006 if it just went away, ours after a fault or a shutdown."""


class _Nobody:
    """Takes the messages that still come after we sent a Close frame (RFC 6455 section 1.4)."""

    def text(self, data: bytes) -> None: ...

    def binary(self, data: bytes) -> None: ...


_NOBODY = _Nobody()


class WebSocketProtocol(asyncio.Protocol):
    """One WebSocket. `write` takes finished frames (`frames.frame`)."""

    __slots__ = (
        "__weakref__", "_closing", "_head", "_holds", "_key", "_parser", "_paused", "_ping", "_pings",
        "_pong", "_rest", "_slow", "_timer", "app_state", "asgi", "config", "server_state", "taker",
        "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        self.config = config
        self.server_state = server_state
        self.app_state = app_state
        self.asgi: AsgiWebSocket | None = None
        self.taker: Taker | None = None
        self._parser: FrameParser | None = None
        self._key = b""  # Sec-WebSocket-Accept, until the request has been answered
        self._head = b""
        self._slow = False  # the peer reads slower than we write
        self._closing = False  # our Close frame is out, or there is nothing to send it on
        self._timer: asyncio.TimerHandle | None = None
        self._pong: Any = None
        self._holds: Any = None
        self._pings = 0  # that came in this turn
        self._ping: bytes | None = None  # the newest, if it has no answer yet
        self._rest = b""  # of a read, for the next turn
        self._paused = False  # the application wants nothing more for now

    # --- the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self.server_state.connections.add(self)
        strangers.meet(self.config, transport)

    def known(self, max_size: int | None = None) -> None:
        """Whoever has it has shown who it is, and may send messages of that size from here on."""
        strangers.forget(self.config, self.transport)
        if max_size is not None and self._parser is not None:
            self._parser.max_size = max_size

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        strangers.forget(self.config, self.transport)
        self._closing = True
        self._parser = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lost(frames.ABNORMAL)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is not None:
            if self._rest:
                self._rest += data
                return
            try:
                if rest := parser.feed(data):
                    self._later(rest)
            except ProtocolError as error:
                self._fail(error)
        elif not self._closing:
            self._head_received(data)

    def _later(self, rest: bytes) -> None:
        """Others have their turn before the rest of what one said."""
        if self._parser is not None and not self.transport.is_closing():
            self._rest = rest
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        rest, self._rest = self._rest, b""
        if self._parser is not None and rest:
            self.data_received(rest)
        if not self._rest and not self._paused:
            self.resume_reading()

    def eof_received(self) -> None:
        """Half-closed is closed: the transport closes itself."""

    def pause_writing(self) -> None:
        self._slow = True
        if self.taker is not None:
            self.taker.pause_writing()
        elif self.asgi is not None:
            self.asgi.writable.clear()

    def resume_writing(self) -> None:
        self._slow = False
        if self.taker is not None:
            self.taker.resume_writing()
        elif self.asgi is not None:
            self.asgi.writable.set()

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
            if asks_for_websocket(head):
                self.upgrade(request[0], request[1], head)
            else:
                self.refuse(400)

    def upgrade(self, method: bytes, target: bytes, head: Head) -> None:
        """The opening handshake (RFC 6455 section 4.2.1); `head` asks for a WebSocket."""
        key = head.first.get(b"sec-websocket-key", b"")
        if method != b"GET" or ambiguous(head) or has_body(head) or not _good(key):
            return self.refuse(400)
        if head.first.get(b"sec-websocket-version") != b"13":
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
        self.asgi = AsgiWebSocket(self, scope)
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
        self._accept(self.asgi, max_size, b"", subprotocol, headers)

    def _accept(
        self, receiver: Receiver, max_size: int | None, first: bytes, subprotocol: str | None,
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
        if self.taker is not None:
            self.taker.fd = self.descriptor()
        if self._head:
            head, self._head = self._head, b""
            self.data_received(head)

    # --- for the application

    def take_over(
        self, taker: Taker, subprotocol: str | None = None, first: bytes = b"", max_size: int | None = None
    ) -> None:
        """Hand the connection to `taker`, once, from within the ASGI application or its `at_once`.

        Answers the upgrade request if that is not done yet, in one write with `first` (finished frames).
        Messages that came before are handed over at once. If the peer has already gone, `taker.lost`
        comes in the loop's next turn. `max_size` in bytes is for messages, instead of uvicorn's setting.
        """
        asgi, self.asgi = self.asgi, None
        if self._closing or (asgi is None and not self._key):
            asyncio.get_running_loop().call_soon(taker.lost, frames.ABNORMAL)
            return
        if asgi is not None:
            asgi.taken_over = True
        self.taker = taker
        self._pong = getattr(taker, "pong", None)
        self._holds = getattr(taker, "holds", None)
        if self._slow:
            taker.pause_writing()
        if self._parser is None or asgi is None:
            self._accept(taker, max_size, first, subprotocol)
            return
        self._parser.receiver = taker
        self._parser.max_size = max_size or self._parser.max_size
        if first:
            self.transport.write(first)
        taker.fd = self.descriptor()
        for data, is_text in asgi.pending():
            if self.taker is taker:
                (taker.text if is_text else taker.binary)(data)
        asgi.resume_reading()
        if self._parser is not None and self._parser.held:  # it began before
            self.holds(self._parser.held)

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

    def descriptor(self) -> int:
        """The socket, for the taker to write to past the transport (docs/adr/0009); -1 where it must not:
        something waits in the transport, or TLS is in between.

        uvloop 0.23 closes it after `connection_lost`, where `fd` is taken back at the latest: used any longer
        its number may be another connection's (tests/engine/test_descriptor.py fails if that changes).
        """
        transport = self.transport
        if self.taker is None or self._closing or transport.is_closing():
            return -1
        if transport.get_write_buffer_size():
            return -1
        if transport.get_extra_info("sslcontext") is not None:
            return -1
        socket = transport.get_extra_info("socket")
        return -1 if socket is None else int(socket.fileno())

    def write(self, data: bytes) -> None:
        """Finished frames, or the rest of one, behind all that was written before."""
        self.transport.write(data)
        if self.taker is not None and self.transport.get_write_buffer_size():
            self.taker.fd = -1

    def pause_reading(self) -> None:
        """Hold up a peer that sends too fast; what has been read already still comes."""
        self._paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if not self.transport.is_closing() and not self._rest:
            self.transport.resume_reading()

    def close(self, code: int = frames.NORMAL, reason: str = "") -> None:
        """Close with the closing handshake: what was written goes out first, then the Close frame; the
        peer has CLOSE_TIMEOUT to answer. The taker hears nothing more."""
        self._release()
        if self._closing:
            return
        if self._parser is not None and self._parser.held:  # it is not waited for to the end of its message
            self._parser.receiver = _NOBODY
            self._fail(ProtocolError(code, reason))
        else:
            self._send_close(code, reason)

    def abort(self) -> None:
        """Drop the connection and what has not gone out yet. The taker hears nothing more."""
        self._release()
        if self._parser is not None:
            self._parser.receiver = _NOBODY  # the rest of what is being read
            self._parser = None
        self._closing = True
        self.transport.abort()

    # --- closing

    def _send_close(self, code: int, reason: str) -> None:
        self._answer_ping()
        self._closing = True
        if self.transport.is_closing():
            return
        self.transport.write(frames.close_frame(code, reason))
        self.resume_reading()
        if self._parser is not None:
            self._parser.receiver = _NOBODY
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.transport.abort)

    def _fail(self, error: ProtocolError) -> None:
        """RFC 6455 section 7.1.7: tell why, read nothing more, be gone."""
        if isinstance(error, TooBig) and not self._closing:
            log.warning("a message of %d bytes ends its connection (1009)", error.size)
            too_big = getattr(self.taker, "too_big", None)
            if too_big is not None:
                too_big(error)
        self._parser = None
        if not self._closing:
            self._send_close(error.code, error.reason)
        if self.transport.can_write_eof():
            # with close() the kernel would answer what the peer still sends with a reset, and that
            # would overtake the Close frame; the timer or the peer's own close ends it
            if not self.transport.is_closing():
                self.transport.write_eof()
        else:
            self.transport.close()
        self._lost(error.code)

    def _lost(self, code: int) -> None:
        asgi, self.asgi = self.asgi, None
        taker = self._release()
        if taker is not None:
            taker.lost(code)
        elif asgi is not None:
            asgi.lost(code)

    def _release(self) -> Taker | None:
        """The taker, which has nothing to do with this connection any more."""
        taker, self.taker, self._pong, self._holds = self.taker, None, None, None
        if taker is not None:
            taker.fd = -1
        return taker

    # --- control frames

    def ping_received(self, data: bytes) -> None:
        # a peer that pings and does not read must not fill our memory with pongs
        if self._closing or self._slow:
            return
        if not self._pings:
            asyncio.get_running_loop().call_soon(self._answer_ping)
        self._pings += 1
        if self._pings <= PONGS:
            self.write(frames.frame(frames.PONG, data))
        else:
            self._ping = data

    def _answer_ping(self) -> None:
        """The newest, of many."""
        ping, self._ping, self._pings = self._ping, None, 0
        if ping is not None and not self._closing and not self._slow and not self.transport.is_closing():
            self.write(frames.frame(frames.PONG, ping))

    def holds(self, by: int) -> None:
        if self._holds is not None:
            self._holds(by)

    def pong_received(self, data: bytes) -> None:
        if self._pong is not None:
            self._pong(data)

    def close_received(self, code: int, reason: str) -> None:
        if self.transport.is_closing():
            return  # it was aborted by what came before this in one piece
        self._parser = None
        self._answer_ping()
        if not self._closing:
            self._closing = True
            self.transport.write(frames.close_frame(code))
        self.transport.close()
        self._timer = self._timer or asyncio.get_running_loop().call_later(
            CLOSE_TIMEOUT, self.transport.abort
        )
        self._lost(code)


def _good(key: bytes) -> bool:
    """Sec-WebSocket-Key is sixteen bytes in base64."""
    try:
        return len(key) == 24 and len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except binascii.Error:
        return False


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
        "asgi": {"version": protocol.config.asgi_version, "spec_version": "2.4"},
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
    return (name[0], name[1]) if isinstance(name, tuple) and len(name) > 1 else None
