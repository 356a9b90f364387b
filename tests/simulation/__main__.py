"""`python -m tests.simulation --seeds 0:1000`: run schedules; `--seed N --trace` tells the story of one."""

import argparse
import logging
import os
import sys
import time
from functools import partial
from multiprocessing import Pool

from tests.simulation.client import Wrong
from tests.simulation.world import World


def one(seed: int, past: bool) -> tuple[int, str | None, int, int]:
    world = World(seed, past=past)
    try:
        world.run()
    except Wrong as wrong:
        return seed, str(wrong), 0, 0
    except Exception as error:  # noqa: BLE001 - whatever it is, the other schedules are run
        return seed, f"seed {seed}: the simulation itself: {error!r}", 0, 0
    return seed, None, sum(c.recoveries for c in world.clients), sum(c.resyncs for c in world.clients)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:200", metavar="FROM:TO")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--past", action="store_true", help="stores that go back, clocks that jump")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    # What a killed node leaves undone is no news.
    sys.unraisablehook = lambda _: None
    logging.disable(logging.CRITICAL)
    if options.seed is not None:
        return story(options.seed, options.trace, options.past)
    first, last = map(int, options.seeds.split(":"))
    began, wrong, recoveries, resyncs = time.monotonic(), 0, 0, 0
    with Pool(options.processes) as pool:
        for _, failure, recovered, resynced in pool.imap(
            partial(one, past=options.past), range(first, last), 4
        ):
            recoveries, resyncs = recoveries + recovered, resyncs + resynced
            if failure is not None:
                wrong += 1
                print(failure, flush=True)
    seconds = time.monotonic() - began
    print(
        f"{last - first} schedules, {wrong} wrong, {recoveries} recoveries, {resyncs} joins, {seconds:.0f} s"
    )
    return min(1, wrong)


def story(seed: int, trace: bool, past: bool) -> int:
    world = World(seed, past=past)
    try:
        world.run()
    except Wrong as wrong:
        print(wrong)
    if trace:
        lines = sorted(world.story + [line for client in world.clients for line in client.log])
        print("\n".join(lines))
    return int(world.failure is not None)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of strings are walked in another order in each process: a schedule has to be the same again.
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main())
