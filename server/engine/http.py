"""uvicorn's HTTP protocol class (`http=`) with a bounded head and no patience for slow ones.

Stock uvicorn takes a head of any length in any time, and waits for a body's end for ever: an endless header
line is memory, two hundred connections that never finish theirs are two hundred descriptors, and one of them
holds up a stop (`endings.py`). An answer is under way until its client has taken it (`answers.py`). Also
hands an upgrade request to our WebSocket class without rebuilding it as bytes, and tells whoever waits that
the client has hung up.

Leans on uvicorn 0.54.0's HttpToolsProtocol: its callbacks, `cycle` and its `transport`, `flow`, `headers`,
`url`, `scope`, `_start_asgi_task`, `_should_upgrade`, `_get_upgrade`, `handle_websocket_upgrade`, and its
keep-alive timer; tests/engine/test_pins.py guards them.
"""

import re
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl

from server.engine import strangers
from server.engine.answers import WAITING
from server.engine.endings import EndingProtocol, LastAnswer
from server.engine.heads import Head, ambiguous, asks_for_websocket, has_body
from server.engine.protocol import HEAD_LIMIT, WebSocketProtocol, address

#: Seconds for which a proxy of ours may keep a connection without a request; anybody else has uvicorn's five,
#: for a browser asks on a kept connection first, also where its network is gone. Above what proxies keep
#: (nginx and AWS 60 s, Google 600 s): it is they who close, and no request is on its way meanwhile.
PROXY_IDLE = 620
#: Requests of one connection that wait behind the one that is answered: browsers send none ahead, and each is
#: some kilobytes here for twenty bytes there.
LINE = 8

#: Chunks of one body that may be shorter than so many bytes: each costs as much time as a long one.
SHORT_CHUNKS, SHORT = 1000, 16
#: Lines of a head that comes in one long piece, and of what trails a body.
LINES = 1000
#: No chunks.
_ANY = 1 << 62

_ABOVE_ASCII = re.compile(rb"[\x80-\xff]")


class _LineFull(Exception):
    """Stops the parser in the middle of a piece."""


class _Lines(list[tuple[bytes, bytes]]):
    """A head that is too long is not put together to its end: it may be a whole read."""

    def append(self, line: tuple[bytes, bytes]) -> None:
        if len(self) >= LINES:
            raise _LineFull
        super().append(line)


class HttpProtocol(EndingProtocol):
    """A connection from its first byte on: heads, bodies, and whose it is next."""

    _read = 0  # bytes of the last piece
    _begins = True  # no request has ended in it
    _head = 0  # bytes since the head began, at most, or since there was a piece of body: trailers count, too
    _came: list[bytes] | None = None  # pieces of a body in this read
    _short_left = _ANY  # chunks that may be short
    _upgrade: bool | None = None  # whether the request is for a WebSocket

    def connection_made(self, transport: Any) -> None:
        # as uvicorn's, but it asks for the transport's socket: on uvloop an object that then lives as
        # long as the connection, and two system calls more
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = address(transport.get_extra_info("sockname"))
        self.client = address(transport.get_extra_info("peername"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        if strangers.meet(self.config, self.transport) == "":
            self.timeout_keep_alive = PROXY_IDLE
        if self.scheme == "https":
            transport.set_write_buffer_limits(high=WAITING)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super()._unset_keepalive_if_required()
        self._let_go(self.cycle)
        if self._answering is not None:  # uvicorn tells the last in line alone
            self._let_go(self._answering)
            self._answering.disconnected = not self._answering.response_complete
            self._answering.message_event.set()
        super().connection_lost(exc)
        strangers.forget(self.config, self.transport)
        self._lost = True
        self._wait(0)
        self.takers.discard(self.transport)
        self._all_taken()
        poller, self.poller = self.poller, None
        if poller is not None:
            poller.hung_up()

    def shutdown(self) -> None:
        if self._spare is not None:
            return self._leave()
        super().shutdown()
        if self.poller is not None:
            self.poller.stopping()
        self._stopping = True
        if self._unfinished:
            self._stop_timer()
            self._await_body()

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return self._drop(len(data))
        if self._full:
            return
        begun, after_answer = self._begun, self._spare is not None
        if not (self._head or self._unfinished or data.isascii()):
            data = _escaped(data)
        self._read, self._begins, self._quiet = len(data), True, False
        self._head += self._read
        super().data_received(data)
        if self._came is not None:
            self._give()
        if self._begun and not begun and not self._counted:
            strangers.meet(self.config, self.transport)
        # the parser keeps a line that does not end to itself: what came is counted, not what it tells of
        is_over = self._leaving or self.transport.is_closing()  # it was refused already
        if (self._fault or self._head > HEAD_LIMIT) and not is_over:
            self._refuse(self._fault or 431)
        elif self._unfinished and self._timer is None:
            self._await_body()
        if after_answer:
            self._read_on(len(data))

    def send_400_response(self, msg: str) -> None:
        if isinstance(self.headers, _Lines) and len(self.headers) >= LINES:
            self._fault = 431
        super().send_400_response(msg)
        self.headers = []  # they may be many, and what refused them waits for the collector

    def on_message_begin(self) -> None:
        super().on_message_begin()
        super()._unset_keepalive_if_required()
        self._begun = True
        if self._read > HEAD_LIMIT:
            self.headers = _Lines()
        self._head, self._upgrade = self._read if self._begins else 0, None
        if self._timer is None:
            self._await_head()

    def _unset_keepalive_if_required(self) -> None:
        """Not for a piece of anything, as uvicorn has it: a line end is one, and begins no request."""

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self._begun = False
        if not self._counted:
            strangers.meet(self.config, self.transport)  # a step further, and nobody has told yet whose it is
        if max(self._head, self._read) > HEAD_LIMIT:  # part of it may be the body, or other requests
            size = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
            self._fault = self._fault or (431 if size > HEAD_LIMIT else 0)
        self._head = 0
        self.headers = self.scope["headers"] = self._fields = Head(self.headers)
        self._fault = self._fault or self._head_fault()
        if self._fault:
            return
        self.scope["extensions"] = {"parley.http": {"protocol": self}}
        super().on_headers_complete()
        if len(self.pipeline) > LINE:
            self._end_line()
        if not self._upgrade:
            self._unfinished = True
            self._short_left, self.headers = _ANY, []  # what trailers follow are not the request's headers
            if has_body(self._fields):
                self.cycle.transport = cast(Any, LastAnswer(self.transport, self._close_answered))
                if b"transfer-encoding" in self._fields.first:
                    self._short_left, self.headers = SHORT_CHUNKS, _Lines()

    def _head_fault(self) -> int:
        """400 for a request that another reader, this one's parser included, could take differently."""
        if ambiguous(self._fields):
            return 400
        if self._should_upgrade():
            if not self.parser.should_upgrade() or has_body(self._fields):
                return 400
            if not self._all_answered:  # nobody would hear any more what becomes of that answer
                return 400
        return 0

    def on_response_complete(self) -> None:
        answered = self._answering
        if not self.taken:
            self._send_off()
        super().on_response_complete()
        self._let_go(answered)
        if self._leaving or self.transport.is_closing():
            return
        if self._unfinished and answered is self.cycle:
            self._await_rest()
        elif not self._begun and answered is self._answering:  # none waits behind it
            self._rest()
        else:  # of whom the next one is has to be told anew
            strangers.meet(self.config, self.transport)
            if self._begun:  # the next head has all its time, which goes on already
                super()._unset_keepalive_if_required()

    def on_body(self, body: bytes) -> None:
        self._head = 0
        if len(body) < SHORT:
            self._short_left -= 1
            if self._short_left < 0:
                raise _LineFull
        if self._fault or self.cycle.response_complete:
            return
        if self._came is None:
            self._came = [body]
        else:
            self._came.append(body)

    def _give(self) -> None:
        """What a read has of a body, in one piece: added one by one, each costs as much as all before."""
        came, self._came = self._came or [], None
        super().on_body(came[0] if len(came) == 1 else b"".join(came))

    def on_message_complete(self) -> None:
        if self._came is not None:
            self._give()
        self._head, self._begins, self._unfinished = 0, False, False
        self._spare = None
        self._stop_timer()
        if not self._fault:
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        # uvicorn asks three times for each request
        if self._upgrade is None:
            self._upgrade = super()._should_upgrade()
        return self._upgrade

    def _get_upgrade(self) -> bytes | None:
        # uvicorn's takes the last line of each name
        return b"websocket" if asks_for_websocket(self._fields) else None

    def handle_websocket_upgrade(self) -> None:
        if self._fault:
            return
        if not (self.ws_protocol_class and issubclass(self.ws_protocol_class, WebSocketProtocol)):
            return super().handle_websocket_upgrade()
        self._stop_timer()
        self.connections.discard(self)
        self._hand_over()
        protocol = self.ws_protocol_class(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        method = self.scope["method"].encode()
        # parser and protocol hold each other, the scope holds this: both would wait for the collector
        self.parser = self.scope = None  # type: ignore[assignment]
        protocol.upgrade(method, self.url, self._fields)

    # --- between requests

    def _end_line(self) -> None:
        """The request that came last is told that there are too many; what stands behind it is not parsed."""
        cycle, _ = self.pipeline.popleft()
        self.pipeline.appendleft((cycle, self._too_many))
        self._full = True
        cycle.transport = cast(Any, LastAnswer(self.transport, self._close_answered))
        raise _LineFull

    async def _too_many(self, scope: Any, receive: Any, send: Any) -> None:
        headers, body = self._words(429)
        fields = [*headers, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 429, "headers": fields})
        await send({"type": "http.response.body", "body": body})


def _escaped(data: bytes) -> bytes:
    """A request line with its bytes above 0x7f percent-encoded, as the client should have sent it: httptools
    takes a line with them for no request."""
    line, end, rest = data.partition(b"\r\n")
    return data if line.isascii() else _ABOVE_ASCII.sub(lambda m: b"%%%02X" % m[0][0], line) + end + rest
