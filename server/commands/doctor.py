"""Examine a running Parley through its real proxy, and say what is wrong and how to mend it."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli import DEVELOPMENT_KEY, load_beside_run

if TYPE_CHECKING:
    from server.doctor.findings import Finding

SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("-", "bright_black")}


@click.command("doctor")
@click.argument("url")
@click.option(
    "--token", envvar="PARLEY_TOKEN", help="A user's token; by default one signed with the settings' key."
)
@click.option(
    "--origin",
    default="",
    help="The page that connects, such as https://app.example.com; by default URL's own.",
)
@click.option(
    "--idle",
    type=click.FloatRange(1),
    metavar="SECONDS",
    help="How long to wait in silence; by default past the server's ping.",
)
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def command(
    url: str, token: str | None, origin: str, idle: float | None, insecure: bool, as_json: bool
) -> None:
    """Examine the Parley at URL, as browsers reach it: through its proxy and its load balancer.

    Long polling, stickiness, WebSocket upgrades, origins, token, clocks, event streams, idle time-outs and
    the query string. It takes about half a minute: most of it is silence, kept on purpose. The status is 1
    if something is broken.

    \b
    Examples:
      python -m server doctor https://chat.example.com
      python -m server doctor https://chat.example.com --origin https://app.example.com
      PARLEY_TOKEN=eyJ… python -m server doctor https://chat.example.com --json
    """
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("begin it with https:// or http://", param_hint="URL")
    from server.doctor.examine import Examination
    from server.doctor.wire import Target

    target = Target(url.rstrip("/"), token or _own_token(), origin.rstrip("/"), insecure)
    examination = Examination(target, _as_json if as_json else _as_text, idle)
    findings = asyncio.run(examination.run())
    failed = [finding for finding in findings if finding.state == "fail"]
    if not as_json:
        click.echo()
        click.echo(_verdict(findings))
    sys.exit(1 if failed else 0)


def _own_token() -> str | None:
    """A token of ten minutes, where the settings here have a key, or `make run` has made one."""
    from server.identity.tokens import mint

    if not os.environ.get("JWT_SECRET_KEY") and not Path(".env").exists() and not DEVELOPMENT_KEY.exists():
        return None
    try:
        return mint(load_beside_run()[0], "doctor", ttl=600)[0]
    except ValueError:
        return None


def _verdict(findings: "list[Finding]") -> str:
    failed = [finding for finding in findings if finding.state == "fail"]
    skipped = ", ".join(finding.check for finding in findings if finding.state == "skip")
    told = f"{len(failed)} to mend" if failed else "nothing to mend"
    return f"{told} in what was examined; not examined: {skipped}" if skipped else told


def _as_text(finding: "Finding") -> None:
    sign, colour = SIGNS[finding.state]
    click.echo(f"{click.style(sign, fg=colour)} {finding.check:<11} {finding.text}")
    if finding.mend:
        indent = " " * 14
        wrapped = click.wrap_text(finding.mend, 100, indent, indent)
        click.echo(f"{' ' * 2}{click.style('mend', fg=colour)}{wrapped[6:]}  [{finding.fault}]")


def _as_json(finding: "Finding") -> None:
    click.echo(json.dumps(finding.as_dict(), ensure_ascii=False))
