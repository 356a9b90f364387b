"""`parley_testing`, as an application's tests use it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from parley_testing import Parley
from tests.support.jsclient import JsClients
from tests.support.server import ROOT


async def ask(ws: ClientConnection, name: str, **payload: Any) -> dict[str, Any]:
    await ws.send(json.dumps({"type": name, "ref": name, **payload}))
    while True:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(ws.recv(), 10))
        if frame["type"] == "ack":
            return frame


async def welcome(ws: ClientConnection) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(ws.recv(), 10))
    assert frame["type"] == "welcome"
    return frame


def line(parley: Parley, session_id: str, sub: str = "alice", after: str = "") -> connect:
    url = f"{parley.ws_url}/ws/{session_id}" + (f"?after={after}" if after else "")
    return connect(url, additional_headers={"Authorization": f"Bearer {parley.token(sub)}"}, max_size=None)


def test_a_plain_test_needs_no_loop(parley: Parley) -> None:
    session_id = parley.session("alice", "bob", title="Hello")
    path = f"/api/chat/sessions/{session_id}"
    assert parley.call("bob", "POST", f"{path}/messages", {"content": "hi"})["seq"] == 1
    assert parley.call("alice", "GET", path)["participants"] == ["alice", "bob"]


async def test_a_cut_connection_goes_on(parley: Parley) -> None:
    session_id = await asyncio.to_thread(parley.session)
    async with line(parley, session_id) as ws:
        position = (await welcome(ws))["position"]
        parley.cut()
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(ws.recv(), 10)
    parley.call("alice", "POST", f"/api/chat/sessions/{session_id}/messages", {"content": "missed"})
    async with line(parley, session_id, after=position) as ws:
        assert (await welcome(ws))["recovered"]
        while True:
            frame = json.loads(await asyncio.wait_for(ws.recv(), 10))
            if frame["type"] == "message":
                break
        assert frame["content"] == "missed"


async def test_the_official_client_recovers_from_half_open(parley: Parley, js: JsClients) -> None:
    session_id = await asyncio.to_thread(parley.session, "alice")
    socket = await js.open(parley.url, parley.token("alice"), transports=["websocket"])
    await socket.emit("join", {"session_id": session_id})
    mark = socket.mark()
    parley.half_open()
    path = f"/api/chat/sessions/{session_id}/messages"
    await asyncio.to_thread(parley.call, "alice", "POST", path, {"content": "meanwhile"})
    assert (await socket.connected(since=mark))["recovered"]
    assert (await socket.wait_event("message", since=mark))["content"] == "meanwhile"


async def test_a_dead_node_and_its_successor(parley: Parley) -> None:
    session_id = await asyncio.to_thread(parley.session)
    async with line(parley, session_id) as ws:
        await welcome(ws)
        assert (await ask(ws, "message", content="kept"))["ok"]
        await asyncio.to_thread(parley.dead_node)
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(ws.recv(), 10)
    with pytest.raises((OSError, WebSocketException)):
        async with line(parley, session_id):
            pass
    await asyncio.to_thread(parley.come_back)
    async with line(parley, session_id) as ws:
        assert [m["content"] for m in (await welcome(ws))["messages"]] == ["kept"]


async def test_a_slow_reader_is_cut_off_and_comes_back(parley: Parley) -> None:
    session_id = await asyncio.to_thread(parley.session)
    async with line(parley, session_id) as slow:
        await welcome(slow)
        parley.slow_reader()
        async with line(parley, session_id) as fast:
            await welcome(fast)
            for _ in range(400):
                assert (await ask(fast, "message", content="x" * 40_000))["ok"]
        parley.flow()
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                await asyncio.wait_for(slow.recv(), 10)
        assert ended.value.rcvd is None or ended.value.rcvd.code == 4013
    async with line(parley, session_id) as ws:
        assert (await welcome(ws))["last_seq"] == 400


APPLICATION = """
pytest_plugins = ["parley_testing"]
import events, server, storage

def test_the_fixture_works_beside_our_own_packages(parley):
    assert (server.NAME, events.NAME, storage.NAME) == ("ours",) * 3
    session = parley.session("alice", title="Test")
    assert parley.call("alice", "GET", f"/api/chat/sessions/{session}")["title"] == "Test"
"""


def test_an_application_with_packages_of_the_same_names(tmp_path: Path) -> None:
    for name in ("server", "events", "storage", "migrations"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('NAME = "ours"\n')
    (tmp_path / "test_application.py").write_text(APPLICATION)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "test_application.py"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
