"""`python -m bench.workers`: what `serve --workers 2` delivers, against one worker.

Typing and an answer's chunks are offered at a pace that everybody keeps up with, the same to each worker: two
workers together get twice the load of one, because the chunks that leave with one write depend on a
worker's own load.
What counts is the CPU time of all server processes (the supervisor, the workers and Redis) for each delivery:
one worker has one core, two have two, so two serve

    2 x (CPU per delivery of one) / (CPU per delivery of two)

times as much, as long as the machine has cores for them and for Redis. Nothing is pinned. The generator is a
process of its own and is not counted; how idle the whole machine was shows that nobody waited for a core.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from bench import product
from bench.build import HERE, ROOT, compile_c
from bench.contenders import Contender
from bench.measure import Running, drive
from bench.process import BenchError, Process, Watched, raise_file_limit
from bench.scenarios import SCENARIOS, Scenario
from tests.support.processes import free_port, listening
from tests.support.services import Postgres, Redis

#: Some 31,000 and 10,000 deliveries a second for each worker: with twice that, two cores are a little idle.
LOADS = (
    replace(SCENARIOS["typing"], rate=35, duration=6),
    replace(SCENARIOS["chunks"], rate=25, duration=6),
)
SERVE = (sys.executable, "-m", "server", "serve")
#: A title, the workers, and whether Redis is there.
SIDES = (("one node", 1, False), ("one node, Redis", 1, True), ("two workers, Redis", 2, True))


def free_ports(count: int) -> int:
    """The first of so many on which nobody listens, one after the other."""
    while True:
        first = free_port()
        if not any(listening(first + n) for n in range(1, count)):
            return first


def run(scenario: Scenario, workers: int, with_redis: bool, loadgen: Path) -> dict[str, Any]:
    """Raises: BenchError where a server or the load generator fails."""
    port = free_ports(1 + workers)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        log = stack.enter_context((folder / "log").open("wb"))
        postgres = stack.enter_context(Postgres())
        env = product.settings(ROOT, port, postgres.url(), folder)
        del env["NODE_URL"]  # each worker has one of its own
        watched: list[Watched] = []
        if with_redis:
            redis = stack.enter_context(Redis())
            env["REDIS_URL"] = redis.url
            assert redis.process is not None
            watched.append(Watched(redis.process.pid))
        command = SERVE if workers == 1 else (*SERVE, "--workers", str(workers))
        contender = Contender("parley", "Parley", "product", command, product=True)
        product.migrate(contender, env, folder)
        server = stack.enter_context(Process(command, core=None, log=log, env=env, cwd=folder))
        for number in range(workers if workers > 1 else 0):
            server.wait_for_port(port + 1 + number)
        server.wait_for_port(port)
        nodes = [Watched(child.pid) for child in psutil.Process(server.pid).children()]
        sessions = product.create_sessions(port, scenario)
        args = ["--ports", str(port), *scenario.load_args(), *product.people(scenario, sessions, folder)]
        idle = psutil.cpu_times().idle, sum(psutil.cpu_times())
        its = Running([server, *nodes, *watched], [str(loadgen), *args])
        found = drive(its, scenario, None)
        after = psutil.cpu_times().idle, sum(psutil.cpu_times())
    if found["missing"]:
        raise BenchError(f"{found['missing']} deliveries are missing")
    return {**found, "idle": round((after[0] - idle[0]) / (after[1] - idle[1]), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    repeat = parser.parse_args().repeat
    raise_file_limit()
    (HERE / ".work").mkdir(exist_ok=True)
    loadgen = compile_c(HERE / ".work" / "loadgen", sorted((HERE / "loadgen").glob("*.c")))
    result: dict[str, Any] = {"cores": os.cpu_count()}
    for scenario in LOADS:
        runs: dict[str, list[dict[str, Any]]] = {title: [] for title, _, _ in SIDES}
        for _ in range(repeat):  # in turn, so that the machine's moods are everybody's
            for title, workers, with_redis in SIDES:
                load = replace(scenario, rate=scenario.rate * workers)
                runs[title].append(run(load, workers, with_redis, loadgen))
        figures = {
            title: {
                "us_per_delivery": round(statistics.median(r["us_per_delivery"] for r in found), 2),
                "delivered_per_s": round(statistics.median(r["delivered"] / r["wall_s"] for r in found)),
                "idle": statistics.median(r["idle"] for r in found),
            }
            for title, found in runs.items()
        }
        two = figures[SIDES[2][0]]["us_per_delivery"]
        times = {title: round(2 * figures[title]["us_per_delivery"] / two, 2) for title, _, _ in SIDES[:2]}
        result[scenario.name] = {**figures, "two workers serve so many times": times}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    try:
        main()
    except (BenchError, subprocess.SubprocessError) as error:
        sys.exit(f"bench.workers: {error}")
