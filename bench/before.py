"""Earlier builds beside this one: their trees unpacked from git, and how they compare row by row."""

import statistics
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.build import ROOT
from bench.process import BenchError
from bench.scenarios import SCENARIOS
from bench.summary import UNITS

#: Begins a contender's name in runs and tables; its revision follows.
BEFORE = "before"
#: A row of this build may cost this much of the earlier one's: two runs of one build differ by about as much.
MOST = 1.03


def unpack(revision: str, work: Path) -> Path:
    """The tree of `revision` in a folder of its own, which a second call finds again.

    Raises: BenchError where git does not know the revision.
    """
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--verify", f"{revision}^{{commit}}"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if found.returncode:
        raise BenchError(f"no revision {revision}")
    commit = found.stdout.strip()
    folder = work / f"{BEFORE}-{commit[:12]}"
    if not folder.exists():
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit], capture_output=True, timeout=120, check=True
        )
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, timeout=120, check=True)
    return folder


def figures(run: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """What of a run is compared, by key; where messages are counted in a second, their CPU too."""
    figure = SCENARIOS[run["scenario"]].figure
    key = UNITS[figure][0]
    for name in (key, "us_per_delivery") if figure == "rate" else (key,):
        value = run["latency_us"]["p99"] if name == "p99_us" and "latency_us" in run else run.get(name)
        if value:
            yield name, float(value)


def compared(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each earlier build and figure: the medians, and the median of the ratios turn by turn.

    A ratio is this build's cost to the earlier one's; for rates, of which more is better, it is inverted.
    """
    found: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for run in runs:
        for key, value in figures(run):
            servers = found.setdefault((run["scenario"], key), {})
            servers.setdefault(run["server"], {})[run["turn"]] = value
    rows = []
    for (scenario, key), servers in found.items():
        ours = servers.pop("parley", {})
        for server, turns in servers.items():
            pairs = [(turns[turn], ours[turn]) for turn in turns.keys() & ours.keys()]
            if not server.startswith(BEFORE) or not pairs:
                continue
            costs = [old / new if key == "delivered_per_s" else new / old for old, new in pairs]
            rows.append(
                {
                    "scenario": scenario,
                    "figure": key,
                    "revision": server.removeprefix(BEFORE).strip(),
                    "before": round(statistics.median(old for old, _ in pairs), 3),
                    "now": round(statistics.median(new for _, new in pairs), 3),
                    "ratio": round(statistics.median(costs), 3),
                    "ratios": [round(cost, 3) for cost in costs],
                }
            )
    return rows


def show(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"this build to the one before: cost, at most {MOST}", title_justify="left")
    for column in ("", "revision", "before", "now", "ratio", "turn by turn"):
        table.add_column(column, justify="left" if column in ("", "revision") else "right")
    for row in rows:
        colour = "green" if row["ratio"] <= MOST else "red"
        each = " ".join(f"{ratio:.2f}" for ratio in row["ratios"])
        scenario = SCENARIOS[row["scenario"]]
        table.add_row(
            f"{scenario.title} ({scenario.group}, {row['figure']})",
            row["revision"],
            f"{row['before']:,}",
            f"{row['now']:,}",
            f"[{colour}]{row['ratio']:.3f}[/]",
            each,
        )
    console.print(table)
