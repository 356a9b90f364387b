"""Bring the database to the newest schema."""

import click

from server.cli import fail, load_for_tool


@click.command("migrate")
@click.option("--down", metavar="REV", help="Go back to this revision; `base` takes all tables away.")
@click.option("--current", is_flag=True, help="Only print the revision that the database is at.")
def command(down: str | None, current: bool) -> None:
    """Bring the database of DATABASE_URL to the newest schema. Repeating it changes nothing.

    Nodes that start together may all call it: they take turns.

    \b
    Examples:
      python -m server migrate
      python -m server migrate --current
      DATABASE_URL=postgresql://chat@localhost/chat python -m server migrate
      python -m server migrate --down base
    """
    settings = load_for_tool()
    import sqlalchemy.exc
    from alembic.util import CommandError

    from migrations import run
    from storage.failures import DRIVER_ERRORS

    faults: tuple[type[Exception], ...] = (*DRIVER_ERRORS, sqlalchemy.exc.SQLAlchemyError, CommandError)
    try:
        if not current:
            if down is None:
                run.upgrade(settings.database_url)
            else:
                run.downgrade(settings.database_url, down)
        click.echo(run.current(settings.database_url) or "empty")
    except faults as error:
        from server.logs import scrub

        fail(f"cannot migrate: {scrub(str(error)) or type(error).__name__}")
