"""Runs → medians, ratios and tables. Knows no processes."""

import statistics
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.scenarios import BOUNDS, LIMITS, SCENARIOS, Figure, Scenario

Result = dict[str, Any]
#: The figure that a scenario is run for, its unit, and whether less is better.
UNITS: dict[Figure, tuple[str, str]] = {
    "delivery": ("us_per_delivery", "µs of server CPU per delivery"),
    "latency": ("p99_us", "µs, 99th percentile"),
    "connect": ("us_per_connect", "µs of server CPU per connection"),
    "memory": ("kib_per_conn", "KiB per connection"),
    "stall": ("rss_growth_mib", "MiB of growth"),
    "rate": ("delivered_per_s", "acknowledged per second"),
    "irrelevant": ("us_per_irrelevant", "µs on the node without members, per message"),
    "redis": ("redis_us_per_message", "µs of Redis's CPU per message"),
}
KEYS = (
    "us_per_delivery",
    "delivered_per_s",
    "p50_us",
    "p99_us",
    "us_per_connect",
    "kib_per_conn",
    "rss_growth_mib",
    "rss_closed_mib",
    "us_per_irrelevant",
    "redis_us_per_message",
    "busy",
    "missing",
    "refused",
    "cut",
)


def summarise(runs: Iterable[Result]) -> list[Result]:
    """One row per scenario and contender: for each figure `[median, least, greatest]`."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for run in runs:
        groups.setdefault((run["scenario"], run["server"]), []).append(run)
    rows = []
    for (scenario, server), members in groups.items():
        good = [flat(run) for run in members if "failed" not in run]
        row: Result = {
            "scenario": scenario,
            "server": server,
            "title": members[0]["title"],
            "runs": len(good),
        }
        for key in KEYS:
            values = [run[key] for run in good if key in run]
            if values:
                row[key] = [round(f(values), 3) for f in (statistics.median, min, max)]
        failures = [run["failed"] for run in members if "failed" in run]
        if failures:
            row["failed"] = failures[0]
        rows.append(row)
    return rows


def flat(run: Result) -> Result:
    """Without the figures that this scenario does not produce."""
    if "latency_us" not in run:
        return run
    found = {**run, "p50_us": run["latency_us"]["p50"], "p99_us": run["latency_us"]["p99"]}
    if not run["delivered"]:
        for key in ("us_per_delivery", "delivered_per_s", "p50_us", "p99_us", "busy"):
            found.pop(key, None)
    return found


def value(rows: list[Result], scenario: str, server: str) -> float | None:
    """The median of the figure that the scenario is run for."""
    key = UNITS[SCENARIOS[scenario].figure][0]
    for row in rows:
        if (row["scenario"], row["server"]) == (scenario, server) and key in row:
            return float(row[key][0])
    return None


def ratios(rows: list[Result], ours: str = "parley") -> list[Result]:
    """Ours to Node and to stock where there is a limit, and to the C floor and uWebSockets."""
    found = []
    for scenario, (to_node, to_stock) in LIMITS.items():
        mine = value(rows, scenario, ours)
        if mine is None:
            continue
        row: Result = {"scenario": scenario, "server": ours}
        for peer, limit in (("node", to_node), ("stock", to_stock)):
            theirs = value(rows, scenario, peer)
            if theirs:
                row[peer] = round(mine / theirs, 3)
                if limit is not None:
                    row[f"{peer}_limit"] = limit
        for peer in ("floor", "uws"):
            theirs = value(rows, scenario, peer)
            if theirs:
                row[peer] = round(mine / theirs, 3)
        found.append(row)
    return found


def bounds(rows: list[Result]) -> list[Result]:
    """The figures and ratios of `scenarios.BOUNDS` that were measured."""
    medians = {
        (row["scenario"], row["server"], key): row[key][0] for row in rows for key in KEYS if key in row
    }
    found = []
    for bound in BOUNDS:
        mine = medians.get((*bound.ours, bound.figure))
        theirs = medians.get((*bound.theirs, bound.figure)) if bound.theirs is not None else 1
        if mine is not None and theirs:
            row: Result = {"what": bound.what, "value": round(mine / theirs, 3)}
            row |= {"least": bound.least} if bound.least is not None else {"most": bound.most}
            found.append(row)
    return found


def show(console: Console, rows: list[Result], ours: Iterable[str] = ("parley",)) -> None:
    """Print the tables: a column per scenario, grouped by figure; then the ratios."""
    for figure, (key, unit) in UNITS.items():
        for group in ("echo", "product"):
            columns = [
                s
                for s in SCENARIOS.values()
                if s.figure == figure and s.group == group and any(r["scenario"] == s.name for r in rows)
            ]
            if columns:
                console.print(figure_table(f"{group}: {unit}", rows, columns, key))
    latencies = [
        s
        for s in SCENARIOS.values()
        if s.figure != "latency" and any(r["scenario"] == s.name and "p99_us" in r for r in rows)
    ]
    if latencies:
        console.print(latency_table(rows, latencies))
    for name in ours:
        found = [row for row in ratios(rows, name) if len(row) > 2]
        if found:
            console.print(ratio_table(name, found))
    for row in bounds(rows):
        good = row["value"] >= row["least"] if "least" in row else row["value"] <= row["most"]
        limit = f"at least {row['least']}" if "least" in row else f"at most {row['most']}"
        console.print(
            f"{row['what']}: [{'green' if good else 'red'}]{row['value']:,}[/] ({limit})", highlight=False
        )
    for row in rows:
        if "failed" in row:
            console.print(f"[red]{row['scenario']} {row['server']}: {row['failed']}[/]")


def servers_of(rows: list[Result], columns: list[Scenario]) -> dict[str, str]:
    names = {s.name for s in columns}
    return {row["server"]: row["title"] for row in rows if row["scenario"] in names}


def cell(rows: list[Result], scenario: str, server: str, key: str, form: str) -> str:
    for row in rows:
        if (row["scenario"], row["server"]) == (scenario, server):
            return format(row[key][0], form) if key in row else "failed" if "failed" in row else "-"
    return ""


def figure_table(title: str, rows: list[Result], columns: list[Scenario], key: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for scenario in columns:
        table.add_column(scenario.title, justify="right")
    form = ",.0f" if key in ("p99_us", "delivered_per_s", "us_per_connect") else ".2f"
    for server, name in servers_of(rows, columns).items():
        table.add_row(name, *(cell(rows, s.name, server, key, form) for s in columns))
    return table


def latency_table(rows: list[Result], lines: list[Scenario]) -> Table:
    """A line per scenario: all of them side by side would not fit."""
    title = "latency at the rate that each one reaches: ms, median / 99th percentile"
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    timed = [row for row in rows if "p99_us" in row]
    names = list(dict.fromkeys(row["server"] for row in timed))
    for name in names:
        table.add_column(name, justify="right")
    found = {(row["scenario"], row["server"]): (row["p50_us"][0], row["p99_us"][0]) for row in timed}
    for scenario in lines:
        pairs = [found.get((scenario.name, name)) for name in names]
        table.add_row(
            scenario.title, *(f"{pair[0] / 1e3:.2f} / {pair[1] / 1e3:.2f}" if pair else "" for pair in pairs)
        )
    return table


def ratio_table(name: str, found: list[Result]) -> Table:
    table = Table(title=f"{name}: ratio, and the most it may be", title_justify="left")
    for column in ("", "to Node", "at most", "to stock", "at most", "to the C floor", "to uWebSockets"):
        table.add_column(column, justify="left" if not column else "right")
    for row in found:
        cells = []
        for peer in ("node", "stock"):
            limit = row.get(f"{peer}_limit")
            ratio = row.get(peer)
            colour = "" if limit is None or ratio is None else "[green]" if ratio <= limit else "[red]"
            cells.append(f"{colour}{ratio:.2f}" if ratio is not None else "")
            cells.append(f"{limit:.2f}" if limit is not None else "")
        cells += [f"{row[peer]:.2f}" if peer in row else "" for peer in ("floor", "uws")]
        table.add_row(SCENARIOS[row["scenario"]].title, *cells)
    return table
