"""What the engine asks of the product about a namespace. Knows no product."""

from typing import Any, Literal, Protocol

from server.engine.clients import Client
from server.engine.context import Work
from server.engine.handshake import Handshake

#: Why an event did not reach `Door.event`: the packet is not strict JSON of an array that begins with a
#: string; it has more levels, arrays or objects than `server.engine.packets` takes; its name is Socket.IO's
#: own; it carries binary attachments; its payload is over `payload_limit`.
Problem = Literal["malformed", "nested", "reserved", "binary", "large"]


class ConnectRefused(Exception):
    """Answered with CONNECT_ERROR `{"message": message, "data": data}`; then the connection is closed."""

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class ComeBack(Exception):
    """Not now: to the official client CONNECT_ERROR is final. The connection is closed after `seconds`, with
    `code` and `reason` on a WebSocket and without a word of Socket.IO's: then the client comes back by
    itself, about a second later, however often that has happened before. The wait is what spreads a herd."""

    def __init__(self, seconds: float, code: int, reason: str) -> None:
        super().__init__(reason)
        self.seconds, self.code, self.reason = seconds, code, reason


class Door(Protocol):
    """Who may come in, and what clients say. Nothing here may block; what `event`, `refused` and `gone`
    raise is logged and goes no further. What they return is awaited before the next packet of the
    connection is handled."""

    def connect(self, conn: Client, info: Handshake, auth: dict[str, Any], /) -> Work | None:
        """Authenticate: at once, or when what is returned has been awaited. `auth` is the client's `auth`
        option; it may hold `token`, `pid`, `offset`.

        Raises ConnectRefused or ComeBack; any other exception refuses as well, and is logged. If the socket
        goes away meanwhile, `gone` comes right after.
        """

    def event(self, conn: Client, name: str, args: list[Any], ack_id: int | None, /) -> Work | None:
        """An event, in its order. `ack_id` is None where the client wants no acknowledgement."""

    def refused(
        self, conn: Client, name: str | None, ack_id: int | None, problem: Problem, size: int, /
    ) -> None:
        """An event that was not let through; as much of it as could be read. `size` in bytes of one that is
        too large."""

    def gone(self, conn: Client, reason: str, /) -> Work | None:
        """The client left, or was lost; exactly once for each `connect` that returned."""
