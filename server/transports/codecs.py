"""Events as the bytes of each transport's wire. Payloads are spliced, never decoded.

Each codec has a twin, `poisoned`, for connections whose positions cannot be recovered from any more.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from events.event import POISON, Event, Kind, to_json
from server.engine.frames import TEXT, frame
from storage.interrupts import all_answered

_LOGGED = int(Kind.LOGGED)

#: Stands for the next index in the id of an answer's end: a client that sends it has everything.
END = "end"


def _position(event: Event, poisoned: bool) -> bytes | None:
    """A durable or logged event's position as JSON; one that did not come from the log has none to go by."""
    if event.kind > _LOGGED:
        return None
    if poisoned or not event.pos:
        return b'"' + POISON.encode() + b'"'
    return b'"%s-%012x%s"' % (event.epoch.encode(), event.pos, event.mark.encode())


def one_line(data: bytes) -> bytes:
    """JSON as the one line of `data:` that it is. Event streams end lines with CR and LF alone, which JSON
    never holds; clients that go by Unicode (Python's `splitlines`) also break at NEL, LS and PS."""
    if b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data.replace(b"\xc2\x85", b"\\u0085") if b"\xc2\x85" in data else data


def data_line(payload: Any) -> bytes:
    """An event of its data alone."""
    return b"data: " + one_line(to_json(payload)) + b"\n\n"


def _is_to_go_on(event: Event) -> bool:
    """Whether a change of a message says that all was answered that it waited for: it is no end."""
    if event.name != "message_updated" or b'"status":"waiting"' not in event.data:
        return False
    return all_answered(msgspec.json.decode(event.data)["interrupts"])


class SocketIOCodec:
    """`42["name",{…},"position"]` (Socket.IO protocol 5, EVENT; the position is the recovery offset)."""

    def __init__(self, poisoned: bool = False) -> None:
        self._poisoned = poisoned
        self.poisoned: Any = self if poisoned else SocketIOCodec(True)

    def encode(self, event: Event) -> bytes:
        if event.pos and not self._poisoned:  # most of them
            return frame(
                TEXT,
                b'42["%b",%b,"%b-%012x%b"]'
                % (event.name.encode(), event.data, event.epoch.encode(), event.pos, event.mark.encode()),
            )
        if event.kind > _LOGGED:  # it has no position
            return frame(TEXT, b'42["%b",%b]' % (event.name.encode(), event.data))
        position = _position(event, self._poisoned)
        tail = b"]" if position is None else b"," + position + b"]"
        return frame(TEXT, b'42["' + event.name.encode() + b'",' + event.data + tail)


class PlainSocketIOCodec:
    """`42["name",{…}]`, for clients that would take the position for an argument of the application's."""

    def __init__(self) -> None:
        self.poisoned: Any = self

    def encode(self, event: Event) -> bytes:
        return frame(TEXT, b'42["' + event.name.encode() + b'",' + event.data + b"]")


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
        return head + b"event: " + event.name.encode() + b"\ndata: " + one_line(event.data) + b"\n\n"


class AnswerCodec:
    """One stream of a room, `data: {"type": …}` with `id: <message_id>:<next_index>`, its end with
    `id: <message_id>:end`; nothing else.

    `ended`: its end was given out. Chunks may be encoded after it: a slow reader's are merged as they leave.
    `at_once` gives bytes that may leave past all else; None: an event has to go the ordinary way.
    """

    def __init__(self) -> None:
        self.message_id = ""
        self.next_index = 0
        self.ended = False
        self.at_once: Callable[[Event], bytes | None] = never
        self.poisoned: Any = self

    def encode(self, event: Event) -> bytes:
        if event.stream != self.message_id:
            return b""
        told = self.at_once(event)
        if event.sizes:
            next_index = event.index + len(event.sizes)
            self.next_index = max(self.next_index, next_index)
            return self.line_of(event) if told is None else told
        if event.closed and not self.ended and not _is_to_go_on(event):
            self.ended = True
            return self._line(b"stream_end", event.data, END.encode())
        return b""

    def line_of(self, event: Event) -> bytes:
        """Of a chunk."""
        return self._line(event.name.encode(), event.data, b"%d" % (event.index + len(event.sizes)))

    def _line(self, kind: bytes, data: bytes, place: bytes) -> bytes:
        head = b"id: %s:%s\n" % (self.message_id.encode(), place)
        return head + b'data: {"type":"' + kind + b'",' + one_line(data[1:]) + b"\n\n"


def never(event: Event) -> None:
    """Where nothing may."""
