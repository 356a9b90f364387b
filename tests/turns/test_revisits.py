"""When answers that cannot go on yet are looked at again."""

import asyncio

import pytest

from events import revisits
from events.revisits import PER_SECOND, Revisits


def nothing() -> None: ...


async def test_the_more_one_has_the_later_each_is_looked_at() -> None:
    """A hundred that looked each second kept a node busy."""
    looks = Revisits()
    waits = [looks.later("agent", "alice", 1.0, nothing) for _ in range(10 * PER_SECOND)]
    assert waits[:PER_SECOND] == [1.0] * PER_SECOND
    assert waits[PER_SECOND:] == sorted(waits[PER_SECOND:])
    assert waits[-1] > 9.9
    assert looks.later("another agent", "alice", 1.0, nothing) == 1.0


async def test_nobody_waits_for_what_another_has() -> None:
    """Where one user has thousands of an agent's, another's was looked at minutes later."""
    looks = Revisits()
    for _ in range(100 * PER_SECOND):
        looks.later("agent", "alice", 1.0, nothing)
    assert looks.later("agent", "bob", 1.0, nothing) == 1.0
    # But they share its looks: of alice's there are half as many from here on.
    assert looks.later("agent", "alice", 1.0, nothing) == 200.0


async def test_what_was_looked_at_is_counted_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisits, "SOON", 0.0)
    looks, seen = Revisits(), asyncio.Event()
    looks.later("agent", "alice", 0.0, seen.set)
    await seen.wait()
    assert looks.later("agent", "alice", 0.0, nothing) == 0.0
