"""clients/js without a server.

The pure part: what snapshots and events come to; a chunk changes its message alone. And what is done with
storages and doors of a test's own.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import ROOT
from tests.support.services import program

FOLDS = (ROOT / "tests" / "people" / "folds.json").read_text()
EXAMPLES = json.loads(FOLDS)
EXPECTED: dict[str, Any] = {
    "shared": [True, False, ["text 1", "text 2", "ab"]],
    "repeated": True,
    "hole": [["m3"], "ab"],
    "holeAtTheEnd": ["m3"],
    "refilled": [[], "abcde later!"],
    "ended": [],
    "late": ["text 1", "text 2"],
    "resumed": ["after", "text 2"],
    "reset": ["text 5"],
    "behind": [10, True],
    "caughtUp": [41, False, "m1 m2 m3 m4 m9"],
    "path": "m1 m3",
    "follows": ["m1 m3 m4", False],
    "elsewhere": ["m1 m3 m4", True],
    "back": "m1 m2 m5 m6",
    "deletedVersion": True,
    "moved": True,
    "answering": ["m2"],
    "answered": [[], []],
}

INSIDE: dict[str, Any] = {
    # While a slow storage is read; what is sent; the orders that new ones are kept with.
    "opening": [["A saving"], ["old1", "old2", "A", "B"], [3, 4]],
    # Two tabs: one says once more what was refused.
    "refused": [["one failed"], ["one failed"]],
    "elsewhere": [[], [], ["one"]],
    "unkept": [[], ["two", "two"]],
    "left": 0,
    "words": [2, ["online"]],
    # An answer that goes on is unread already.
    "unread": [0, 1],
    "more": [["/sessions?limit=20&cursor=next"], 2],
    "uploaded": ["f", 2],
    "addresses": 601,
    "looked": 1,
    # A token of another user is nobody's here.
    "another": [True, "UNAUTHORIZED"],
    "closed": [["CLOSED", False], "CLOSED", ["close"], "offline", []],
}


def run(script: str) -> dict[str, Any]:
    command = [program("node"), str(Path(__file__).parent / script)]
    done = subprocess.run(command, input=FOLDS, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return run("merge.mjs")


@pytest.fixture(scope="module")
def inside() -> dict[str, Any]:
    return run("inside.mjs")


@pytest.mark.parametrize("case", EXPECTED)
def test_what_it_comes_to(answers: dict[str, Any], case: str) -> None:
    assert answers[case] == EXPECTED[case]


@pytest.mark.parametrize("case", INSIDE)
def test_what_it_does(inside: dict[str, Any], case: str) -> None:
    assert inside[case] == INSIDE[case]


def test_the_fold_of_parts(answers: dict[str, Any]) -> None:
    for example, folded in zip(EXAMPLES, answers["folds"], strict=True):
        content = example["content"]
        plain = [{"id": "text", "type": "text", "text": content}] if content else []
        assert folded == {"parts": example.get("parts", plain), "content": content}, example["name"]
