"""A message as clients see it, and as the events that tell of it. Reads nothing."""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from events.clock import rfc3339, when
from events.event import Event, Kind, to_json
from events.schema import File, FileInfo, Message
from storage.records import FileRecord, MessageRecord

#: Bytes of a page, whatever its limit says (contract, section 3).
PAGE_BYTES = 256 * 1024


def file_view(record: FileRecord) -> File:
    return File(
        record.file_id,
        record.file_url,
        record.thumbnail_url,
        FileInfo(record.file_name, record.file_type, record.file_size),
    )


def view(
    record: MessageRecord, files: Sequence[FileRecord] = (), timestamp: str | UnsetType = UNSET
) -> Message:
    """A message as clients see it. A tombstone has no content."""
    metadata = record.metadata
    if record.tokens_used is not None or record.latency_ms is not None:
        # Older clients look there.
        metadata = {**metadata, "tokens_used": record.tokens_used, "latency_ms": record.latency_ms}
    return Message(
        message_id=record.message_id,
        session_id=record.session_id,
        seq=record.seq,
        revision=record.revision,
        sender_type=record.sender_type,  # type: ignore[arg-type]
        sender_id=record.sender_id,
        message_type=record.message_type,  # type: ignore[arg-type]
        content=None if record.deleted_at else record.content,
        metadata=metadata,
        status=record.status,  # type: ignore[arg-type]
        created_at=rfc3339(record.created_at),
        is_edited=record.is_edited,
        client_message_id=record.client_message_id,
        reply_to=record.reply_to,
        tokens_used=record.tokens_used,
        latency_ms=record.latency_ms,
        error=record.error,
        edited_at=rfc3339(record.edited_at) if record.edited_at else None,
        deleted_at=rfc3339(record.deleted_at) if record.deleted_at else None,
        files=[file_view(f) for f in files] or UNSET,
        timestamp=timestamp,
    )


def event_of(
    record: MessageRecord,
    timestamp: str,
    *,
    created: bool,
    files: Sequence[FileRecord] = (),
    frm: int = 0,
    final: int = -1,
    own: bool = False,
) -> Event:
    """The durable event that tells of a message's newest change. `created`: the room has not heard of it.

    A stream's end carries the text unless `final` (its number of chunks) says that the log has it all.
    """
    seq = record.seq if created else 0
    is_stream = record.message_type == "stream"
    if is_stream and record.status == "streaming" and not record.deleted_at:
        payload = {
            "session_id": record.session_id,
            "message_id": record.message_id,
            "seq": record.seq,
            "revision": record.revision,
            "sender_type": record.sender_type,
            "sender_id": record.sender_id,
            "metadata": record.metadata,
            "reply_to": record.reply_to,
            "timestamp": timestamp,
        }
        data = to_json(payload)
        return Event(
            record.session_id, "stream_start", data, Kind.DURABLE, rev=record.revision, frm=frm, seq=seq,
            stream=record.message_id,
        )  # fmt: skip
    if is_stream and not created and not record.is_edited and not record.deleted_at:
        payload = {
            "session_id": record.session_id,
            "message_id": record.message_id,
            "status": record.status,
            "tokens_used": record.tokens_used,
            "latency_ms": record.latency_ms,
            "revision": record.revision,
            "timestamp": timestamp,
        }
        if record.error:
            payload["error"] = record.error
        if final < 0:
            payload["content"] = record.content
        return Event(
            record.session_id, "stream_end", to_json(payload), Kind.DURABLE, rev=record.revision, frm=frm,
            stream=record.message_id, closed=True, final=final, own=own,
        )  # fmt: skip
    if created:
        name = "message"
    elif record.deleted_at:
        name = "message_deleted"
    else:
        name = "message_updated"
    # A stream that ended by being deleted, or whose start was never told: nothing of it any more.
    return Event(
        record.session_id, name, to_json(view(record, files, timestamp)), Kind.DURABLE, rev=record.revision,
        frm=frm, seq=seq, stream=record.message_id if is_stream else "", closed=is_stream,
    )  # fmt: skip


def read_event(room: str, user: str, seq: int, now: float) -> Event:
    """A read mark that moved."""
    payload = {"session_id": room, "user_id": user, "seq": seq, "timestamp": rfc3339(when(now))}
    return Event(room, "read", to_json(payload), Kind.LOGGED, id=f"read:{user}:{seq}")
