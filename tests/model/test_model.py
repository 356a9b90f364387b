"""Promises hold over random schedules of whole nodes, and the schedules notice where a rule is left out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.rules import names

ROOT = Path(__file__).resolve().parent.parent.parent
#: Schedules of a run of the tests: most of ordinary faults, the others with stores that go back and
#: clocks that jump, of people who ask and workers who answer, and of those who ask again, and go back.
SCHEDULES = 500
#: Schedules that broke a promise once, and are run again each time.
BROKE: dict[str, tuple[int, ...]] = {
    "": (
        1008852,  # a user was said to have gone while its connection was cut off
        1000432,  # Redis was empty, the node died, and a text's end was taken for all of it
        1002887,  # a node died between the commit of a read mark and its log
        1009998,  # the database had moved a read mark, and its answer was lost
    ),
    "past:": (
        1003540,  # an edit was lost, and another edit of that message hid it
        1003727,  # the reply to a second join was lost
        1005778,  # the database went back to where its lineage had another name
        328,  # everybody left before the nodes asked the database that had gone back
    ),
    "turns:": (105,),  # the second wait of an answer was told from the database, as no end
    "branches:": (
        27,  # a question steered an answer on another branch that had begun after it
        4,  # a page of a path said that it had a message that was committed meanwhile
        96,  # one that was asked again was not handed out again, and its first answer was taken for the next
    ),
}
#: Rules that are missed within few schedules; `make faults` leaves out each of them.
QUICK = ("hold_connection", "witness")
#: Schedules in which a rule that is left out has to be missed: each is by one in twenty, or more.
MANY = 200


def run(*arguments: str) -> str:
    """What the program said. A process of its own: a schedule has to be the same each time."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.model", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(400)
def test_promises_hold() -> None:
    broke = [f"{kind}{seed}" for kind, seeds in BROKE.items() for seed in seeds]
    run(str(SCHEDULES), "--each", "--first", os.environ.get("MODEL_SEED", "0"), "--also", *broke)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("rule", QUICK)
def test_a_rule_that_is_left_out_is_missed(rule: str) -> None:
    run(str(MANY), "--without", rule)


def test_quick_rules_are_rules() -> None:
    assert set(QUICK) <= set(names())
