"""The migrations: up, down, and that they make what the tables say."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from migrations.run import async_url, current, downgrade, upgrade
from storage.tables import is_ours, metadata
from tests.support.server import ROOT
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
    assert await ask(database_url, _differences) == []


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


def test_sessions_keep_their_agents_while_the_table_of_agents_is_written_anew(empty_url: str) -> None:
    upgrade(empty_url, "0007")
    asyncio.run(_run(empty_url, _AGENTS_AND_A_SESSION))
    for there, kinds in ((None, ["echo", "other"]), ("0007", ["echo", "remote"])):
        if there is None:
            upgrade(empty_url)
            asyncio.run(_run(empty_url, ["UPDATE agents SET kind = 'other' WHERE id = 3"]))
        else:
            downgrade(empty_url, there)
        rows = asyncio.run(_rows(empty_url, "SELECT kind FROM agents ORDER BY id"))
        assert [row[0] for row in rows] == kinds
        assert asyncio.run(_rows(empty_url, "SELECT agent_id FROM chat_sessions")) == [(3,)]
    upgrade(empty_url)
    asyncio.run(_run(empty_url, [_AGENT.format("after")]))
    found = asyncio.run(_rows(empty_url, "SELECT id FROM agents WHERE name = 'after'"))
    assert found == [(5,)], "the id of a deleted agent is not given to another one"


def test_messages_of_before_are_as_they_were(empty_url: str) -> None:
    upgrade(empty_url, "0009")
    asyncio.run(_run(empty_url, [*_AGENTS_AND_A_SESSION, _MESSAGE]))
    before = asyncio.run(_rows(empty_url, "SELECT * FROM chat_messages"))
    upgrade(empty_url)
    after = asyncio.run(_rows(empty_url, "SELECT * FROM chat_messages"))
    assert after == [(*row, *[None] * 4) for row in before]
    downgrade(empty_url, "0009")
    assert asyncio.run(_rows(empty_url, "SELECT * FROM chat_messages")) == before


def test_a_large_table_is_made_ready_before(postgres: Postgres) -> None:
    """As docs/operations.md says; the migrations then find what they would make, and look at no row."""
    text = (ROOT / "docs" / "operations.md").read_text()
    [made] = re.findall(r"^ALTER TABLE chat_messages .*?(?=^```)", text, re.M | re.S)
    name = postgres.create_database()
    url = postgres.url(name)
    upgrade(url, "0013")
    asyncio.run(_run(url, [*_AGENTS_AND_A_SESSION, _MESSAGE]))
    for statement in made.split(";\n"):
        postgres.sql(statement, name)
    upgrade(url)
    columns = "SELECT convalidated FROM pg_constraint WHERE conname = 'chat_messages_status_check'"
    assert asyncio.run(_rows(url, columns)) == [(False,)]
    asyncio.run(_run(url, ["UPDATE chat_messages SET status = 'waiting'"]))
    with pytest.raises(IntegrityError):
        asyncio.run(_run(url, ["UPDATE chat_messages SET status = 'asleep'"]))
    asyncio.run(_run(url, ["ALTER TABLE chat_messages VALIDATE CONSTRAINT chat_messages_status_check"]))
    assert asyncio.run(ask(url, _differences)) == []
    postgres.drop_database(name)


def test_turns_and_people_of_before_are_as_they_were(empty_url: str) -> None:
    """And back: nobody there goes on with what waits, and nobody is without a name."""
    upgrade(empty_url, "0011")
    turns = [
        f"INSERT INTO chat_turns VALUES ('{state}', 's', {seq}, 3, 'queue', '{state}', 1, 'm', NULL, NULL)"
        for seq, state in enumerate(("queued", "running", "done"), 1)
    ]
    people = ["INSERT INTO people VALUES ('u', 'Ada')"]
    asyncio.run(_run(empty_url, [*_AGENTS_AND_A_SESSION, _MESSAGE, *turns, *people]))
    before = asyncio.run(_rows(empty_url, _TURNS))
    upgrade(empty_url)
    assert asyncio.run(_rows(empty_url, _TURNS)) == [(*row, False, 0, None, None, None, 0) for row in before]
    assert asyncio.run(_rows(empty_url, "SELECT * FROM people")) == [("u", "Ada", None, None)]
    later = [
        "UPDATE chat_turns SET state = 'waiting' WHERE state = 'running'",
        "UPDATE chat_messages SET status = 'waiting'",
        "INSERT INTO people (user_id) VALUES ('v')",
    ]
    asyncio.run(_run(empty_url, later))
    downgrade(empty_url, "0011")
    states = [(row[0], row[5], row[8]) for row in asyncio.run(_rows(empty_url, _TURNS))]
    assert states == [("done", "done", None), ("queued", "queued", None), ("running", "done", "cancelled")]
    assert asyncio.run(_rows(empty_url, "SELECT status FROM chat_messages")) == [("cancelled",)]
    assert asyncio.run(_rows(empty_url, "SELECT * FROM people")) == [("u", "Ada")]


def _differences(connection: Connection) -> Any:
    return compare_metadata(MigrationContext.configure(connection, opts={"include_name": is_ours}), metadata)


_TURNS = "SELECT * FROM chat_turns ORDER BY question_id"
_MESSAGE = """
INSERT INTO chat_messages (session_id, message_id, seq, revision, sender_type, sender_id, message_type,
    status, content, metadata, created_at)
VALUES ('s', 'm', 1, 1, 'user', 'u', 'text', 'complete', 'hello', '{}', '2026-01-01')
"""
_AGENT = "INSERT INTO agents (name, kind, config) VALUES ('{}', 'remote', '{{}}')"
_AGENTS_AND_A_SESSION = [
    _AGENT.format("third"),
    _AGENT.format("fourth"),
    "DELETE FROM agents WHERE name = 'fourth'",
    """
    INSERT INTO chat_sessions (session_id, trace_id, user_id, agent_id, status, metadata, ttl_hours,
        created_at, updated_at, last_activity, expires_at)
    VALUES ('s', 't', 'u', 3, 'active', '{}', 1, '2026-01-01', '2026-01-01', '2026-01-01', '2026-01-01')
    """,
]


async def _rows(url: str, query: str) -> list[tuple[Any, ...]]:
    def asked(connection: Connection) -> Any:
        return [tuple(row) for row in connection.execute(text(query))]

    found: list[tuple[Any, ...]] = await ask(url, asked)
    return found


async def _run(url: str, statements: list[str]) -> None:
    engine = create_async_engine(async_url(url))
    try:
        async with engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()
