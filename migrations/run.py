"""Bring a database to a revision. Callable from a command line: each call runs an event loop of its own."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from storage.url import dialect_of, plain, sqlite_file

HERE = Path(__file__).parent


def async_url(url: str) -> str:
    """The address with the driver that SQLAlchemy's async engine needs; an SQLite file's folder is made."""
    if dialect_of(url) == "postgresql":
        return plain(url, "asyncpg")
    sqlite_file(url).parent.mkdir(parents=True, exist_ok=True)
    return plain(url, "aiosqlite")


def configuration(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = async_url(url)
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Not inside a running event loop (there: `asyncio.to_thread(upgrade, url)`), like all three."""
    command.upgrade(configuration(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    command.downgrade(configuration(url), revision)


def current(url: str) -> str | None:
    """The revision the database is at; None for an empty one."""
    return asyncio.run(_current(async_url(url)))


async def _current(url: str) -> str | None:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(
                lambda sync: MigrationContext.configure(sync).get_current_revision()
            )
    finally:
        await engine.dispose()
