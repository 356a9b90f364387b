"""List, show, extend and end chat sessions."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from server.cli import fail, load_for_tool

if TYPE_CHECKING:
    from storage.recency import PageEnd
    from storage.records import SessionRecord, SessionSummary
    from storage.sessions import Sessions

T = TypeVar("T")


@click.group("sessions")
def command() -> None:
    """List, show, extend and end chat sessions.

    They work on the database itself, with or without a server running: its nodes see the change, and tell
    live members, within seconds.

    \b
    Examples:
      python -m server sessions list --status active --limit 50
      python -m server sessions list --user alice --json
      python -m server sessions show sess_4f1c…
      python -m server sessions extend sess_4f1c… --hours 48
      python -m server sessions end sess_4f1c…
    """


@command.command("list")
@click.option("--status", type=click.Choice(["active", "expired", "archived"]), help="Only these.")
@click.option("--user", help="Only those that this user owns or takes part in.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_command(status: str | None, user: str | None, limit: int, offset: int, as_json: bool) -> None:
    """List sessions, newest activity first."""

    async def act(sessions: "Sessions") -> "tuple[list[SessionSummary], int | None, PageEnd | None]":
        return await sessions.list_for(
            user or "",
            status=status,
            agent_id=None,
            limit=limit,
            offset=offset,
            now=datetime.now(UTC),
            everything=user is None,
        )

    rows, total, _ = _with_sessions(act)
    if as_json:
        for row in rows:
            click.echo(json.dumps(_view(row.session), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("session", "owner", "status", "messages", "last activity", "title", box=None)
    for row in rows:
        view = _view(row.session)
        activity = f"{row.session.last_activity:%Y-%m-%d %H:%M}"
        table.add_row(
            *(view["session_id"], view["user_id"], view["status"], str(view["message_count"]), activity),
            view["title"] or "",
        )
    console = Console(markup=False, highlight=False)
    # Piped into another program, a line must not be folded at 80 columns.
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=400)
    console.print(table)
    click.echo(f"{len(rows)} of {total}", err=True)


@command.command("show")
@click.argument("session_id")
def show_command(session_id: str) -> None:
    """Show everything stored of a session, as JSON."""
    click.echo(json.dumps(_view(_found(session_id)), ensure_ascii=False, indent=2))


@command.command("extend")
@click.argument("session_id")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="From now; by default its own TTL.")
def extend_command(session_id: str, hours: float | None) -> None:
    """Let a session live longer; one that has expired lives again."""
    record = _found(session_id)
    if record.status != "active":
        fail(f"{session_id} is {record.status}: restore it first (PATCH with status active)")
    extended = _with_sessions(lambda sessions: sessions.extend(session_id, hours, datetime.now(UTC)))
    if extended is None:
        fail(f"there is no session {session_id}")
    click.echo(f"{session_id} expires {extended.expires_at:%Y-%m-%d %H:%M:%S} UTC")


@command.command("end")
@click.argument("session_id")
def end_command(session_id: str) -> None:
    """Archive a session: its history stays, nobody can join or write. It can be restored."""

    async def act(sessions: "Sessions") -> "SessionRecord | None":
        now = datetime.now(UTC)
        record = await sessions.get(session_id)
        if record is None or record.status != "active":
            return record
        return await sessions.update(session_id, status="archived", ended_at=now, now=now)

    if _with_sessions(act) is None:
        fail(f"there is no session {session_id}")
    click.echo(f"{session_id} is archived")


def _found(session_id: str) -> "SessionRecord":
    record = _with_sessions(lambda sessions: sessions.get(session_id))
    if record is None:
        fail(f"there is no session {session_id}")
    return record


def _with_sessions(act: "Callable[[Sessions], Awaitable[T]]") -> T:
    """What `act` returns for the sessions of DATABASE_URL; a database that is away ends the program."""
    settings = load_for_tool()
    from storage.database import Database
    from storage.errors import StorageError
    from storage.sessions import Sessions

    async def run() -> T:
        database = Database(settings.database_url, pool_size=1, max_overflow=1)
        await database.connect()
        try:
            return await act(Sessions(database))
        finally:
            await database.disconnect()

    try:
        return asyncio.run(run())
    except StorageError as error:
        from server.logs import scrub

        fail(f"the database cannot answer: {scrub(str(error))}; is it migrated? (python -m server migrate)")


def _view(record: "SessionRecord") -> dict[str, Any]:
    expired = record.status == "active" and record.expires_at <= datetime.now(UTC)
    view: dict[str, Any] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        view[name] = value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
    return view | {"status": "expired" if expired else record.status}
