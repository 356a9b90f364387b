"""One raw WebSocket: its writing end, its pings, and the connection that it is. Knows no command."""

import asyncio
from typing import Any, Protocol

from events.errors import ChatError, PayloadTooLarge, SlowConsumer, Unavailable, ValidationFailed
from events.event import to_json
from events.outbox import Sink
from events.room import Connection
from server.engine import frames
from server.engine.heartbeat import Ticking, Wheel
from server.engine.parser import TooBig
from server.engine.protocol import WebSocketProtocol
from server.errors import close_code
from server.services import Services

#: Close codes from here on are an application's (RFC 6455, section 7.4.2).
APPLICATION = 3000


class SocketOwner(Protocol):
    """Where it came in. `tick` is the least between two ticks of the wheel, in seconds."""

    services: Services
    wheel: Wheel
    tick: float

    def heard(self, socket: "RawSocket", data: bytes, /) -> None:
        """A text message."""

    def refuse(self, socket: "RawSocket", error: ChatError, /) -> None:
        """A message that is no command."""

    def gone(self, socket: "RawSocket", reason: str, /) -> None:
        """It has ended."""


class RawSocket(Sink):
    """One raw WebSocket: its writing end, and what it hears (`server.engine.connection.WebSocketHandler`)."""

    __slots__ = ("alive_at", "conn", "door", "ended", "protocol", "refusals", "session_id", "slot")

    def __init__(self, door: "SocketOwner", protocol: WebSocketProtocol, session_id: str, now: float) -> None:
        super().__init__(door.services.hub.flusher)
        self.door, self.protocol, self.session_id = door, protocol, session_id
        self.conn: Connection | None = None
        self.alive_at = now  # of the wheel's clock
        self.refusals = 0
        self.ended = False
        self.slot: set[Ticking] | None = None

    # --- Sink

    def write(self, data: bytes) -> None:
        if not self.ended:
            self.protocol.write(data)

    def cut(self) -> None:
        self.end(SlowConsumer(), abort_after=1.0)

    @property
    def account(self) -> str | None:
        return None if self.conn is None else self.conn.caller.account

    def crowded(self) -> None:
        if self.ended:
            return
        self.flusher.observer.cut("CROWDED")
        if self.backlog is not None:
            self.cut()
        else:
            self.end(Unavailable("no room for the rest of this message; try again"))

    # --- WebSocketHandler

    def text(self, data: bytes) -> None:
        self.alive_at = self.door.wheel.now()
        self.door.heard(self, data)

    def binary(self, data: bytes) -> None:
        self.door.refuse(self, ValidationFailed("binary messages are not accepted"))

    def pong(self, data: bytes) -> None:
        self.alive_at = self.door.wheel.now()

    def too_big(self, error: TooBig) -> None:
        self.end(PayloadTooLarge.beyond(self.door.services.settings.ws_frame_size_limit, error.size))

    def pause_writing(self) -> None:
        self.pause(self.door.services.settings.outbox_limit)

    def resume_writing(self) -> None:
        self.sent()
        self.resume()

    @property
    def written(self) -> int:
        return self.protocol.transport.get_write_buffer_size()

    def lost(self, code: int) -> None:
        # The rest are the client's own choice, and many.
        self.door.gone(self, f"closed {code}" if code < APPLICATION else "closed by its application")

    # --- for the door

    def last_word(self, error: ChatError) -> bytes:
        """The frame before the close."""
        return frames.text(to_json(told(error)))

    def tell(self, message: dict[str, Any]) -> None:
        data = frames.text(to_json(message))
        (self.push if len(data) < frames.LONG else self.push_large)(data)

    def tick(self, now: float) -> None:
        settings = self.door.services.settings
        if not self.protocol.reading:  # who waits for us is not to be taken for dead
            self.alive_at = now
        if now - self.alive_at >= settings.ws_heartbeat_interval + settings.ws_ping_timeout:
            self.protocol.abort()
            self.door.gone(self, "ping timeout")
            return
        if self.fd < 0:
            self.fd = self.protocol.descriptor()
        self.push(frames.frame(frames.PING, b""))
        due = min(now + settings.ws_heartbeat_interval,
                  self.alive_at + settings.ws_heartbeat_interval + settings.ws_ping_timeout)  # fmt: skip
        self.door.wheel.add(self, max(due, now + self.door.tick))

    def end(self, error: ChatError, abort_after: float | None = None) -> None:
        """Send the error, and close with its code; bytes written before leave first."""
        if self.ended:
            return
        out = self.leaving()
        if out and self.backlog is None:
            self.write(out)
        self.write(self.last_word(error))
        self.ended = True
        protocol = self.protocol
        protocol.close(close_code(error) or frames.NORMAL, error.code)
        if abort_after is not None:
            # A peer that does not read never answers the Close frame.
            asyncio.get_running_loop().call_later(abort_after, protocol.abort)
        self.door.gone(self, error.code)


class RawConnection(Connection):
    """For one session."""

    __slots__ = ()

    ends_with_its_session = hears_its_own_chunks = True
    sink: RawSocket

    def end(self, error: ChatError) -> None:
        self.sink.end(error)


def told(error: ChatError) -> dict[str, Any]:
    """Before the close, as an event: WebKitGTK shows a page no code of 1012 to 1014."""
    return {"type": "error", **error.as_dict()}
