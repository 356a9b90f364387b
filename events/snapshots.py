"""What a join is told of a session: read from SQL, and kept while the room is live here and nothing changes.

A room in which many join (or come back) at once costs one reading, not one each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from events import recovery
from events.access import Caller, SessionRole, role_in
from events.clock import when
from events.hub import NEVER, Room, Seat
from events.messages import MessageService
from events.schema import Message
from events.sessions import SessionManager
from storage.interfaces import Cut, RoomState, StreamText
from storage.messages import Messages as Store
from storage.records import AgentRecord, MessageRecord, ParticipantRecord, SessionRecord

#: Attempts at a reading between whose parts nothing was committed.
TRIES = 5
#: Messages kept of a session that is known: what a join asks for if it does not say.
PAGE = 50
#: Seconds for which a reading is kept for those who come next.
KEPT = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """Messages, and how far they and the open streams beside them reach."""

    messages: list[Message]
    has_more: bool
    last_seq: int
    last_revision: int
    open_streams: list[MessageRecord]
    settled: bool  # nothing was committed while it was read


@dataclass(frozen=True, slots=True)
class Known:
    """A session as of a revision."""

    record: SessionRecord
    agent: AgentRecord | None
    participants: Mapping[str, ParticipantRecord]  # those removed, too
    read_marks: Mapping[str, int]
    page: Page
    at: float  # when it was read, in epoch seconds


@dataclass(slots=True)
class Snapshot:
    reply: dict[str, Any]
    seat: Seat


class Snapshots:
    """Reads sessions for those who join."""

    def __init__(
        self, sessions: SessionManager, messages: MessageService, store: Store, clock: Callable[[], float]
    ) -> None:
        self._sessions, self._messages, self._store, self._clock = sessions, messages, store, clock
        self.local_text: Callable[[str], StreamText | None] = lambda stream: None

    async def joinable(
        self, caller: Caller, room: Room | None, name: str
    ) -> tuple[SessionRecord, SessionRole]:
        """A session that the caller may join.

        Raises SessionNotFound, SessionExpired, SessionArchived, Unavailable.
        """
        known = room.known if room is not None else None
        if room is None or known is None or room.live is None:
            return await self._sessions.joinable(caller, name)
        role = role_in(caller, known.record, known.participants.get(caller.key))
        room.live.check(self._clock())
        return known.record, role

    async def read(
        self,
        room: Room,
        record: SessionRecord,
        role: SessionRole,
        cut: Cut | None,
        state: RoomState | None,
        after_revision: int | None,
        limit: int,
    ) -> Snapshot:
        """The session as of a cut of the log (None: the bus is away), or a little later."""
        known = room.known
        # The log may lag behind SQL, which this reader has seen already: elsewhere, or in another snapshot.
        seen = after_revision or 0
        stale = known is None or state is None or known.page.last_revision != state.last.rev
        if known is None or stale or seen > known.page.last_revision:
            known = await self._know(record)
            if state is not None and known.page.settled and known.page.last_revision == state.last.rev:
                room.known = known
        page = _part(known.page, after_revision, limit)
        if page is None:
            page = await self._page(record.session_id, after_revision, limit)
        logged = dict(state.streams) if state is not None else {}
        floors: dict[str, int] = dict.fromkeys(logged, NEVER)  # ended since the cut, unless it is still open
        streams = []
        for row in page.open_streams:
            # What SQL has saved of it does not say with which chunk it ends.
            text = logged.get(row.message_id) if state is not None else self.local_text(row.message_id)
            content, index = (text.text, text.next_index) if text else ("", 0)
            floors[row.message_id] = index
            streams.append({"message_id": row.message_id, "content": content, "next_index": index})
        last_revision = page.last_revision
        reply = self._reply(room, known, role, cut, state, last_revision) | {
            "messages": page.messages,
            "has_more": page.has_more,
            "last_seq": page.last_seq,
            "streams": streams,
        }
        reply["session"] |= {"last_seq": page.last_seq, "last_revision": last_revision}
        seat = Seat(cut.pos if cut else 0, last_revision, floors or None, page.last_seq)
        return Snapshot(reply, seat)

    async def recovered(
        self, room: Room, record: SessionRecord, role: SessionRole, cut: Cut, floor: Seat, state: RoomState
    ) -> Snapshot:
        """A recovered reader needs no messages: they follow as events."""
        known = room.known or await self._know(record)
        reply = self._reply(room, known, role, cut, state, floor.rev) | {
            "messages": [],
            "has_more": False,
            "last_seq": max(record.last_seq, state.last.seq),
            "streams": [],
        }
        return Snapshot(reply, floor)

    def _reply(
        self,
        room: Room,
        known: Known,
        role: SessionRole,
        cut: Cut | None,
        state: RoomState | None,
        last_revision: int,
    ) -> dict[str, Any]:
        record = known.record
        if room.live is not None:
            last_activity = when(room.live.expires_at - room.live.ttl_hours * 3600.0)
            record = msgspec.structs.replace(
                record,
                expires_at=when(room.live.expires_at),
                last_activity=max(record.last_activity, last_activity),
            )
        present = {p.user_id: p.role for p in known.participants.values() if p.removed_at is None}
        logged = state.last.rev if state is not None else 0
        return {
            "session": self._sessions.view(record, role, known.agent, present),
            "last_revision": last_revision,
            "position": recovery.format_position(cut, last_revision, logged) if cut else "-",
            "read_marks": known.read_marks,
        }

    async def _know(self, record: SessionRecord) -> Known:
        name = record.session_id
        page = await self._page(name, None, PAGE)
        # The record was read before the page; what counts messages in it must not lag behind.
        fresh = record if record.last_revision == page.last_revision else await self._sessions.existing(name)
        return Known(
            fresh,
            await self._sessions.agent_of(fresh),
            await self._sessions.everyone(name),
            await self._sessions.read_marks(name),
            page,
            self._clock(),
        )

    async def forget(self, rooms: Mapping[str, Room]) -> None:
        """What was read for a herd that has passed."""
        oldest = self._clock() - KEPT
        for room in rooms.values():
            if room.known is not None and room.known.at < oldest:
                room.known = None

    async def _page(self, name: str, after_revision: int | None, limit: int) -> Page:
        for _ in range(TRIES):
            messages, has_more, last_seq, last_revision = await self._messages.snapshot(
                name, after_revision, limit
            )
            rows = await self._store.open_streams(name)
            _, _, now_at = await self._store.counts(name)
            if now_at == last_revision:
                break
        return Page(messages, has_more, last_seq, last_revision, rows, now_at == last_revision)


def _part(page: Page, after_revision: int | None, limit: int) -> Page | None:
    """What is asked for, if the page holds it."""
    if after_revision is not None and after_revision >= page.last_revision:
        return Page([], False, page.last_seq, page.last_revision, page.open_streams, page.settled)
    if after_revision is not None:
        if page.has_more:
            return None
        messages = sorted((m for m in page.messages if m.revision > after_revision), key=_revision)
        more = len(messages) > limit
        return Page(
            messages[:limit], more, page.last_seq, page.last_revision, page.open_streams, page.settled
        )
    if limit > PAGE and page.has_more:
        return None
    messages = page.messages[-limit:]
    more = page.has_more or len(messages) < len(page.messages)
    return Page(messages, more, page.last_seq, page.last_revision, page.open_streams, page.settled)


def _revision(message: Message) -> int:
    return message.revision
