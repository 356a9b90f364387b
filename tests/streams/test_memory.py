"""What answers took of memory while they were written and could be recovered is given back."""

import asyncio
from collections.abc import Callable

import psutil
import pytest

from tests.support.doors import enter, new_session
from tests.support.server import Server

CHUNK, CHUNKS, WRITERS = 4096, 60, 8
ROUNDS = 10  # 2 MiB of text each, in several copies: the stream's, its log's, its row's
MOST = 8 << 20


async def answer(node: Server, name: str) -> None:
    session_id = await new_session(node, owner=name)
    async with enter("websocket", node, name, session_id) as writer:
        message_id = (await writer.call("stream_start"))["message_id"]
        send = writer.client.send_nowait  # type: ignore[attr-defined]
        for first in range(0, CHUNKS, 20):
            replies = await asyncio.gather(
                *(
                    send("stream_chunk", message_id=message_id, index=n, content=chr(65 + n % 26) * CHUNK)
                    for n in range(first, first + 20)
                )
            )
            assert all(r["ok"] for r in replies), [r for r in replies if not r["ok"]][:1]
        assert (await writer.call("stream_end", message_id=message_id))["ok"]


@pytest.mark.timeout(120)
async def test_memory_returns_to_where_it_was(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="false", RECOVERY_WINDOW="2")
    process = psutil.Process(node.pid)

    async def round_of_answers() -> None:
        await asyncio.gather(*(answer(node, f"user{n}") for n in range(WRITERS)))

    for _ in range(3):  # what a process takes once
        await round_of_answers()
    before = process.memory_info().rss
    for _ in range(ROUNDS):
        await round_of_answers()
    async with asyncio.timeout(45):
        while process.memory_info().rss - before > MOST:
            await asyncio.sleep(0.2)
