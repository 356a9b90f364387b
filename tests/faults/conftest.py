"""The table of the fault runs: each writes a row, `make faults` prints them all at the end."""

from collections.abc import Callable

import pytest

_ROWS = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`row("50 kills, 3120 acknowledged, 0 lost")`: what this run counted."""
    rows = request.config.stash.setdefault(_ROWS, [])

    def write(result: str) -> None:
        rows.append((request.node.name.removeprefix("test_"), result))

    return write


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if not rows:
        return
    width = max(len(name) for name, _ in rows)
    terminalreporter.section("faults")
    for name, result in rows:
        terminalreporter.write_line(f"{name:<{width}}  {result}")
