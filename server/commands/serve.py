"""Serve on HOST and SERVICE_PORT until told to stop."""

import logging
import sys
from typing import TYPE_CHECKING

import click

from server.cli import fail, load_settings

if TYPE_CHECKING:
    from server.config import Settings
    from server.services import Services
    from server.supervisor import Worker

DAY = 86_400.0


@click.command("serve")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes on the one port, each a node: one for each core. Needs REDIS_URL and PostgreSQL.",
)
@click.option(
    "--worker-ports",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="The first worker's own port, for its metrics; the others' follow.  [default: SERVICE_PORT + 1]",
)
def command(workers: int, worker_ports: int | None) -> None:
    """Serve until SIGTERM or Ctrl-C; then finish what is under way, within SHUTDOWN_GRACE seconds.

    If the start fails, one line says why, and the status is 3, or 1 for invalid settings.
    With DEBUG it prints a ready-made curl line and the playground's URL.

    \b
    Examples:
      python -m server serve
      DEBUG=true LOG_FORMAT=console python -m server serve
      PORT=9000 DATABASE_URL=postgresql://chat@localhost/chat python -m server serve
      REDIS_URL=redis://localhost python -m server serve --workers 4
    """
    settings = load_settings()
    from server import logs
    from server.config_rules import notices

    logs.configure(settings)
    for notice in (*notices(settings), *settings.unknown()):
        logging.getLogger("parley.settings").warning("%s", notice)
    from server import starting

    if workers > 1:
        sys.exit(_together(settings, workers, worker_ports))
    settings = starting.allow_descriptors(settings)
    sys.exit(_alone(settings))


def _alone(settings: "Settings") -> int:
    from server import starting
    from server.serving import CANNOT_SERVE, serve

    try:
        sockets = starting.listen_at(settings.host, settings.service_port)
    except starting.CannotListen as error:
        logging.getLogger("parley.node").error("%s", error)
        return CANNOT_SERVE
    host, port = sockets[0].getsockname()[:2]

    def ready(services: "Services") -> None:
        starting.tell_ready(settings, starting.url(settings, host, port), node=services.node_id)
        if settings.debug:
            click.echo(welcome(settings, port))

    return serve(settings, sockets, ready)


def _together(settings: "Settings", count: int, worker_ports: int | None) -> int:
    from server import starting
    from server.supervisor import Supervisor, missing

    first = worker_ports or (settings.service_port + 1 if settings.service_port else 0)
    if lines := list(missing(settings, count, first)):
        fail("\n".join(lines))
    settings = starting.allow_descriptors(settings)

    def ready(address: str, port: int, workers: "list[Worker]") -> None:
        nodes = [f"{worker.node} at {worker.url}" for worker in workers]
        starting.tell_ready(settings, address, workers=nodes)
        if settings.debug:
            click.echo(welcome(settings, port))

    return Supervisor(settings, count, first, ready).run()


def welcome(settings: "Settings", port: int) -> str:
    """The first things for a developer: a call that works, and the playground's URL with a token in its
    fragment.

    A fragment never reaches a server's log.
    """
    from server.identity.tokens import mint

    base = f"{'https' if settings.ws_use_ssl else 'http'}://127.0.0.1:{port}{settings.root_path}"
    lines = ["", f"Parley serves {base}"]
    if settings.jwt_algorithm == "HS256":
        token, _ = mint(settings, "alice", ttl=DAY)
        lines += [
            "",
            "Playground:",
            f"  {base}/#token={token}",
            "",
            "Documentation:",
            f"  {base}/docs/",
            "",
            "A first session:",
            f"  curl -s{'k' if settings.ws_use_ssl else ''} {base}/api/chat/sessions \\",
            f"    -H 'Authorization: Bearer {token}' \\",
            "    -H 'Content-Type: application/json' -d '{\"title\": \"First\"}'",
        ]
    return "\n".join([*lines, ""])
