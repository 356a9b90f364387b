"""`make docs`: write again what is generated from the code, and take the pictures.

`--check` writes nothing and fails if a text would change, or if any text holds the marks of a merge that was
not finished; `--texts` leaves the pictures alone.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Tables of docs/compared.md: the product's own figures first.
PARTS = (
    (
        "The product",
        "product",
        "The whole of Parley: tokens, sessions, membership, presence, limits and the log of each room. "
        "The others are relays that check the same JWT and pass the same events on; they store nothing.",
    ),
    (
        "The bare engine",
        "echo",
        "Parley's Socket.IO alone (`server/engine/`), as a library: no sessions, no database. The others are "
        "libraries too; C shows what the machine itself takes.",
    ),
)
PICTURES = ROOT / "docs" / "pictures"
sys.path.insert(0, str(ROOT))


def generated() -> dict[Path, str]:
    from server.contract.pytypes import typed_dicts
    from server.contract.tables import filled
    from server.contract.typescript import declarations

    template = (ROOT / "docs" / "templates" / "protocol.md").read_text()
    compared, security = ROOT / "docs" / "compared.md", ROOT / "docs" / "security.md"
    return {
        compared: with_figures(compared.read_text()),
        security: with_bounds(security.read_text()),
        ROOT / "docs" / "protocol.md": filled(template),
        ROOT / "clients" / "parley-events.d.ts": declarations(),
        ROOT / "clients" / "js" / "parley-events.d.ts": declarations(),
        ROOT / "clients" / "python" / "parley_client" / "wire.py": typed_dicts(),
    }


def between(text: str, mark: str, lines: list[str]) -> str:
    """`text` with these lines between its two marks."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return before + begin + "\n".join(lines) + "\n" + end + after


def with_bounds(security: str) -> str:
    from bench.turns.table import turns
    from server.contract.tables import bounds, caps, rates

    tables = (("rates", rates()), ("caps", caps()), ("bounds", bounds()), ("turns", turns()))
    for mark, lines in tables:
        security = between(security, mark, lines)
    return security


def with_figures(compared: str) -> str:
    """The document with the figures of bench/results.json between its two marks."""
    results = ROOT / "bench" / "results.json"
    text = measured(json.loads(results.read_text())) if results.exists() else ""
    return between(compared, "measured", text.splitlines())


def _caveat(results: dict[str, Any]) -> str:
    """What the run says of its own circumstances."""
    busy = "not idle" in results["method"]
    told = " The machine was busy with other work: ratios bear that, rates and latencies do not."
    return told if busy else ""


def _table(rows: list[dict[str, Any]], group: str) -> list[str]:
    """One group's scenarios, with the contenders that have a figure in any of them."""
    from bench.scenarios import SCENARIOS
    from bench.summary import UNITS, value

    scenarios = [
        scenario
        for name, scenario in SCENARIOS.items()
        if scenario.group == group and value(rows, name, "parley") is not None
    ]
    servers = [
        server
        for server in ("parley", "node", "stock", "uws", "floor")
        if any(value(rows, scenario.name, server) is not None for scenario in scenarios)
    ]
    titles = {row["server"]: row["title"] for row in rows}
    lines = ["| | unit | " + " | ".join(titles[each] for each in servers) + " |"]
    lines.append("|---|---|" + "---|" * len(servers))
    for scenario in scenarios:
        figures = [value(rows, scenario.name, server) for server in servers]
        # What is within the measurement's error of nothing may come out below it.
        shown = " | ".join(
            "" if figure is None else f"{max(figure, 0.0):,.{0 if figure >= 100 else 1}f}"
            for figure in figures
        )
        lines.append(f"| {scenario.title} | {UNITS[scenario.figure][1]} | {shown} |")
    return lines


def measured(results: dict[str, Any]) -> str:
    rows = results["summary"]
    lines = [
        "## Measured",
        "",
        "`make bench` measures all of them in turn on your machine; these are the medians on "
        f"{results['machine'].get('cpu', 'ours')} ({results['date'][:10]}). The method and all other figures "
        "are in [bench/README.md](../bench/README.md) and [bench/results.json](../bench/results.json). "
        "Less is better, except for messages per second." + _caveat(results),
    ]
    for title, group, what in PARTS:
        lines += ["", f"### {title}", "", what, "", *_table(rows, group)]
    plots = sorted((ROOT / "bench" / "plots").glob("*.svg"))
    if plots:
        lines += ["", *(f"![{plot.stem}](../bench/plots/{plot.name})" for plot in plots)]
    return "\n".join([*lines, ""])


def texts(check: bool) -> None:
    stale = []
    for path, text in generated().items():
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.relative_to(ROOT).as_posix())
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"wrote {stale[-1]}")
    if check and stale:
        sys.exit(f"not as the code says, run `make docs`: {', '.join(stale)}")


def unmerged(root: Path) -> list[str]:
    """Lines of tracked texts, as file:line, that a merge left for somebody to choose from."""
    marks = "^((<{7}|>{7}|[|]{7})( |$)|={7}$)"  # spelled so that this line is none
    found = subprocess.run(
        ["git", "grep", "-I", "-n", "-E", marks], cwd=root, capture_output=True, text=True, check=False
    )
    if found.returncode > 1:  # 1: nothing found
        sys.exit(found.stderr.strip())
    return [":".join(line.split(":", 2)[:2]) for line in found.stdout.splitlines()]


def pictures() -> None:
    """A server of its own, and a headless Chromium that looks at it."""
    from migrations.run import upgrade
    from tests.people.conftest import SETTINGS, with_client
    from tests.support.server import Server
    from tests.support.services import program

    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = f"sqlite:///{folder}/parley.db"
        upgrade(database)
        with_client(folder)
        with Server(folder, database, **SETTINGS | {"STREAM_DELAY_MS": "25"}) as node:
            script = ROOT / "tests" / "people" / "pictures.mjs"
            env = {**os.environ, "CHROMIUM": program("chromium")}
            command = [program("node"), str(script), node.url, str(PICTURES)]
            subprocess.run(command, check=True, timeout=180, env=env)
    print(f"took {', '.join(sorted(file.name for file in PICTURES.glob('*.png')))}")


def main() -> None:
    texts(check="--check" in sys.argv)
    if "--check" in sys.argv and (ROOT / ".git").exists() and (left := unmerged(ROOT)):
        sys.exit(f"marks of an unfinished merge: {', '.join(left)}")
    if not {"--check", "--texts"} & set(sys.argv):
        pictures()


if __name__ == "__main__":
    main()
