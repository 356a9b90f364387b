"""The most likely mistakes, each made on purpose: one line at the server, one at the client. The table in
docs/troubleshooting.md is what they say; WRITE_DOCS=1 writes it again."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.doors import new_session
from tests.support.jsclient import JsClients, JsSocket
from tests.support.processes import free_port
from tests.support.server import ROOT, Server

DOCUMENT = ROOT / "docs" / "troubleshooting.md"
PAGE = "https://app.example.com"
#: A mistake, what it is called, and what to do.
ROWS: dict[str, tuple[str, str]] = {
    "token": (
        "a wrong token",
        "one that your backend has signed; `python -m server token --sub me` makes one",
    ),
    "secret": (
        "a token signed with another secret",
        "the same `JWT_SECRET_KEY` here and there",
    ),
    "port": ("the port is taken", "`SERVICE_PORT`, or end the other program"),
    "database": ("no database", "`DATABASE_URL`; start PostgreSQL"),
    "scheme": ("a wrong scheme in `DATABASE_URL`", "`postgresql://` or `sqlite:///`"),
    "tls": (
        "`https://` or `wss://` where there is no TLS",
        "`http://`, `ws://`; or `WS_USE_SSL`, or a proxy",
    ),
    "origin": ("the page's origin is missing", "`CORS_ORIGINS` with the origin that the line names"),
    "path": ("a wrong path", "`/socket.io/` (option `path`), `/ws/{session_id}`, `/api/chat/…`"),
    "old": ("an old client", "socket.io-client 3 or later; python-socketio 5 or later"),
    "retries": ("`retries` without `ackTimeout`", "`ackTimeout: 10000` beside `retries`"),
    "huge": ("a huge message", "send a file, or raise `WS_MESSAGE_SIZE_LIMIT`"),
    "setting": ("a misspelt setting", "the name that the line means"),
}
#: What differs from one run to the next.
VARIABLE = (
    (r"127\.0\.0\.1:9\b", "127.0.0.1:5432"),
    (r"127\.0\.0\.1:\d{5}", "127.0.0.1:8003"),
    (r"sess_\w+", "sess_…"),
    (r"/\S*/(?=chat\.db)", ""),
)


class Mistakes:
    """A server, clients, and what was said of each mistake: (server, client)."""

    def __init__(self, house: Server, folder: Path, js: JsClients) -> None:
        self.house, self.folder, self.js = house, folder, js

    async def client(self, url: str, token: str | None, **options: Any) -> str:
        """What the official client tells of a connection that is not let in."""
        options.setdefault("reconnection", False)
        socket = await self.js.open(url, token, wait=False, **options)
        error = await socket.wait_event("connect_error")
        await socket.close()
        return told(error)

    async def started(self, **settings: str) -> str:
        """The lines of a start that fails."""
        node = Server(self.folder / f"start-{free_port()}", "sqlite:///chat.db", **settings)
        node._spawn()
        assert node.process is not None
        try:
            assert await asyncio.to_thread(node.process.wait, 30) in (1, 3)
        finally:
            node.close()
        lines = [line for line in node.log_text().splitlines() if line]
        assert "Traceback" not in node.log_text()
        if lines[0].startswith("{"):
            (line,) = [found for found in map(json.loads, lines) if found["level"] == "error"]
            return str(line["event"])
        _, line = lines  # "invalid settings:", and the one
        return line.strip()

    async def unreachable(self) -> str:
        """What a client tells where nothing listens: the start has failed."""
        return await self.client(f"http://127.0.0.1:{free_port()}", "x", transports=["websocket"])

    # --- the mistakes

    async def token(self) -> str:
        return await self.client(self.house.url, "not-a-token", transports=["websocket"])

    async def secret(self) -> str:
        from tests.support.server import mint

        other = mint("alice", secret="another-secret-of-more-than-32-bytes-in-all")
        return await self.client(self.house.url, other, transports=["websocket"])

    async def port(self) -> tuple[str, str]:
        """The client then talks to the other program."""

        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(other, "127.0.0.1", free_port()) as taken:
            number = taken.sockets[0].getsockname()[1]
            server = await self.started(SERVICE_PORT=str(number))
            return server, await self.client(f"http://127.0.0.1:{number}", "x", transports=["polling"])

    async def database(self) -> tuple[str, str]:
        url = "postgresql://chat@127.0.0.1:9/chat"
        return await self.started(DATABASE_URL=url), await self.unreachable()

    async def scheme(self) -> tuple[str, str]:
        return await self.started(DATABASE_URL="mysql://chat@db/chat"), await self.unreachable()

    async def tls(self) -> str:
        return await self.client(self.house.url.replace("http", "https"), "x", transports=["polling"])

    async def origin(self) -> str:
        headers = {"Origin": PAGE}
        token = self.house.token()
        return await self.client(self.house.url, token, transports=["polling"], extraHeaders=headers)

    async def path(self) -> str:
        return await self.client(self.house.url, "x", transports=["polling"], path="/socketio/")

    async def old(self) -> str:
        """Its handshake, as Socket.IO 2 begins."""
        query = {"EIO": "3", "transport": "polling", "t": "1"}
        async with self.house.api(None) as api:
            answer = await api.get("/socket.io/", params=query)
        return f"{answer.status_code} {answer.json()['message']}"

    async def talking(self, **options: Any) -> tuple[JsSocket, str]:
        session = await new_session(self.house, "alice")
        socket = await self.js.open(self.house.url, self.house.token(), transports=["websocket"], **options)
        assert (await socket.emit("join", {"session_id": session}))["ok"]
        return socket, session

    async def retries(self) -> str:
        """The library hands the answer over as an error, after it has sent the message four times."""
        socket, session = await self.talking()
        await socket.close()
        socket = await self.js.open(self.house.url, self.house.token(), transports=["websocket"], retries=3)
        payload = {"session_id": session, "content": "once", "client_message_id": "m1", "reply": False}
        answered = await self.js.call("emitRaw", client=socket.name, args=["message", payload])
        return f"the callback's err is the answer: {{ok: {str(answered[0]['ok']).lower()}, …}}"

    async def huge(self) -> str:
        socket, session = await self.talking()
        reply = await socket.emit("message", {"session_id": session, "content": "x" * 300_000})
        error = reply["error"]
        return f"{error['code']}: {error['message']}"

    async def setting(self) -> str:
        """CORS_ORIGIN: the page that it was meant for is refused."""
        return await self.origin()


def told(error: dict[str, Any]) -> str:
    data, text = error.get("data"), (error.get("context") or {}).get("responseText")
    if data:
        return f"connect_error: {data['code']}: {data['message']}"
    if text and text.startswith("{"):
        found = json.loads(text)
        found = found.get("error", found)
        return f"connect_error: {error['message']}; the answer: {found['message']}"
    return f"connect_error: {error['message']}"


@pytest.fixture(scope="module")
def house(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "parley.db").write_bytes(sqlite_template.read_bytes())
    with Server(folder, f"sqlite:///{folder}/parley.db", CORS_ORIGIN=PAGE) as node:
        yield node


@pytest.fixture
async def mistakes(house: Server, tmp_path: Path, js: JsClients) -> AsyncIterator[Mistakes]:
    yield Mistakes(house, tmp_path, js)


@pytest.mark.parametrize("name", ROWS)
async def test_a_mistake_is_one_line_at_each_end(mistakes: Mistakes, name: str) -> None:
    house = mistakes.house
    before = len(house.log_text())
    make: Callable[[], Awaitable[str | tuple[str, str]]] = getattr(mistakes, name)
    said = await make()
    if isinstance(said, tuple):
        server, client = said
    else:
        client = said
        text = house.log_text() if name == "setting" else house.log_text()[before:]
        lines = [line for line in map(json.loads, text.splitlines()) if wanted(name, line)]
        assert len(lines) == 1, text
        server = " ".join(
            str(lines[0][key]) for key in ("event", "code", "reason", "path") if key in lines[0]
        )
    title, remedy = ROWS[name]
    row = f"| {title} | `{tidy(server)}` | {shown(tidy(client))} | {remedy} |"
    if os.environ.get("WRITE_DOCS"):
        write(title, row)
    assert row in DOCUMENT.read_text().splitlines(), row


def wanted(name: str, line: dict[str, Any]) -> bool:
    """The line that tells of it, among those that say who came."""
    if name == "setting":
        return "CORS_ORIGIN is no setting" in line["event"]
    return line["event"] != "connected"


def tidy(text: str) -> str:
    for pattern, instead in VARIABLE:
        text = re.sub(pattern, instead, text)
    return text.replace("|", "\\|").replace("\n", " ").replace("`", "'")


def shown(text: str) -> str:
    return f"`{text}`"


def write(title: str, row: str) -> None:
    lines = DOCUMENT.read_text().splitlines()
    at = [n for n, line in enumerate(lines) if line.startswith(f"| {title} |")]
    if at:
        lines[at[0]] = row
    else:
        lines.insert(1 + max(n for n, line in enumerate(lines) if line.startswith("|")), row)
    DOCUMENT.write_text("\n".join(lines) + "\n")
