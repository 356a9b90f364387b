"""A request's head as all of the engine reads it: once, by name; and heads that two readers could take
differently. Knows no connection.
"""

from collections.abc import Iterable
from typing import Final

from server.engine.asgi import Headers

#: A request has at most one line of each: of two, one reader takes the first and another the last.
#: `Connection` and the lists of RFC 6455 (protocols, extensions) are not here: their lines are one list.
_SINGLE: Final = (
    b"authorization", b"content-length", b"host", b"origin", b"sec-websocket-key", b"sec-websocket-version",
    b"transfer-encoding", b"upgrade",
)  # fmt: skip


class Head(list[tuple[bytes, bytes]]):
    """A request's headers as they came, names in lower case. `first` has the first line of each name. Never
    changed once made: whoever passes on others makes a list of its own."""

    __slots__ = ("_size", "first", "repeats")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], size: int | None = None) -> None:
        super().__init__(headers)
        self._size = size
        self.first: dict[bytes, bytes] = dict(self)
        self.repeats = len(self.first) != len(self)  # a name has several lines
        if self.repeats:
            self.first = dict(reversed(self))

    @property
    def size(self) -> int:
        """Bytes of all of them, about."""
        if self._size is None:
            self._size = sum([len(name) + len(value) for name, value in self])
        return self._size

    def listed(self, name: bytes) -> bytes:
        """The lines of one name as the one list that they are (RFC 9110 section 5.3)."""
        if self.repeats:
            return b",".join([value for each, value in self if each == name])
        return self.first.get(name, b"")


def read(headers: Headers) -> Head:
    """`headers`, which may have been read before."""
    return headers if isinstance(headers, Head) else Head(headers)


def ambiguous(head: Head) -> bool:
    """Whether two readers could take the request differently."""
    if head.repeats:
        names = [name for name, _ in head]
        if any(names.count(name) > 1 for name in _SINGLE):
            return True
    return b"transfer-encoding" in head.first and b"content-length" in head.first  # RFC 9112 section 6.3


def asks_for_websocket(head: Head) -> bool:
    """RFC 6455 section 4.2.1, points 3 and 4. A list in `Upgrade` leaves the choice to the server, which
    chooses none (RFC 9110 section 7.8)."""
    wanted, connection = head.listed(b"upgrade"), head.listed(b"connection")
    if wanted == b"websocket" and connection == b"Upgrade":  # as nearly everybody says it
        return True
    if wanted.strip(b" \t").lower() != b"websocket":
        return False
    return b"upgrade" in [each.strip(b" \t") for each in connection.lower().split(b",")]


def has_body(head: Head) -> bool:
    """Whether something follows the head that belongs to the request."""
    first = head.first
    return b"transfer-encoding" in first or first.get(b"content-length", b"0").strip(b" \t") != b"0"
