"""The migrations: up, down, and that they make what the tables say."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from migrations.run import async_url, current, downgrade, upgrade
from storage.tables import is_ours, metadata
from tests.support.services import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/folder/empty.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database()
    request.addfinalizer(lambda: postgres.drop_database(name))
    return postgres.url(name)


async def ask(url: str, question: Any) -> Any:
    engine = create_async_engine(async_url(url))
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(question)
    finally:
        await engine.dispose()


def test_up_and_down_and_up_again(empty_url: str) -> None:
    assert current(empty_url) is None
    for _ in range(2):
        upgrade(empty_url)
        assert current(empty_url) is not None
        upgrade(empty_url)
        downgrade(empty_url)
        assert current(empty_url) is None


async def test_going_down_leaves_nothing(database_url: str) -> None:
    await asyncio.to_thread(downgrade, database_url)
    assert await ask(database_url, lambda c: inspect(c).get_table_names()) == ["alembic_version"]


async def test_tables_and_migrations_agree(database_url: str) -> None:
    def differences(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"include_name": is_ours})
        return compare_metadata(context, metadata)

    assert await ask(database_url, differences) == []


async def test_checks_and_foreign_keys_are_in_the_database(database_url: str) -> None:
    """What `compare_metadata` does not look at."""

    def constraints(connection: Connection) -> dict[str, tuple[set[str], set[Any]]]:
        found = inspect(connection)
        return {
            table: (
                {str(check["name"]) for check in found.get_check_constraints(table)},
                {
                    (tuple(key["constrained_columns"]), key["referred_table"], key["options"].get("ondelete"))
                    for key in found.get_foreign_keys(table)
                },
            )
            for table in metadata.tables
        }

    expected = {
        name: (
            {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)},
            {
                (tuple(key.column_keys), key.referred_table.name, key.ondelete)
                for key in table.foreign_key_constraints
            },
        )
        for name, table in metadata.tables.items()
    }
    assert await ask(database_url, constraints) == expected
