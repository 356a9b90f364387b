"""Lines of connects and refusals: so many a second, and the rest is counted."""

import logging

import pytest

from events.access import Caller
from events.errors import Unauthorized
from server.journal import LINES, SHOWN, Journal

ALICE = Caller("user", "alice")


def test_a_crowd_costs_a_bounded_number_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    now = [5.0]
    with caplog.at_level(logging.INFO, "parley.access"):
        journal = Journal(lambda: now[0])
        for _ in range(1000):
            journal.connected("sse", ALICE, "10.0.0.1")
        assert len(caplog.records) == LINES
        # Refusals have lines of their own, whatever the connects have used up.
        journal.refused("GET", Unauthorized(), "10.0.0.1", "/api")
        assert len(caplog.records) == LINES + 1
        now[0] = 6.0
        journal.connected("sse", ALICE, "10.0.0.1")
    assert vars(caplog.records[-1])["unsaid"] == 1000 - LINES


def test_a_log_without_information_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "parley.access"):
        Journal(lambda: 0.0).connected("sse", ALICE, "10.0.0.1")
    assert not caplog.records


def test_a_path_is_shown_in_part(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "parley.access"):
        Journal(lambda: 0.0).refused("GET", Unauthorized(), "10.0.0.1", "/" + "x" * 16_000)
    assert vars(caplog.records[-1])["path"] == "/" + "x" * (SHOWN - 1)
