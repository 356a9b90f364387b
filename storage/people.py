"""What people are called, and their pictures; and the names and titles that a search result shows."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa

from storage.database import Database
from storage.records import Person
from storage.statement import Statement, among
from storage.tables import agents, people, sessions
from storage.types import Time

_PUT = Statement(
    sa.text(
        "INSERT INTO people (user_id, name, avatar_url, seen) VALUES (:user_id, :name, :avatar_url, :seen) "
        "ON CONFLICT (user_id) DO UPDATE "
        "SET name = excluded.name, avatar_url = excluded.avatar_url, seen = excluded.seen"
    ).bindparams(
        sa.bindparam("user_id", type_=sa.String),
        sa.bindparam("name", type_=sa.String),
        sa.bindparam("avatar_url", type_=sa.String),
        sa.bindparam("seen", type_=Time),
    )
)
_ERASE = Statement(people.delete().where(people.c.user_id == sa.bindparam("user_id")))
_AGENT = sa.cast(agents.c.id, sa.Text)
_NAMED = sa.select(people.c.user_id, people.c.name, people.c.avatar_url).where(
    among(people.c.user_id, "user_ids")
)
_OF = Statement(_NAMED)
_NOTHING = (sa.literal_column("0", sa.BigInteger()),) * 3
#: What a page says of a session, and who its senders are: one question.
_COUNTS = Statement(
    sa.union_all(
        sa.select(
            sa.literal_column("'counts'"),
            sa.cast(sa.null(), sa.Text),
            sa.cast(sa.null(), sa.Text),
            sa.cast(sa.null(), sa.Text),
            sessions.c.message_count,
            sessions.c.last_seq,
            sessions.c.last_revision,
        ).where(sessions.c.session_id == sa.bindparam("session_id", type_=sa.String)),
        sa.select(
            sa.literal_column("'user'"), people.c.user_id, people.c.name, people.c.avatar_url, *_NOTHING
        ).where(among(people.c.user_id, "user_ids")),
        sa.select(sa.literal_column("'agent'"), _AGENT, agents.c.name, agents.c.avatar_url, *_NOTHING).where(
            among(agents.c.id, "agent_ids")
        ),
    )
)
_LABELS = Statement(
    sa.union_all(
        sa.select(sa.literal_column("'session'"), sessions.c.session_id, sessions.c.title).where(
            among(sessions.c.session_id, "session_ids")
        ),
        sa.select(sa.literal_column("'user'"), people.c.user_id, people.c.name).where(
            among(people.c.user_id, "user_ids")
        ),
        sa.select(sa.literal_column("'agent'"), _AGENT, agents.c.name).where(among(_AGENT, "agent_ids")),
    )
)

#: Of a session: its messages, with tombstones; `last_seq`; `last_revision`.
Counts = tuple[int, int, int]


class People:
    """Every method raises StorageUnavailable. `user_id` is a key, as participants have it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, persons: Mapping[str, Person], now: datetime) -> None:
        rows = [
            {"user_id": user_id, "name": person.name, "avatar_url": person.avatar_url, "seen": now}
            for user_id, person in sorted(persons.items())
        ]
        await self._db.transact(lambda connection: connection.execute_many(_PUT, rows))

    async def erase(self, user_id: str) -> None:
        await self._db.execute(_ERASE, user_id=user_id)

    async def of(self, user_ids: Iterable[str]) -> dict[str, Person]:
        """Those who have a name or a picture."""
        rows = await self._db.fetch_all(_OF, user_ids=list(user_ids))
        return {row[0]: Person(row[1], row[2]) for row in rows}

    async def counts(
        self, session_id: str, user_ids: Iterable[str], agent_ids: Iterable[int]
    ) -> tuple[Counts, dict[str, Person]]:
        """These of a session; and these users and agents, by key. A session that is missing has none."""
        rows = await self._db.fetch_all(
            _COUNTS, session_id=session_id, user_ids=list(user_ids), agent_ids=list(agent_ids)
        )
        counts: Counts = (0, 0, 0)
        found: dict[str, Person] = {}
        for kind, id, name, avatar_url, *counted in rows:
            if kind == "counts":
                counts = (counted[0], counted[1], counted[2])
            else:
                found[f"agent:{id}" if kind == "agent" else id] = Person(name, avatar_url)
        return counts, found

    async def labels(
        self, session_ids: Iterable[str], user_ids: Iterable[str], agent_ids: Iterable[str]
    ) -> dict[tuple[str, str], str | None]:
        """Titles and names by ("session" | "user" | "agent", id)."""
        given = {
            "session_ids": list(session_ids),
            "user_ids": list(user_ids),
            "agent_ids": list(agent_ids),
        }
        return {(row[0], row[1]): row[2] for row in await self._db.fetch_all(_LABELS, **given)}
