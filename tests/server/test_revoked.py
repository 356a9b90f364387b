"""What a node knows of revoked tokens while it reads the table."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from events.access import Caller
from events.errors import Unavailable
from server.revoked import FRESH, Revoked
from storage.revocations import Revocations
from tests.server.test_tokens import Clock

ALICE, AGENT = Caller("user", "alice"), Caller("agent", "7")


class Table:
    """A table whose reading takes as long as `gate` is closed: it finds what was there when it began."""

    def __init__(self) -> None:
        self.rows: dict[str, datetime] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def put(self, key: str, not_before: datetime) -> None:
        self.rows[key] = not_before

    async def all(self) -> dict[str, datetime]:
        found = dict(self.rows)
        await self.gate.wait()
        return found


def revoked(table: Table, clock: Clock) -> Revoked:
    return Revoked(cast(Revocations, cast(Any, table)), clock)


async def test_before_the_first_reading_nobody_can_tell() -> None:
    by = revoked(Table(), Clock())
    by.note("alice", 1.0)
    with pytest.raises(Unavailable):
        by.refuses(ALICE)
    await by.refresh()
    assert by.refuses(AGENT) is False


async def test_what_is_written_while_the_table_is_read_is_kept() -> None:
    table, clock = Table(), Clock()
    by = revoked(table, clock)
    await by.refresh()
    table.gate.clear()
    reading = asyncio.create_task(by.refresh())
    await asyncio.sleep(0)  # it has what was there
    await by.revoke(ALICE.key)
    table.gate.set()
    await reading
    assert by.refuses(ALICE)
    clock.now += 1
    await by.refresh()
    assert by.refuses(ALICE)


async def test_the_table_is_the_truth() -> None:
    table, clock = Table(), Clock()
    by = revoked(table, clock)
    await by.refresh()
    table.rows["agent:7"] = datetime.fromtimestamp(clock.now, UTC)
    await by.refresh()
    assert by.refuses(AGENT)
    assert not by.refuses(Caller("user", "7"))
    assert not by.refuses(Caller("agent", "7", issued_at=clock.now + 1))
    assert by.lately() == ["agent:7"]
    by.note("alice", clock.now)  # somebody said so, and it is not there
    clock.now += 1
    await by.refresh()
    assert not by.refuses(ALICE)
    clock.now += FRESH
    assert by.lately() == []
    assert by.refuses(AGENT), "for good"
