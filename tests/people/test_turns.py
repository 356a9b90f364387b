"""How long a call may keep the event loop: every call at its dearest, against a real server."""

from pathlib import Path

import pytest

from bench.turns.calls import CALLS, DOORS
from bench.turns.commands import COMMANDS
from bench.turns.measure import everything
from bench.turns.table import turns
from bench.turns.world import SMALL, world
from events.catalog import CATALOG
from server import bounds
from tests.support.server import ROOT

#: Milliseconds of a core for one turn of the loop, as docs/security.md states: more than twice what any call
#: takes on ours. CPU time grows where others use the caches, too, but not that far.
LONGEST = 50.0
#: Times that a longer one is measured again: what is long is so each time, a collection of garbage is not.
AGAIN = 4


def test_every_call_has_its_dearest_input() -> None:
    """One that has none in `bench/turns/` cannot be added."""
    assert set(COMMANDS) == set(CATALOG)
    assert set(CALLS) == set(bounds.CALLS)
    assert set(DOORS) == set(bounds.DOORS)
    assert all([*COMMANDS.values(), *CALLS.values(), *DOORS.values()])


def test_the_bound_is_that_of_the_document() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    assert f"{LONGEST:.0f} ms" in text
    for line in turns()[2:]:
        assert all(cell.strip() for cell in line.split("|")[1:-1]), line
        assert float(line.split("|")[3]) < LONGEST, line


@pytest.mark.timeout(300)  # a hundred calls, on a machine that others use
@pytest.mark.usefixtures("site")
async def test_no_call_keeps_the_loop_for_long(tmp_path: Path) -> None:
    long: list[str] = []
    async with world(tmp_path, f"sqlite:///{tmp_path}/parley.db", SMALL) as made:
        for asked in everything(made, doors=("socketio",), patient=False):
            longest = (await asked.cost()).longest
            for _ in range(AGAIN):
                if longest > LONGEST:
                    longest = min(longest, (await asked.cost()).longest)
            if longest > LONGEST:
                long.append(f"{asked.call}, {asked.told}: {longest:.0f} ms")
    assert not long
