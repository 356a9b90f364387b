"""What /metrics shows of a running server is what really happened there."""

import asyncio
import json
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse
from websockets.asyncio.client import ClientConnection, connect

from tests.support.server import Server
from tests.support.web import web_client

Shown = dict[tuple[str, tuple[str, ...]], float]


async def scraped(node: Server, **headers: str) -> Shown:
    async with node.api(None) as api:
        answer = await api.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


async def until(node: Server, name: str, labels: tuple[str, ...], value: float) -> Shown:
    async with asyncio.timeout(10):
        while True:
            shown = await scraped(node)
            if shown.get((name, labels), 0) == value:
                return shown
            await asyncio.sleep(0.02)


def raw(node: Server, session_id: str, sub: str = "alice") -> connect:
    token = {"Authorization": f"Bearer {node.token(sub)}"}
    return connect(f"{node.ws_url}/ws/{session_id}", additional_headers=token, proxy=None)


async def said(socket: ClientConnection, command: dict[str, object]) -> dict[str, object]:
    """The command's ack."""
    await socket.send(json.dumps({**command, "ref": 1}))
    async with asyncio.timeout(10):
        while True:
            got: dict[str, object] = json.loads(await socket.recv())
            if got["type"] == "ack":
                return got


async def test_a_conversation_is_counted(any_server: Server) -> None:
    node = any_server
    before = await scraped(node)
    assert before["parley_connections", ("websocket",)] == 0
    async with node.api("alice") as api:
        session_id = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
        url = f"/api/chat/sessions/{session_id}/messages"
        for _ in range(3):
            assert (await api.post(url, json={"content": "by REST"})).status_code == 201
    async with raw(node, session_id) as first, raw(node, session_id) as second:
        for socket in (first, second):
            await socket.recv()
        assert (await said(first, {"type": "message", "content": "hello"}))["ok"]
        refused = await said(first, {"type": "edit", "message_id": "msg_none", "content": "x"})
        assert not refused["ok"]
        shown = await until(node, "parley_connections", ("websocket",), 2)
        assert shown["parley_rooms", ()] == 1
        assert shown["parley_connects_total", ("websocket",)] == 2
        assert shown["parley_commands_total", ("message", "ok")] == 4
        assert shown["parley_command_seconds_count", ("message",)] == 4
        assert shown["parley_commands_total", ("edit", "MESSAGE_NOT_FOUND")] == 1
        assert shown["parley_commit_writes_sum", ()] == 4
        assert 1 <= shown["parley_commit_seconds_count", ()] <= 4
        assert 0 < shown["parley_commit_seconds_sum", ()] < 10
        # The one by WebSocket went to both; those by REST went to nobody.
        assert shown["parley_deliveries_total", ("message",)] == 2
        assert shown["parley_database_connections", ("used",)] >= 0
        await first.close(4321)
    shown = await until(node, "parley_connections", ("websocket",), 0)
    assert not any("4321" in label for _, labels in shown for label in labels)
    ended = sum(value for (name, _), value in shown.items() if name == "parley_disconnects_total")
    assert ended == 2
    assert shown["parley_rooms", ()] == 0


async def test_connections_that_were_refused_move_no_gauge(server: Server) -> None:
    async with server.api(None) as api:
        for _ in range(3):
            opened = await api.get("/socket.io/", params={"EIO": "4", "transport": "polling"})
            query = {"EIO": "4", "transport": "polling", "sid": json.loads(opened.text[1:])["sid"]}
            await api.post("/socket.io/", params=query, content='40{"token":"wrong"}')
            assert (await api.get("/socket.io/", params=query)).text.startswith("44")
    shown = await scraped(server)
    assert shown["parley_connections", ("socketio",)] == 0


async def test_who_may_read_them(new_server: Callable[..., Server], sqlite_url: str) -> None:
    node = new_server(sqlite_url, METRICS_TOKEN="scrape-me")
    assert await scraped(node, Authorization="Bearer scrape-me")
    async with web_client(base_url=node.url) as api:
        for headers in ({}, {"X-Forwarded-For": "192.0.2.1"}, {"Authorization": "Bearer scrape-you"}):
            assert (await api.get("/metrics", headers=headers)).status_code == 401


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
async def test_formats(server: Server, accept: str) -> None:
    async with server.api(None) as api:
        answer = await api.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(accept.partition(";")[0])
