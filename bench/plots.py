"""Results → the pictures of docs/compared.md. `python -m bench.plots [results.json]` draws them again."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from bench.build import HERE
from bench.scenarios import SCENARIOS
from bench.summary import UNITS

Result = dict[str, Any]
OURS, PEER, FLOOR, INK, FAINT = "#0b7a75", "#b9c2cc", "#e3e7eb", "#22303c", "#6b7785"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "parley",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


def draw(results: Result, folder: Path) -> list[Path]:
    """Write the pictures into `folder`; those without a figure are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = results["summary"]
    wanted = {
        "delivery": (
            "Server CPU per delivered message, µs",
            ["room1000", "room100", "room100w8", "rooms100x10", "tokens", "ack"],
        ),
        "connections": (
            "One connection: memory when idle, CPU to set it up",
            ["idle10k", "connect", "product10k", "setup"],
        ),
        "product": (
            "The whole product beside plain relays: access, order, log and recovery included",
            ["typing", "chunks"],
        ),
    }
    made = []
    with matplotlib.rc_context(STYLE):
        for name, (title, scenarios) in wanted.items():
            found = [s for s in scenarios if any(r["scenario"] == s and has(r) for r in rows)]
            if found:
                path = folder / f"{name}.svg"
                picture(title, rows, found, path)
                made.append(path)
    return made


def has(row: Result) -> bool:
    return UNITS[SCENARIOS[row["scenario"]].figure][0] in row


def picture(title: str, rows: list[Result], scenarios: list[str], path: Path) -> None:
    """Small multiples: a panel of horizontal bars per scenario."""
    across = min(3, len(scenarios)) if len(scenarios) != 4 else 2
    down = -(-len(scenarios) // across)
    most = max(len([r for r in rows if r["scenario"] == s]) for s in scenarios)
    figure, grid = pyplot.subplots(
        down, across, figsize=(3.7 * across, down * (0.25 * most + 0.75) + 0.5), squeeze=False
    )
    for axes, scenario in zip(grid.flat, scenarios, strict=False):
        panel(axes, [r for r in rows if r["scenario"] == scenario and has(r)], scenario)
    for axes in list(grid.flat)[len(scenarios) :]:
        axes.axis("off")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.tight_layout(h_pad=1.6, w_pad=1.6)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def panel(axes: Axes, rows: list[Result], scenario: str) -> None:
    key, unit = UNITS[SCENARIOS[scenario].figure]
    values = [float(row[key][0]) for row in rows]
    colours = [
        OURS if row["server"].startswith("parley") else FLOOR if row["server"] == "floor" else PEER
        for row in rows
    ]
    places = range(len(rows))
    axes.barh(places, values, color=colours, height=0.72)
    axes.set_yticks(places, [row["title"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.18)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    for place, amount, row in zip(places, values, rows, strict=True):
        ours = row["server"].startswith("parley")
        label = f"{amount:,.0f}" if amount >= 100 else f"{amount:.1f}"
        axes.text(
            amount + max(values) * 0.015,
            place,
            label,
            va="center",
            fontsize=8,
            fontweight="bold" if ours else "normal",
            color=OURS if ours else INK,
        )
    named = SCENARIOS[scenario].title
    if SCENARIOS[scenario].figure != "delivery":
        named += f"\n{unit}"
    axes.set_title(named, loc="left", fontsize=9, color=INK)


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results.json"
    for path in draw(json.loads(source.read_text()), HERE / "plots"):
        print(path)


if __name__ == "__main__":
    main()
