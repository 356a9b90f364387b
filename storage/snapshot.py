"""Reads all that the reply to `join` says of a session, as of one moment."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from sys import intern

import sqlalchemy as sa
from msgspec import Struct, structs

from storage.batched_select import BatchedSelect
from storage.database import Database, Row
from storage.forks import FORKS_IN, tree_from
from storage.messages import OPEN_IN, cut_page, page_select
from storage.paths import Kin, Paths
from storage.records import (
    AgentRecord,
    MessageRecord,
    OpenStream,
    ParticipantRecord,
    Person,
    SessionRecord,
    TurnRecord,
)
from storage.rows import AGENT, IN_LINE, IS_OPEN, PARTICIPANT, SESSION, TURN
from storage.tables import agents, participants, people, sessions, turns
from storage.tree import Tree
from storage.unanswered import UNANSWERED_IN, Unanswered

_ID = sa.bindparam("session_id", type_=sa.String)
_NAMED = (people.c.name, people.c.avatar_url)
_SESSION = (
    sa.select(*SESSION, *_NAMED)
    .select_from(sessions.outerjoin(people, people.c.user_id == sessions.c.user_id))
    .where(sessions.c.session_id == _ID, sessions.c.status != "deleted")
)
_AGENT = sa.select(*AGENT).where(
    agents.c.id == sa.select(sessions.c.agent_id).where(sessions.c.session_id == _ID).scalar_subquery()
)
_PEOPLE = (
    sa.select(*PARTICIPANT, *_NAMED)
    .select_from(participants.outerjoin(people, people.c.user_id == participants.c.user_id))
    .where(participants.c.session_id == _ID)
)
_OF_IT = (_SESSION, _AGENT, _PEOPLE)
_TURNS = sa.select(*TURN).where(turns.c.session_id == _ID, IS_OPEN).order_by(*IN_LINE)


class SessionSnapshot(Struct, frozen=True):
    """`standings` of participants by user id; read marks also of those who only read. `messages` of the path,
    oldest first, or in order of revision where it was asked for what changed; `has_more` of them. `persons`:
    the owner and others who take part, took part or have read, where they have a name or a picture. `kin` by
    message_id, where there are branches. `unanswered`: the newest, also of those that are not in the page."""

    session: SessionRecord
    agent: AgentRecord | None
    standings: dict[str, str]
    read_marks: dict[str, int]
    messages: list[MessageRecord]
    has_more: bool
    open_streams: list[OpenStream]
    open_turns: list[TurnRecord]
    persons: dict[str, Person]
    unanswered: list[Unanswered]
    kin: Mapping[str, Kin] = {}


@lru_cache
def _all(changes: bool) -> BatchedSelect:
    if changes:
        page = page_select(frozenset({"after_revision"}), "revision", descending=False)
        return BatchedSelect(*_OF_IT, page, OPEN_IN, _TURNS, UNANSWERED_IN, each="session_id")
    page = page_select(frozenset(), "seq", descending=True)
    return BatchedSelect(*_OF_IT, page, OPEN_IN, _TURNS, UNANSWERED_IN, FORKS_IN, each="session_id")


class SnapshotReader:
    """Raises StorageUnavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._paths = Paths(db)
        _all(False).statement.on(db.dialect)  # takes 10 ms, which nobody who joins should wait for

    async def read(
        self, session_id: str, after_revision: int | None, limit: int, max_bytes: int
    ) -> SessionSnapshot | None:
        """The newest messages, or those with a higher revision: at most `limit` and `max_bytes` of JSON, at
        least one. None: there is no such session, or it awaits its purge."""
        return (await self.read_all([session_id], after_revision, limit, max_bytes)).get(session_id)

    async def read_all(
        self, session_ids: Sequence[str], after_revision: int | None, limit: int, max_bytes: int
    ) -> dict[str, SessionSnapshot]:
        """The same of many."""
        changes = after_revision is not None
        found = await _all(changes).fetch(
            self._db,
            session_ids,
            after_revision=min(after_revision or 0, 2**62),
            rows=limit + 1,
            max_bytes=max_bytes,
        )
        made = {
            session_id: self._made(rows, changes, limit, max_bytes)
            for session_id, rows in found.items()
            if rows[0]
        }
        if not changes:
            for session_id, each in made.items():
                if each.session.head_seq is not None:
                    tree = tree_from(found[session_id][-1], each.session.last_seq)
                    made[session_id] = await self._on_path(each, tree, limit, max_bytes)
        return made

    async def _on_path(
        self, read: SessionSnapshot, tree: Tree, limit: int, max_bytes: int
    ) -> SessionSnapshot:
        """With the messages of the path to the head that was read. They may be newer than the rest."""
        page = await self._paths.page(read.session, tree, limit=limit, max_bytes=max_bytes)
        return structs.replace(read, messages=page.messages, has_more=page.has_more, kin=page.kin)

    @staticmethod
    def _made(rows: Sequence[list[Row]], changes: bool, limit: int, max_bytes: int) -> SessionSnapshot:
        found, agent, those, page, streams, open_turns, unanswered = rows[:7]
        *owner, name, avatar_url = found[0]
        session = SessionRecord(*owner)
        if session.head_seq is not None and not changes:
            page = []  # another one is read in its place
        records, more = cut_page(page, limit, max_bytes)
        if not changes:
            records.reverse()
        persons = {} if name is avatar_url is None else {session.user_id: Person(name, avatar_url)}
        everyone = []
        for *row, name, avatar_url in those:
            everyone.append(one := ParticipantRecord(*row))
            if name is not None or avatar_url is not None:
                persons[one.user_id] = Person(name, avatar_url)
        return SessionSnapshot(
            session,
            AgentRecord(*agent[0]) if agent else None,
            # Kept while the session is live: of what all rows say alike there is one object.
            {p.user_id: intern(p.standing) for p in everyone if p.joined_at is not None},
            {p.user_id: p.read_seq for p in everyone if p.removed_at is None and p.read_seq > 0},
            records,
            more,
            [OpenStream(*row) for row in streams],
            [TurnRecord(*row) for row in open_turns],
            persons,
            [Unanswered(*row) for row in unanswered],
        )
