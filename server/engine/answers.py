"""An answer of an HTTP connection on its way: it is under way until its last byte has left, and its client
has to take it. For whom the connection counts meanwhile.

Leans on uvicorn 0.54.0's HttpToolsProtocol: `cycle`, `config`, `transport`, `scheme`, `flow`,
`_start_asgi_task`, `pause_writing`, `resume_writing`; and on its cycle: `scope`, `disconnected`,
`response_started`, `response_complete`, `chunked_encoding`. tests/engine/test_pins.py guards them.
"""

from collections.abc import Callable
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from events.held import Held
from server.engine import strangers
from server.engine.takers import Takers

#: Bytes of an answer that wait in memory until writing pauses. uvloop takes eight times as many with TLS, and
#: how fast they are taken could not be told.
WAITING = 64 * 1024


class LongPollHandler(Protocol):
    """Whoever keeps a request waiting for something to say."""

    def hung_up(self) -> None:
        """The client has gone: there is nobody to answer."""

    def stopping(self) -> None:
        """The server is stopping: answer now."""


def protocol_of(scope: Any) -> "AnsweringProtocol | None":
    """Whose request it is; None where another server runs the application."""
    http = scope.get("extensions", {}).get("parley.http")
    return None if http is None else http["protocol"]


def counted(scope: Any, account: str | None = None) -> None:
    """Somebody counts this request until its answer has left: its connection is no stranger's as long.
    `account`: whose bytes are those that wait on the connection; None where the request alone bounds them."""
    http = scope.get("extensions", {}).get("parley.http")
    if http is not None:
        http.setdefault("counted", account)
        http["protocol"].known()


def once_taken(scope: Any, then: Callable[[], None]) -> None:
    """Call `then` when the answer, which has been written, has left, or the connection is gone."""
    protocol = protocol_of(scope)
    if protocol is None or protocol.taken:
        then()
    else:
        protocol.once_taken(then)


class OpenBody:
    """A body that has begun, past the application's layers: whole pieces of it, which may stand between those
    that go through them."""

    __slots__ = ("_cycle", "_flow", "_write")

    def __init__(self, protocol: "AnsweringProtocol", cycle: Any) -> None:
        self._cycle, self._flow, self._write = cycle, protocol.flow, protocol.transport.write

    @property
    def takes(self) -> bool:
        """Whether a piece leaves, or waits in the connection's buffer."""
        cycle = self._cycle
        return not (self._flow.write_paused or cycle.disconnected or cycle.response_complete)

    def write(self, data: bytes) -> None:
        """To nobody where the client is gone."""
        if not (self._cycle.disconnected or self._cycle.response_complete):
            self._write(b"%x\r\n%b\r\n" % (len(data), data))


def open_body(scope: Any) -> OpenBody | None:
    """Of the request that is being answered, when its answer's head has left; None where another server runs
    the application, or the body does not go in chunks."""
    protocol = protocol_of(scope)
    cycle = None if protocol is None else protocol.answering
    if protocol is None or cycle is None or cycle.scope["method"] == "HEAD":
        return None
    return OpenBody(protocol, cycle) if cycle.response_started and cycle.chunked_encoding else None


class AnsweringProtocol(HttpToolsProtocol):
    """`takers` are all connections whose answers wait; `poller` is told what happens to the connection while
    it keeps a request waiting. An application finds this object by `protocol_of`."""

    takers: Takers
    poller: LongPollHandler | None = None
    _lost = False
    _weighs = False  # its answer waits, and nobody counts it
    _sent_off = False  # an answer is complete, and has not left
    _waits = 0  # bytes of its answer that wait, as they were counted
    _then: list[Callable[[], None]] | None = None  # to be called when all has left
    _answering: Any = None  # the cycle whose application runs, or ran last: `cycle` may wait behind it

    # --- for whom it counts

    @property
    def _counted(self) -> bool:
        """Somebody counts the request that is being answered; else its connection is a stranger's."""
        return self._is_counted and not self._answering.response_complete

    @property
    def _is_counted(self) -> bool:
        """The same, also while its answer only waits to be taken."""
        return self._answering is not None and "counted" in self._answering.scope["extensions"]["parley.http"]

    @property
    def answering(self) -> Any:
        """uvicorn's cycle of the request that is being answered, or was last."""
        return self._answering

    def known(self) -> None:
        if not self._weighs:
            strangers.forget(self.config, self.transport)

    @property
    def _all_answered(self) -> bool:
        """No request stands before what comes now, and the last answer has left."""
        return self._answering is None or (self._answering.response_complete and self.taken)

    # --- what it holds (`events.held.Holder`)

    @property
    def account(self) -> str | None:
        if self._lost or self._answering is None:
            return None
        account: str | None = self._answering.scope["extensions"]["parley.http"].get("counted")
        return account

    def holds(self, by: int) -> None:
        """So many bytes more, or fewer, wait: of a body that has not come whole, or an answer."""
        held: Held | None = getattr(self.config.loaded_app, "held", None)
        if held is not None and by:
            held.change(self, by)

    def crowded(self) -> None:
        self.transport.abort()

    def _wait(self, size: int) -> None:
        """So much of its answer waits now."""
        by, self._waits = size - self._waits, size
        self.holds(by)

    # --- on its way

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
        size = self.transport.get_write_buffer_size()
        if self._is_counted:
            self._wait(size)
        else:
            self._weighs = True
            strangers.weigh(self.config, self.transport, size)

    def resume_writing(self) -> None:
        self.takers.discard(self.transport)
        self._wait(0)
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

    def _all_taken(self) -> None:
        then, self._then = self._then, None
        for each in then or ():
            each()

    def _hand_over(self) -> None:
        """The transport is the next protocol's, and what it writes is no answer here."""
        self.takers.discard(self.transport)
        self._lost = True
        self._wait(0)
        self._all_taken()
        if self._sent_off or self.scheme == "https":
            self.transport.set_write_buffer_limits()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)
