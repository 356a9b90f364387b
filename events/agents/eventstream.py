"""Server-sent events out of an upstream's bytes, each of bounded size. Knows no JSON."""

from collections.abc import Iterator


class TooLarge(Exception):
    """More bytes than an upstream may send."""


class EventReader:
    """Takes bytes as they come and gives the data of each event that is complete; `limit` in bytes an event,
    its comments and other fields included (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    `lines` counts what has come, comments too. `name` is the name of the event that was given last."""

    def __init__(self, limit: int) -> None:
        self.lines, self.name = 0, b""
        self._limit = limit
        self._next_name = b""
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
        self.lines += 1
        if not line:
            event, self._data, self._size = b"\n".join(self._data), [], 0
            self.name, self._next_name = self._next_name, b""
            return event
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            self._next_name = line[6:].strip()
        return b""
