"""End expired sessions, erase those past their retention, and clear away files that nobody has, once."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from server.cli import fail, load_for_tool

if TYPE_CHECKING:
    from server.config import Settings
    from storage.database import Database

BATCH = 500


@click.command("cleanup")
@click.option("--dry-run", is_flag=True, help="Only count the sessions that would be erased.")
def command(dry_run: bool) -> None:
    """Do once what every node does each SESSION_CLEANUP_INTERVAL: for a cron job, or before a backup.

    Expired sessions are marked as ended. Those that ended more than SESSION_RETENTION_DAYS ago (0: never)
    are erased with their messages and files. Uploads that were never posted are removed after a day.

    \b
    Examples:
      python -m server cleanup
      SESSION_RETENTION_DAYS=30 python -m server cleanup --dry-run
    """
    settings = load_for_tool()
    from storage.database import Database
    from storage.errors import StorageError

    async def run() -> str:
        database = Database(settings.database_url, pool_size=1, max_overflow=1)
        await database.connect()
        try:
            return await (_count(database, settings) if dry_run else _clean(database, settings))
        finally:
            await database.disconnect()

    try:
        told = asyncio.run(run())
    except StorageError as error:
        from server.logs import scrub

        fail(f"the database cannot answer: {scrub(str(error))}; is it migrated? (python -m server migrate)")
    click.echo(told)


def _cutoff(settings: "Settings", now: datetime) -> datetime:
    # Without a retention only those go that were marked for it, whenever that was.
    days = settings.session_retention_days
    return now - timedelta(days=days) if days > 0 else datetime.fromtimestamp(0, UTC)


async def _count(database: "Database", settings: "Settings") -> str:
    from storage.sessions import Sessions

    cutoff = _cutoff(settings, datetime.now(UTC))
    return f"{len(await Sessions(database).purgeable(cutoff, 1_000_000))} to erase"


async def _clean(database: "Database", settings: "Settings") -> str:
    from events.filecare import FileCare
    from events.retention import PURGE
    from server.backends import blob_store
    from storage.files import Files
    from storage.sessions import Sessions

    sessions, now = Sessions(database), datetime.now(UTC)
    care = FileCare(Files(database), blob_store(settings), time.time)
    ended = erased = files = 0
    while batch := await sessions.end_expired(now, BATCH):
        ended += len(batch)
    while batch := await sessions.purgeable(_cutoff(settings, now), PURGE):
        records = await sessions.purge(batch)
        await care.on_purged(records)
        erased, files = erased + len(batch), files + len(records)
    files += await care.collect()
    told = f"{ended} ended, {erased} erased"
    return f"{told}, {files} files removed" if files else told
