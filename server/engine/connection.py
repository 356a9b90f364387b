"""An open WebSocket on its transport: bytes to frames and back, the closing handshake, control frames.
Messages are for whoever has taken it over (`WebSocketHandler`). Knows no request and no ASGI.
"""

import asyncio
import logging
from typing import Any, Protocol

from events.held import SMALL
from server.engine import asides, frames, strangers
from server.engine.parser import FrameParser, MessageHandler, ProtocolError, TooBig

#: Seconds for the peer's answer to our Close frame (RFC 6455 section 7.1.1 leaves it open).
CLOSE_TIMEOUT = 3.0
#: Pings of one turn that are answered; of further ones the newest is (RFC 6455 section 5.5.3).
PONGS = 16

log = logging.getLogger("parley.engine")


class WebSocketHandler(MessageHandler, Protocol):
    """What has taken a connection over. `lost` comes exactly once, unless it itself called `close` or
    `abort`: then not at all. Nothing else comes after any of the three. `fd` is ours to set
    (`WebSocketConnection.descriptor`)."""

    fd: int

    def pause_writing(self) -> None:
        """The peer reads slower than we write: what is written now waits in memory."""

    def resume_writing(self) -> None: ...

    def pong(self, data: bytes, /) -> None:
        """The peer's Pong frame."""

    def too_big(self, error: TooBig, /) -> None:
        """A message beyond the limit, to answer before the end."""

    def holds(self, by: int, /) -> None:
        """So many bytes more, or fewer, wait for the end of their message."""

    def lost(self, code: int, /) -> None:
        """Over; `code` is the peer's, 1006 if it just went away, ours after a fault or a shutdown."""


class _Nobody:
    """Takes the messages that still come after we sent a Close frame (RFC 6455 section 1.4)."""

    def text(self, data: bytes) -> None: ...

    def binary(self, data: bytes) -> None: ...


_NOBODY = _Nobody()


class WebSocketConnection(asyncio.Protocol):
    """`write` takes finished frames (`frames.frame`). Until there is a parser nothing is read as frames: what
    comes is the request's (`_head_received`)."""

    __slots__ = (
        "_closing", "_held", "_owes", "_paid", "_parser", "_paused", "_ping", "_pings", "_rest", "_slow",
        "_timer", "config", "handler", "server_state", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, config: Any, server_state: Any) -> None:
        self.config = config
        self.server_state = server_state
        self.handler: WebSocketHandler | None = None
        self._parser: FrameParser | None = None
        self._slow = False  # the peer reads slower than we write
        self._closing = False  # our Close frame is out, or there is nothing to send it on
        self._timer: asyncio.TimerHandle | None = None
        self._pings = 0  # that came in this turn
        self._ping: bytes | None = None  # the newest, if it has no answer yet
        self._rest = b""  # of a read, for the next turn
        self._held = 0  # bytes of it that are told to the handler
        self._paused = False  # the application wants nothing more for now
        self._paid = 0.0  # when what asks for nothing is paid for, by the loop
        self._owes = False  # so much of it came that nothing is read for a while

    def _head_received(self, data: bytes) -> None:
        raise NotImplementedError

    # --- the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are no subclass of it
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
                self._count_rest()
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
        if self._paused or self._owes:
            return self._count_rest()  # it is gone on with when reading is
        rest, self._rest = self._rest, b""
        self._count_rest()
        if self._parser is not None and rest:
            self.data_received(rest)
        if not (self._rest or self._paused):
            self.resume_reading()

    def _count_rest(self) -> None:
        """What has been read waits as long as its client is held up."""
        size = len(self._rest) if self._paused or self._owes else 0
        size = size if size > SMALL else 0
        if size != self._held:
            by, self._held = size - self._held, size
            self.holds(by)

    def eof_received(self) -> None:
        """Half-closed is closed: the transport closes itself."""

    def pause_writing(self) -> None:
        self._slow = True
        if self.handler is not None:
            self.handler.pause_writing()

    def resume_writing(self) -> None:
        self._slow = False
        if self.handler is not None:
            self.handler.resume_writing()

    # --- for the handler

    def descriptor(self) -> int:
        """The socket, for the handler to write to past the transport (docs/adr/0009); -1 where it must not:
        something waits in the transport, or TLS is in between.

        uvloop 0.23 closes it after `connection_lost`, where `fd` is taken back at the latest: used any longer
        its number may be another connection's (tests/engine/test_descriptor.py fails if that changes).
        """
        transport = self.transport
        if self.handler is None or self._closing or transport.is_closing():
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
        if self.handler is not None and self.transport.get_write_buffer_size():
            self.handler.fd = -1

    @property
    def reading(self) -> bool:
        return self.transport.is_reading()

    def pause_reading(self) -> None:
        """Hold up a peer that sends too fast; the rest of what is looked at in this turn still comes."""
        self._paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._owes or self.transport.is_closing():
            return
        if self._rest:
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self.transport.resume_reading()

    def aside(self, count: int = 1) -> None:
        """Something came that asks for nothing; `count` for one that was as dear as so many."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._paid = asides.paid(self._paid, now, count)
        if asides.wait(self._paid, now) > 0 and not self._owes and not self.transport.is_closing():
            self._owes = True
            self.transport.pause_reading()
            loop.call_soon(self._pay)  # for all that came in one piece

    def _pay(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(asides.wait(self._paid, loop.time()), self._has_paid)

    def _has_paid(self) -> None:
        self._owes = False
        if not self._paused:
            self.resume_reading()

    def close(self, code: int = frames.NORMAL, reason: str = "") -> None:
        """Close with the closing handshake: what was written goes out first, then the Close frame; the
        peer has CLOSE_TIMEOUT to answer. The handler hears nothing more."""
        self._release()
        if self._closing:
            return
        if self._parser is not None and self._parser.held:  # it is not waited for to the end of its message
            self._parser.receiver = _NOBODY
            self._fail(ProtocolError(code, reason))
        else:
            self._send_close(code, reason)

    def abort(self) -> None:
        """Drop the connection and what has not gone out yet. The handler hears nothing more."""
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
            if self.handler is not None:
                self.handler.too_big(error)
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
        handler = self._release()
        if handler is not None:
            handler.lost(code)

    def _release(self) -> WebSocketHandler | None:
        """The handler, which has nothing to do with this connection any more."""
        handler, self.handler = self.handler, None
        if handler is not None:
            handler.fd = -1
        return handler

    # --- control frames

    def ping_received(self, data: bytes) -> None:
        self.aside()
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
        if self.handler is not None:
            self.handler.holds(by)

    def pong_received(self, data: bytes) -> None:
        self.aside()
        if self.handler is not None:
            self.handler.pong(data)

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
