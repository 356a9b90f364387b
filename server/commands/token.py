"""Print a token for somebody, signed with JWT_SECRET_KEY."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import click

from server.cli import fail, load_beside_run

if TYPE_CHECKING:
    from events.identity import Role


def duration(_: click.Context, __: click.Parameter, value: str) -> float:
    """Seconds, or a number with s, m, h or d after it."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", value.strip())
    if found is None or float(found[1]) == 0:
        raise click.BadParameter("write seconds, or 30m, 12h, 7d")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


@click.command("token")
@click.option("--sub", required=True, help="Whom the token names: a user's or an agent's id.")
@click.option("--role", type=click.Choice(["user", "agent", "service"]), default="user", show_default=True)
@click.option("--name", help="A name to show beside the id.")
@click.option("--avatar-url", metavar="URL", help="The address of a picture to show.")
@click.option(
    "--sessions", metavar="ID[,ID…]", multiple=True, help="Restrict it to these sessions (a share link)."
)
@click.option(
    "--session-role",
    type=click.Choice(["viewer", "member"]),
    help="What it may do in those sessions; by default a viewer's.",
)
@click.option("--ttl", callback=duration, default="1h", show_default=True, help="How long it lasts: 30m, 7d.")
def command(
    sub: str,
    role: "Role",
    name: str | None,
    avatar_url: str | None,
    sessions: tuple[str, ...],
    session_role: Literal["member", "viewer"] | None,
    ttl: float,
) -> None:
    """Print a token on standard output, and nothing else there.

    Without a key in the settings the development key of `make run` signs, if there is one.

    \b
    Examples:
      python -m server token --sub alice
      python -m server token --sub alice --name "Alice A." --ttl 12h
      python -m server token --sub 7 --role agent --ttl 30d
      python -m server token --sub guest --sessions sess_1,sess_2 --session-role viewer
      curl -H "Authorization: Bearer $(python -m server token --sub alice)" \\
        http://127.0.0.1:8003/api/chat/sessions
    """
    settings, _ = load_beside_run()
    from server.identity.tokens import mint

    ids = [word.strip() for entry in sessions for word in entry.split(",") if word.strip()]
    try:
        text, expires_at = mint(
            settings, sub, role, name, ids or None, ttl, avatar_url=avatar_url, session_role=session_role
        )
    except ValueError as error:
        fail(str(error))
    click.echo(text)
    click.echo(f"expires {datetime.fromtimestamp(expires_at, UTC):%Y-%m-%d %H:%M:%S} UTC", err=True)
