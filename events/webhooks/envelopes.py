"""What is sent: the kind of an event, its id, its body. Knows no webhook.

A message is told as it is when it is told. What happened to it is read from where it stands: `Progress` knows
which messages were told before.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Raw, Struct

from events.clock import rfc3339
from events.event import to_json
from events.views import view
from storage.parts import has_files
from storage.records import FileRecord, MessageRecord
from storage.telling import Noted, Ranges
from storage.waits import UNFINISHED, WAITING
from storage.writer import weight

EVENTS: Final = ("message", "message_updated", "stream_end", "interrupt", "session", "feedback")
#: Those that a session's revisions tell of, and those that `storage.notes` has.
OF_REVISIONS, OF_NOTES = frozenset(EVENTS[:4]), frozenset(EVENTS[4:])
#: Ranges of messages that are remembered as not told; beyond them the oldest count as told.
UNTOLD: Final = 1000


class Change(Struct, frozen=True):
    """A message as one revision left it. `weight`: of all that it holds, in characters."""

    record: MessageRecord
    files: Sequence[FileRecord] = ()
    weight: int = 0

    @property
    def lacks_files(self) -> bool:
        """It has files that are not here: a commit brings along those that were posted with it alone."""
        return not self.files and self.record.deleted_at is None and has_files(self.record)


def change_of(record: MessageRecord, files: Sequence[FileRecord] = ()) -> Change:
    values = (record.metadata, record.parts, record.interrupts)
    size = len(record.content or "") + sum(weight(each) for each in values if each)
    return Change(record, files, size)


class Envelope(Struct, frozen=True):
    """`name` is the `webhook-id`: the same at each try, and of no other event."""

    name: str
    event: str
    revision: int
    body: bytes


class Progress:
    """Up to which message a session was told, and which before it were not."""

    __slots__ = ("seq", "untold")

    def __init__(self, seq: int, untold: Ranges | None) -> None:
        self.seq = seq
        self.untold: Ranges = untold or []

    def kind(self, record: MessageRecord) -> str | None:
        """Which event tells of it; None: none does."""
        if record.deleted_at:
            return "message_updated"
        if record.status == "streaming":
            return None
        if record.status == WAITING:
            return "interrupt"
        first = self._is_first(record.seq)
        if record.message_type == "stream":
            return "stream_end" if first or not record.is_edited else "message_updated"
        return "message" if first else "message_updated"

    def passed(self, record: MessageRecord) -> None:
        """It was told, or nobody wants to hear of it. What is being written is told by its end."""
        if record.status in UNFINISHED and not record.deleted_at:
            self._later(record.seq)
        else:
            self._told(record.seq)

    def _is_first(self, seq: int) -> bool:
        return seq > self.seq or any(low <= seq <= high for low, high in self.untold)

    def _later(self, seq: int) -> None:
        """It is there and was not told."""
        if self._is_first(seq):
            self._reach(seq)
            if not any(low <= seq <= high for low, high in self.untold):
                self._add(seq, seq)

    def _told(self, seq: int) -> None:
        if seq > self.seq:
            self._reach(seq)
            return
        for place, (low, high) in enumerate(self.untold):
            if low <= seq <= high:
                self.untold[place : place + 1] = [
                    each for each in ([low, seq - 1], [seq + 1, high]) if each[0] <= each[1]
                ]
                return

    def _reach(self, seq: int) -> None:
        """Those between were changed since, and come later."""
        if seq > self.seq + 1:
            self._add(self.seq + 1, seq - 1)
        self.seq = max(self.seq, seq)

    def _add(self, low: int, high: int) -> None:
        if self.untold and self.untold[-1][1] == low - 1:
            self.untold[-1][1] = high
        else:
            self.untold.append([low, high])
            del self.untold[:-UNTOLD]


def of_change(change: Change, kind: str) -> Envelope:
    record = change.record
    name = _name(f"{record.message_id}\n{record.revision}")
    body = _body(kind, _at(record), view(record, change.files))
    return Envelope(name, kind, record.revision, body)


def of_note(note: Noted) -> Envelope:
    return Envelope(note.name, note.event, note.revision, _body(note.event, note.at, Raw(note.data)))


def _body(kind: str, at: datetime, data: Any) -> bytes:
    return to_json({"type": kind, "timestamp": rfc3339(at), "data": data})


def _at(record: MessageRecord) -> datetime:
    """When it changed last, as far as it says so: a stream's end has no time of its own."""
    return max(
        record.created_at, record.edited_at or record.created_at, record.deleted_at or record.created_at
    )


def _name(text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=18).digest()
    return f"evt_{base64.urlsafe_b64encode(digest).decode()}"
