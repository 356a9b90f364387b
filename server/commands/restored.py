"""Say that the database was restored: clients and nodes take nothing from before for granted."""

import asyncio

import click

from server.cli import fail, load_for_tool


@click.command("restored")
def command() -> None:
    """Begin a new lineage of the database. To be called after a restore, before nodes start again.

    Revisions are given out a second time then. Clients that come back get whole snapshots, and what Redis
    holds of the lost time counts as absent. Calling it once too often costs each client one snapshot.

    \b
    Examples:
      python -m server restored
    """
    settings = load_for_tool()
    from storage.database import Database
    from storage.errors import StorageError
    from storage.lineage import Lineages

    async def run() -> str:
        database = Database(settings.database_url, pool_size=1, max_overflow=1)
        await database.connect()
        try:
            lineages = Lineages(database)
            await lineages.begin((await lineages.read()).name, await lineages.origin())
            return (await lineages.read()).name
        finally:
            await database.disconnect()

    try:
        name = asyncio.run(run())
    except StorageError as error:
        from server.logs import scrub

        fail(f"the database cannot answer: {scrub(str(error))}; is it migrated? (python -m server migrate)")
    click.echo(f"a new lineage begins: {name}")
