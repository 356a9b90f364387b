"""The payloads of a stream's start and end, each made in one place."""

from typing import Any

import msgspec

from events.parts import shown
from events.schema import SessionEvent, StreamEnded, StreamStarted
from storage.records import MessageRecord
from storage.shape import dict_maker, names


def _fields(of: type[SessionEvent]) -> tuple[str, ...]:
    """`session_id` first, `timestamp` last, as in every event."""
    return ("session_id", *names(of, "session_id", "timestamp"), "timestamp")


_ENDED = _fields(StreamEnded)
#: What an end has only where there is something to say; one that is read later has no time of its own.
_RARE = ("timestamp", *(field.name for field in msgspec.structs.fields(StreamEnded) if not field.required))
_COUNTS = ("tokens_used", "latency_ms")
_started = dict_maker((name for name in _fields(StreamStarted) if name != "parent_id"), "timestamp")
_ended = dict_maker(_ENDED, "timestamp")


def started(record: MessageRecord, timestamp: str) -> dict[str, Any]:
    payload = _started(record, timestamp)
    if record.parent_seq is not None:
        payload["parent_id"] = record.parent_id
    return payload


def ended(record: MessageRecord, timestamp: str | None = None, *, whole: bool = False) -> dict[str, Any]:
    """`whole`: with the text and all parts, for readers that may lack chunks."""
    payload = _ended(record, timestamp)
    if not whole:
        payload["content"] = payload["parts"] = None
    elif record.parts is not None:
        payload["parts"] = shown(record.parts)
    payload["metadata"] = record.metadata or None
    return _without_nothing(payload)


def ended_of(message: dict[str, Any]) -> dict[str, Any]:
    """The same of a message as it was told."""
    payload = {name: message.get(name) for name in _ENDED}
    # There its counts are, too, for older clients.
    metadata = payload["metadata"] or {}
    payload["metadata"] = {name: value for name, value in metadata.items() if name not in _COUNTS} or None
    return _without_nothing(payload)


def _without_nothing(payload: dict[str, Any]) -> dict[str, Any]:
    for name in _RARE:
        if payload[name] is None:
            del payload[name]
    return payload
