"""`python -m bench.turns`: how long each call keeps the event loop, at its dearest. Writes results.json."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.process import raise_file_limit
from bench.turns.measure import Asked, everything
from bench.turns.probe import Cost
from bench.turns.table import RESULTS
from bench.turns.world import FULL, SMALL, Size, world
from tests.support.services import Postgres


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/parley.db"
        return
    with Postgres() as postgres:
        yield postgres.url(postgres.create_database())


def row(asked: Asked, cost: Cost) -> dict[str, Any]:
    found = {"call": asked.call, "door": asked.door, "input": asked.told}
    return found | {"longest": round(cost.longest, 1), "cpu": round(cost.whole, 1)}


async def measure(
    url: str, folder: Path, size: Size, only: str, repeat: int
) -> tuple[list[dict[str, Any]], int]:
    """The rows, and how many calls failed."""
    rows, failed = [], 0
    async with world(folder, url, size) as made:
        for asked in everything(made):
            if not any(part in asked.call for part in only.split(",")):
                continue
            what = f"{asked.call} {asked.door}: {asked.told}"
            try:
                cost = await asked.median(repeat)
            except Exception as error:  # noqa: BLE001 - the others are measured all the same
                print(f"FAILED  {what}: {error!r:.400}", flush=True)
                failed += 1
            else:
                rows.append(row(asked, cost))
                print(f"{cost.longest:8.1f} {cost.whole:8.1f}  {what}", flush=True)
    return rows, failed


def write(rows: list[dict[str, Any]]) -> None:
    """What was measured before of other calls stays."""
    before = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    anew = {one["call"] for one in rows}
    kept = [one for one in before if one["call"] not in anew]
    result = {"date": datetime.now(UTC).isoformat(), "machine": describe(), "rows": kept + rows}
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.turns", description=__doc__)
    parser.add_argument("--only", default="", help="calls whose name has this in it; several by commas")
    parser.add_argument("--repeat", type=int, default=5, help="times, of which the median is taken")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--small", action="store_true", help="as the tests do; writes nothing")
    given = parser.parse_args()
    raise_file_limit()
    with (
        tempfile.TemporaryDirectory(prefix="parley-turns-") as name,
        database(given.database, Path(name)) as url,
    ):
        size = SMALL if given.small else FULL
        rows, failed = asyncio.run(measure(url, Path(name), size, given.only, given.repeat))
    if given.database == "sqlite" and not given.small:
        write(rows)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
