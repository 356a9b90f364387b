"""Events as the bytes of each transport's wire. Payloads are spliced, never decoded.

Each codec has a twin, `poisoned`, for connections whose positions cannot be recovered from any more.
"""

from typing import Any

from events.event import POISON, Event, Kind
from server.engine.frames import TEXT, frame


def _position(event: Event, poisoned: bool) -> bytes | None:
    """A durable or logged event's position as JSON; one that did not come from the log has none to go by."""
    if event.kind > Kind.LOGGED:
        return None
    if poisoned or not event.pos:
        return b'"' + POISON.encode() + b'"'
    return b'"%s-%012x"' % (event.epoch.encode(), event.pos)


class SocketIOCodec:
    """`42["name",{…},"position"]` (Socket.IO protocol 5, EVENT; the position is the recovery offset)."""

    def __init__(self, poisoned: bool = False) -> None:
        self._poisoned = poisoned
        self.poisoned: Any = self if poisoned else SocketIOCodec(True)

    def encode(self, event: Event) -> bytes:
        position = _position(event, self._poisoned)
        tail = b"]" if position is None else b"," + position + b"]"
        return frame(TEXT, b'42["' + event.name.encode() + b'",' + event.data + tail)


class WebSocketCodec:
    """`{"type": name, …, "position": …}`."""

    def __init__(self, poisoned: bool = False) -> None:
        self._poisoned = poisoned
        self.poisoned: Any = self if poisoned else WebSocketCodec(True)

    def encode(self, event: Event) -> bytes:
        position = _position(event, self._poisoned)
        tail = b"}" if position is None else b',"position":' + position + b"}"
        inner = event.data[1:-1]
        comma = b"," if inner else b""
        return frame(TEXT, b'{"type":"' + event.name.encode() + b'"' + comma + inner + tail)


class EventStreamCodec:
    """`event: name`, `data: {…}`, `id: position` (HTML Standard, server-sent events)."""

    def __init__(self, poisoned: bool = False) -> None:
        self._poisoned = poisoned
        self.poisoned: Any = self if poisoned else EventStreamCodec(True)

    def encode(self, event: Event) -> bytes:
        position = _position(event, self._poisoned)
        head = b"" if position is None else b"id: " + position.strip(b'"') + b"\n"
        return head + b"event: " + event.name.encode() + b"\ndata: " + event.data + b"\n\n"


class AnswerCodec:
    """One stream of a room, `data: {"type": …}` with `id: <message_id>:<next_index>`; nothing else."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self.poisoned: Any = self
        self.ended = False

    def encode(self, event: Event) -> bytes:
        if event.stream != self.message_id or self.ended:
            return b""
        if event.sizes:
            return self.line("stream_chunk", event.data, event.index + len(event.sizes))
        if event.closed:
            self.ended = True
            return self.line("stream_end", event.data, None)
        return b""

    def line(self, kind: str, data: bytes, next_index: int | None) -> bytes:
        head = b"" if next_index is None else b"id: %s:%d\n" % (self.message_id.encode(), next_index)
        return head + b'data: {"type":"' + kind.encode() + b'",' + data[1:] + b"\n\n"
