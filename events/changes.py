"""What SQL knows of a room, as events. Knows no member and no log."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from events import sessionview
from events.clock import Clock, rfc3339, when
from events.event import Event, Kind, make
from events.identity import key_of
from events.tails import Found
from events.views import PAGE_BYTES, event_of, read_event
from storage.files import Files
from storage.interfaces import Mark
from storage.messages import Messages as Store
from storage.participants import Participants
from storage.people import People
from storage.records import FileRecord, MessageRecord, Person
from storage.sessions import Sessions
from storage.waits import WAITING

#: Seconds for which a session's change may have been told to nobody: a node that was cut off from Redis for
#: longer, and then died, is a rare one.
LATELY = 600.0


class Changes:
    """What SQL knows of a room, as events (`events.logwriter.ChangeSource`)."""

    def __init__(
        self,
        sessions: Sessions,
        messages: Store,
        files: Files,
        participants: Participants,
        people: People,
        clock: Clock,
    ) -> None:
        self._sessions, self._messages, self._files = sessions, messages, files
        self._participants, self._people, self._clock = participants, people, clock

    async def mark(self, room: str) -> Mark | None:
        record = await self._sessions.get(room)
        return Mark(record.last_revision, record.last_seq) if record else None

    async def since(self, room: str, base: Mark, most: int | None = None) -> tuple[Mark, list[Event]]:
        mark = await self.mark(room)
        if mark is None or mark.rev <= base.rev:
            return base, []
        if most is not None and mark.rev - base.rev > most:
            return mark, []
        events: list[Event] = []
        before, now = base.rev, rfc3339(when(self._clock()))
        told: set[int] = set()  # a message that changes while pages are read is on two of them
        more = True
        while more:
            records, more, _ = await self._messages.changes(room, before, 500, PAGE_BYTES)
            files = await self._files_of(records)
            senders = await self._senders(record for record in records if record.seq > base.seq)
            for record in records:
                created = record.seq > base.seq and record.seq not in told
                events.append(
                    event_of(
                        record,
                        now,
                        created=created,
                        files=files.get(record.message_id, ()),
                        first_rev=before + 1,
                        sender=senders.get((record.sender_type, record.sender_id)) if created else None,
                        # Whoever has it open as a stream is told its end.
                        at_end=record.status == WAITING,
                    )
                )
                before = record.revision
                told.add(record.seq)
            if not records:
                break
        return mark, events

    async def revisions(self, message_ids: Sequence[str]) -> Mapping[str, Found]:
        """The newest revision of each of these messages that is there."""
        found = await self._messages.revisions(message_ids)
        return {id: Found(rev, rfc3339(edited) if edited else None) for id, (rev, edited) in found.items()}

    async def taken(self, room: str, revisions: Sequence[int]) -> Collection[int]:
        """Those of the revisions that are the newest of some message."""
        return await self._messages.taken(room, revisions)

    async def read_mark(self, room: str, user: str) -> Event | None:
        """How far one user has read; None for one without a row."""
        record = await self._participants.get(room, user)
        return read_event(room, user, record.read_seq, self._clock()) if record is not None else None

    async def unrevised(self, rooms: Collection[str]) -> list[Event]:
        """How far each has read in these rooms (of many in one room, those who are furthest), titles that
        were changed lately, and where paths end. Without a place in a log: who is told one goes on from where
        it was."""
        now = self._clock()
        found = await self._participants.marks(rooms)
        titles = await self._sessions.titles(rooms, when(now - LATELY))
        heads = await self._sessions.heads(rooms)
        marks = [
            read_event(room, user, seq, now, Kind.DIRECT)
            for room, marks in found.items()
            for user, seq in sessionview.marks(marks).items()
        ]
        told = [(room, {"event": "updated", "title": title}) for room, title in titles.items()]
        told += [(room, {"event": "head", "head_id": head}) for room, head in heads.items()]
        return marks + [make(room, "session", Kind.DIRECT, payload, now) for room, payload in told]

    async def _senders(self, records: Iterable[MessageRecord]) -> Mapping[tuple[str, str], Person]:
        """Users as a message's sender: whether readers know what they are called, nobody knows here."""
        users = {r.sender_id: key_of("user", r.sender_id) for r in records if r.sender_type == "user"}
        persons = await self._people.of(users.values()) if users else {}
        return {("user", sub): persons[key] for sub, key in users.items() if key in persons}

    async def _files_of(self, records: Sequence[MessageRecord]) -> Mapping[str, Sequence[FileRecord]]:
        return await self._messages.files_with(records)
