"""`python -m bench.growth`: what each call costs with little, more and very much stored, on both databases.

    python -m bench.growth --before HEAD~20                     beside an earlier build, call by call
    python -m bench.growth --only list,read --sizes small,large
    python -m bench.growth --server postgresql://postgres@127.0.0.1:5432

Each build has a database of its own, a copy of one that the earlier build has migrated and
`bench.growth.seed` filled; this build migrates its copy. With --server the filled ones stay on that server
(`growth_…`) and are found again.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.before import BEFORE, unpack
from bench.build import HERE, ROOT
from bench.growth.calls import Api, Measured, calls
from bench.growth.databases import Databases, files, migrate, server
from bench.growth.seed import COMMON, OWNER, SIZES, VISITOR, Size, load
from bench.process import cpu_seconds
from tests.support.server import Server

NOW = "now"
#: Sessions that are loaded for the first searches.
LOADS = 3
LOADED = "search, common: first after a bulk load"
Row = dict[str, Any]
#: Milliseconds that the call took; and of CPU, of the node and the database.
Cost = tuple[float, float]
FIGURES = {"ms": "milliseconds", "cpu_ms": "milliseconds of CPU, the node's and the database's"}


class Build(Server):
    """A node of one build, started as its user starts it."""

    fresh = True


def start(name: str, root: Path, url: str, folder: Path) -> Build:
    settings = {"LOG_LEVEL": "WARNING", "PYTHONPATH": str(root), "SESSION_TTL_HOURS": "720"}
    node = Build(folder / name, url, **settings)
    node.start()
    return node


def settle(nodes: dict[str, Build], seconds: float) -> None:
    """What a build does once with what is stored, when it is started or first asked, has its time."""
    for node in nodes.values():
        for user in (OWNER, VISITOR):
            api = Api(node, user)
            api.call("GET", "/api/chat/sessions")
            api.close()
    time.sleep(seconds)


def measured(
    nodes: dict[str, Build], databases: Databases, size: Size, only: Sequence[str], rounds: int
) -> Iterator[Row]:
    """A row for each call and build; the builds take turns."""
    for call in calls():
        if only and not any(part in call.name for part in only):
            continue
        with ExitStack() as open_ones:
            ready = {}
            for name, node in nodes.items():
                api = Api(node, call.user, call.role)
                open_ones.callback(api.close)
                ready[name] = call.ready(api, size)
            costs: dict[str, list[Cost]] = {name: [] for name in nodes}
            began = time.monotonic()
            for turn in range(rounds):
                for name in nodes if turn % 2 == 0 else reversed(nodes):
                    costs[name].append(costing(nodes[name], databases, ready[name]))
                if turn >= 4 and time.monotonic() - began > 20:
                    break
        yield from rows_of(call.name, size, costs)


def costing(node: Build, databases: Databases, once: Measured) -> Cost:
    """Of one call, with what the database did for the node meanwhile."""
    processes = [node.pid, *databases.processes(node.database_url)]
    before = _spent(processes)
    taken = once()
    after = _spent(processes)
    return taken, sum(after[one] - before[one] for one in after if one in before) * 1000


def _spent(processes: Sequence[int]) -> dict[int, float]:
    """CPU seconds of those that have not ended: a pool lets its connections go."""
    found = {}
    for process in processes:
        with suppress(OSError):
            found[process] = cpu_seconds(process)
    return found


def rows_of(call: str, size: Size, costs: dict[str, list[Cost]]) -> Iterator[Row]:
    for name, found in costs.items():
        taken, cpu = (round(median(one), 3) for one in zip(*found, strict=True))
        yield {"call": call, "build": name, "size": size.name, "ms": taken, "cpu_ms": cpu}


def first_searches(nodes: dict[str, Build], databases: Databases, size: Size) -> Iterator[Row]:
    """Each of a session that was loaded a moment before. Last, because the nodes go on indexing."""
    costs: dict[str, list[Cost]] = {name: [] for name in nodes}
    for turn in range(LOADS):
        for name, node in nodes.items():
            owner = f"{OWNER}{turn}"
            session = asyncio.run(load(node.database_url, owner, size, 1_000_000 + turn))
            api = Api(node, owner)
            api.call("GET", "/api/chat/agents")
            costs[name].append(costing(node, databases, partial(_search_of, api, session)))
            api.close()
    yield from rows_of(LOADED, size, costs)


def _search_of(api: Api, session: str) -> float:
    """Until it is answered: a node may be too busy for the first time."""
    began = time.perf_counter()
    while True:
        try:
            api.call("GET", "/api/chat/search", q=COMMON, session_id=session)
        except RuntimeError:
            if time.perf_counter() - began > 120:
                raise
        else:
            return (time.perf_counter() - began) * 1000


def of_one(
    databases: Databases, size: Size, roots: dict[str, Path], given: argparse.Namespace, folder: Path
) -> Iterator[Row]:
    seeded = databases.seeded(size, next(iter(roots.values())))
    urls = {}
    for name, root in roots.items():
        urls[name] = databases.copy(seeded, f"{size.name}_{name}")
        began = time.monotonic()
        migrate(root, urls[name])
        taken = round((time.monotonic() - began) * 1000, 3)
        yield {"call": "migrate", "build": name, "size": size.name, "ms": taken}
    only = [part for part in given.only.split(",") if part]
    with ExitStack() as running:
        nodes = {}
        for name, root in roots.items():
            nodes[name] = start(f"{size.name}_{name}", root, urls[name], folder)
            running.callback(nodes[name].close)
        settle(nodes, given.settle)
        yield from measured(nodes, databases, size, only, given.rounds)
        if not only or any(part in LOADED for part in only):
            yield from first_searches(nodes, databases, size)
    for url in urls.values():
        databases.drop(url)


def show(console: Console, title: str, figure: str, rows: Sequence[Row]) -> None:
    """By call: the milliseconds at each size, and this build's part of the earlier one's at the largest."""
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    builds = list(dict.fromkeys(row["build"] for row in rows))
    found = {(row["call"], row["build"], row["size"]): row[figure] for row in rows if figure in row}
    table = Table(title=title, title_justify="left")
    table.add_column("call")
    for build in builds:
        for size in sizes:
            table.add_column(f"{build}, {size}", justify="right")
    table.add_column("grows", justify="right")
    if BEFORE in builds:
        table.add_column("to before", justify="right")
    for call in dict.fromkeys(row["call"] for row in rows):
        cells = [f"{found.get((call, build, size), 0):.1f}" for build in builds for size in sizes]
        first, last = found.get((call, NOW, sizes[0])), found.get((call, NOW, sizes[-1]))
        cells.append(f"{last / first:.1f}x" if first and last else "")
        if BEFORE in builds:
            old = found.get((call, BEFORE, sizes[-1]))
            cells.append(f"1/{old / last:.1f}" if old and last else "")
        table.add_row(call, *cells)
    console.print(table)


@contextmanager
def opened(kind: str, given: argparse.Namespace, folder: Path) -> Iterator[Databases]:
    with server(given.server) if kind == "postgresql" else files(folder) as databases:
        yield databases


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--before", metavar="REV", help="measure this revision's build, too")
    parser.add_argument("--database", choices=("postgresql", "sqlite", "both"), default="both")
    parser.add_argument("--server", metavar="URL", help="a PostgreSQL that keeps the filled databases")
    parser.add_argument("--sizes", default=",".join(size.name for size in SIZES))
    parser.add_argument("--only", default="", help="calls whose name has this in it; several by commas")
    parser.add_argument("--rounds", type=int, default=15, help="times, of which the median is taken")
    parser.add_argument("--settle", type=float, default=20, help="seconds before the first call")
    parser.add_argument("--out", type=Path, default=HERE / ".work" / "growth.json")
    given = parser.parse_args()
    console = Console(width=max(170, shutil.get_terminal_size().columns))
    work = HERE / ".work"
    work.mkdir(exist_ok=True)
    roots = {BEFORE: unpack(given.before, work)} if given.before else {}
    roots[NOW] = ROOT
    found: dict[str, list[Row]] = {}
    for kind in ("postgresql", "sqlite") if given.database == "both" else (given.database,):
        rows = found[kind] = []
        with (
            tempfile.TemporaryDirectory(prefix="parley-growth-") as name,
            opened(kind, given, Path(name)) as databases,
        ):
            for size in SIZES:
                if size.name in given.sizes.split(","):
                    for row in of_one(databases, size, roots, given, Path(name)):
                        print(
                            f"{kind} {row['size']:7} {row['build']:7} {row['ms']:9.1f}  {row['call']}",
                            flush=True,
                        )
                        rows.append(row)
        for figure, what in FIGURES.items():
            show(console, f"{kind}, {what}", figure, rows)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
