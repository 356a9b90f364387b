"""Packets that came in behind one whose handling takes time. Knows no session."""

from collections import deque
from typing import Final

#: Packets that wait, and their bytes; then reading pauses, or a POST is not answered.
INBOX_LIMIT: Final = 64
INBOX_BYTES: Final = 32 * 1024
#: ... and with long polling, where a client says all that it has at once.
POLLED_INBOX_LIMIT: Final = 1000


class Inbox(deque[bytes | tuple[bytes]]):
    """A binary packet is a tuple of one. `size` is in bytes; a deaf one takes no more."""

    __slots__ = ("deaf", "size")

    def __init__(self) -> None:
        super().__init__()
        self.size, self.deaf = 0, False

    def put(self, data: bytes | tuple[bytes]) -> None:
        self.append(data)
        self.size += _size(data)

    def take(self) -> bytes | tuple[bytes]:
        data = self.popleft()
        self.size -= _size(data)
        return data

    def full(self, polled: bool) -> bool:
        return len(self) >= (POLLED_INBOX_LIMIT if polled else INBOX_LIMIT) or self.size >= INBOX_BYTES

    @property
    def has_room(self) -> bool:
        """Enough of it to read on."""
        return len(self) <= INBOX_LIMIT // 2 and self.size <= INBOX_BYTES // 2

    def become_deaf(self) -> None:
        self.clear()
        self.deaf = True


def _size(data: bytes | tuple[bytes]) -> int:
    return len(data[0] if isinstance(data, tuple) else data)
