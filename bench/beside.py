"""Builds side by side: the servers of all of them stand, and the load goes from one to the next.

A machine that others share is up to twice as slow for seconds at a time. A build that has it alone for ten
seconds bears what falls into them; in slices of a quarter of a second all bear it alike.
"""

import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from bench.build import Tools
from bench.contenders import Contender
from bench.measure import Cores, Load, Result, Running, drive, running
from bench.process import BenchError
from bench.scenarios import Figure, Scenario

#: Seconds that one has the load, and all that each has it.
SLICE, LOADED = 0.25, 8.0
#: Herds of connects that each takes.
HERDS = 4
#: The figures that can be had so; where memory or a stall is looked at, one server stands alone.
SLICED: frozenset[Figure] = frozenset({"delivery", "rate", "redis"})
BESIDE: frozenset[Figure] = SLICED | {"connect"}


def beside(
    builds: Sequence[Contender], scenario: Scenario, tools: Tools, cores: Cores
) -> Iterator[tuple[Contender, Result]]:
    """The result of each. Raises: BenchError where one fails."""
    with ExitStack() as stack:
        standing = [stack.enter_context(running(build, scenario, tools, cores)) for build in builds]
        if scenario.figure == "connect":
            yield from zip(builds, _herds(standing, scenario, cores), strict=True)
        else:
            yield from zip(builds, _slices(standing, stack, scenario, cores), strict=True)


def lasting(scenario: Scenario) -> Scenario:
    """The same for as long as slices need."""
    return replace(scenario, duration=LOADED) if scenario.figure in SLICED else scenario


def _slices(
    standing: Sequence[Running], stack: ExitStack, scenario: Scenario, cores: Cores
) -> Iterator[Result]:
    limit = 240 + len(standing) * (30 + 2 * LOADED)
    loads = []
    for its in standing:
        load = stack.enter_context(Load(its, scenario, cores.load, limit))
        load.go_on("@start")
        load.signal(signal.SIGSTOP)
        loads.append(load)
    left = list(loads)
    while left:
        random.shuffle(left)  # who comes behind whom is not always the same
        for load in left:
            load.signal(signal.SIGCONT)
            load.go_on("@stop", SLICE)
            if load.stopped:
                load.go_on()
            else:
                load.signal(signal.SIGSTOP)
        left = [load for load in left if not load.stopped]
    return (load.result() for load in loads)


def _herds(standing: Sequence[Running], scenario: Scenario, cores: Cores) -> Iterator[Result]:
    """All come and go several times, each time with tokens that are new to the server."""
    found: dict[int, list[Result]] = {}
    order = list(range(len(standing)))
    for _ in range(HERDS):
        random.shuffle(order)
        for place in order:
            its = standing[place]
            its.people()
            found.setdefault(place, []).append(drive(its, scenario, cores.load))
    return (_together(found[place]) for place in range(len(standing)))


def _together(herds: Sequence[Result]) -> Result:
    """The last, with what a connect cost in all."""
    spent: Any = sum(herd["connect_cpu_s"] for herd in herds)
    if not spent:
        raise BenchError("a connect cost nothing")
    return herds[-1] | {"us_per_connect": round(spent / sum(herd["conns"] for herd in herds) * 1e6, 2)}
