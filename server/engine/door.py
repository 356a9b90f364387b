"""What the engine asks of the product about the namespace "/". Knows no product."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from server.engine.handshake import Handshake
    from server.engine.rooms import Client

#: Why an event did not reach `Door.event`: the packet is not strict JSON of an array that begins with a
#: string; it has more levels, arrays or objects than `server.engine.packets` takes; its name is Socket.IO's
#: own; it carries binary attachments; its payload is over `payload_limit`.
Problem = Literal["malformed", "nested", "reserved", "binary", "large"]


#: What has to be awaited before the next packet of the connection is handled.
Work = Coroutine[Any, Any, None]


class ConnectRefused(Exception):
    """Answered with CONNECT_ERROR `{"message": message, "data": data}`; then the connection is closed."""

    def __init__(self, message: str, data: dict[str, Any] | None = None) -> None:
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
    raise is logged and goes no further."""

    def connect(self, conn: "Client", info: "Handshake", auth: dict[str, Any], /) -> Work | None:
        """Authenticate: at once, or when what is returned has been awaited. `auth` is the client's `auth`
        option; it may hold `token`, `pid`, `offset`.

        Raises ConnectRefused or ComeBack; any other exception refuses as well, and is logged. If the socket
        goes away meanwhile, `gone` comes right after.
        """

    def event(self, conn: "Client", name: str, args: list[Any], ack_id: int | None, /) -> None:
        """An event, in its order. `ack_id` is None where the client wants no acknowledgement."""

    def refused(
        self, conn: "Client", name: str | None, ack_id: int | None, problem: Problem, size: int, /
    ) -> None:
        """An event that was not let through; as much of it as could be read. `size` in bytes of one that is
        too large."""

    def gone(self, conn: "Client", reason: str, /) -> None:
        """The client left, or was lost; exactly once for each `connect` that returned."""
