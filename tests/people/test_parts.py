"""What comes of a stream's events on the server; `tests/clients/test_merge.py` has that of the client."""

import json
from pathlib import Path
from typing import Any

import pytest

from events import parts
from storage.pieces import Run

HERE = Path(__file__).parent
EXAMPLES = json.loads((HERE / "folds.json").read_text())


def run_of(name: str, data: dict[str, Any]) -> Run:
    """The piece that such an event tells of."""
    part = data.get("part", parts.TEXT)
    if name == "stream_part":
        return Run(parts.whole_label(part["id"]), json.dumps(part), 1)
    label = parts.text_label(part) if name == "stream_chunk" else parts.delta_label(part)
    return Run(label, data["content"], 1)


@pytest.mark.parametrize("example", EXAMPLES, ids=[each["name"] for each in EXAMPLES])
def test_the_servers_fold(example: dict[str, Any]) -> None:
    folded = parts.fold(run_of(name, data) for name, data in example["events"])
    assert parts.kept(folded) == example.get("parts")
    assert parts.content_of(folded) == example["content"]
