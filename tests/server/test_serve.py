"""`serve`: what it prints, how it ends, and that its log never shows a token."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.server import Server

NewServer = Callable[..., Server]


def stopped(node: Server, how: signal.Signals = signal.SIGTERM) -> int:
    assert node.process is not None
    node.process.send_signal(how)
    return node.process.wait(15)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_end_is_status_0(server: Server, how: signal.Signals) -> None:
    assert stopped(server, how) == 0
    assert "Traceback" not in server.log.read_text()


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
