"""What a join is told of a session: read from SQL, and kept while the room is live here and nothing changes.

A room in which many join (or come back) at once costs one reading, not one each.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import Raw

from events import recovery, sessionview
from events.access import Caller, SessionRole, role_in
from events.errors import SessionNotFound
from events.event import POISON, to_json
from events.history import History, identity
from events.live import Everybody, Known, LiveSession, Page
from events.messages import MessageService
from events.names import Names
from events.parts import made_of, shown
from events.room import Room
from events.schema import Message
from events.seat import ENDED, Seat
from events.sessions import SessionManager
from events.views import PAGE_BYTES, turn_view, unanswered_view
from storage.batch_loader import BatchLoader
from storage.interfaces import Cut, RoomState, StreamText
from storage.records import REMOVED, SessionRecord
from storage.snapshot import SessionSnapshot, SnapshotReader
from storage.turns import LONG

#: Messages kept of a session that is known: what a join asks for if it does not say.
PAGE = 50
#: Seconds after a session's creation in which its id's log may be of one before: longer than logs are kept.
YOUNG = 600.0
#: Seconds for which a reading is kept for those who come next.
KEPT = 10.0
#: What a client has of a session: the revision up to which it has seen all, and of which lineage.
Has = tuple[int | None, str | None]
#: `content` of an open stream, and `parts` where there are others.
Written = Mapping[str, Any]
NOTHING_WRITTEN: Mapping[str, Written] = {}
_MOVING = frozenset({"request_count", "last_activity", "expires_at", "status", "last_seq", "last_revision"})


@dataclass(slots=True)
class Snapshot:
    reply: dict[str, Any]
    seat: Seat
    brought: float | None  # when its reader came with messages that it had; None: the reply is all it has
    written: Sequence[tuple[str, int, int]] = ()  # of each open stream its chunks and characters in the reply
    rated: Sequence[Message] | None = None  # its messages, where somebody has given feedback on some


class Snapshots:
    """Reads sessions for those who join."""

    def __init__(
        self,
        sessions: SessionManager,
        messages: MessageService,
        reader: SnapshotReader,
        clock: Callable[[], float],
        history: History,
        names: Names,
        *,
        local_text: Callable[[str], StreamText | None],
    ) -> None:
        self._sessions, self._messages, self._reader, self._clock = sessions, messages, reader, clock
        self._history, self._names = history, names
        self._newest = BatchLoader(lambda names: reader.read_all(names, None, PAGE, PAGE_BYTES))
        self._local_text = local_text

    async def joinable(
        self, caller: Caller, room: Room | None, name: str
    ) -> tuple[SessionRecord, SessionRole]:
        """A session that the caller may join.

        Raises SessionNotFound, SessionExpired, SessionArchived, Unavailable.
        """
        if room is None or room.known is None or room.live is None:
            return await self._sessions.joinable(caller, name)
        try:
            return room.known.record, self.role(caller, room.known, room.live)
        except SessionNotFound:  # another node may have let the caller in since
            found = await self._sessions.joinable(caller, name)
            room.changed()
            return found

    def role(self, caller: Caller, known: Known, live: LiveSession) -> SessionRole:
        """What `joinable` need not read. Raises SessionNotFound, SessionExpired, SessionArchived."""
        role = role_in(caller, known.record, known.standings.get(caller.key))
        live.check(self._clock())
        return role

    @staticmethod
    def at_hand(room: Room, state: RoomState, seen: int) -> Known | None:
        """What `known` needs not read. A room may have been served more than its log holds, from SQL; and its
        log may hold what has not come here: a title or a read mark, which has no revision."""
        known = room.known
        logged = state.last.rev
        if known is None or known.page.last_revision != logged or max(seen, room.delivered) > logged:
            return None
        if room.pos < state.pos:
            return None
        return known

    def is_young(self, known: Known) -> bool:
        """Whether a log under its id may be of another session, which was erased."""
        return self._clock() - known.record.created_at.timestamp() < YOUNG

    async def known(self, room: Room, state: RoomState | None, seen: int = 0) -> Known:
        """The session as of a cut of the log (None: the bus is away) or later. `seen`: the revision that the
        reader has seen already, elsewhere or in another snapshot: the log may lag behind SQL.

        Raises SessionNotFound, Unavailable.
        """
        known = self.at_hand(room, state, seen) if state is not None else None
        if known is None:
            changes = room.changes
            known = await self._read(room.name, None, PAGE)
            room.named(known.people.whole)
            if room.changes == changes and state is not None and known.page.last_revision == state.last.rev:
                room.known = known
        return known

    async def of(
        self,
        room: Room,
        known: Known,
        role: SessionRole,
        cut: Cut | None,
        state: RoomState | None,
        has: Has,
        limit: int,
    ) -> Snapshot:
        """What a join is told. Raises SessionNotFound, Unavailable."""
        after_revision, lineage = has
        reset = is_past(known, after_revision, lineage)
        if reset:
            after_revision = None
        page = part(known.page, after_revision, limit)
        if page is None:
            # Its turns, too, are as of this moment: an end that the page has seen is not told again.
            later = await self._read(room.name, after_revision, limit)
            page, known = later.page, replace(known, turns=later.turns, unanswered=later.unanswered)
        texts = await _encoded(state) if state is not None and are_long(state) else {}
        snapshot = self.made(room, known, role, cut, state, page, reset, texts)
        snapshot.brought = self.brought() if after_revision else None
        return snapshot

    def made(
        self,
        room: Room,
        known: Known,
        role: SessionRole,
        cut: Cut | None,
        state: RoomState | None,
        page: Page,
        reset: bool = False,
        texts: Mapping[str, Written] = NOTHING_WRITTEN,
    ) -> Snapshot:
        """The same of a page that is at hand. `texts`: what open streams consist of, as JSON, where that is
        long."""
        logged = dict(state.streams) if state is not None else {}
        floors: dict[str, int] = dict.fromkeys(logged, ENDED)  # ended since the cut, unless it is still open
        streams, written = [], []
        for row in page.open_streams:
            # What SQL has saved of it does not say with which chunk it ends.
            text = logged.get(row.message_id) if state is not None else self._local_text(row.message_id)
            index = text.next_index if text else 0
            floors[row.message_id] = index
            written.append((row.message_id, index, text.characters if text else 0))
            told = texts.get(row.message_id) or _written(text)
            if text is not None and text.status:
                told = {**told, "agent_status": Raw(text.status.encode())}
            streams.append({"message_id": row.message_id, **told, "next_index": index})
        last_revision = page.last_revision
        reply = self._reply(room, known, role, cut, state, page.last_seq, last_revision) | {
            "messages": page.told,
            "has_more": page.has_more,
            "streams": streams,
        }
        if reset:
            reply["reset"] = True
        seat = Seat(cut.pos if cut else 0, last_revision, floors or None, page.last_seq)
        rated = page.messages if known.record.rated else None
        return Snapshot(reply, seat, None, written, rated)

    def recovered(
        self, room: Room, known: Known, role: SessionRole, cut: Cut, floor: Seat, state: RoomState
    ) -> Snapshot:
        """A recovered reader needs no messages: they follow as events."""
        last_seq = max(known.page.last_seq, state.last.seq)
        reply = self._reply(room, known, role, cut, state, last_seq, floor.rev) | {
            "messages": [],
            "has_more": False,
            "streams": [],
        }
        return Snapshot(reply, floor, self.brought())

    def brought(self) -> float:
        """For a reader who comes with messages that it has."""
        return self._history.now()

    def is_current(self, known: Known) -> bool:
        """Whether it may be told: it names the history that this node goes by now."""
        return known.lineage == self._history.of(known.record.trace_id)

    def _reply(
        self,
        room: Room,
        known: Known,
        role: SessionRole,
        cut: Cut | None,
        state: RoomState | None,
        last_seq: int,
        last_revision: int,
    ) -> dict[str, Any]:
        logged = state.last.rev if state is not None else 0
        moved = self._sessions.activity(known.record, room)
        # who is told has just been let in
        moved |= {"status": "active", "last_seq": last_seq, "last_revision": last_revision}
        reply = {
            "session": Raw(self._view(known, role) + to_json(moved)[1:]),
            "last_seq": last_seq,
            "last_revision": last_revision,
            "position": recovery.format_position(cut, last_revision, logged) if cut else POISON,
            "read_marks": known.read_marks,
            "turns": known.turns,
            "lineage": known.lineage,
        }
        if known.people.told is not None:
            reply["users"] = known.people.told
        if known.record.head_id is not None:
            reply["head_id"] = known.record.head_id
        if known.unanswered is not None:
            reply["unanswered"] = known.unanswered
        return reply

    def _view(self, known: Known, role: SessionRole) -> bytes:
        """The session as this role sees it, up to and with the comma before what moves."""
        view = known.views.get(role)
        if view is None:
            present = {user: standing for user, standing in known.standings.items() if standing != REMOVED}
            whole = self._sessions.view(known.record, role, known.agent, present)
            still = {name: value for name, value in whole.items() if name not in _MOVING}
            view = known.views[role] = to_json(still)[:-1] + b","
        return view

    async def _read(self, name: str, after_revision: int | None, limit: int) -> Known:
        before = self._history.name  # what is read may be of a later one, which is harmless
        if after_revision is None and limit == PAGE:
            found = await self._newest.get(name)
        else:
            found = await self._reader.read(name, after_revision, limit, PAGE_BYTES)
        if found is None:
            raise SessionNotFound
        record = self._sessions.as_of_now(found.session)
        messages = await self._messages.views(found.messages, found.kin)
        told = Raw(to_json(messages))
        if len(told) > LONG:
            await asyncio.sleep(0)
        page = Page(
            messages, found.has_more, record.last_seq, record.last_revision, found.open_streams, told,
            is_path=record.head_seq is not None,
        )  # fmt: skip
        marks = Raw(to_json(sessionview.marks(found.read_marks)))
        turns = Raw(to_json([turn_view(turn) for turn in found.open_turns]))
        lineage = f"{before}.{identity(record.trace_id)}"
        persons = self._names.over(found.persons, (record.user_id, *found.standings))
        people = Everybody(persons, found.agent)
        return Known(
            record, found.agent, found.standings, marks, turns, page, self._clock(), lineage, people,
            _unanswered(found, of_page=after_revision is None),
        )  # fmt: skip

    async def forget(self, rooms: Mapping[str, Room]) -> None:
        """What was read for a herd that has passed."""
        oldest = self._clock() - KEPT
        for room in rooms.values():
            if room.known is not None and room.known.at < oldest:
                room.changed()


def _unanswered(found: SessionSnapshot, *, of_page: bool) -> Raw | None:
    """Among the messages that are told; to who has others already, all that are known."""
    first = found.messages[0].seq if of_page and found.messages else 0
    told = [unanswered_view(each) for each in found.unanswered if each.seq >= first]
    return Raw(to_json(told)) if told else None


def are_long(state: RoomState) -> bool:
    """Whether the texts of open streams are told in several turns of the loop."""
    streams = state.streams
    return bool(streams) and sum([stream.characters for stream in streams.values()]) > LONG


def _written(text: StreamText | None) -> Written:
    """What a stream consists of so far, as readers see it."""
    if text is None:
        return {"content": ""}
    if not text.runs:
        return {"content": text.text}
    made = made_of(text.text, text.runs)
    return {"content": made.content} if made.parts is None else made._asdict() | {"parts": shown(made.parts)}


async def _encoded(state: RoomState) -> dict[str, Written]:
    texts: dict[str, Written] = {}
    for name, stream in state.streams.items():
        texts[name] = {field: Raw(to_json(value)) for field, value in _written(stream).items()}
        await asyncio.sleep(0)
    return texts


def is_past(known: Known, after_revision: int | None, lineage: str | None) -> bool:
    """Whether what a client has is of another history: it cannot be carried on."""
    if after_revision is None:
        return False
    return after_revision > known.page.last_revision or (lineage is not None and lineage != known.lineage)


def part(page: Page, after_revision: int | None, limit: int) -> Page | None:
    """What is asked for, if the page holds it."""
    if after_revision is not None and after_revision >= page.last_revision:
        return page.with_messages([], False)
    if after_revision is not None:
        if page.has_more or page.is_path:
            return None
        messages = sorted((m for m in page.messages if m.revision > after_revision), key=_revision)
        more = len(messages) > limit
        return page.with_messages(messages[:limit], more)
    if limit > PAGE and page.has_more:
        return None
    if limit >= len(page.messages):
        return page
    return page.with_messages(page.messages[-limit:], True)


def _revision(message: Message) -> int:
    return message.revision
