"""What a node knows of revoked tokens while it reads the table."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from events.access import Caller
from events.errors import Unavailable
from server.identity.revoked import FRESH, OVERLAP, WHOLE, Revoked
from storage.revocations import Revocations
from tests.server.test_tokens import Clock

ALICE, AGENT = Caller("user", "alice"), Caller("agent", "7")


class Table:
    """A table whose reading takes as long as `gate` is closed: it finds what was there when it began."""

    def __init__(self) -> None:
        self.rows: dict[str, datetime] = {}
        self.asked: list[datetime | None] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def put(self, key: str, not_before: datetime) -> None:
        self.rows[key] = not_before

    async def all(self, since: datetime | None = None) -> dict[str, datetime]:
        self.asked.append(since)
        found = {key: at for key, at in self.rows.items() if since is None or at >= since}
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
    clock.now += 1
    assert not by.refuses(Caller("agent", "7", issued_at=clock.now))
    assert by.lately() == ["agent:7"]
    by.note("alice", clock.now)  # somebody said so, and it is not there
    clock.now += 1
    await by.refresh()
    assert not by.refuses(ALICE)
    clock.now += FRESH
    assert by.lately() == []
    assert by.refuses(AGENT), "for good"


async def test_the_table_is_read_whole_now_and_then_only() -> None:
    table, clock = Table(), Clock()
    by = revoked(table, clock)
    table.rows["agent:7"] = datetime.fromtimestamp(clock.now - 10 * OVERLAP, UTC)
    for wait in (0.0, 5.0, 5.0):
        clock.now += wait
        await by.refresh()
        assert by.refuses(AGENT), "what was read once is known"
    assert table.asked == [
        None,
        *(datetime.fromtimestamp(clock.now - 5.0 * n - OVERLAP, UTC) for n in (1, 0)),
    ]
    table.rows.clear()
    clock.now += WHOLE
    await by.refresh()
    assert not by.refuses(AGENT)


async def test_a_token_from_ahead_of_the_clock_does_not_outlive_its_revocation() -> None:
    table, clock = Table(), Clock()
    by, other = revoked(table, clock), revoked(table, clock)
    await by.refresh()
    await other.refresh()
    ahead = Caller("user", "alice", issued_at=clock.now + 4)
    assert not by.refuses(ahead)
    clock.now += 1
    await by.revoke("alice")
    await other.refresh()
    for node in (by, other):
        assert node.refuses(ahead)
        assert node.refuses(Caller("user", "alice", issued_at=clock.now + 4)), "it may have been made before"
    clock.now += 60
    assert by.refuses(ahead)
    assert other.refuses(ahead)
    assert not by.refuses(Caller("user", "alice", issued_at=clock.now)), "a newer one is good"


async def test_whoever_let_it_in_tells_the_others() -> None:
    """It was let in by a node that only hears of the revocation."""
    table, clock = Table(), Clock()
    by, other = revoked(table, clock), revoked(table, clock)
    await by.refresh()
    await other.refresh()
    ahead = Caller("user", "alice", issued_at=clock.now + 4)
    assert not other.refuses(ahead)
    other.note("alice", await by.revoke("alice"))
    await other.refresh()
    await by.refresh()
    clock.now += 60
    assert by.refuses(ahead)
    assert other.refuses(ahead)
