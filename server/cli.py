"""The command line: finds its commands, loads settings for them, says what is wrong in a line each.

A command is a file in `server/commands/` with a click command named `command`; the file's docstring begins
with its line in the list. Nothing is imported before it is called for, so `--help` is quick.
"""

import ast
import gc
import importlib
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from server.config import Settings

COMMANDS = Path(__file__).parent / "commands"
#: Where DEBUG keeps the key that it makes for itself.
DEVELOPMENT_KEY = Path("data/dev-secret")


class CommandGroup(click.Group):
    """The files of `server/commands/`, by their names with dashes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        files = (path.stem for path in COMMANDS.glob("*.py") if not path.stem.startswith("_"))
        return sorted(name.replace("_", "-") for name in files)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found = importlib.import_module(f"server.commands.{cmd_name.replace('-', '_')}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            source = (COMMANDS / f"{name.replace('-', '_')}.py").read_text()
            first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
            rows.append((name, first))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from server.contract import VERSION

        click.echo(f"parley {VERSION}")
        ctx.exit()


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings come from the environment and from .env; `check-config` shows them all.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print it and end."
)
def main() -> None:
    """Parley: real-time chat over Socket.IO, raw WebSocket, SSE and REST.

    \b
    First steps:
      python -m server migrate
      python -m server serve
      python -m server token --sub alice
    """
    # What a command imports stays. The collector would go through it again and again: a tenth of a start.
    gc.set_threshold(50_000)


def load_settings() -> "Settings":
    """The settings, or an end with status 1 and every fault on standard error."""
    from server.config import Settings, SettingsError

    try:
        return Settings.load()
    except SettingsError as error:
        fail("\n".join([str(error), *(f"  {line}" for line in Settings.unknown())]))


def load_beside_run() -> "tuple[Settings, bool]":
    """As `load_settings`; where only the key is missing, with DEBUG and the key that `make run` has made.

    The second value says whether it was taken.
    """
    from server.config import Settings, SettingsError

    try:
        return Settings.load(), False
    except SettingsError as error:
        missing = {fault.name for fault in error.faults} == {"JWT_SECRET_KEY"}
        if not missing or Settings.given().get("JWT_SECRET_KEY") or not DEVELOPMENT_KEY.is_file():
            return load_settings(), False
    try:
        return Settings.load({**os.environ, "DEBUG": "true", "HOST": "127.0.0.1"}), True
    except SettingsError as error:
        fail(str(error))


def load_for_tool() -> "Settings":
    """As `load_settings`, for a command that needs no key: it must work before keys are set."""
    from server.config import Settings, SettingsError

    try:
        return Settings.load()
    except SettingsError as error:
        of_keys = (
            "JWT_SECRET_KEY",
            "SECRET_KEY",
            "JWT_PUBLIC_KEY",
            "JWT_JWKS_URL",
            "JWT_AUDIENCE",
            "JWT_ISSUER",
            "JWT_TYP",
        )
        others = [fault for fault in error.faults if fault.name not in of_keys]
        if others:
            fail(str(SettingsError(others)))
        unused = dict.fromkeys(of_keys, "") | {"JWT_SECRET_KEY": secrets.token_urlsafe(48)}
        return Settings.load({**os.environ, "JWT_ALGORITHM": "HS256", **unused})


def fail(text: str) -> NoReturn:
    """Ends the program with status 1 and `text` on standard error."""
    click.echo(text, err=True)
    sys.exit(1)
