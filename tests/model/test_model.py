"""The design holds over random schedules, and none of its rules can be left out."""

import os

import pytest

from tests.model.design import HOLES, Design
from tests.model.sim import Violation
from tests.model.world import World

#: Schedules of a run of the tests.
FEW = 400

#: rule -> (seed, actions, what happens often) of a schedule in which it is missed.
SHOWN: dict[str, tuple[int, int, tuple[str, ...]]] = {
    **{
        name: (seed, 3 + seed % 20, ())
        for name, seed in {
            "connect_first": 437,
            "closed_floor": 291,
            "gap_answer": 82,
            "base_told": 527,
            "heal_poll": 6,
            "retold": 254,
            "subscribe_first": 407,
            "resync_on_reconnect": 0,
            "spoil": 69,
            "warn_at_once": 145,
            "no_other_epoch": 28,
            "record_before_ack": 266,
            "trim_mark": 38,
            "join_floor": 36,
            "start_before_chunk": 149,
            "end_with_text": 72,
            "close_first": 717,
            "merge_tail_only": 118,
            "own_end_only": 1114,
        }.items()
    },
    "run_in_epoch": (164, 24, ("redis_save", "redis_restart", "drop", "reconnect")),
    "hold_connection": (173, 9, ("write", "join", "leave", "drop", "reconnect")),
    "warn_who_joins": (306, 22, ("redis_hang", "redis_unhang", "reconnect", "drop", "join")),
    "seal_on_close": (3423, 19, ("expire_log", "redis_flush", "stream", "reconnect")),
    "replay_cut": (4458, 22, ("drop", "reconnect", "write")),
    "stale_fill": (4184, 12, ("kill_node", "edit", "tick", "write", "expire_log")),
    "ordered_records": (7702, 26, ("redis_hang", "redis_unhang", "join", "leave", "reconnect", "drop")),
    "log_first": (407, 27, ("kill_node", "reconnect", "drop", "write", "sub_eof")),
}


def run(seeds: range) -> int:
    """How often somebody recovered."""
    recovered = 0
    for seed in seeds:
        world = World(seed, Design())
        try:
            world.run()
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}\n(python -m tests.model --seed {seed} --trace)")
        recovered += sum(client.recoveries for client in world.clients)
    return recovered


@pytest.mark.timeout(120)
def test_the_design_holds() -> None:
    # Other schedules each day of the year would make a failure hard to come back to: the first seed is given.
    first = int(os.environ.get("MODEL_SEED", "0"))
    assert run(range(first, first + FEW)) > FEW // 10


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_no_rule_can_be_left_out(name: str) -> None:
    seed, actions, often = SHOWN[name]
    with pytest.raises(Violation):
        World(seed, Design().without(name), actions, often=often).run()
    World(seed, Design(), actions, often=often).run()


def test_every_rule_is_shown() -> None:
    assert set(SHOWN) == set(HOLES)
