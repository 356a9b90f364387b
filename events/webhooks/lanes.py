"""A session on its way to one webhook: what is next, one at a time, in order. Reads and sends nothing."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from events.webhooks.envelopes import Change, Envelope, Progress, of_change, of_note
from storage.telling import Noted, ToldCursor, ToldMark

#: Changes of one session that wait in memory; where there are more, they are read again.
WAITING_CHANGES: Final = 64
#: Characters of all that waits in memory for one webhook; the last that was read may go beyond.
HELD: Final = 4 * 1024 * 1024


class Load:
    """What waits in memory for one webhook, in characters."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0

    @property
    def full(self) -> bool:
        return self.size >= HELD


class Lane:
    """`fence` 0: not claimed yet. `lacks`: changes that are not here are to be read; `looks`: notes. `until`
    is the loop's time at which the claim ends. `parked`: it waits in SQL until its webhook takes some."""

    __slots__ = (
        "_load", "_sent", "attempts", "busy", "dirty", "error", "event_id", "fence", "held", "lacks", "last",
        "looks", "marked", "missed", "moved", "next_at", "notes", "parked", "progress", "queued", "revision",
        "room", "told", "until", "waiting",
    )  # fmt: skip

    def __init__(self, room: str, load: Load) -> None:
        self.room, self._load, self.held = room, load, 0
        self.fence = self.revision = self.event_id = self.attempts = 0
        self.progress = Progress(0, None)
        self.waiting: deque[Change] = deque()
        self.notes: deque[Noted] = deque()
        self.last = self.missed = 0
        self._sent: Change | Noted | None = None
        self.lacks = self.looks = False
        self.busy = self.queued = self.dirty = self.told = self.parked = False
        self.error: str | None = None
        self.until = self.next_at = self.moved = self.marked = 0.0

    def push(self, change: Change) -> None:
        """It was committed here."""
        revision = change.record.revision
        if self.lacks:
            self.missed = max(self.missed, revision)
        elif self.last and revision != self.last + 1:
            self.lacks = revision > self.last
        elif len(self.waiting) >= WAITING_CHANGES or change.lacks_files or self._load.full:
            self.lacks, self.missed = True, revision
        else:
            self.waiting.append(change)
            self._hold(change.weight)
            self.last = revision

    def _hold(self, more: int) -> None:
        self.held += more
        self._load.size += more

    def first(self) -> int:
        """A revision that is to be told."""
        return self.waiting[0].record.revision if self.waiting else 0

    def claimed(self, cursor: ToldCursor, until: float) -> None:
        self.fence, self.revision, self.event_id = cursor.fence, cursor.revision, cursor.event_id
        self.attempts, self.until = cursor.attempts, until
        self.progress = Progress(cursor.seq, cursor.untold)
        while self.waiting and self.waiting[0].record.revision <= self.revision:
            self._hold(-self.waiting.popleft().weight)
        if not self.waiting or self.waiting[0].record.revision != self.revision + 1:
            self.without_changes()
            self.lacks = True

    def without_changes(self) -> None:
        self._hold(-sum(change.weight for change in self.waiting))
        self.waiting.clear()
        self.last, self.lacks = self.revision, False

    def forget(self) -> None:
        """Nothing of it is here any more: what was not told stands in SQL."""
        self.without_changes()
        self.notes.clear()
        self._hold(-self.held)

    def read(self, changes: Sequence[Change], *, more: bool) -> None:
        """What is past `revision` in SQL, from there on; or as much of it as is read at once."""
        self.without_changes()
        self.waiting.extend(changes)
        self._hold(sum(change.weight for change in changes))
        self.last = changes[-1].record.revision if changes else self.revision
        self.lacks = more or self.missed > self.last
        self.missed = 0

    def noted(self, notes: Sequence[Noted], *, more: bool) -> None:
        """What comes behind `event_id`, or as much of it as is read at once."""
        self.notes.extend(notes)
        self._hold(sum(len(note.data) for note in notes))
        self.looks = self.looks or more

    def next(self, wanted: frozenset[str]) -> Envelope | None:
        """What is to be sent now; it stays until `took`. What nobody wants goes by."""
        while self.notes or not self.looks:  # else they are read first: they may stand before messages
            if self.notes and (self.notes[0].revision <= self.revision or not (self.waiting or self.lacks)):
                self._sent = self.notes[0]
                if self._sent.event in wanted:
                    return of_note(self._sent)
                self._pass(self._sent)
            elif self.waiting:
                self._sent = self.waiting[0]
                kind = self.progress.kind(self._sent.record)
                if kind in wanted:
                    assert kind is not None
                    return of_change(self._sent, kind)
                self._pass(self._sent)
            else:
                break
        return None

    def took(self, now: float) -> None:
        """What `next` gave is told, or given up."""
        assert self._sent is not None
        self._pass(self._sent)
        self.attempts, self.error, self.told, self.moved = 0, None, True, now

    def _pass(self, sent: Change | Noted) -> None:
        if isinstance(sent, Noted):
            self.event_id = self.notes.popleft().id
            self._hold(-len(sent.data))
        else:
            self.progress.passed(sent.record)
            self.revision = self.waiting.popleft().record.revision
            self._hold(-sent.weight)
        self._sent, self.dirty = None, True

    @property
    def idle(self) -> bool:
        """All that is known of it is told."""
        return not (self.busy or self.queued or self.waiting or self.notes or self.lacks or self.looks)

    def mark(self, hook: str, *, keep: bool) -> ToldMark:
        return ToldMark(
            hook,
            self.room,
            self.fence,
            self.revision,
            self.progress.seq,
            [list(each) for each in self.progress.untold] or None,
            self.event_id,
            self.attempts,
            self.error,
            keep,
            self.told,
        )
