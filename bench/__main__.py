"""`python -m bench`: build, run all contenders in turn, print, and keep the figures.

python -m bench                                 everything, three times
python -m bench --quick                         once, shorter, without 10,000 connections
python -m bench --only node,parley --scenario rooms100x10,ack
python -m bench --before v1.0,v1.1 --repeat 5   this build and earlier ones, side by side, nobody else
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import before, machine
from bench.beside import BESIDE, beside, lasting
from bench.build import HERE, ROOT, Tools, build
from bench.contenders import Contender, contenders
from bench.measure import Cores, measure
from bench.plots import draw
from bench.process import BenchError, raise_file_limit
from bench.scenarios import SCENARIOS, Scenario
from bench.summary import bounds, ratios, show, summarise

METHOD = (
    "Each server runs alone, pinned to one core, and the load generator on another; all contenders take "
    "their turn within each scenario and each repeat. Figures are medians over the repeats. CPU is the "
    "server process's user and system time, all threads, between the generator's @start and @stop."
)
Run = dict[str, Any]


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--only", type=names, default=[], metavar="NAMES", help="contenders, comma separated")
    parser.add_argument(
        "--scenario", type=names, default=[], metavar="NAMES", help=f"of {', '.join(SCENARIOS)}"
    )
    parser.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="run ours on this interpreter, too"
    )
    parser.add_argument(
        "--before",
        type=names,
        default=[],
        metavar="REVISIONS",
        help="this build and those alone, beside it",
    )
    parser.add_argument("--work", type=Path, default=HERE / ".work", help="folder for tools and peers")
    parser.add_argument("--out", type=Path, help="where the results go (whole runs: bench/results.json)")
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--server-core", type=int, default=cores[0])
    parser.add_argument("--load-core", type=int, default=cores[-1])
    opts = parser.parse_args()
    for name in opts.scenario:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name}")
    if opts.before:
        opts.only = ["parley", *(f"{before.BEFORE} {revision}" for revision in opts.before)]
    return opts


def chosen(opts: argparse.Namespace) -> list[Scenario]:
    if opts.scenario:
        found = [SCENARIOS[name] for name in opts.scenario]
    else:
        found = [s for s in SCENARIOS.values() if not (opts.quick and s.figure == "memory")]
    return [scenario.quick() for scenario in found] if opts.quick else found


def one(console: Console, contender: Contender, scenario: Scenario, tools: Tools, cores: Cores) -> Run:
    try:
        return told(console, contender, scenario, measure(contender, scenario, tools, cores))
    except (BenchError, OSError) as error:
        console.print(f"[red]{scenario.name:16}{contender.name:16}{error}[/]")
        return named(contender, scenario) | {"failed": str(error)}


def together(
    console: Console, builds: list[Contender], scenario: Scenario, tools: Tools, cores: Cores
) -> Iterator[Run]:
    """Of all of them side by side."""
    try:
        results = list(beside(builds, lasting(scenario), tools, cores))
    except (BenchError, OSError) as error:
        console.print(f"[red]{scenario.name:16}{error}[/]")
        yield from (named(each, scenario) | {"failed": str(error)} for each in builds)
    else:
        yield from (told(console, contender, scenario, result) for contender, result in results)


def named(contender: Contender, scenario: Scenario) -> Run:
    return {"scenario": scenario.name, "server": contender.name, "title": contender.title}


def told(console: Console, contender: Contender, scenario: Scenario, result: Run) -> Run:
    run = named(contender, scenario) | result
    figures = [
        f"{key}={run[key]}"
        for key in (
            "us_per_delivery",
            "us_per_irrelevant",
            "redis_us_per_message",
            "delivered_per_s",
            "us_per_connect",
            "kib_per_conn",
        )
        if run.get(key)
    ]
    odd = [f"{key}={run[key]}" for key in ("missing", "refused", "errors", "cut") if run.get(key)]
    latency = f"p99={run['latency_us']['p99']}µs" if run["delivered"] else ""
    line = " ".join([*figures, latency, *odd])
    console.print(f"{scenario.name:16}{contender.name:16}{line}", highlight=False)
    return run


def ungrouped(console: Console, scenario: Scenario) -> list[Run]:
    """The same messages without group commit, and the writer without clients (`bench.writer`)."""
    command = [sys.executable, "-m", "bench.writer", "--seconds", f"{scenario.duration:g}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    if done.returncode:
        console.print(f"[red]{done.stderr.strip()[-300:]}[/]")
        return []
    figures = json.loads(done.stdout)["postgresql"]
    for name, rate in figures.pop("pgbench").items():
        figures[f"pgbench_{name}"] = {"per_second": rate}
    found = []
    for name, key, title in (
        ("one-by-one", "one_transaction_each", "one transaction each, databases pool"),
        ("one-by-one-raw", "one_transaction_each_raw", "the same, prepared statements"),
        ("pgbench", "pgbench_message_row", "pgbench, one message row each"),
        ("pgbench-bare", "pgbench_bare_row", "pgbench, one row of a bare table each"),
        ("pgbench-few", "pgbench_bare_row_few_clients", "the same, 20 clients"),
        ("writer", "writer", "group commit, without clients"),
    ):
        figure = figures[key]
        if "per_second" in figure:
            run: Run = {"scenario": scenario.name, "server": name, "title": title}
            run["delivered_per_s"] = figure["per_second"]
            if "cpu_us" in figure:
                run["us_per_delivery"] = figure["cpu_us"]
            console.print(
                f"{scenario.name:16}{name:16}delivered_per_s={figure['per_second']}", highlight=False
            )
            found.append(run)
    return found


def everything(console: Console, opts: argparse.Namespace, tools: Tools) -> Iterator[Run]:
    """All runs, one after the other; builds that are compared side by side."""
    cores = Cores(opts.server_core, opts.load_core)
    earlier = {revision: before.unpack(revision, opts.work) for revision in opts.before}
    for turn in range(1 if opts.quick else opts.repeat):
        for scenario in chosen(opts):
            if turn >= scenario.most_runs and not opts.before:
                continue
            found = contenders(tools, earlier)
            its = [each for each in found if runs(each, scenario, turn, opts.only)]
            if opts.before and scenario.figure in BESIDE:
                made = together(console, its, scenario, tools, cores)
            else:
                # Who comes second finds the caches as the first left them: with two, they change places.
                in_turn = its if turn % 2 == 0 else reversed(its)
                made = (one(console, contender, scenario, tools, cores) for contender in in_turn)
            yield from (run | {"turn": turn} for run in made)
            if scenario.name == "messages" and not opts.only:
                yield from (run | {"turn": turn} for run in ungrouped(console, scenario))


def runs(contender: Contender, scenario: Scenario, turn: int, only: list[str]) -> bool:
    """Whether it has a part in that turn."""
    if contender.group != scenario.group or (only and contender.name not in only):
        return False
    if turn >= contender.most_runs and contender.name not in only:
        return False
    return contender.product or not scenario.ours_only


def main() -> int:
    opts = arguments()
    console = Console(width=max(150, shutil.get_terminal_size().columns))
    if opts.server_core == opts.load_core:
        console.print("[yellow]one core for server and load generator: latencies and rates mean little[/]")
    if os.getloadavg()[0] > 1:
        console.print("[yellow]the machine is not idle: ratios bear that, rates and latencies do not[/]")
    raise_file_limit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begin, load = time.monotonic(), os.getloadavg()
    try:
        tools = build(opts.work, opts.python)
    except BenchError as error:
        console.print(f"[red]{error}[/]")
        return 1
    made: list[Run] = []
    interrupted = False
    try:
        for run in everything(console, opts, tools):
            made.append(run)
    except KeyboardInterrupt:
        interrupted = True  # what was measured is told, and what was started has ended on the way here
    rows = summarise(made)
    ours = ["parley", *(f"parley-{version}" for version in tools.others)]
    show(console, rows, ours)
    against = before.compared(made)
    if against:
        before.show(console, against)
    results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "load_before": [round(each, 1) for each in load],
        "versions": machine.versions(tools),
        "method": METHOD,
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "ratios": [row for name in ours for row in ratios(rows, name)],
        "bounds": bounds(rows),
        **({"before": against} if opts.before else {}),
        "summary": rows,
        "runs": made,
    }
    whole = not (opts.quick or opts.only or opts.scenario or interrupted)
    out = opts.out or (HERE / "results.json" if whole else opts.work / "results.json")
    out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    console.print(f"{out} · {results['minutes']} minutes")
    if whole:
        for path in draw(results, HERE / "plots"):
            console.print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
