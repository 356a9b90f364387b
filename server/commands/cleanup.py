"""End expired sessions and erase those past their retention, once."""

import asyncio
from datetime import UTC, datetime, timedelta

import click

from server.cli import fail, load_for_tool

BATCH = 500


@click.command("cleanup")
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
def command(dry_run: bool) -> None:
    """Do once what every node does each SESSION_CLEANUP_INTERVAL: for a cron job, or before a backup.

    Expired sessions are marked as ended. Those that ended more than SESSION_RETENTION_DAYS ago (0: never)
    are erased with their messages; the contents of their files are removed by the next running node.

    \b
    Examples:
      python -m server cleanup
      SESSION_RETENTION_DAYS=30 python -m server cleanup --dry-run
    """
    settings = load_for_tool()
    from storage.database import Database
    from storage.errors import StorageError
    from storage.sessions import Sessions

    async def run() -> tuple[int, int]:
        database = Database(settings.database_url, pool_size=1, max_overflow=1)
        await database.connect()
        try:
            sessions, now, days = Sessions(database), datetime.now(UTC), settings.session_retention_days
            # Without a retention only those go that were marked for it, whenever that was.
            cutoff = now - timedelta(days=days) if days > 0 else datetime.fromtimestamp(0, UTC)
            if dry_run:
                return 0, len(await sessions.purgeable(cutoff, 1_000_000))
            ended = erased = 0
            while batch := await sessions.end_expired(now, BATCH):
                ended += len(batch)
            while batch := await sessions.purgeable(cutoff, BATCH):
                await sessions.purge(batch)
                erased += len(batch)
            return ended, erased
        finally:
            await database.disconnect()

    try:
        ended, erased = asyncio.run(run())
    except StorageError as error:
        from server.logs import scrub

        fail(f"the database cannot answer: {scrub(str(error))}; is it migrated? (python -m server migrate)")
    click.echo(f"{erased} to erase" if dry_run else f"{ended} ended, {erased} erased")
