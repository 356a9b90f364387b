"""Long polling: payloads (engine.io-protocol, "HTTP long-polling"), and what waits between two requests."""

import base64
import binascii
from collections.abc import Iterator
from typing import Final

from events.event import Codec, Event, Kind
from events.outbox import Backlog as Backlog
from server.engine import frames

SEPARATOR: Final = b"\x1e"
CLOSE: Final = b"1"
NOOP: Final = b"6"

#: Bytes that may wait between two requests before volatile events are dropped.
VOLATILE_LIMIT: Final = 16384


class PollBacklog(Backlog):
    """No request waiting is the ordinary state between two, not slowness: volatile events wait too, as
    long as little does."""

    def give(self, event: Event, codec: Codec, data: bytes, own: int | None = None) -> None:
        if event.kind == Kind.VOLATILE and self.size < VOLATILE_LIMIT:
            self.add(data, own)
        else:
            super().give(event, codec, data, own)


def payload(data: bytes) -> bytes:
    """WebSocket frames of ours as one payload."""
    if data[0] == 0x81 and data[1] < 126 and len(data) == data[1] + 2:
        return data[2:]
    parts = []
    pos, size = 0, len(data)
    while pos < size:
        n, start = data[pos + 1], pos + 2
        if n == 126:
            n, start = int.from_bytes(data[pos + 2 : pos + 4], "big"), pos + 4
        elif n == 127:
            n, start = int.from_bytes(data[pos + 2 : pos + 10], "big"), pos + 10
        body = data[start : start + n]
        parts.append(body if data[pos] & 15 == frames.TEXT else b"b" + base64.b64encode(body))
        pos = start + n
    return SEPARATOR.join(parts)


def packets(body: bytes) -> Iterator[tuple[bytes, bool]]:
    """The packets of a POST body, each with whether it is binary. Raises ValueError."""
    start = 0
    while start <= len(body):
        end = body.find(SEPARATOR, start)
        end = len(body) if end < 0 else end
        part, start = body[start:end], end + 1
        if part[:1] == b"b":
            try:
                yield base64.b64decode(part[1:], validate=True), True
            except binascii.Error as error:
                raise ValueError("not base64") from error
        elif part[:1] in (b"1", b"3", b"4", b"5", b"6"):
            if not part.isascii():
                part.decode()
            yield part, False
        else:
            raise ValueError("not a packet a client sends")
