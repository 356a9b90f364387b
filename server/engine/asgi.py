"""The ASGI side of one WebSocket (ASGI specification, "WebSocket"), for as long as nobody has taken the
connection over. Knows no frames' bits and no Engine.IO."""

import asyncio
import http
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from server.engine import frames
from server.engine.connection import WebSocketConnection

Headers = Sequence[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Messages that wait for an application; then reading pauses.
INBOX_LIMIT = 32

log = logging.getLogger("parley.engine")


def words_of(config: Any, status: int, headers: Headers) -> tuple[Headers, bytes]:
    """What the application wants said to a request that comes to no route: fields and body."""
    words: Callable[[int, Headers], tuple[Headers, bytes]] | None
    words = getattr(config.loaded_app, "refused_head", None)
    return words(status, headers) if words is not None else ([], b"")


def http_response(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A whole HTTP/1.1 response, of known length."""
    phrase = http.HTTPStatus(status).phrase.encode()
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, phrase)]
    lines += [name + b": " + value + b"\r\n" for name, value in headers if name.lower() != b"content-length"]
    lines.append(b"content-length: %d\r\n\r\n" % len(body))
    return b"".join(lines) + body


class AsgiWebSocket:
    """Messages to events, events to frames; runs the application."""

    __slots__ = (
        "_accept", "_inbox", "_paused", "_refuse", "_response", "_waiter", "accepted", "closed", "protocol",
        "scope", "taken_over", "writable",
    )  # fmt: skip

    def __init__(
        self, protocol: WebSocketConnection, scope: Scope, accept: Callable[..., None],
        refuse: Callable[..., None],
    ) -> None:  # fmt: skip
        """`accept(subprotocol, headers, max_size)` and `refuse(status, headers, body)` answer the request."""
        self.protocol = protocol
        self.scope = scope
        self._accept, self._refuse = accept, refuse
        self.accepted = False
        self.taken_over = False
        self.closed = False
        self.writable = asyncio.Event()
        self.writable.set()
        self._inbox: deque[Message] = deque([{"type": "websocket.connect"}])
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._response: tuple[int, list[tuple[bytes, bytes]], list[bytes]] | None = None

    # --- from the protocol

    def text(self, data: bytes) -> None:
        self._put({"type": "websocket.receive", "text": data.decode()})

    def binary(self, data: bytes) -> None:
        self._put({"type": "websocket.receive", "bytes": data})

    def lost(self, code: int) -> None:
        self.closed = True
        self.writable.set()
        self._put({"type": "websocket.disconnect", "code": code, "reason": ""})

    def pending(self) -> Iterator[tuple[bytes, bool]]:
        """The messages that nobody has read, with whether each is text."""
        for event in self._inbox:
            if event["type"] == "websocket.receive":
                text = event.get("text")
                yield (event["bytes"], False) if text is None else (text.encode(), True)

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.protocol.resume_reading()

    def _put(self, event: Message) -> None:
        self._inbox.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if len(self._inbox) > INBOX_LIMIT and not self._paused and not self.closed:
            self._paused = True
            self.protocol.pause_reading()

    # --- the application's

    async def run(self, app: App) -> None:
        try:
            await app(self.scope, self._receive, self._send)
        except OSError:  # ours, from _send: the peer went away
            if not self.closed:
                log.exception("error in the ASGI application")
        except Exception:  # whatever it is, the connection must not stay
            log.exception("error in the ASGI application")
            if self.accepted and not self.taken_over:
                self.protocol.close(frames.INTERNAL_ERROR)
        if self.taken_over:
            return
        if self.accepted:
            self.protocol.close()
        else:
            self._refuse(500)

    async def _receive(self) -> Message:
        while not self._inbox:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        event = self._inbox.popleft()
        if not self._inbox and not self.closed:
            self.resume_reading()
        return event

    async def _send(self, event: Message) -> None:
        await self.writable.wait()
        kind, protocol = event["type"], self.protocol
        if self.closed:
            raise OSError("the client is gone")
        if kind == "websocket.accept" and not self.accepted:
            self.accepted = True
            self._accept(event.get("subprotocol"), event.get("headers", ()), event.get("parley.max_size"))
        elif kind == "websocket.send" and self.accepted:
            data = event.get("bytes")
            opcode = frames.TEXT if data is None else frames.BINARY
            protocol.write(frames.frame(opcode, event["text"].encode() if data is None else data))
        elif kind == "websocket.close":
            self.closed = True
            if self.accepted:
                protocol.close(event.get("code") or frames.NORMAL, event.get("reason") or "")
            else:
                self._refuse(403)
        elif kind == "websocket.http.response.start" and not self.accepted:
            self._response = (event["status"], list(event.get("headers", ())), [])
        elif kind == "websocket.http.response.body" and self._response is not None:
            status, headers, parts = self._response
            parts.append(event.get("body", b""))
            if not event.get("more_body", False):
                self.closed = True
                self._refuse(status, headers, b"".join(parts))
        else:
            raise RuntimeError(f"unexpected ASGI event {kind!r}")
