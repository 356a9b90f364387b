"""A message as clients see it, and as the events that tell of it. Reads nothing."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import UNSET, UnsetType, convert

from events.clock import rfc3339, when
from events.event import Event, Kind, to_json
from events.parts import Stored, is_of_server, shown
from events.payloads import ResumedAnswer
from events.schema import File, FileInfo, Message, Usage
from events.stream_events import ended, started
from storage.interfaces import UNCOUNTED
from storage.interrupts import has_answers
from storage.parts import in_order
from storage.paths import Kin
from storage.pieces import Run
from storage.records import FileRecord, MessageRecord, Person, TurnRecord
from storage.shape import maker
from storage.unanswered import Unanswered
from storage.waits import WAITING

#: Bytes of a page, whatever its limit says (contract, section 3).
PAGE_BYTES = 256 * 1024


def file_view(record: FileRecord) -> File:
    return File(
        record.file_id,
        record.file_url,
        record.thumbnail_url,
        FileInfo(record.file_name, record.file_type, record.file_size),
    )


#: Shown where there is something to show.
_OF_ANSWERS = ("finish_reason", "usage", "model")
#: Fields of `Message` that the record has, too, are shown as they are.
_made = maker(
    Message,
    MessageRecord,
    "content metadata created_at timestamp",
    but=" ".join(
        ("edited_at", "deleted_at", "parts", "parent_id", "interrupts", "user", "feedback", *_OF_ANSWERS)
    ),
)


def view(
    record: MessageRecord,
    files: Sequence[FileRecord] = (),
    timestamp: str | UnsetType = UNSET,
    parts_as: Callable[[Sequence[Stored]], Any] = shown,
    kin: Kin | None = None,
) -> Message:
    """A message as clients see it. A tombstone has no content. `parts_as` makes its parts of those stored.
    `kin`: where it stands, if the session has branches."""
    metadata = record.metadata
    if record.tokens_used is not None or record.latency_ms is not None:
        # Older clients look there.
        metadata = {**metadata, "tokens_used": record.tokens_used, "latency_ms": record.latency_ms}
    content = None if record.deleted_at else record.content
    made = _made(record, content, metadata, rfc3339(record.created_at), timestamp)
    if record.edited_at:
        made.edited_at = rfc3339(record.edited_at)
    if record.deleted_at:
        made.deleted_at = rfc3339(record.deleted_at)
    if record.parts is not None:
        made.parts = parts_as(record.parts)
    if record.interrupts is not None:
        made.interrupts = record.interrupts  # type: ignore[assignment]
    if record.message_type == "stream":
        for name in _OF_ANSWERS:
            value = getattr(record, name)
            if value is not None:
                setattr(made, name, value)
    if files:
        made.files = [file_view(file) for file in in_order(record.parts, files)]
    if kin is not None:
        made.parent_id = kin.parent_id
        if kin.siblings:
            made.siblings = list(kin.siblings)
    elif record.parent_seq is not None:
        made.parent_id = record.parent_id
    return made


def told_to_agents(record: MessageRecord, files: Sequence[FileRecord] = ()) -> Message:
    """The same with what its parts have for models alone."""
    return view(record, files, parts_as=list)


def resumed(record: MessageRecord, written: Iterable[Run], steered: list[Message]) -> ResumedAnswer:
    """An answer that has waited, as its producer goes on with it."""
    said = sum(run.count for run in written if not is_of_server(run.part))
    told = ResumedAnswer(
        message_id=record.message_id,
        next_index=said,
        interrupts=record.interrupts or [],  # type: ignore[arg-type]
        content=record.content,
    )
    if record.parts is not None:
        told.parts = record.parts  # type: ignore[assignment]
    if record.usage is not None:
        told.usage = convert(record.usage, Usage)
    if steered:
        told.steered = steered
    return told


def event_of(
    record: MessageRecord,
    timestamp: str,
    *,
    created: bool,
    files: Sequence[FileRecord] = (),
    first_rev: int = 0,
    final: int = UNCOUNTED,
    sender: Person | None = None,
    at_end: bool = False,
) -> Event:
    """The durable event of a message's newest change. `created`: the room has not heard of the message.
    `sender`: what its readers may not know yet of who sent it.

    What is answered changes a message that waits; `at_end`: it has just begun to wait. A stream's end carries
    the text unless `final` (its number of chunks) says that the log has it all.
    """
    seq = record.seq if created else 0
    is_stream = record.message_type == "stream"
    if is_stream and record.status == "streaming" and not record.deleted_at:
        data = to_json(started(record, timestamp))
        return Event(
            record.session_id, "stream_start", data, Kind.DURABLE, rev=record.revision, first_rev=first_rev,
            seq=seq, stream=record.message_id,
        )  # fmt: skip
    answered = record.status == WAITING and not at_end and has_answers(record.interrupts)
    if is_stream and not created and not record.is_edited and not record.deleted_at and not answered:
        data = to_json(ended(record, timestamp, whole=final == UNCOUNTED))
        return Event(
            record.session_id, "stream_end", data, Kind.DURABLE, rev=record.revision,
            first_rev=first_rev, stream=record.message_id, closed=True, final=final,
        )  # fmt: skip
    if created:
        name = "message"
    elif record.deleted_at:
        name = "message_deleted"
    else:
        name = "message_updated"
    told = view(record, files, timestamp)
    if sender is not None:
        told.user = sender
    # A stream that ended by being deleted, or whose start was never told: nothing of it any more.
    return Event(
        record.session_id, name, to_json(told), Kind.DURABLE, rev=record.revision,
        first_rev=first_rev, seq=seq, stream=record.message_id if is_stream else "", closed=is_stream,
    )  # fmt: skip


def turn_view(turn: TurnRecord) -> dict[str, Any]:
    """A turn as readers see it."""
    told: dict[str, Any] = {
        "message_id": turn.question_id,
        "seq": turn.seq,
        "state": turn.state,
        "when_busy": turn.when_busy,
    }
    if turn.answer_id is not None:
        told["answer_id"] = turn.answer_id
    if turn.outcome is not None:
        told["outcome"] = turn.outcome
    return told


def unanswered_view(question: Unanswered) -> dict[str, str]:
    return {"message_id": question.question_id, "outcome": question.outcome}


def read_event(room: str, user: str, seq: int, now: float, kind: Kind = Kind.LOGGED) -> Event:
    """A read mark that moved."""
    payload = {"session_id": room, "user_id": user, "seq": seq, "timestamp": rfc3339(when(now))}
    return Event(room, "read", to_json(payload), kind, id=f"read:{user}:{seq}")
