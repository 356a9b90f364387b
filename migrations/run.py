"""Bring a database to a revision. Callable from a command line: each call runs an event loop of its own."""

import asyncio
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from storage import private
from storage.address import parse
from storage.connecting import Connector
from storage.url import dialect_of, plain, sqlite_file

HERE = Path(__file__).parent
#: Seconds until a server that does not answer counts as away.
LIMIT = 10.0


def async_url(url: str) -> str:
    """The address with the driver that SQLAlchemy's async engine needs; an SQLite file is made."""
    if dialect_of(url) == "postgresql":
        return plain(url, "asyncpg")
    private.database(sqlite_file(url))
    return plain(url, "aiosqlite")


def async_engine(url: str) -> AsyncEngine:
    """Connections as `storage.database` opens them."""
    if dialect_of(url) == "sqlite":
        return create_async_engine(async_url(url))
    address = parse(url)
    connector = Connector(address, limit=LIMIT)

    def connect() -> Any:
        # Behind a pooler only statements without a name are sure to be one's own.
        unnamed: Any = {"prepared_statement_name_func": str} if address.pooled else {}
        return engine.sync_engine.dialect.dbapi.connect(  # type: ignore[union-attr]
            async_creator_fn=connector.connect,
            prepared_statement_cache_size=0 if address.pooled else 100,
            **unnamed,
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        creator=connect,
        poolclass=NullPool,
        # Whoever waited for the lock sees what its last holder has migrated.
        isolation_level="READ COMMITTED",
    )
    return engine


def configuration(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Not inside a running event loop (there: `asyncio.to_thread(upgrade, url)`), like all three."""
    command.upgrade(configuration(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    command.downgrade(configuration(url), revision)


def current(url: str) -> str | None:
    """The revision the database is at; None for an empty one."""
    return asyncio.run(_current(url))


async def _current(url: str) -> str | None:
    engine = async_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(
                lambda sync: MigrationContext.configure(sync).get_current_revision()
            )
    finally:
        await engine.dispose()
