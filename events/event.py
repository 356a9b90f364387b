"""Events as the domain makes them: payload bytes, merging and clipping of chunks."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from storage.interfaces import Event, Kind

__all__ = ["POISON", "Codec", "Event", "Kind", "clip", "merge", "to_json"]

#: The position that can never be recovered from.
POISON = "-"

_encoder = msgspec.json.Encoder(decimal_format="number")
to_json = _encoder.encode


class Codec(Protocol):
    """An event as the bytes that one transport's wire carries."""

    def encode(self, event: Event) -> bytes: ...


class _Chunk(msgspec.Struct):
    """The payload of a `stream_chunk`."""

    session_id: str
    message_id: str
    content: str
    index: int
    count: int
    timestamp: Any


def merge(events: Sequence[Event]) -> Event:
    """Chunk events of one stream that follow each other, as one at the last one's position."""
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
    skip = have - event.index
    if skip >= len(event.sizes):
        return None
    if skip == 0:
        return event
    payload = msgspec.json.decode(event.data, type=_Chunk)
    payload.content = payload.content[sum(event.sizes[:skip]) :]
    payload.index, payload.count = have, len(event.sizes) - skip
    return msgspec.structs.replace(event, data=to_json(payload), index=have, sizes=event.sizes[skip:])
