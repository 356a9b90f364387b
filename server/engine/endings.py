"""How a request ends that is late, refused, or answered before its body has come: the client is told, and
the answer is not lost to a reset while it still sends.

Leans on uvicorn 0.54.0's HttpToolsProtocol: `cycle`, `pipeline`, `flow`, `headers`, `send_400_response`, and
its keep-alive timer; tests/engine/test_pins.py guards them.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from server.engine import strangers
from server.engine.answers import AnsweringProtocol
from server.engine.asgi import Headers, http_response, words_of

#: Seconds for a connection's first bytes, and for a request's head.
HEAD_TIMEOUT = 15.0
#: Seconds without a piece of a body that has begun; it may take up to twice as long until that is noticed.
BODY_TIMEOUT = 15.0
#: The same while the server stops.
LAST_BODY_TIMEOUT = 1.0
#: Bytes of a body, and seconds, that are waited for after its request was answered: a client that ends it
#: within both goes on with its connection; any other has the seconds to read the answer.
AFTER_ANSWER, AFTER_ANSWER_TIME = 1024 * 1024, 2.0


class LastAnswer:
    """The connection as uvicorn's answer to a request with a body has it: closing it is the protocol's."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: Any, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close


class EndingProtocol(AnsweringProtocol):
    """What waits for the client's next bytes, and does not wait for ever."""

    _begun = False  # a head has begun, and not ended
    _timer: asyncio.TimerHandle | None = None
    _unfinished = False  # a request's end has not come
    _quiet = False  # nothing has come since its body was looked at last
    _stopping = False
    _spare: int | None = None  # bytes that are still taken of an answered request's body
    _full = False  # the connection ends with the last answer in line: what comes behind it is not looked at
    _leaving = False  # all is said: what still comes is not looked at
    _fault = 0  # the head's, as a status: what follows it is ignored

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
            self._refuse(self._fault or 400)
        else:  # no piece of a request
            self.transport.close()

    def _say(self, status: int) -> None:
        """The answer to a head that goes to no application, in the application's words."""
        headers, body = self._words(status)
        fields = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        self.transport.write(http_response(status, fields, body))

    def _words(self, status: int) -> tuple[Headers, bytes]:
        return words_of(self.config, status, self.headers or [])

    # --- patience

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

    def _rest(self) -> None:
        """All is answered: a stranger again, until a head has ended or uvicorn's time is over."""
        strangers.meet(self.config, self.transport)
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
