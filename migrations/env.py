"""Alembic's environment: runs the revisions over one async connection. Knows the tables, nothing else."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from migrations.run import async_engine
from storage.tables import is_ours, metadata

#: Any number that nobody else locks: nodes that start together migrate one after the other.
LOCK = 7_207_110_319


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite alters a table by writing it anew.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        include_name=is_ours,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()


async def main(url: str) -> None:
    engine = async_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
    finally:
        await engine.dispose()


given = context.config.attributes.get("url")
asyncio.run(
    main(given or context.get_x_argument(as_dictionary=True).get("url") or os.environ["DATABASE_URL"])
)
