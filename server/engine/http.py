"""uvicorn's HTTP protocol class (`http=`) with a bounded head and no patience for slow ones.

Stock uvicorn takes a head of any length in any time, and waits for a body's end for ever: an endless header
line is memory, two hundred connections that never finish theirs are two hundred descriptors, and one of them
holds up a stop. A body that was answered is read on for a moment only, and no answer is lost to a reset while
its client still sends. An answer is under way until its last byte has left, and its client has to take it.
Also hands an upgrade request to our WebSocket class without rebuilding it as bytes,
and tells whoever waits that the client has hung up.

Leans on uvicorn 0.54.0's HttpToolsProtocol: its callbacks, `cycle` and its `transport`, `flow`, `headers`,
`url`, `scope`, `_start_asgi_task`, `_should_upgrade`, `_get_upgrade`, `handle_websocket_upgrade`, and its
keep-alive timer; tests/engine/test_pins.py guards them.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.engine import strangers
from server.engine.asgi import Headers, http_response, words_of
from server.engine.heads import Head, ambiguous, asks_for_websocket, has_body
from server.engine.protocol import HEAD_LIMIT, WebSocketProtocol, address
from server.engine.takers import Takers

#: Seconds for a connection's first bytes, and for a request's head.
HEAD_TIMEOUT = 15.0
#: Seconds without a piece of a body that has begun; it may take up to twice as long until that is noticed.
BODY_TIMEOUT = 15.0
#: The same while the server stops.
LAST_BODY_TIMEOUT = 1.0
#: Bytes of a body, and seconds, that are waited for after its request was answered: a client that ends it
#: within both goes on with its connection; any other has the seconds to read the answer.
AFTER_ANSWER, AFTER_ANSWER_TIME = 1024 * 1024, 2.0
#: Seconds for which a proxy of ours may keep a connection without a request; anybody else has uvicorn's five,
#: for a browser asks on a kept connection first, also where its network is gone. Above what proxies keep
#: (nginx and AWS 60 s, Google 600 s): it is they who close, and no request is on its way meanwhile.
PROXY_IDLE = 620
#: Requests of one connection that wait behind the one that is answered: browsers send none ahead, and each is
#: some kilobytes here for twenty bytes there.
LINE = 8
#: Bytes of an answer that wait in memory until writing pauses. uvloop takes eight times as many with TLS, and
#: how fast they are taken could not be told.
WAITING = 64 * 1024

_ABOVE_ASCII = re.compile(rb"[\x80-\xff]")


class Waiter(Protocol):
    """Whoever keeps a request waiting for something to say."""

    def hung_up(self) -> None:
        """The client has gone: there is nobody to answer."""

    def stopping(self) -> None:
        """The server is stopping: answer now."""


def protocol_of(scope: Any) -> "HttpProtocol | None":
    """Whose request it is; None where another server runs the application."""
    http = scope.get("extensions", {}).get("parley.http")
    return None if http is None else http["protocol"]


def counted(scope: Any) -> None:
    """Somebody counts this request until its answer has left: its connection is no stranger's as long."""
    http = scope.get("extensions", {}).get("parley.http")
    if http is not None:
        http["counted"] = True
        http["protocol"].known()


def once_taken(scope: Any, then: Callable[[], None]) -> None:
    """Call `then` when the answer, which has been written, has left, or the connection is gone."""
    protocol = protocol_of(scope)
    if protocol is None or protocol.taken:
        then()
    else:
        protocol.once_taken(then)


class _LineFull(Exception):
    """Stops the parser in the middle of a piece."""


class _LastAnswer:
    """The connection as uvicorn's answer to a request with a body has it: closing it is the protocol's."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: Any, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close


class HttpProtocol(HttpToolsProtocol):
    """`waiter` is told what happens to the connection while it keeps a request waiting; an application
    finds this object by `protocol_of`. `takers` are all connections whose answers wait."""

    takers: Takers
    waiter: Waiter | None = None
    _read = 0  # bytes of the last piece
    _begins = True  # no request has ended in it
    _begun = False  # a head has begun, and not ended
    _head = 0  # bytes since the head began, at most, or since there was a piece of body: trailers count, too
    _fault = 0  # the head's, as a status: what follows it is ignored
    _upgrade: bool | None = None  # whether the request is for a WebSocket
    _timer: asyncio.TimerHandle | None = None
    _unfinished = False  # a request's end has not come
    _quiet = False  # nothing has come since its body was looked at last
    _stopping = False
    _spare: int | None = None  # bytes that are still taken of an answered request's body
    _full = False  # the connection ends with the last answer in line: what comes behind it is not looked at
    _leaving = False  # all is said: what still comes is not looked at
    _lost = False
    _weighs = False  # its answer waits, and nobody counts it
    _sent_off = False  # an answer is complete, and has not left
    _then: list[Callable[[], None]] | None = None  # to be called when all has left
    _answering: Any = None  # the cycle whose application runs, or ran last: `cycle` may wait behind it

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
        self.takers.discard(self.transport)
        self._all_taken()
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter.hung_up()

    def shutdown(self) -> None:
        if self._spare is not None:
            return self._leave()
        super().shutdown()
        if self.waiter is not None:
            self.waiter.stopping()
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
        if self._begun and not begun and not self._counted:
            strangers.meet(self.config, self.transport)
        # the parser keeps a line that does not end to itself: what came is counted, not what it tells of
        if (self._fault or self._head > HEAD_LIMIT) and not self.transport.is_closing():
            self._refuse(self._fault or 431)
        elif self._unfinished and self._timer is None:
            self._await_body()
        if after_answer:
            self._read_on(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        super()._unset_keepalive_if_required()
        self._begun = True
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
            if has_body(self._fields):
                self.cycle.transport = cast(Any, _LastAnswer(self.transport, self._close_answered))
            self.headers = []  # what trailers follow are not the request's headers

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

    @property
    def _all_answered(self) -> bool:
        """No request stands before what comes now, and the last answer has left."""
        return self._answering is None or (self._answering.response_complete and self.taken)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

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
        if not self._fault:
            super().on_body(body)

    def on_message_complete(self) -> None:
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

    # --- for whom it counts

    @property
    def _counted(self) -> bool:
        """Somebody counts the request that is being answered; else its connection is a stranger's."""
        return self._is_counted and not self._answering.response_complete

    @property
    def _is_counted(self) -> bool:
        """The same, also while its answer only waits to be taken."""
        return self._answering is not None and "counted" in self._answering.scope["extensions"]["parley.http"]

    def known(self) -> None:
        if not self._weighs:
            strangers.forget(self.config, self.transport)

    # --- an answer on its way

    @property
    def taken(self) -> bool:
        """All that was written has left."""
        return self._lost or not self.transport.get_write_buffer_size()

    def once_taken(self, then: Callable[[], None]) -> None:
        self._then = self._then or []
        self._then.append(then)
        self._send_off()

    def _send_off(self) -> None:
        """Writing goes on when nothing waits any more, and not before."""
        if not self._sent_off:
            self._sent_off = True
            self.transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.takers.add(self.transport)
        if not self._is_counted:
            self._weighs = True
            strangers.weigh(self.config, self.transport, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self.takers.discard(self.transport)
        if self._weighs:
            self._weighs = False
            strangers.forget(self.config, self.transport)
            if not self._counted:
                strangers.meet(self.config, self.transport)
        if self._sent_off:
            self._sent_off = False
            self.transport.set_write_buffer_limits(high=WAITING)
            self._all_taken()
        super().resume_writing()

    def _hand_over(self) -> None:
        """The transport is the next protocol's, and what it writes is no answer here."""
        self.takers.discard(self.transport)
        self._lost = True
        self._all_taken()
        if self._sent_off or self.scheme == "https":
            self.transport.set_write_buffer_limits()

    def _all_taken(self) -> None:
        then, self._then = self._then, None
        for each in then or ():
            each()

    # --- between requests

    def _rest(self) -> None:
        """All is answered: a stranger again, until a head has ended or uvicorn's time is over."""
        strangers.meet(self.config, self.transport)
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _end_line(self) -> None:
        """The request that came last is told that there are too many; what stands behind it is not parsed."""
        cycle, _ = self.pipeline.popleft()
        self.pipeline.appendleft((cycle, self._too_many))
        self._full = True
        cycle.transport = cast(Any, _LastAnswer(self.transport, self._close_answered))
        raise _LineFull

    async def _too_many(self, scope: Any, receive: Any, send: Any) -> None:
        headers, body = self._words(429)
        fields = [*headers, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 429, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    # --- an answered request's body

    def _let_go(self, cycle: Any) -> None:
        # the cycle, its way to close and this hold each other
        if cycle is not None:
            cycle.transport = self.transport

    def _close_answered(self) -> None:
        """The connection ends with this answer."""
        last = self._full or (self._unfinished and self._answering is self.cycle)
        if last and not self.transport.is_closing():
            self.pipeline.clear()
            self._leave()
        else:
            self.transport.close()

    def _await_rest(self) -> None:
        if self._spare is None:
            strangers.meet(self.config, self.transport)
            self._stop_timer()
            super()._unset_keepalive_if_required()
            self._spare = AFTER_ANSWER
            self._timer = self.loop.call_later(AFTER_ANSWER_TIME, self.transport.close)

    def _read_on(self, size: int) -> None:
        """So much has come since the answer."""
        if self._spare is not None:
            self._spare -= size
            if self._spare <= 0:
                self._leave()
        elif self.cycle.response_complete and self._timer is None and not self.transport.is_closing():
            self._rest()  # the body has ended, and no request has begun

    def _leave(self) -> None:
        """Say that this was all, and close when the client can have read it: a connection that is closed
        while its client sends is reset, and the answer may be lost with it."""
        self._leaving = True
        answering = self._answering
        if answering is not None and not answering.response_complete:  # whoever makes its answer can stop
            answering.disconnected = True
            answering.message_event.set()
        self._await_rest()
        self._drop(0)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _drop(self, size: int) -> None:
        assert self._spare is not None
        self._spare -= size
        if self._spare <= 0:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        if self._full:  # its turn comes
            return
        if self._spare is None:
            self._refuse(400)
        else:  # no piece of a request
            self.transport.close()

    def _say(self, status: int) -> None:
        """The answer to a head that goes to no application, in the application's words."""
        headers, body = self._words(status)
        fields = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        self.transport.write(http_response(status, fields, body))

    def _words(self, status: int) -> tuple[Headers, bytes]:
        return words_of(self.config, status, self.headers or [])

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_TIMEOUT, self.too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def too_slow(self) -> None:
        """What was waited for has not come."""
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(408)

    def _await_body(self) -> None:
        self._quiet = True
        patience = LAST_BODY_TIMEOUT if self._stopping else BODY_TIMEOUT
        self._timer = self.loop.call_later(patience, self._body_late)

    def _body_late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        kept_out = self.flow.read_paused or self.cycle.waiting_for_100_continue
        if self._quiet and not kept_out:
            self._refuse(408)
        else:
            self._await_body()
            self._quiet = not kept_out  # from when it is let in it has all the time

    def _refuse(self, status: int) -> None:
        """Answer, where it is this request's turn, and close."""
        self._stop_timer()
        answering = self._answering
        turn = answering is None or answering.response_complete
        if self._unfinished and answering is self.cycle:
            turn = not answering.response_started
        if turn:
            self._say(status)
        if turn and status != 408:  # more may be on its way
            self._leave()
        elif not turn and not self._unfinished and not self.transport.is_closing():
            self._end_behind(answering)
        else:
            self.transport.close()

    def _end_behind(self, answering: Any) -> None:
        """Whole requests stand before what is refused: they are answered, and the last answer ends it all."""
        last = self.pipeline[0][0] if self.pipeline else answering
        last.keep_alive = False
        self._full = True


def _escaped(data: bytes) -> bytes:
    """A request line with its bytes above 0x7f percent-encoded, as the client should have sent it: httptools
    takes a line with them for no request."""
    line, end, rest = data.partition(b"\r\n")
    return data if line.isascii() else _ABOVE_ASCII.sub(lambda m: b"%%%02X" % m[0][0], line) + end + rest
