"""The doctor's instruments: single requests, a long-polling connection, WebSockets, event streams.

Every request takes a connection of its own, as new browsers' do: a balancer may send each elsewhere.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.http11 import USER_AGENT

#: How a page's requests begin: native clients may send the address they call as their Origin.
BROWSER = "Mozilla/5.0 (compatible; Parley doctor)"
PATIENCE = 10.0
"""Seconds for an answer that should come at once."""


@dataclass(frozen=True, slots=True)
class Target:
    """The address under examination, and as whom."""

    url: str
    token: str | None = None
    origin: str = ""
    insecure: bool = False

    def http(self, path: str, query: dict[str, str] | None = None) -> str:
        return self.url.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")

    def ws(self, path: str, query: dict[str, str] | None = None) -> str:
        scheme, _, rest = self.http(path, query).partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}"

    @property
    def own_origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def loopback(self) -> bool:
        return urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def client(self) -> httpx.AsyncClient:
        """Keeps cookies, as a browser does: some balancers stick by them."""
        return httpx.AsyncClient(
            timeout=PATIENCE,
            trust_env=False,
            verify=not self.insecure,
            limits=httpx.Limits(max_keepalive_connections=0),
        )


class Polling:
    """One Engine.IO connection by long polling (engine.io-protocol, revision 4)."""

    PATH = "/socket.io/"

    def __init__(self, target: Target, client: httpx.AsyncClient) -> None:
        self.target = target
        self.client = client
        self.sid = ""
        self.ping_interval = 25.0
        self.ping_timeout = 20.0

    def _url(self) -> str:
        query = {"EIO": "4", "transport": "polling", "t": f"{time.monotonic_ns():x}"}
        return self.target.http(self.PATH, query | ({"sid": self.sid} if self.sid else {}))

    async def open(self, headers: dict[str, str] | None = None) -> httpx.Response:
        answer = await self.client.get(self._url(), headers=headers or {})
        if answer.status_code == 200 and answer.text.startswith("0{"):
            handshake = json.loads(answer.text.partition("\x1e")[0][1:])
            self.sid = handshake["sid"]
            self.ping_interval = handshake["pingInterval"] / 1000
            self.ping_timeout = handshake["pingTimeout"] / 1000
        return answer

    async def send(self, packet: str) -> httpx.Response:
        return await self.client.post(self._url(), content=packet, headers={"Content-Type": "text/plain"})

    async def receive(self, patience: float = PATIENCE) -> httpx.Response:
        return await self.client.get(self._url(), timeout=patience)


@dataclass(frozen=True, slots=True)
class Opened:
    """How a WebSocket began: `status` 101 with the first message or the close code, else the refusal."""

    status: int
    first: str = ""
    close: int | None = None
    problem: str = ""
    body: bytes = b""


@asynccontextmanager
async def websocket(
    target: Target,
    path: str,
    query: dict[str, str] | None = None,
    *,
    headers: dict[str, str] | None = None,
    origin: str | None = None,
    subprotocols: list[str] | None = None,
) -> AsyncIterator[ClientConnection]:
    context: ssl.SSLContext | None = None
    if target.url.startswith("https"):
        context = ssl.create_default_context()
        if target.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with connect(
        target.ws(path, query),
        additional_headers={**(headers or {}), **({"Origin": origin} if origin else {})},
        subprotocols=subprotocols,  # type: ignore[arg-type]
        user_agent_header=BROWSER if origin else USER_AGENT,
        open_timeout=PATIENCE,
        close_timeout=1,
        ping_interval=None,
        proxy=None,
        ssl=context,
    ) as connection:
        yield connection


async def begin(target: Target, path: str, query: dict[str, str] | None = None, **more: Any) -> Opened:
    """Opens a WebSocket, waits for its first message or its end, and closes it."""
    try:
        async with websocket(target, path, query, **more) as connection:
            first = ""
            try:
                async with asyncio.timeout(PATIENCE):
                    first = _text(await connection.recv())
                    if '"type":"error"' in first:  # the close that it explains follows
                        await connection.recv()
            except ConnectionClosed as closed:
                return Opened(101, first, close=closed.rcvd.code if closed.rcvd else 1006)
            except TimeoutError:
                return Opened(101, first, problem=f"opened, then silent for {PATIENCE:g} s")
            return Opened(101, first)
    except InvalidStatus as refused:
        status = refused.response.status_code
        return Opened(status, problem=f"HTTP {status}", body=bytes(refused.response.body or b""))
    except (InvalidHandshake, OSError, TimeoutError, EOFError) as error:
        return Opened(0, problem=str(error) or type(error).__name__)


def _text(message: str | bytes) -> str:
    return message if isinstance(message, str) else message.decode("utf-8", "replace")


async def arrives(pieces: AsyncIterator[str], needle: str, patience: float) -> bool:
    """Whether `needle` comes by in a streamed body within `patience` seconds; False also at its end."""
    seen = ""
    try:
        async with asyncio.timeout(patience):
            async for piece in pieces:
                seen += piece
                if needle in seen:
                    return True
    except TimeoutError:
        pass
    return False
