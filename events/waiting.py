"""Commands that wait in their connections' lines, encoded as they came, and the bound of their bytes.

Knows no command and no transport.
"""

from collections import deque
from typing import Any, Final, NamedTuple

import msgspec

from events.errors import ChatError, RateLimited

#: Commands of one connection that may wait in line, and their bytes; then its reading pauses.
LINE_LIMIT: Final = 64
LINE_BYTES: Final = 256 * 1024
#: Bytes of commands that wait on a node, in all.
MOST: Final = 64 * 1024 * 1024
#: The part of what is still free that one account may have; with nothing in line it may have all of it.
SHARE: Final = 4
#: Milliseconds after which one is to come again for whose command there is no room.
NO_ROOM: Final = 1000
#: Bytes that a command costs here in addition to its own; a refusal costs as much and no more.
ENTRY: Final = 256

#: Waiting commands stay encoded: the objects that JSON becomes are ten times as large.
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, Any, Any]).decode


class Waiting:
    """All of a node that wait, by account."""

    def __init__(self, most: int = MOST) -> None:
        self.size, self._most = 0, most
        self._of: dict[str, int] = {}

    def add(self, account: str, size: int) -> bool:
        """Whether there is room for so many bytes more."""
        has, free = self._of.get(account, 0), self._most - self.size
        if size > free or (has and has + size > free // SHARE):
            return False
        self._of[account] = has + size
        self.size += size
        return True

    def drop(self, account: str, size: int) -> None:
        self.size -= size
        left = self._of[account] - size
        if left:
            self._of[account] = left
        else:
            del self._of[account]


def no_room() -> RateLimited:
    return RateLimited(retry_after=NO_ROOM)


class Kept:
    """A command that has to wait for its rate: in bytes that are counted, if it really has to."""

    __slots__ = ("_account", "_all", "_data", "_kind", "_struct")

    def __init__(self, struct: msgspec.Struct, account: str, of_all: Waiting) -> None:
        self._struct: msgspec.Struct | None = struct
        self._kind, self._account, self._all = type(struct), account, of_all
        self._data = b""

    def shrink(self) -> None:
        """If there is no room for it, `pack` tells."""
        if self._struct is not None:
            data, self._struct = _encode(self._struct), None
            if self._all.add(self._account, len(data) + ENTRY):
                self._data = data

    def pack(self, _: RateLimited | None = None) -> None:
        """Raises RateLimited."""
        self.shrink()
        if not self._data:
            raise no_room()

    def take(self) -> msgspec.Struct:
        return self._struct or msgspec.msgpack.decode(self._data, type=self._kind)

    def drop(self) -> None:
        if self._data:
            self._all.drop(self._account, len(self._data) + ENTRY)
        self._data, self._struct = b"", None


class _Waits(NamedTuple):
    """A command, encoded; or a refusal, with the name and the `ref` of what is refused."""

    what: bytes | tuple[str, ChatError, Any]
    size: int
    came: float


class Queue:
    """One connection's: commands, and refusals of what is none. A refusal stands in a payload's place."""

    __slots__ = ("_account", "_all", "_commands", "held", "size")

    def __init__(self, of_all: Waiting) -> None:
        self._all = of_all
        self._account = ""
        self._commands: deque[_Waits] = deque()
        self.size = 0
        self.held = False  # its client has been told to wait

    def __len__(self) -> int:
        return len(self._commands)

    @property
    def full(self) -> bool:
        return len(self._commands) >= LINE_LIMIT or self.size >= LINE_BYTES

    def put(self, account: str, name: str, payload: object, ref: Any, came: float) -> bool:
        """Whether there was room for it."""
        waits: bytes | tuple[str, ChatError, Any]
        if isinstance(payload, ChatError):
            waits, size = (name, payload, ref), ENTRY
        else:
            waits = _encode((name, payload, ref))
            size = len(waits) + ENTRY
        if not self._commands:
            self._account = account
        if not self._all.add(self._account, size):
            return False
        self.size += size
        self._commands.append(_Waits(waits, size, came))
        return True

    def next(self) -> tuple[str, Any, Any, float]:
        waits, size, came = self._commands.popleft()
        self._drop(size)
        name, payload, ref = _decode(waits) if isinstance(waits, bytes) else waits
        return name, payload, ref, came

    def clear(self) -> None:
        self._commands.clear()
        if self.size:
            self._drop(self.size)

    def _drop(self, size: int) -> None:
        self.size -= size
        self._all.drop(self._account, size)
