"""Serve on HOST and SERVICE_PORT until told to stop."""

import logging
import math
import signal
import sys
from socket import socket
from typing import TYPE_CHECKING, NoReturn

import click

from server.cli import load_settings

if TYPE_CHECKING:
    from server.config import Settings

DAY = 86_400.0
#: The status of a start that something stood in the way of; the log has said what.
CANNOT_SERVE = 3


@click.command("serve")
def command() -> None:
    """Serve until SIGTERM or Ctrl-C; then finish what is under way, within SHUTDOWN_GRACE seconds.

    What stands in the way of a start is told in a line, and the status is then 3; 1 for faulty settings.
    With DEBUG it prints a ready-made curl line and the playground's address.

    \b
    Examples:
      python -m server serve
      DEBUG=true LOG_FORMAT=console python -m server serve
      PORT=9000 DATABASE_URL=postgresql://chat@localhost/chat python -m server serve
    """
    settings = load_settings()
    from server import logs
    from server.config_rules import notices

    logs.configure(settings)
    for notice in (*notices(settings), *settings.unknown()):
        logging.getLogger("parley.settings").warning("%s", notice)
    import uvicorn

    from server import starting
    from server.app import create_app
    from server.closing import drain
    from server.engine.run import tune_collector, uvicorn_config

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started and sockets:
                tune_collector()
                starting.tell_ready(app.state.services, starting.address(settings, sockets))
                if settings.debug:
                    click.echo(welcome(settings, sockets[0].getsockname()[1]))

        async def shutdown(self, sockets: list[socket] | None = None) -> None:
            # uvicorn tells the application only when all requests have ended by themselves, which an event
            # stream or a long poll never does: so the application is drained first.
            services = app.state.services
            services.draining = True
            await drain(services)
            await services.extras["sio"].eio.close_all()
            await super().shutdown(sockets)

    settings = starting.allow_descriptors(settings)
    try:
        sockets = starting.listen_at(settings.host, settings.service_port)
    except starting.CannotListen as error:
        _end("%s", error)
    app = create_app(settings)
    # uvicorn's own last word on a start that failed, where ours has said why.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not app.state.services.extras.get("refused"))
    server = Server(
        uvicorn_config(
            app,
            lifespan="on",
            # Ours are set up already, and uvicorn's would print tokens.
            log_config=None,
            # Client addresses are read behind TRUSTED_PROXIES alone, never rewritten beneath us.
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(settings.shutdown_grace),
            ssl_certfile=str(settings.ssl_certfile) if settings.ws_use_ssl else None,
            ssl_keyfile=str(settings.ssl_keyfile) if settings.ws_use_ssl else None,
        )
    )
    # uvicorn raises the signal that stopped it again when all is done; an orderly end is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        server.config.load()
    except (OSError, ValueError) as error:  # what OpenSSL says of a file is an OSError
        _end("SSL_CERTFILE and SSL_KEYFILE cannot be served with: %s", error)
    try:
        server.run(sockets)
    except OSError as error:  # two that were started at the same moment
        _end("cannot listen: %s", error)
    if not server.started:
        sys.exit(CANNOT_SERVE)


def _end(text: str, error: Exception) -> NoReturn:
    logging.getLogger("parley.node").error(text, error)
    sys.exit(CANNOT_SERVE)


def welcome(settings: "Settings", port: int) -> str:
    """What a developer needs first: a call that works, and the playground with a token in its fragment.

    A fragment never reaches a server's log.
    """
    from server.tokens import mint

    base = f"{'https' if settings.ws_use_ssl else 'http'}://127.0.0.1:{port}{settings.root_path}"
    lines = ["", f"Parley serves {base}"]
    if settings.jwt_algorithm == "HS256":
        token, _ = mint(settings, "alice", ttl=DAY)
        lines += [
            "",
            "Playground:",
            f"  {base}/#token={token}",
            "",
            "A first session:",
            f"  curl -s{'k' if settings.ws_use_ssl else ''} {base}/api/chat/sessions \\",
            f"    -H 'Authorization: Bearer {token}' \\",
            "    -H 'Content-Type: application/json' -d '{\"title\": \"First\"}'",
        ]
    return "\n".join([*lines, ""])
