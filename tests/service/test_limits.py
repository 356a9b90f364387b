"""Rate limits over connections: ten of them have no more than one, and coming back fills nothing up."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import psutil
import pytest
from websockets.asyncio.client import connect

from events.bounds import REFUSALS
from events.uncommitted import MOST
from events.waiting import NO_ROOM
from storage.writer import HEAVY
from tests.support.doors import new_session
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.services import Redis


@pytest.mark.parametrize("cluster", [False, True], ids=["memory", "redis"])
async def test_ten_connections_have_one_bucket(
    cluster: bool, request: pytest.FixtureRequest, postgres_url: str, new_server: Callable[..., Server]
) -> None:
    # So slow that nobody waits for the next one.
    settings = {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_MESSAGES_PER_MINUTE": "6"}
    if cluster:
        redis: Redis = request.getfixturevalue("redis")
        settings["REDIS_URL"] = redis.url
    servers = [new_server(postgres_url, **settings) for _ in range(2 if cluster else 1)]
    async with servers[0].api("alice") as api:
        room = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
    token = servers[0].token("alice")

    async def wave(count: int) -> list[dict[str, object]]:
        clients = [
            await RawClient(servers[number % len(servers)].ws_url, room, token).open() for number in range(10)
        ]
        for client in clients:
            await client.welcome()
        sends = [client.send("message", content="x") for client in clients for _ in range(count)]
        answers = await asyncio.gather(*sends)
        for client in clients:
            await client.close()
        return answers

    first = await wave(5)
    accepted = [answer for answer in first if answer["ok"]]
    # 6, and what some seconds may have added.
    assert 6 <= len(accepted) <= 8
    for answer in first:
        if not answer["ok"]:
            error = answer["error"]
            assert isinstance(error, dict)
            assert error["code"] == "RATE_LIMIT"
            assert error["retryable"] is True
            assert 0 < error["retry_after"] <= 60_000
    # New connections of the same user: the bucket is as empty as it was.
    assert len([answer for answer in await wave(2) if answer["ok"]]) <= 2


async def test_requests_that_are_refused_late_hold_nothing(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    room = await new_session(node, "alice")
    wide: dict[str, Any] = {"a": [{} for _ in range(32_000)], "b": "x" * 100_000}
    process = psutil.Process(node.pid)
    async with node.api("alice") as api:
        history = f"/api/chat/sessions/{room}/history"
        for _ in range(REFUSALS + 5):
            assert (await api.post(history, json={"limit": "x"})).status_code == 422
        before = most = process.memory_info().rss
        body = json.dumps({"limit": "x", **wide})
        asking = [asyncio.create_task(api.post(history, content=body)) for _ in range(90)]
        while not all(task.done() for task in asking):
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.02)
        assert {task.result().status_code for task in asking} == {422}
    assert most - before < 100 * 1024 * 1024  # as objects they are twice as much


async def test_large_messages_before_their_commit_have_a_bound_together(
    postgres_url: str, new_server: Callable[..., Server]
) -> None:
    """One account cannot fill it; small messages go in any case. What is accepted is committed."""
    node = new_server(postgres_url, RATE_LIMIT_ENABLED="false")
    room = await new_session(node, "mallory", members=("bob",))
    wide = {"numbers": [0] * 3000}
    keeper = await asyncpg.connect(postgres_url)
    async with (
        RawClient(node.ws_url, room, node.token("mallory")) as mallory,
        RawClient(node.ws_url, room, node.token("bob")) as bob,
    ):
        for one in (mallory, bob):
            await one.welcome()
        async with keeper.transaction():  # the database writes nothing meanwhile
            await keeper.execute("LOCK TABLE chat_messages IN SHARE ROW EXCLUSIVE MODE")
            asked = [
                mallory.send_nowait("message", content="x", metadata=wide) for _ in range(MOST // HEAVY // 4)
            ]
            refused = await asyncio.wait_for(asked[-1], 10)
            assert refused["error"]["code"] == "RATE_LIMIT"
            assert refused["error"]["retry_after"] == NO_ROOM
            others = [
                bob.send_nowait("message", content="x", metadata=wide),
                mallory.send_nowait("message", content="small"),
            ]
        answers = [await asyncio.wait_for(one, 20) for one in (*others, *asked)]
        accepted = [answer["ok"] for answer in answers]
        assert accepted[:2] == [True, True]
        assert MOST // 6 < (sum(accepted) - 2) * HEAVY < MOST // 4
        assert (await mallory.send("message", content="x", metadata=wide))["ok"]  # there is room again
    await keeper.close()


async def test_what_a_request_brought_is_not_held_while_its_answer_is_read(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """Nor after it was refused."""
    node = new_server(sqlite_url, STREAM_CHUNK_SIZE="1", STREAM_DELAY_MS="2000")
    process = psutil.Process(node.pid)
    said, before = "x" * (4 * 1024 * 1024 - 1000), process.memory_info().rss
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(node.api("mallory"))
        url = f"{node.ws_url}/ws/ai?token={node.token('mallory')}"
        socket = await stack.enter_async_context(connect(url, proxy=None))
        for number in range(12):
            text, chat, role = [{"type": "text", "text": said}], f"chat-{number}", {"role": "user"}
            page = [
                {"id": "1", "parts": text} | role,
                {"id": "2", "parts": [text[0] | {"text": "go on"}]} | role,
            ]
            run = [{"id": "1", "content": said} | role, {"id": "2", "content": "go on"} | role]
            for path, body in (
                ("/api/ai/chat", {"id": f"page-{chat}", "messages": page}),
                ("/api/ag-ui/1", {"threadId": f"run-{chat}", "runId": "1", "messages": run}),
            ):
                answer = await stack.enter_async_context(api.stream("POST", path, json=body))
                assert answer.status_code == 200, await answer.aread()
            frame = {
                "type": "send",
                "requestId": f"{number}",
                "id": chat,
                "messages": [*page[:1], {"role": "x"}],
            }
            await socket.send(json.dumps(frame))
            assert "VALIDATION_ERROR" in str(await socket.recv())
        grown = process.memory_info().rss - before
    assert grown < 60 * 1024 * 1024  # they brought three times as much
