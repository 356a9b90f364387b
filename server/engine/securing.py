"""TLS of a connection that comes in: until its handshake has ended it is a stranger's, and has a head's time.

uvicorn would have the loop's server do it (`ssl=`), which tells nobody of a connection before that end, and
waits a minute for it. Knows no request.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from server.engine import endings, strangers


class Securing(asyncio.Protocol):
    """A connection whose handshake has not ended; `make` makes what has it from then on."""

    __slots__ = (
        "_app_state", "_came", "_config", "_context", "_lost", "_make", "_server_state", "_transport",
    )  # fmt: skip

    def __init__(
        self,
        context: ssl.SSLContext,
        make: Callable[..., asyncio.Protocol],
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: Any = None,
    ) -> None:
        self._context, self._make = context, make
        self._config, self._server_state, self._app_state = config, server_state, app_state
        self._transport: Any = None
        self._came = b""
        self._lost = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server_state.connections.add(self)
        strangers.meet(self._config, transport)
        task = asyncio.get_running_loop().create_task(self._secure())
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def data_received(self, data: bytes) -> None:
        """Before the handshake begins, and once it has ended."""
        self._came += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True

    def shutdown(self) -> None:
        """uvicorn is stopping: nobody has asked for anything."""
        self._transport.abort()

    async def _secure(self) -> None:
        plain = self._transport
        try:
            secured = await self._shake_hands(plain)
        except (OSError, RuntimeError):  # no TLS, or not in time; it has gone
            secured = None
        finally:
            self._server_state.connections.discard(self)
            strangers.forget(self._config, plain)
        if secured is None or self._lost or plain.is_closing():
            plain.abort()
            return
        protocol = self._make(self._config, self._server_state, self._app_state)
        secured.set_protocol(protocol)
        protocol.connection_made(secured)
        if self._came:
            protocol.data_received(self._came)

    async def _shake_hands(self, plain: Any) -> Any:
        """Raises OSError, RuntimeError."""
        if self._lost:
            return None
        loop = asyncio.get_running_loop()
        shaking = asyncio.ensure_future(
            loop.start_tls(
                plain, self, self._context, server_side=True, ssl_handshake_timeout=endings.HEAD_TIMEOUT
            )
        )
        await asyncio.sleep(0)  # what comes is TLS's from here on
        said, self._came = self._came, b""
        tls = plain.get_protocol()
        while said and tls is not self:
            room = memoryview(tls.get_buffer(len(said)))
            size = min(len(said), len(room))
            room[:size] = said[:size]
            tls.buffer_updated(size)
            said = said[size:]
        return await shaking
