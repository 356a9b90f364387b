"""Read marks that no log took are kept, and told when it can be."""

import asyncio
from typing import Any

import pytest

from events.hub import Hub
from events.logwriter import LogWriter
from events.observer import Observer
from events.tasks import Tasks
from events.views import read_event
from storage.errors import StorageUnavailable
from storage.interfaces import Appended, Event, Mark


class Alone:
    """A node without members, whose bus is live."""

    live = True

    def __init__(self) -> None:
        self.hub = Hub()

    def lost(self) -> None:
        raise AssertionError("it is the database that is away")

    def deliver(self, *_: Any) -> None:
        raise AssertionError("there is nobody")


class Log:
    """One that is gone until somebody opens it."""

    def __init__(self) -> None:
        self.there = False
        self.took: list[Event] = []

    def append(self, room: str, events: list[Event], announced: bool = False) -> Appended:
        if self.there:
            self.took += events
        return Appended("ok" if self.there else "nobody", Mark(0, 0))

    async def open(self, room: str, mark: Mark) -> None:
        self.there = True


class Database:
    there = False

    async def mark(self, room: str) -> Mark:
        if not self.there:
            raise StorageUnavailable
        return Mark(0, 0)


@pytest.mark.parametrize("seqs", [(1, 2), (2, 1)])
async def test_a_mark_whose_log_is_gone_while_the_database_is_away(seqs: tuple[int, ...]) -> None:
    log, database, tasks = Log(), Database(), Tasks("test")
    writer: Any = LogWriter(Alone(), log, database, Observer(), lambda: 0.0, tasks)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        for seq in seqs:
            await writer.log_anew(read_event("A", "alice", seq, 0.0))
        database.there = True
        writer.log_again()
        await tasks.drain()
    assert [event.id for event in log.took] == ["read:alice:2"]
    assert not writer.unlogged
