"""What waits in memory for an address that takes its time."""

from types import SimpleNamespace
from typing import Any

from events.webhooks.envelopes import Change
from events.webhooks.lanes import HELD, Lane, Load
from storage.telling import ToldCursor

LARGE = HELD // 4


def change(revision: int) -> Change:
    record: Any = SimpleNamespace(revision=revision, deleted_at=None, parts=None, message_type="text")
    return Change(record, (), LARGE)


def test_what_waits_for_one_webhook_is_bounded_in_characters() -> None:
    """Sessions of few, but long messages filled the memory of a node whose webhook was slow."""
    load = Load()
    lanes = [Lane(f"s{number}", load) for number in range(10)]
    for lane in lanes:
        for revision in range(1, 11):
            lane.push(change(revision))
    assert load.size == HELD
    assert [lane.lacks for lane in lanes] == [True] * 10  # the rest stands in SQL
    for lane in lanes:
        lane.forget()
    assert load.size == 0
    # What is told, and what another node has told, waits no more.
    lane = Lane("s", load)
    for revision in range(1, 4):
        lane.push(change(revision))
    lane.claimed(ToldCursor(1, 2, 0, None, 0, 0), 0.0)
    assert (load.size, lane.held) == (LARGE, LARGE)
