"""Random schedules of whole nodes, many more than `make test` has time for."""

import re
from collections.abc import Callable

import pytest

from tests.model.rules import names
from tests.model.test_model import MANY, run

#: Schedules: of ordinary faults, with stores that go back and clocks that jump, and of people who ask.
ORDINARY, PAST, TURNS = 12_000, 8_000, 2_000
#: In one process, so that it ends within its time on a slow machine.
PART = 2_000


def promises_hold(schedules: int, *more: str) -> int:
    """How often a connection was recovered."""
    recovered = 0
    for first in range(1_000_000, 1_000_000 + schedules, PART):
        told = run(str(PART), "--first", str(first), "--processes", "2", *more)
        found = re.search(r"(\d+) recoveries", told)
        assert found is not None
        recovered += int(found[1])
    return recovered


@pytest.mark.faults
@pytest.mark.timeout(5400)
def test_promises_hold(row: Callable[[str], None]) -> None:
    recovered = promises_hold(ORDINARY)
    row(f"{ORDINARY} schedules of whole nodes, {recovered} recoveries: every promise held")


@pytest.mark.faults
@pytest.mark.timeout(5400)
def test_promises_hold_where_the_past_changes(row: Callable[[str], None]) -> None:
    recovered = promises_hold(PAST, "--past")
    row(f"{PAST} with stores that go back and clocks that jump, {recovered} recoveries: every promise held")


@pytest.mark.faults
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("kind", ["--turns", "--branches"])
def test_every_question_ends_in_one_way(row: Callable[[str], None], kind: str) -> None:
    recovered = promises_hold(TURNS, kind)
    row(f"{TURNS} with {kind}, {recovered} recoveries: every question ended in one way")


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rule", names())
def test_a_rule_that_is_left_out_is_missed(rule: str) -> None:
    run(str(MANY), "--without", rule)
