"""A real EventSource: it follows one answer to its end and asks no more, and comes back where that helps."""

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from tests.support.doors import Door, enter, new_session
from tests.support.proxy import Proxy
from tests.support.server import ROOT, Server
from tests.support.services import program

WHERE = ("node", "chromium")
TEXT = "a piece of an answer; " * 20
#: Bytes of an answer, its head included: somewhere in its first text.
IN_A_CHUNK = 600


async def follow(where: str, node: Server, *urls: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        program("node"), "event_source.mjs", where, f"{node.url}/healthz", *urls,
        cwd=ROOT / "tests" / "js", env={**os.environ, "CHROMIUM": program("chromium")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        said, errors = await asyncio.wait_for(process.communicate(), 40)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    seen: list[dict[str, Any]] = json.loads(said)
    return seen


async def reached(network: Proxy) -> None:
    async with asyncio.timeout(30):
        while not network.accepted:
            await asyncio.sleep(0.02)


async def a_stream(writer: Door) -> str:
    """It has begun."""
    start = await writer.call("stream_start")
    await writer.call("stream_chunk", message_id=start["message_id"], content=TEXT)
    return str(start["message_id"])


async def its_end(writer: Door, message_id: str) -> None:
    await writer.call("stream_chunk", message_id=message_id, content=TEXT)
    assert (await writer.call("stream_end", message_id=message_id))["ok"]


async def test_it_ends_with_the_answer(parley: Server) -> None:
    """One that keeps its connection, one that loses it, and one that comes when all is over."""
    await asyncio.gather(*(ends_with_the_answer(parley, where) for where in WHERE))


async def ends_with_the_answer(parley: Server, where: str) -> None:
    session = await new_session(parley, "alice")
    async with enter("websocket", parley, "alice", session) as alice, Proxy(parley.port) as network:
        over, living = await a_stream(alice), await a_stream(alice)
        await its_end(alice, over)
        query = f"?token={parley.token('alice')}"
        paths = [f"/api/chat/streams/{message_id}{query}" for message_id in (over, living)]
        network.cut_after(IN_A_CHUNK)
        following = asyncio.create_task(
            follow(where, parley, parley.url + paths[0], parley.url + paths[1], network.url + paths[1])
        )
        await reached(network)
        await its_end(alice, living)
        for seen, message_id in zip(await following, (over, living, living), strict=True):
            *chunks, end = seen["came"]
            assert "".join(chunk["content"] for chunk in chunks) == TEXT * 2
            assert (end["type"], end["id"]) == ("stream_end", f"{message_id}:end")


async def test_it_comes_back_from_a_refusal_that_passes(
    parley: Server, sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """Any status but 200 would be its last; one that nobody can mend by waiting is."""
    full = new_server(sqlite_url, WS_MAX_CONNECTIONS="2", CORS_ORIGINS=json.dumps([parley.url]))
    session = await new_session(full, "alice", members=("bob",))
    path = f"/api/chat/sessions/{session}/events?token="
    async with (
        enter("websocket", full, "alice", session),
        enter("websocket", full, "bob", session),
    ):
        urls = [f"{full.url}{path}{full.token(user)}" for user in ("alice", "eve")]
        following = [asyncio.create_task(follow(where, parley, *urls)) for where in WHERE]
        async with asyncio.timeout(30):
            while full.log_text().count("SERVER_FULL") < len(WHERE) * len(urls):
                await asyncio.sleep(0.02)
    for alice, eve in await asyncio.gather(*following):
        assert alice["welcome"] and not eve["welcome"]
