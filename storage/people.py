"""Users' names; and the names and titles that a search result shows."""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from storage.database import Database
from storage.statement import Statement, among
from storage.tables import agents, people, sessions

_PUT = Statement(
    sa.text(
        "INSERT INTO people (user_id, name) VALUES (:user_id, :name) "
        "ON CONFLICT (user_id) DO UPDATE SET name = excluded.name"
    ).bindparams(sa.bindparam("user_id", type_=sa.String), sa.bindparam("name", type_=sa.String))
)
_ERASE = Statement(people.delete().where(people.c.user_id == sa.bindparam("user_id")))
_AGENT = sa.cast(agents.c.id, sa.Text)
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


class People:
    """Every method raises StorageUnavailable. `user_id` is a key, as participants have it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, names: Mapping[str, str]) -> None:
        rows = [{"user_id": user_id, "name": names[user_id]} for user_id in sorted(names)]
        await self._db.transact(lambda connection: connection.execute_many(_PUT, rows))

    async def erase(self, user_id: str) -> None:
        await self._db.execute(_ERASE, user_id=user_id)

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
