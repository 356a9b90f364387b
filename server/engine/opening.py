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

from server.engine import endings, http, strangers
from server.engine.heads import Head, asks_for_websocket
from server.engine.protocol import HEAD_LIMIT, WebSocketProtocol
from server.engine.takers import Takers

#: A whole head of a GET (RFC 9112 sections 3 and 5), no stricter and no laxer than need be: what does not fit
#: is for the parser to judge.
_HEAD: Final = re.compile(
    rb"GET (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
#: What makes a request one for the parser: something follows, or may.
_BODY: Final = frozenset((b"content-length", b"transfer-encoding", b"expect"))


def upgrade_request(data: bytes) -> tuple[bytes, Head] | None:
    """Target and head of a request for a WebSocket; None where that is not all that `data` is."""
    size = len(data)
    found = _HEAD.fullmatch(data) if size <= HEAD_LIMIT else None
    if found is None:
        return None
    headers = []
    for line in found[2][:-2].split(b"\r\n"):
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    head = Head(headers, size)
    return (found[1], head) if _BODY.isdisjoint(head.first) and asks_for_websocket(head) else None


class RequestPatience:
    """Waits for the first bytes of all of a server's connections with one timer: one for each took a tenth of
    a handshake."""

    def __init__(self) -> None:
        self._until: dict[Opening, float] = {}  # the loop's time; the first to come first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._until)

    def add(self, one: "Opening") -> None:
        loop = self._loop = self._loop or asyncio.get_running_loop()
        self._until[one] = until = loop.time() + endings.HEAD_TIMEOUT
        if self._timer is None:
            self._timer = loop.call_at(until, self._look, loop)

    def discard(self, one: "Opening") -> None:
        self._until.pop(one, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for one, until in list(self._until.items()):
            if until > loop.time():
                self._timer = loop.call_at(until, self._look, loop)
                break
            one.too_slow()


class Opening(asyncio.Protocol):
    """A connection that has said nothing yet."""

    __slots__ = ("_app_state", "_config", "_patience", "_server_state", "_takers", "_transport")

    _transport: asyncio.Transport

    def __init__(
        self,
        patience: RequestPatience,
        takers: Takers,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: Any = None,
    ) -> None:
        self._patience, self._takers = patience, takers
        self._config, self._server_state, self._app_state = config, server_state, app_state

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server_state.connections.add(self)
        strangers.meet(self._config, transport)
        self._patience.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.discard(self)
        self._server_state.connections.discard(self)
        strangers.forget(self._config, self._transport)

    def data_received(self, data: bytes) -> None:
        kind = self._config.ws_protocol_class
        found = upgrade_request(data) if kind is not None and issubclass(kind, WebSocketProtocol) else None
        if found is None:
            self._becomes_http().data_received(data)
        else:
            protocol = kind(self._config, self._server_state, self._app_state)
            self._hand_over(protocol)
            protocol.upgrade(b"GET", *found)

    def shutdown(self) -> None:
        """uvicorn is stopping: nobody has asked for anything."""
        self._transport.close()

    def too_slow(self) -> None:
        self._becomes_http().too_slow()

    def _becomes_http(self) -> http.HttpProtocol:
        protocol = http.HttpProtocol(self._config, self._server_state, self._app_state)
        protocol.takers = self._takers
        self._hand_over(protocol)
        return protocol

    def _hand_over(self, protocol: Any) -> None:
        self._patience.discard(self)
        self._server_state.connections.discard(self)
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
