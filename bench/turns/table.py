"""The table of docs/security.md: for each call its dearest input, and what that cost."""

import json
from pathlib import Path
from typing import Any

from bench.turns.calls import CALLS, DOORS
from bench.turns.commands import COMMANDS

RESULTS = Path(__file__).parent / "results.json"
#: Doors of commands, as the table names them.
NAMES = {"socketio": "Socket.IO", "polling": "long polling", "websocket": "raw WebSocket", "rest": "REST"}


def turns() -> list[str]:
    """Of each call the input that keeps the loop longest. Raises ValueError for one without figures."""
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text())["rows"]
    lines = ["| call | its dearest input | longest turn, ms | CPU in all, ms |", "|---|---|---|---|"]
    for call in (*COMMANDS, *(f"{method} {path}" for method, path in CALLS), *DOORS):
        mine = [row for row in rows if row["call"] == call]
        if not mine:
            raise ValueError(f"{call} was not measured: python -m bench.turns --only '{call}'")
        worst = max(mine, key=lambda row: float(row["longest"]))
        told = worst["input"] + (f" ({NAMES[worst['door']]})" if worst["door"] else "")
        shown = call if call in DOORS else f"`{call}`"
        lines.append(f"| {shown} | {told} | {worst['longest']:.1f} | {max(row['cpu'] for row in mine):.0f} |")
    return lines
