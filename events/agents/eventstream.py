"""Server-sent events out of an upstream's bytes, each of bounded size. Knows no JSON."""

from collections.abc import Iterator


class TooLarge(Exception):
    """More bytes than an upstream may send."""


class EventReader:
    """Takes bytes as they come and gives the data of each event that is complete; `limit` in bytes an event,
    its comments and other fields included (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._line = bytearray()
        self._data: list[bytes] = []
        self._after_cr = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises TooLarge."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        if data:
            self._after_cr = data.endswith(b"\r")
        for part in data.splitlines(keepends=True):
            self._size += len(part)
            if self._size > self._limit:
                raise TooLarge("an event is too large")
            self._line += part
            if part.endswith((b"\n", b"\r")):
                line = bytes(self._line.rstrip(b"\r\n"))
                self._line.clear()
                event = self._take(line)
                if event:
                    yield event

    def _take(self, line: bytes) -> bytes:
        """The data of the event that `line` ends, if it is the empty one."""
        if not line:
            event, self._data, self._size = b"\n".join(self._data), [], 0
            return event
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        return b""
