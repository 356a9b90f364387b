"""Take the sessions of an older store into this database."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from server.cli import fail, load_for_tool

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from storage.database import Database
    from storage.old_sessions import ImportTally, Misfit
    from storage.records import SessionRecord


@click.command("import-sessions")
@click.option("--from", "source", required=True, metavar="URL", help="sqlite:///old.db")
@click.option("--dry-run", is_flag=True, help="Change nothing; only tell what would change.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="A file for the rows that do not fit."
)
def command(source: str, dry_run: bool, report: Path | None) -> None:
    """Read the table `sessions` of an older store and create those sessions in DATABASE_URL.

    Ids, owners, metadata, times, lifetimes and request counts are kept, so that clients go on with their
    session ids. Nodes may be serving meanwhile. A run that was interrupted is simply started again: what is
    there already is left as it is. Rows that do not fit are left out and told, one JSON object a line, on
    standard output or in the file of --report.

    \b
    Examples:
      python -m server import-sessions --from sqlite:///old.db --dry-run
      python -m server import-sessions --from sqlite:////var/lib/old/sessions.db --report misfits.jsonl
    """
    settings = load_for_tool()
    from storage import private
    from storage.database import Database
    from storage.errors import StorageError
    from storage.old_sessions import NotAStore
    from storage.url import dialect_of, sqlite_file

    try:
        if dialect_of(source) != "sqlite":
            raise ValueError("only sqlite:/// URLs")
        file = sqlite_file(source)
    except ValueError as error:
        fail(f"--from: {error}")

    async def run() -> "ImportTally":
        database = Database(settings.database_url, pool_size=1, max_overflow=1)
        await database.connect()
        try:
            with ExitStack() as stack:
                out = stack.enter_context(private.text(report)) if report else sys.stdout
                return await _import(database, file, settings.session_hours, dry_run, out)
        finally:
            await database.disconnect()

    try:
        done = asyncio.run(run())
    except NotAStore as error:
        fail(f"{source}: {error}")
    except StorageError as error:
        from server.logs import scrub

        fail(f"the database cannot answer: {scrub(str(error))}; start the same command again to go on")
    click.echo(
        f"{done.rows} rows: {done.imported} {'would be imported' if dry_run else 'imported'}, "
        f"{done.present} already there, {done.misfits} that do not fit",
        err=True,
    )


async def _import(
    database: "Database", file: Path, ttl_hours: float, dry_run: bool, out: IO[str]
) -> "ImportTally":
    from storage.old_sessions import BATCH, ImportTally, Misfit, count, rows, session_of, take_in

    done = ImportTally()

    def tell(misfit: "Misfit") -> None:
        done.misfits += 1
        line = {"row": misfit.row, "session_id": misfit.session_id, "problem": misfit.problem}
        out.write(json.dumps(line, ensure_ascii=False) + "\n")

    async def take(batch: "list[tuple[int, SessionRecord]]") -> None:
        imported, present, misfits = await take_in(database, batch, dry_run=dry_run)
        done.imported, done.present = done.imported + imported, done.present + present
        for misfit in misfits:
            tell(misfit)

    with _progress() as progress:
        bar = progress.add_task("sessions", total=count(file))
        batch: list[tuple[int, SessionRecord]] = []
        for number, row in _numbered(rows(file), progress, bar):
            done.rows = number
            record = session_of(row, ttl_hours)
            if isinstance(record, str):
                shown = row["session_id"]
                shown = shown.decode(errors="replace") if isinstance(shown, bytes) else str(shown)
                tell(Misfit(number, shown, record))
                continue
            batch.append((number, record))
            if len(batch) == BATCH:
                await take(batch)
                batch.clear()
        if batch:
            await take(batch)
    return done


def _numbered(
    rows: Iterator[Mapping[str, Any]], progress: "Progress", bar: "TaskID"
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, row in enumerate(rows, 1):
        yield number, row
        if number % 100 == 0:
            progress.update(bar, completed=number)
    progress.update(bar, completed=progress.tasks[bar].total)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
