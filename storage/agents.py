"""Queries on agents."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from storage.database import Database
from storage.records import AgentLine, AgentRecord
from storage.rows import AGENT
from storage.statement import Statement
from storage.tables import agents
from storage.types import Document

_LIST = Statement(sa.select(*AGENT).order_by(agents.c.id))
_LINES = {
    # Text, whatever the column's type: it is passed on, and not taken apart.
    with_config: Statement(
        sa.select(
            *(column for column in AGENT if column.name != "config"),
            sa.cast(agents.c.config, sa.Text) if with_config else sa.null(),
        ).order_by(agents.c.id)
    )
    for with_config in (False, True)
}
_GET = Statement(sa.select(*AGENT).where(agents.c.id == sa.bindparam("id")))
_NAMED = Statement(
    sa.select(agents.c.id)
    .where(agents.c.name == sa.bindparam("name", type_=sa.String), agents.c.is_active)
    .order_by(agents.c.id)
    .limit(2)
)
_WHEN_BUSY = Statement(sa.select(agents.c.id, agents.c.when_busy))
_NEW = ("name", "avatar_url", "kind", "config", "is_active", "when_busy")
_CREATE = Statement(agents.insert().values({name: sa.bindparam(name) for name in _NEW}).returning(*AGENT))
_DELETE = Statement(agents.delete().where(agents.c.id == sa.bindparam("id")))
_ENSURE = Statement(
    sa.text("""
INSERT INTO agents (id, name, avatar_url, kind, config, is_active)
VALUES (:id, :name, :avatar_url, :kind, :config, :is_active)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, avatar_url = excluded.avatar_url,
    kind = excluded.kind, config = excluded.config, is_active = excluded.is_active
""").bindparams(
        sa.bindparam("id", type_=sa.Integer),
        sa.bindparam("name", type_=sa.String),
        sa.bindparam("avatar_url", type_=sa.String),
        sa.bindparam("kind", type_=sa.String),
        sa.bindparam("config", type_=Document),
        sa.bindparam("is_active", type_=sa.Boolean),
    )
)


@lru_cache
def _update(names: frozenset[str]) -> Statement:
    return Statement(
        agents.update()
        .where(agents.c.id == sa.bindparam("which"))
        .values({name: sa.bindparam(name, type_=agents.c[name].type) for name in names})
        .returning(*AGENT)
    )


class Agents:
    """Every method raises StorageUnavailable. Agent 1, "Echo", is there from the start."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(self) -> list[AgentRecord]:
        """All of them, also those that are not active, by id."""
        return [AgentRecord(*row) for row in await self._db.fetch_all(_LIST)]

    async def lines(self, *, with_config: bool) -> Sequence[AgentLine]:
        """The same, with each configuration as it is written, or without: all together have no bound."""
        rows = await self._db.fetch_all(_LINES[with_config])
        return [AgentLine(*row) for row in rows]

    async def when_busy(self) -> dict[int, str]:
        """What each of them does with a question that comes while it answers another one."""
        return {row[0]: row[1] for row in await self._db.fetch_all(_WHEN_BUSY)}

    async def get(self, agent_id: int) -> AgentRecord | None:
        if not 0 < agent_id < 2**31:
            return None
        row = await self._db.fetch_one(_GET, id=agent_id)
        return None if row is None else AgentRecord(*row)

    async def named(self, name: str) -> Sequence[int]:
        """The first two of those that are active and have this name."""
        return [row[0] for row in await self._db.fetch_all(_NAMED, name=name)]

    async def create(
        self,
        *,
        name: str,
        kind: str,
        avatar_url: str | None = None,
        config: dict[str, Any] | None = None,
        is_active: bool = True,
        when_busy: str = "queue",
    ) -> AgentRecord:
        """With a new id, 3 or above, that no agent had before."""
        rows = await self._db.change(
            _CREATE,
            name=name,
            kind=kind,
            avatar_url=avatar_url,
            config=config or {},
            is_active=is_active,
            when_busy=when_busy,
        )
        return AgentRecord(*rows[0])

    async def update(self, agent_id: int, **changes: Any) -> AgentRecord | None:
        """Change the named columns (of `AgentRecord`, but for `id`). None: no such agent."""
        if not changes:
            return await self.get(agent_id)
        rows = await self._db.change(_update(frozenset(changes)), which=agent_id, **changes)
        return AgentRecord(*rows[0]) if rows else None

    async def delete(self, agent_id: int) -> bool:
        """Its sessions stay, without an agent."""
        return await self._db.execute(_DELETE, id=agent_id) > 0

    async def ensure(
        self,
        agent_id: int,
        *,
        name: str,
        kind: str,
        avatar_url: str | None = None,
        config: dict[str, Any] | None = None,
        is_active: bool = True,
    ) -> None:
        """Make this agent be there, as given."""
        await self._db.execute(
            _ENSURE,
            id=agent_id,
            name=name,
            avatar_url=avatar_url,
            kind=kind,
            config=config or {},
            is_active=is_active,
        )
