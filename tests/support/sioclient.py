"""Socket.IO spoken by hand, frame by frame: for what the official client would never send."""

import asyncio
import json
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.inbox import Inbox, Received
from tests.support.web import web_client

_SEPARATOR = "\x1e"


class HandshakeRefused(ConnectionRefusedError):
    """The engine was not opened at all: an HTTP status and a body."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class _Packets(Inbox):
    """Engine.IO packets in, Socket.IO events and acks out; the transport is a subclass."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.packets: list[str] = []
        """Every Engine.IO packet that came, as text."""
        self.handshake: dict[str, Any] = {}
        self.sid: str | None = None
        self.pid: str | None = None
        self.offset: str | None = None
        self.answer_pings = True
        self.code: int | None = None
        self.reason: str | None = None
        """What a WebSocket was closed with."""
        self._ids = 0
        self._acks: dict[int, asyncio.Future[Any]] = {}

    async def write(self, packet: str) -> None:
        """Send one Engine.IO packet as it is."""
        raise NotImplementedError

    async def connect(self, token: str | None = None, **auth: Any) -> dict[str, Any]:
        """Send CONNECT; returns the answer's object, of CONNECT (with `sid`) or CONNECT_ERROR."""
        mark = self.mark()
        if token is not None:
            auth["token"] = token
        await self.write("40" + (json.dumps(auth) if auth else ""))
        answer = await self.wait_event("@connect", since=mark, timeout=15)
        if "sid" in answer:
            self.sid, self.pid = answer["sid"], answer.get("pid")
        return answer

    async def emit(self, name: str, payload: Any = None, *, timeout: float = 30) -> Any:
        """EVENT with an ack id; returns the ack's first value."""
        args = [name] if payload is None else [name, payload]
        return await self.emit_raw(json.dumps(args), timeout=timeout)

    async def emit_raw(self, text: str, *, timeout: float = 30) -> Any:
        """The same with the JSON array given as text, valid or not."""
        answer = await self.start_raw(text)
        # not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with the answer
        async with asyncio.timeout(timeout):
            return await answer

    async def start_raw(self, text: str) -> asyncio.Future[Any]:
        """Send it and return the future of its ack."""
        self._ids += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._acks[self._ids] = answer
        await self.write(f"42{self._ids}{text}")
        return answer

    async def _packet(self, packet: str) -> None:
        self.packets.append(packet)
        kind, body = packet[:1], packet[1:]
        if kind == "0":
            self.handshake = json.loads(body)
            self.add(Received("@open", self.handshake))
        elif kind == "2" and self.answer_pings:
            await self.write("3" + body)
        elif kind == "1":
            self.end("the server closed the engine")
        elif kind == "4":
            self._message(body)

    def _message(self, body: str) -> None:
        kind, rest = body[:1], body[1:]
        if rest.startswith("/"):
            namespace, _, rest = rest.partition(",")
            self.add(Received(f"@{namespace}", {"kind": kind, "text": rest}))
        elif kind in ("0", "4"):
            self.add(Received("@connect", json.loads(rest)))
        elif kind == "1":
            self.add(Received("@disconnect", {}))
        elif kind == "2":
            name, *args = json.loads(rest)
            position = args[-1] if len(args) > 1 and isinstance(args[-1], str) else None
            if position is not None:
                self.offset = position
            self.add(Received(name, args[0] if args else {}, position, tuple(args[1:])))
        elif kind == "3":
            digits = len(rest) - len(rest.lstrip("0123456789"))
            answer = self._acks.pop(int(rest[:digits]), None)
            if answer is not None and not answer.done():
                args = json.loads(rest[digits:])
                answer.set_result(args[0] if args else None)

    def end(self, reason: str) -> None:
        super().end(reason)
        for answer in self._acks.values():
            if not answer.done():
                answer.set_exception(ConnectionError(reason))
                answer.exception()


class SioWebSocket(_Packets):
    """The websocket transport. `async with SioWebSocket(server.ws_url) as s: await s.connect(token)`."""

    def __init__(
        self, ws_url: str, *, query: dict[str, str] | None = None, origin: str | None = None
    ) -> None:
        super().__init__("sio websocket")
        self.url = f"{ws_url}/socket.io/?" + urlencode(
            {"EIO": "4", "transport": "websocket", **(query or {})}
        )
        self._origin: Any = origin
        self.connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            self.connection = await connect(
                self.url,
                origin=self._origin,
                compression=None,
                proxy=None,
                max_size=None,
                ping_interval=None,
                close_timeout=5,
            )
        except InvalidStatus as refused:
            body = refused.response.body or b""
            raise HandshakeRefused(refused.response.status_code, body.decode()) from refused
        self._reader = asyncio.create_task(self._read(self.connection))
        if "sid=" not in self.url:
            await self.wait_event("@open")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.connection is not None
        assert self._reader is not None
        await self.connection.close()
        await self._reader

    async def write(self, packet: str | bytes) -> None:
        assert self.connection is not None
        await self.connection.send(packet)

    def abort(self) -> None:
        """Reset the TCP connection."""
        assert self.connection is not None
        self.connection.transport.abort()

    async def closed(self, timeout: float = 10) -> int:
        """Wait for the end of the WebSocket; returns its close code."""
        await asyncio.wait_for(self._closed.wait(), timeout)
        assert self.connection is not None
        return self.connection.close_code or 0

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for packet in connection:
                if isinstance(packet, str):
                    await self._packet(packet)
                else:
                    self.add(Received("@binary", {"size": len(packet)}))
        except ConnectionClosed:
            pass
        finally:
            self._closed.set()
            self.code, self.reason = connection.close_code, connection.close_reason or None
            self.end(f"closed with {connection.close_code}")


class SioPolling(_Packets):
    """The polling transport: one GET in flight at all times, POSTs beside it."""

    def __init__(self, url: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__("sio polling")
        self.url = f"{url}/socket.io/"
        self.query = {"EIO": "4", "transport": "polling"}
        self.http = web_client(timeout=60, headers=headers or {})
        self._poller: asyncio.Task[None] | None = None
        self._posting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        opened = await self.http.get(self.url, params=self.query)
        if opened.status_code != 200:
            await self.http.aclose()
            raise HandshakeRefused(opened.status_code, opened.text)
        for packet in opened.text.split(_SEPARATOR):
            await self._packet(packet)
        self.query["sid"] = self.handshake["sid"]
        self._poller = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._poller is not None
        self._poller.cancel()
        await asyncio.gather(self._poller, return_exceptions=True)
        await self.http.aclose()

    async def write(self, packet: str) -> None:
        async with self._posting:  # one at a time, as the official client does
            (await self.post(packet)).raise_for_status()

    async def post(self, body: str | bytes) -> httpx.Response:
        """A POST of any body; returns the response."""
        return await self.http.post(
            self.url, params=self.query, content=body, headers={"Content-Type": "text/plain;charset=UTF-8"}
        )

    async def _poll(self) -> None:
        while self._ended is None:
            try:
                answer = await self.http.get(self.url, params=self.query)
            except httpx.HTTPError as error:
                self.end(f"polling failed: {error!r}")
                return
            if answer.status_code != 200:
                self.end(f"polling ended with {answer.status_code}: {answer.text}")
                return
            for packet in answer.text.split(_SEPARATOR):
                await self._packet(packet)
