"""Copy a whole installation from one database to another."""

import asyncio
from typing import TYPE_CHECKING

import click

from server.cli import fail

if TYPE_CHECKING:
    from storage.database import Database


@click.command("copy-database")
@click.option("--from", "source", required=True, metavar="URL", help="The one to read; it is not changed.")
@click.option("--to", "target", required=True, metavar="URL", help="An empty one; it is migrated first.")
def command(source: str, target: str) -> None:
    """Copy every row of every table, and compare counts and checksums when done.

    Stop what serves the source first. A copy that was interrupted goes on when the same command is given
    again; until it is whole, `serve` refuses the target. Files' contents stay where they are, in the folder
    or bucket. The search index is made anew by the nodes.

    \b
    Examples:
      python -m server copy-database --from sqlite:///data/parley.db --to postgresql://chat@localhost/chat
    """
    import sqlalchemy.exc

    from migrations.run import current, upgrade
    from server.logs import scrub
    from storage.copying import CannotCopy
    from storage.errors import StorageError
    from storage.failures import DRIVER_ERRORS
    from storage.url import check, dialect_of, sqlite_file

    for option, url in (("--from", source), ("--to", target)):
        try:
            check(url)
        except ValueError as error:
            fail(f"{option}: {error}")
    if dialect_of(source) == "sqlite" and not sqlite_file(source).is_file():
        fail(f"--from: no file {sqlite_file(source)}")
    if source == target:
        fail("--from and --to are the same database")
    unreachable: tuple[type[Exception], ...] = (*DRIVER_ERRORS, sqlalchemy.exc.SQLAlchemyError)
    try:
        upgrade(target)
        if current(source) != current(target):
            fail("the source is not at the newest revision: DATABASE_URL=<source> python -m server migrate")
        found = asyncio.run(_run(source, target))
    except (StorageError, CannotCopy) as error:
        fail(scrub(str(error)) or type(error).__name__)
    except unreachable as error:
        fail(f"a database cannot be reached: {scrub(str(error)) or type(error).__name__}")
    for name, (rows, checksum) in found.items():
        click.echo(f"{name:<20}{rows:>12} rows  {checksum}")
    click.echo("counts and checksums are equal: the copy is whole")


async def _run(source: str, target: str) -> dict[str, tuple[int, str]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from storage.copying import TABLES, Copy, count
    from storage.database import Database
    from storage.url import plain

    here, there = Database(source, pool_size=2, max_overflow=0), Database(target, pool_size=2, max_overflow=0)
    await here.connect()
    try:
        await there.connect()
        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bars = {
                table.name: progress.add_task(table.name, total=await count(here, table)) for table in TABLES
            }
            copy = Copy(
                here, there, plain(source), lambda name, rows: progress.update(bars[name], completed=rows)
            )
            return await copy.run()
    finally:
        await _close(here, there)


async def _close(*databases: "Database") -> None:
    for database in databases:
        await database.disconnect()
