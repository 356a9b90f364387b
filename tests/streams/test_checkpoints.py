"""Open texts are saved in steps, and those of an account that has many of them by turns."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from events.leases import EACH, TOGETHER, Leases
from events.stream import Stream

TEXT = 200_000


class Saved:
    """What the database was given: (message id, length of its text), by statement."""

    def __init__(self) -> None:
        self.statements: list[list[tuple[str, int]]] = []

    async def checkpoint(self, batch: Sequence[tuple[str, str, Any]]) -> set[str]:
        self.statements.append([(name, len(text)) for name, text, _ in batch])
        await asyncio.sleep(0)
        return {name for name, *_ in batch}

    async def renew(self, leases: dict[str, float]) -> None: ...

    def rest(self, stream: Stream, now: float) -> None: ...

    def taken(self) -> list[str]:
        """Since it was asked last."""
        statements, self.statements = self.statements, []
        assert all(sum(size for _, size in each[:-1]) < TOGETHER for each in statements)
        return [name for each in statements for name, _ in each]


def streams_of(account: str, count: int) -> list[Stream]:
    made = []
    for number in range(count):
        now = datetime.now(UTC)
        record: Any = SimpleNamespace(
            session_id="s", message_id=f"{account}-{number}", revision=1, created_at=now, interrupts=None
        )
        made.append(stream := Stream(record, ("user", account), 0.0, account))
        add(stream, "x" * TEXT)
    return made


def add(stream: Stream, text: str) -> None:
    stream.pieces.append(text)
    stream.bytes += len(text)
    stream.logged = len(stream.pieces)


def leases_of(store: Saved, streams: list[Stream]) -> Leases:
    by_id = {stream.message_id: stream for stream in streams}
    opened: Any = SimpleNamespace(open=by_id, stopping=False, stop_waiting=lambda: None)
    log: Any = store
    delivery: Any = SimpleNamespace(live=True)
    ticks = iter(range(10**6))
    return Leases(
        opened,
        log,
        log,
        log,
        delivery,
        lambda: 0.0,
        lambda: float(next(ticks)) / 1e6,
        log,
        lease=60.0,
        held=60.0,
    )


async def test_one_accounts_many_texts_are_saved_by_turns() -> None:
    store = Saved()
    mallory, bob = streams_of("mallory", 20), streams_of("bob", 2)
    leases = leases_of(store, [*mallory, *bob])
    seen: set[str] = set()
    for _ in range(20 * TEXT // EACH + 1):
        await leases.tick()
        names = store.taken()
        assert {"bob-0", "bob-1"} <= set(names)
        assert sum(name.startswith("mallory") for name in names) * TEXT < EACH + TEXT
        seen.update(names)
        for stream in (*mallory, *bob):
            add(stream, "y")
    assert len(seen) == 22
    # All of them at the end, and nothing twice.
    await leases.finish(0.0)
    assert len(store.taken()) == 22
    await leases.tick()
    assert store.taken() == []
