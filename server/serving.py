"""One node on its sockets: uvicorn with the application, told when it is ready, drained before it ends.

Knows no command line and no other worker.
"""

import asyncio
import logging
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from socket import socket

import uvicorn

from server.app import create_app
from server.closing import drain
from server.config import Settings
from server.doors import Doors
from server.engine.run import listen_plain, tune_collector, uvicorn_config
from server.services import Services

#: The status of a start that something stood in the way of; the log has said what.
CANNOT_SERVE = 3

log = logging.getLogger("parley.node")


@dataclass(frozen=True)
class Own:
    """A worker's own port, besides the common one. `lifeline`: a descriptor that ends when the supervisor is
    gone; then the worker ends, too. `workers`: how many there are."""

    socket: socket
    lifeline: int
    workers: int


class NodeServer(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, services: Services, doors: Doors, ready: Callable[[Services], None]
    ) -> None:
        super().__init__(config)
        self.own: Own | None = None
        self._services, self._doors, self._ready = services, doors, ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started or not sockets:
            return
        if self.own is not None:
            await listen_plain(self, self.own.socket)
            asyncio.get_running_loop().add_reader(self.own.lifeline, self._alone)
        tune_collector()
        self._ready(self._services)

    def _alone(self) -> None:
        assert self.own is not None
        asyncio.get_running_loop().remove_reader(self.own.lifeline)
        log.error("the supervisor is gone: this worker stops")
        os.kill(os.getpid(), signal.SIGTERM)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        # uvicorn tells the application only when all requests have ended by themselves, which an event
        # stream or a long poll never does: so the application is drained first.
        self._services.admission.draining = True
        await drain(self._services)
        await self._doors.sio.engine.close_all()
        await super().shutdown(sockets)


def _unsaid(record: logging.LogRecord, services: Services) -> bool:
    """Whether a line of uvicorn's says what none of ours has said: not its last word on a start that failed,
    nor, as often as anybody likes, that something was no request."""
    return not services.refused and record.msg != "Invalid HTTP request received."


def serve(
    settings: Settings, sockets: list[socket], ready: Callable[[Services], None], own: Own | None = None
) -> int:
    """Serves until a signal. Returns the status of the process; the log has the reason of a start that
    failed."""
    app = create_app(settings, own.workers if own is not None else 1)
    services: Services = app.state.services
    logging.getLogger("uvicorn.error").addFilter(lambda record: _unsaid(record, services))
    if own is not None:
        services.own_port = own.socket.getsockname()[1]
    config = uvicorn_config(
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
    node = NodeServer(config, services, app.state.doors, ready)
    node.own = own

    def stop(*_: object) -> None:
        node.should_exit = True

    # uvicorn raises the signal that stopped it again when all is done; an orderly end is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        config.load()
    except (OSError, ValueError) as error:  # what OpenSSL says of a file is an OSError
        log.error("SSL_CERTFILE and SSL_KEYFILE cannot be served with: %s", error)
        return CANNOT_SERVE
    try:
        node.run(sockets)
    except OSError as error:  # two that were started at the same moment
        log.error("cannot listen: %s", error)
        return CANNOT_SERVE
    return 0 if node.started else CANNOT_SERVE
