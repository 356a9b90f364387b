"""Events as the domain makes them: payload bytes, merging and clipping of chunks."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from events.clock import stamp, stamp_of
from events.parts import event_name, part_of, shown_json
from events.stream_events import ended_of
from storage.interfaces import Event, Kind
from storage.pieces import OWN, is_whole

__all__ = [
    "POISON",
    "Codec",
    "Event",
    "Kind",
    "chunk_event",
    "clip",
    "goes_on",
    "make",
    "merge",
    "retold",
    "to_json",
]

#: The position that can never be recovered from.
POISON = "-"

_LOGGED = int(Kind.LOGGED)
_encoder = msgspec.json.Encoder(decimal_format="number")
to_json = _encoder.encode


class Codec(Protocol):
    """An event as the bytes that one transport's wire carries."""

    #: The same without a position to recover from; itself where it never gives one.
    poisoned: Any

    def encode(self, event: Event) -> bytes: ...


class _Chunk(msgspec.Struct):
    """The payload of a `stream_chunk` or `stream_delta`. Responses cut it at `content`, and at the `index`
    behind it (`server.transports.growing`)."""

    session_id: str
    message_id: str
    content: str
    index: int
    count: int
    timestamp: Any
    part: str | msgspec.UnsetType = msgspec.UNSET


def chunk_event(
    room: str,
    stream: str,
    index: int,
    pieces: Sequence[str],
    now: float,
    not_to: str = "",
    part: str = OWN,
) -> Event:
    """One or more pieces of one part, as `stream_chunk`, `stream_delta` or `stream_part`; `index` is that of
    the first."""
    if len(pieces) == 1:
        content = pieces[0]
        sizes: tuple[int, ...] = (len(content),)
    else:
        content = "".join(pieces)
        sizes = tuple(map(len, pieces))
    # By hand: it is made for every chunk, and only the text is ever new.
    if not part:
        data = b'%b%b,"index":%d,"count":%d,"timestamp":"%b"}' % (
            _chunk_head(room, stream), to_json(content), index, len(pieces), _stamp(int(now * 1000))
        )  # fmt: skip
        return Event(
            room, "stream_chunk", data, _LOGGED, stream=stream, index=index, sizes=sizes, not_to=not_to
        )  # fmt: skip
    if is_whole(part):
        name = "stream_part"
        data = b'%b%b,"index":%d,"timestamp":"%b"}' % (
            _part_head(room, stream), shown_json(content), index, _stamp(int(now * 1000))
        )  # fmt: skip
    else:
        name, tail = _grows(part)
        data = b'%b%b,"index":%d,"count":%d,"timestamp":"%b"%b' % (
            _chunk_head(room, stream), to_json(content), index, len(pieces), _stamp(int(now * 1000)), tail
        )  # fmt: skip
    return Event(
        room, name, data, _LOGGED, stream=stream, index=index, sizes=sizes, not_to=not_to, part=part
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _grows(label: str) -> tuple[str, bytes]:
    """What tells of text that is added to a part: its name, and its end."""
    return event_name(label), b',"part":%b}' % to_json(part_of(label))


@lru_cache(maxsize=8)
def _stamp(milliseconds: int) -> bytes:
    """Chunks come many to a millisecond."""
    return stamp_of(milliseconds).encode()


@lru_cache(maxsize=4096)
def _chunk_head(room: str, stream: str) -> bytes:
    return b'{"session_id":%b,"message_id":%b,"content":' % (to_json(room), to_json(stream))


@lru_cache(maxsize=4096)
def _part_head(room: str, stream: str) -> bytes:
    return b'{"session_id":%b,"message_id":%b,"part":' % (to_json(room), to_json(stream))


def make(room: str, name: str, kind: Kind, payload: dict[str, Any], now: float, **more: Any) -> Event:
    """An event of a session; `session_id` and `timestamp` are added."""
    data = to_json({"session_id": room, **payload, "timestamp": stamp(now)})
    return Event(room, name, data, kind, **more)


def goes_on(last: Event, event: Event) -> bool:
    """Whether a chunk event may be merged into the one before: they are neighbours, and of one part."""
    return (
        last.stream == event.stream
        and last.index + len(last.sizes) == event.index
        and last.part == event.part
        and not is_whole(event.part)
    )


def merge(events: Sequence[Event]) -> Event:
    """Chunk events that go on with each other, as one at the last one's position."""
    payloads = [msgspec.json.decode(event.data, type=_Chunk) for event in events]
    merged = payloads[-1]
    merged.content = "".join(payload.content for payload in payloads)
    merged.index = events[0].index
    sizes = tuple(size for event in events for size in event.sizes)
    merged.count = len(sizes)
    return msgspec.structs.replace(events[-1], data=to_json(merged), index=merged.index, sizes=sizes)


def clip(event: Event, have: int) -> Event | None:
    """The part of a chunk event that a reader with `have` chunks lacks; None if nothing.

    Raises ValueError if chunks are missing before it.
    """
    if event.index > have:
        raise ValueError("hole")
    known = have - event.index
    if known >= len(event.sizes):
        return None
    if known == 0:
        return event
    payload = msgspec.json.decode(event.data, type=_Chunk)
    payload.content = payload.content[sum(event.sizes[:known]) :]
    payload.index, payload.count = have, len(event.sizes) - known
    return msgspec.structs.replace(event, data=to_json(payload), index=have, sizes=event.sizes[known:])


def retold(event: Event) -> Event:
    """The change in a `message` event, for readers who know the message already."""
    if event.name != "message":
        return event
    told = msgspec.json.decode(event.data)
    if told.get("deleted_at"):
        return msgspec.structs.replace(event, name="message_deleted", seq=0)
    if not event.closed or told.get("is_edited"):
        return msgspec.structs.replace(event, name="message_updated", seq=0)
    return msgspec.structs.replace(event, name="stream_end", data=to_json(ended_of(told)), seq=0)
