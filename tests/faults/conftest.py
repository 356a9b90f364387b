"""The tables of the fault runs: each run writes a row, `make faults` prints them all at the end."""

from collections.abc import Callable

import pytest

from tests.faults.models.servers import litellm, scripted  # noqa: F401 (fixtures)
from tests.lineage.scene import Outcome

_ROWS = pytest.StashKey[list[tuple[str, str]]]()
_PAST = pytest.StashKey[list[tuple[str, Outcome]]]()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`row("50 kills, 3120 acknowledged, 0 lost")`: what this run counted."""
    rows = request.config.stash.setdefault(_ROWS, [])

    def write(result: str) -> None:
        rows.append((request.node.name.removeprefix("test_"), result))

    return write


@pytest.fixture
def past(request: pytest.FixtureRequest) -> Callable[[Outcome], None]:
    """`past(outcome)`: a row of the table "the past changes"."""
    rows = request.config.stash.setdefault(_PAST, [])

    def write(outcome: Outcome) -> None:
        rows.append((request.node.name.removeprefix("test_"), outcome))

    return write


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if rows:
        width = max(len(name) for name, _ in rows)
        terminalreporter.section("faults")
        for name, result in rows:
            terminalreporter.write_line(f"{name:<{width}}  {result}")
    outcomes = config.stash.get(_PAST, [])
    if outcomes:
        width = max(len(name) for name, _ in outcomes)
        terminalreporter.section("the past changes")
        heads = (
            "acknowledged  lost by the store  lost  twice  out of order  wrong true  there  back  presence"
        )
        terminalreporter.write_line(f"{'':<{width}}  {heads}")
        for name, each in outcomes:
            terminalreporter.write_line(f"{name:<{width}}  {_columns(each)}")


def _columns(each: Outcome) -> str:
    """Seconds until those who were there, those who came back, and what is told of presence are right."""
    counts = f"{each.acknowledged:>12}  {each.gone:>17}  {each.lost:>4}  {each.doubled:>5}"
    counts += f"  {each.reordered:>12}  {each.recovered:>3} of {each.came:<2}  {each.wrong:>5}"
    return f"{counts}  {each.live:>4.1f}s {each.back:>4.1f}s  {each.presence:>7.1f}s"
