"""What each file of tests costs: `make test ARGS="-p tests.support.costs"` ends with the dearest.

Seconds of a processor count those of all that the tests have started: servers, browsers, databases.
"""

import time
from typing import NamedTuple

import psutil
import pytest

#: Files in the table.
SHOWN = 40


class Spent(NamedTuple):
    """Seconds: by the clock, and of a processor."""

    wall: float
    cpu: float


_began: list[Spent] = []
_of_files: dict[str, Spent] = {}


def _now() -> Spent:
    cpu = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # it is among its parent's from here on
            continue
        cpu += times.user + times.system + times.children_user + times.children_system
    return Spent(time.monotonic(), cpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> object:
    if not _began:
        _began.append(_now())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> object:
    """With the last test of a file go the fixtures of all of it."""
    done = yield
    if nextitem is None or nextitem.path != item.path:
        before, after = _began.pop(), _now()
        item.user_properties.append(("cost", (after.wall - before.wall, after.cpu - before.cpu)))
    return done


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Also where the workers' reports come together."""
    for name, cost in report.user_properties if report.when == "teardown" else ():
        if name == "cost":
            _of_files[report.nodeid.partition("::")[0]] = Spent(*cost)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _of_files:
        return
    terminalreporter.section("seconds of a processor, and by the clock")
    total = Spent(*(sum(each) for each in zip(*_of_files.values(), strict=True)))
    dearest = sorted(_of_files.items(), key=lambda each: -each[1].cpu)[:SHOWN]
    for file, spent in [("all files", total), *dearest]:
        terminalreporter.line(f"{spent.cpu:8.1f} {spent.wall:8.1f}  {file}")
