"""What a connection is until its first bytes tell which protocol class it gets (uvicorn's `http=`).

An ordinary request for a WebSocket, whole and in one piece, is read here and goes to its class at once.
Everything else, faults too, is `HttpProtocol`'s from the first byte: that one makes thirty objects for a
connection, and for a WebSocket threw them all away again.

Leans on uvicorn 0.54.0: how a protocol class is made, `server_state.connections` and their `shutdown()`;
tests/engine/test_pins.py guards it.
"""

import asyncio
import re
from typing import Any, Final

from server.engine import http, strangers
from server.engine.asgi import Headers
from server.engine.heads import asks_for_websocket
from server.engine.protocol import HEAD_LIMIT, WebSocketProtocol

#: A whole head of a GET (RFC 9112 sections 3 and 5), no stricter and no laxer than need be: what does not fit
#: is for the parser to judge.
_HEAD: Final = re.compile(
    rb"GET (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
#: What makes a request one for the parser: something follows, or may.
_BODY: Final = frozenset((b"content-length", b"transfer-encoding", b"expect"))


def upgrade_request(data: bytes) -> tuple[bytes, Headers] | None:
    """Target and headers (names in lower case) of a request for a WebSocket; None where that is not all that
    `data` is."""
    found = _HEAD.fullmatch(data) if len(data) <= HEAD_LIMIT else None
    if found is None:
        return None
    headers: list[tuple[bytes, bytes]] = []
    for line in found[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _BODY:
            return None
        headers.append((name, value.strip(b" \t")))
    return (found[1], headers) if asks_for_websocket(headers) else None


class Opening(asyncio.Protocol):
    """A connection that has said nothing yet."""

    __slots__ = ("_app_state", "_config", "_server_state", "_timer", "_transport")

    _transport: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        self._config, self._server_state, self._app_state = config, server_state, app_state

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server_state.connections.add(self)
        strangers.meet(self._config, self, transport)
        self._timer = asyncio.get_running_loop().call_later(http.HEAD_TIMEOUT, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()

    def data_received(self, data: bytes) -> None:
        kind = self._config.ws_protocol_class
        found = upgrade_request(data) if kind is not None and issubclass(kind, WebSocketProtocol) else None
        if found is None:
            self._becomes(http.HttpProtocol).data_received(data)
        else:
            self._becomes(kind).upgrade(b"GET", *found)

    def shutdown(self) -> None:
        """uvicorn is stopping: nobody has asked for anything."""
        self._transport.close()

    def _too_slow(self) -> None:
        self._becomes(http.HttpProtocol).too_slow()

    def turned_away(self) -> None:
        self._transport.abort()

    def _gone(self) -> None:
        self._timer.cancel()
        self._server_state.connections.discard(self)
        strangers.forget(self._config, self)

    def _becomes(self, kind: Any) -> Any:
        self._gone()
        protocol = kind(self._config, self._server_state, self._app_state)
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        return protocol
