"""The model of delivery and recovery over many more schedules than `make test` has time for."""

from collections.abc import Callable

import pytest

from tests.model.test_model import run

MANY = 20_000


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_model_of_delivery_and_recovery(row: Callable[[str], None]) -> None:
    recovered = run(range(1_000_000, 1_000_000 + MANY))
    row(f"{MANY} schedules, {recovered} recoveries: all invariants hold")
    assert recovered > MANY // 10
