"""How a process serves: uvicorn with our protocol classes on uvloop, and the collector tuned."""

import asyncio
import gc
from functools import partial
from socket import socket
from typing import Any

import uvicorn

from server.engine.opening import Opening, RequestPatience
from server.engine.protocol import WebSocketProtocol
from server.engine.securing import Securing
from server.engine.strangers import Strangers
from server.engine.takers import Takers


def tune_collector() -> None:
    """To be called once, when all is imported and built.

    Reference counting frees nearly all that a connection makes. Left alone, the collector walks every
    connection's objects again and again: 40 % of the time at a thousand connections. What lives as long
    as the process is taken out of its sight, and the rest is looked at far less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class Config(uvicorn.Config):
    """`plain` is the protocol class of connections without TLS, also where the others have it; `strangers`
    are the application's, if it counts them."""

    plain: Any
    strangers: Strangers | None = None

    def load(self) -> None:
        super().load()
        self.strangers = getattr(self.loaded_app, "strangers", None)
        self.plain = self.http_protocol_class
        if self.ssl is not None:
            self.http_protocol_class = partial(Securing, self.ssl, self.plain)  # type: ignore[assignment]
            self.ssl = None


def uvicorn_config(app: Any, **settings: Any) -> Config:
    """uvicorn's configuration for an ASGI application; `settings` are its own and win.

    No access log: it would write `?token=`. No pings by uvicorn: sessions have their own. No
    permessage-deflate, which our class does not offer. `ws_max_size` is for plain ASGI websockets.
    """
    defaults: dict[str, Any] = {
        "host": "127.0.0.1",
        "loop": "uvloop",
        "http": partial(Opening, RequestPatience(), Takers()),
        "ws": WebSocketProtocol,
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "proxy_headers": False,  # who may speak for others is the application's to say
        "ws_ping_interval": None,
        "ws_per_message_deflate": False,
        "ws_max_size": 1 << 20,
        "timeout_graceful_shutdown": 30,
    }
    return Config(app, **{**defaults, **settings})


async def listen_plain(server: uvicorn.Server, sock: socket) -> None:
    """One socket more for a server that has started, without TLS whatever the others have."""

    config = server.config
    assert isinstance(config, Config)

    def protocol(_loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Protocol:
        made: asyncio.Protocol = config.plain(
            config=config,
            server_state=server.server_state,
            app_state=server.lifespan.state,
            _loop=_loop,
        )
        return made

    loop = asyncio.get_running_loop()
    server.servers.append(await loop.create_server(protocol, sock=sock, backlog=config.backlog))
