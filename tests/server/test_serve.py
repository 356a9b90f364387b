"""`serve`: what it prints, how it ends, and that its log never shows a token."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import httpx
import pytest
from alembic.script import ScriptDirectory
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from migrations.revisions import revisions
from server.contract import VERSION
from tests.support.processes import spawn, wait_until
from tests.support.server import ROOT, Server
from tests.support.services import Postgres

NewServer = Callable[..., Server]


@pytest.fixture
def as_a_user_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "fresh", True)


#: A process of its own, from its imports to the interpreter's end; other tests' are forked.
as_a_user_does_it = pytest.mark.usefixtures("as_a_user_does")


def stopped(node: Server, how: signal.Signals = signal.SIGTERM) -> int:
    assert node.process is not None
    node.process.send_signal(how)
    return node.process.wait(15)


@as_a_user_does_it
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_end_is_status_0(server: Server, how: signal.Signals) -> None:
    assert stopped(server, how) == 0
    assert "Traceback" not in server.log.read_text()


@as_a_user_does_it
async def test_open_requests_do_not_hold_up_the_end(server: Server) -> None:
    """An event stream, a long poll and WebSockets would go on for ever; each is told to come back."""
    async with server.api("alice") as api:
        session_id = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
        polling = {"EIO": "4", "transport": "polling"}
        opened = await api.get("/socket.io/", params=polling)
        polling["sid"] = json.loads(opened.text[1:])["sid"]
        await api.post("/socket.io/", params=polling, content=f'40{{"token":"{server.token("alice")}"}}')
        assert (await api.get("/socket.io/", params=polling)).text.startswith("40")
        waiting = asyncio.create_task(api.get("/socket.io/", params=polling, timeout=20))
        raw = connect(
            f"{server.ws_url}/ws/{session_id}",
            additional_headers={"Authorization": f"Bearer {server.token('alice')}"},
            proxy=None,
        )
        url = f"/api/chat/sessions/{session_id}/events"
        async with raw as socket, api.stream("GET", url, timeout=20) as events, asyncio.timeout(20):
            lines = events.aiter_lines()
            while not (await anext(lines)).startswith("event: welcome"):
                pass
            assert json.loads(await socket.recv())["type"] == "welcome"
            code = await asyncio.to_thread(stopped, server)
            rest = "\n".join([line async for line in lines])
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await socket.recv()
            polled = await waiting
    assert code == 0
    assert "UNAVAILABLE" in rest
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    assert polled.status_code in (200, 400, 503)
    assert "timeout graceful shutdown" not in server.log.read_text()


async def test_a_client_that_left_in_mid_poll_does_not_hold_up_the_end(server: Server) -> None:
    async with server.api(None) as api:
        polling = {"EIO": "4", "transport": "polling"}
        opened = await api.get("/socket.io/", params=polling)
        polling["sid"] = json.loads(opened.text[1:])["sid"]
        await api.post("/socket.io/", params=polling, content=f'40{{"token":"{server.token("alice")}"}}')
        await api.get("/socket.io/", params=polling)
        with pytest.raises(httpx.ReadTimeout):
            await api.get("/socket.io/", params=polling, timeout=0.5)
    assert await asyncio.to_thread(stopped, server) == 0
    assert "timeout graceful shutdown" not in server.log.read_text()


@as_a_user_does_it
def test_a_fault_in_the_settings_is_told_and_nothing_is_served(sqlite_url: str, tmp_path: Path) -> None:
    node = Server(tmp_path / "node", sqlite_url, WS_PING_TIMEOUT="0", LOG_LEVEL="loud")
    node._spawn()
    assert node.process is not None
    assert node.process.wait(15) == 1
    told = node.log.read_text()
    assert "WS_PING_TIMEOUT" in told and "LOG_LEVEL" in told and "Traceback" not in told


def test_a_port_that_is_taken(server: Server, sqlite_url: str, tmp_path: Path) -> None:
    node = Server(tmp_path / "second", sqlite_url)
    node.port = server.port
    node.env["SERVICE_PORT"] = str(server.port)
    node._spawn()
    assert node.process is not None
    assert node.process.wait(15) not in (0, None)
    assert "address already in use" in node.log.read_text()


@as_a_user_does_it
def test_with_debug_the_welcome_works_as_printed(new_server: NewServer, sqlite_url: str) -> None:
    node = new_server(sqlite_url, DEBUG="true")
    printed = node.log.read_text()
    assert f"{node.url}/#token=ey" in printed
    start = printed.index("  curl ")
    line = printed[start : printed.index("\n\n", start)]
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(done.stdout)["title"] == "First"
    other = new_server(sqlite_url)
    assert "curl" not in other.log.read_text()


async def test_the_log_shows_no_token(new_server: NewServer, sqlite_url: str) -> None:
    node = new_server(sqlite_url, LOG_LEVEL="DEBUG")
    tokens = [
        node.token("alice"),
        node.token("alice", ttl=-5),
        "hunter2-hunter2",
        node.token("svc", "service"),
    ]
    async with node.api(None) as api:
        session_id = None
        for token in tokens:
            made = await api.post("/api/chat/sessions", json={}, headers={"Authorization": f"Bearer {token}"})
            session_id = session_id or made.json()["session_id"]
            await api.get(f"/api/chat/sessions?token={token}")
            for path, protocols in (
                (f"/ws/{session_id}?token={token}", None),
                (f"/ws/{session_id}", ["bearer", token]),
                (f"/socket.io/?EIO=4&transport=websocket&token={token}", None),
            ):
                async with connect(node.ws_url + path, subprotocols=protocols, proxy=None) as socket:  # type: ignore[arg-type]
                    if "socket.io" in path:
                        await socket.send(f'40{{"token":"{token}"}}')
                    with suppress(ConnectionClosed):
                        async with asyncio.timeout(5):
                            await socket.recv()
    await asyncio.to_thread(stopped, node)
    log = node.log.read_text()
    assert "COMMIT" in log, "this is the whole log"
    for token in tokens:
        assert token not in log
        assert token.split(".")[-1] not in log


# --- one line for each thing that is wrong


def refused(node: Server) -> list[str]:
    """What a start that fails has said: no traceback, status 3."""
    node._spawn()
    assert node.process is not None
    assert node.process.wait(20) == 3
    told = node.log.read_text()
    assert "Traceback" not in told
    return [line for line in told.splitlines() if '"error"' in line]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://chat:hunter2@127.0.0.1:9/chat", "cannot be reached"),
        ("sqlite:////proc/no/such/folder/chat.db", "cannot be reached"),
        ("sqlite:///empty.db", "has not been migrated: run `python -m server migrate`"),
    ],
)
def test_a_database_that_cannot_be_served_is_one_line(tmp_path: Path, url: str, told: str) -> None:
    (line,) = refused(Server(tmp_path / "node", url))
    assert told in line
    assert "hunter2" not in line


@as_a_user_does_it
def test_a_database_that_is_not_there_is_one_line(postgres: Postgres, tmp_path: Path) -> None:
    (line,) = refused(Server(tmp_path / "node", postgres.url("no_such_database")))
    assert "cannot be reached" in line and "no_such_database" in line


def test_an_older_schema_is_told_from_a_newer_one(sqlite_url: str, tmp_path: Path) -> None:
    known = revisions()
    file = sqlite_url.partition("///")[2]
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (known[-2],))
    (line,) = refused(Server(tmp_path / "old", sqlite_url))
    assert known[-2] in line and known[-1] in line and "server migrate" in line
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with Server(tmp_path / "new", sqlite_url) as node:
        assert node.running


def test_revisions_are_those_of_the_migrations() -> None:
    known = [script.revision for script in ScriptDirectory(str(ROOT / "migrations")).walk_revisions()]
    assert revisions() == known[::-1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_taken_port_is_told_before_the_node_is_ready(server: Server, tmp_path: Path, host: str) -> None:
    # Its database is away, too: the port comes first.
    node = Server(tmp_path / "second", "postgresql://127.0.0.1:9/x", SERVICE_PORT=str(server.port), HOST=host)
    (line,) = refused(node)
    assert f"{host}:{server.port}" in line and "address already in use" in line and "SERVICE_PORT" in line


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_here_is_one_line(sqlite_url: str, tmp_path: Path, host: str) -> None:
    (line,) = refused(Server(tmp_path / "node", sqlite_url, HOST=host))
    assert f"cannot listen on {host}" in line


def test_a_certificate_that_is_none_is_one_line(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "no.pem"
    file.write_text("no certificate\n")
    tls = {"WS_USE_SSL": "true", "SSL_CERTFILE": str(file), "SSL_KEYFILE": str(file)}
    (line,) = refused(Server(tmp_path / "node", sqlite_url, **tls))
    assert "SSL_CERTFILE" in line


def test_names_that_are_nearly_a_setting_are_told(new_server: NewServer, sqlite_url: str) -> None:
    node = new_server(sqlite_url, SERVICE_PROT="1", CORS_ORIGIN="x", HOSTNAME="box", REDIS_PASSWORD="x")
    warned = [
        line for line in map(json.loads, node.log.read_text().splitlines()) if line["level"] == "warning"
    ]
    assert [line["event"].partition(",")[0] for line in warned] == [
        "CORS_ORIGIN is no setting",
        "SERVICE_PROT is no setting",
    ]
    assert warned[1]["event"].endswith("did you mean SERVICE_PORT?")


@as_a_user_does_it
def test_ready_says_what_is_served_where(new_server: NewServer, postgres_url: str) -> None:
    node = new_server(postgres_url)
    lines = map(json.loads, node.log.read_text().splitlines())
    ready = next(line for line in lines if line["event"] == "ready")
    assert ready["version"] == VERSION
    assert ready["address"] == node.url
    assert ready["node"].startswith("node_")
    assert ready["database"].startswith("postgresql://***@")
    assert ready["bus"].startswith("none")


@pytest.mark.parametrize(("hard", "told"), [(300, "may have 300"), (None, "raised from 300 to ")])
def test_too_few_file_descriptors_are_told(
    sqlite_url: str, tmp_path: Path, hard: int | None, told: str
) -> None:
    node = Server(tmp_path / "node", sqlite_url, WS_MAX_CONNECTIONS="2000")
    limit = "ulimit -Sn 300" + (f"; ulimit -Hn {hard}" if hard else "")
    command = ["bash", "-c", f'{limit}; exec "$0" -m server serve', sys.executable]
    node.process = spawn(command, log=node.log, env=node.env, cwd=node.folder)
    try:
        wait_until(node.healthy, node.process, node.log)
    finally:
        node.close()
    said = node.log.read_text()
    assert "WS_MAX_CONNECTIONS=2000" in said and told in said


async def test_who_finds_no_descriptor_is_told_that_the_server_is_full(
    sqlite_url: str, tmp_path: Path
) -> None:
    node = Server(tmp_path / "node", sqlite_url, WS_MAX_CONNECTIONS="2000")
    command = ["bash", "-c", 'ulimit -n 300; exec "$0" -m server serve', sys.executable]
    node.process = spawn(command, log=node.log, env=node.env, cwd=node.folder)
    try:
        wait_until(node.healthy, node.process, node.log)
        async with node.api("alice") as api, AsyncExitStack() as stack:
            session_id = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
            answers: list[str] = []
            for _ in range(200):
                path = f"/ws/{session_id}?token={node.token('alice')}"
                socket = await stack.enter_async_context(connect(node.ws_url + path, proxy=None))
                first = json.loads(await socket.recv())
                answers.append(first.get("code", first["type"]))
        assert answers.count("welcome") > 50
        assert answers[-1] == "SERVER_FULL"
        assert set(answers) == {"welcome", "SERVER_FULL"}
    finally:
        node.close()


# --- who came in, and who was refused


async def test_connects_and_refusals_have_their_lines(new_server: NewServer, sqlite_url: str) -> None:
    node = new_server(sqlite_url)
    bad = node.token("mallory", ttl=-60)
    async with node.api("alice") as api:
        session_id = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
        await api.get("/api/chat/sessions", headers={"Authorization": f"Bearer {bad}"})
    for token in (node.token("alice"), bad):
        for path in (f"/ws/{session_id}?token={token}", "/socket.io/?EIO=4&transport=websocket"):
            async with connect(node.ws_url + path, proxy=None) as socket:
                if "socket.io" in path:
                    await socket.recv()
                    await socket.send(f'40{{"token":"{token}"}}')
                with suppress(ConnectionClosed):
                    await socket.recv()
    await asyncio.to_thread(stopped, node)
    lines = [json.loads(line) for line in node.log.read_text().splitlines()]
    came = [(line["door"], line["sub"]) for line in lines if line["event"] == "connected"]
    assert came == [("websocket", "alice"), ("socketio", "alice")]
    gone = [(line["door"], line["code"], line["address"]) for line in lines if line["event"] == "refused"]
    assert gone == [(door, "TOKEN_EXPIRED", "127.0.0.1") for door in ("GET", "websocket", "socketio")]
    assert bad not in node.log.read_text()


async def test_requests_have_a_line_each_at_debug_alone(new_server: NewServer, sqlite_url: str) -> None:
    for level, count in (("INFO", 0), ("DEBUG", 1)):
        node = new_server(sqlite_url, LOG_LEVEL=level)
        async with node.api("alice") as api:
            await api.get("/api/chat/sessions?limit=5")
        await asyncio.to_thread(stopped, node)
        assert node.log.read_text().count("GET /api/chat/sessions 200") == count
