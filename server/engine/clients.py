"""Socket.IO clients: who is in a namespace over an Engine.IO session, and the session as it carries them.

Knows no door: who asks a client to leave is handed to it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final

from events.errors import ChatError, Unavailable
from events.event import Codec, to_json
from events.room import Connection
from server.engine import frames, packets, reasons
from server.engine.attachments import Attachments
from server.engine.context import Context, Work
from server.engine.handshake import Handshake, Transport
from server.engine.session import Session


class State(Enum):
    """Of a client in its namespace: CONNECTING until the answer to its CONNECT, LEAVING from the end on."""

    CONNECTING = 1
    CONNECTED = 2
    LEAVING = 3


CONNECTED: Final = State.CONNECTED


class SocketIOSession(Session):
    """An Engine.IO session with what Socket.IO has on it."""

    __slots__ = ("attachments", "client", "others")

    def __init__(self, context: Context, sid: str, handshake: Handshake, now: float) -> None:
        super().__init__(context, sid, handshake, now)
        self.client: Client | None = None  # in the namespace "/"
        self.others: dict[str, Client] | None = None  # in other namespaces
        self.attachments: Attachments | None = None  # of a packet that still lacks some

    def client_in(self, namespace: str) -> "Client | None":
        if namespace == "/":
            return self.client
        return self.others.get(namespace) if self.others else None

    def clients(self) -> "list[Client]":
        return [client for client in (self.client, *(self.others or {}).values()) if client is not None]

    def join(self, client: "Client") -> None:
        if client.namespace == "/":
            self.client = client
        else:
            self.others = {**(self.others or {}), client.namespace: client}

    def part(self, client: "Client") -> None:
        if self.client is client:
            self.client = None
        elif self.others and self.others.get(client.namespace) is client:
            self.others = {name: other for name, other in self.others.items() if other is not client} or None

    @property
    def known(self) -> bool:
        """Whether its client has shown who it is, in any namespace."""
        if self.client is not None and self.client.state is CONNECTED:
            return True
        return self.others is not None and any(other.state is CONNECTED for other in self.others.values())

    @property
    def used(self) -> bool:
        return self.client is not None or self.others is not None

    @property
    def account(self) -> str | None:
        if self.closing:
            return None
        caller = None if self.client is None else self.client.caller
        return "" if caller is None else caller.account


class Ask:
    """Waits for the acknowledgement of an event."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[list[Any]]) -> None:
        self.future = future

    def answered(self, args: list[Any]) -> Awaitable[None] | None:
        if not self.future.done():
            self.future.set_result(args)
        return None

    def gone(self) -> None:
        """The client is: nobody will answer."""
        self.future.cancel()


class Asks(dict[int, Ask]):
    """Of one client, by the ids that it acknowledges with."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        super().__init__()
        self._last = 0

    def add(self, ask: Ask) -> int:
        self._last += 1
        self[self._last] = ask
        return self._last


class Client(Connection):
    """One client in one namespace. `leave(client, reason)` takes it out of there."""

    __slots__ = ("asks", "leave", "namespace", "sid", "state")

    can_be_asked = True
    sink: SocketIOSession

    def __init__(
        self, sid: str, namespace: str, session: SocketIOSession, codec: Codec,
        leave: "Callable[[Client, reasons.Reason], Work]",
    ) -> None:  # fmt: skip
        # the door sets the caller; without one nobody asks
        super().__init__(sid, None, codec, session, "socketio", time.time())  # type: ignore[arg-type]
        self.sid = sid
        self.namespace = namespace
        self.state = State.CONNECTING
        self.asks: Asks | None = None
        self.leave = leave

    @property
    def session(self) -> SocketIOSession:
        return self.sink

    @property
    def engine_transport(self) -> Transport:
        return self.session.transport

    @property
    def last_ping(self) -> float:
        """Epoch seconds of the client's last answer to a ping (or of its coming)."""
        session = self.session
        return time.time() - (session.context.wheel.now() - session.last_ping)

    def emit(self, name: str, data: bytes) -> None:
        """An event to this client alone; `data` is one JSON value."""
        body = packets.head(packets.EVENT, self.namespace) + b'["' + name.encode() + b'",' + data + b"]"
        self.session.push(packets.text_frame(body))

    def ack(self, ack_id: int | None, data: bytes) -> None:
        """Acknowledge an event with one JSON value; nothing where no acknowledgement was wanted."""
        if ack_id is not None:
            head = packets.head(packets.ACK, self.namespace, ack_id)
            if len(data) < frames.LONG:
                self.session.push(packets.text_frame(head + b"[" + data + b"]"))
            else:
                self.session.push_large(frames.long_text(b"4", head, b"[", data, b"]"))

    def ask(self, name: str, data: bytes) -> asyncio.Future[list[Any]]:
        """An event that is to be acknowledged: the arguments of the acknowledgement. The future is
        cancelled when the client goes away; whoever waits sets the time limit."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        head = packets.head(packets.EVENT, self.namespace, self.awaits(Ask(answer)))
        self.session.push_whole(packets.text_frame(head + b'["' + name.encode() + b'",' + data + b"]"))
        return answer

    def awaits(self, ask: Ask) -> int:
        """The id for an event that it is to acknowledge."""
        if self.asks is None:
            self.asks = Asks()
        return self.asks.add(ask)

    def end(self, error: ChatError) -> None:
        """Told as an `error` event, but for what passes."""
        if not isinstance(error, Unavailable):
            self.emit("error", to_json(error.as_dict()))
        self.close()

    def send_away(self, error: ChatError) -> None:
        self.disconnect()

    def at_rest(self) -> None:
        """The door makes its line of commands anew."""
        if self.line is not None and self.line.idle:
            self.line = None

    def close(self, reason: str | None = None) -> None:
        """Close the engine, without a word of Socket.IO's: the client comes back by itself."""
        self.session.end(reason or reasons.SERVER_DISCONNECT)

    def disconnect(self) -> None:
        """Send packet 41: the client does not come back by itself."""
        self.session.context.run(self.sent_away())

    async def sent_away(self) -> None:
        if self.state is CONNECTED:
            self.session.push(packets.packet_frames(packets.DISCONNECT, self.namespace, None, None))
            await self.leave(self, reasons.SERVER_DISCONNECT)
