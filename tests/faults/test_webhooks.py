"""10,000 messages, two nodes of which one is killed every five seconds, and webhooks whose addresses fail in
their own ways: each is told each message, in order within its session, and none is lost.

The ten minutes for which one is gone are twenty seconds here, and WEBHOOK_RETRY_MAX two seconds and not 300:
what waits, and for how many tries, is the same.
"""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.doors import new_session
from tests.support.receiver import OK, Answering, Post, Receiver, answer
from tests.support.server import Server
from tests.support.services import Redis

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SESSIONS, EACH = 50, 200
#: Seconds between kills, and for which one address is gone.
KILLS, GONE = 5.0, 20.0
TIMEOUT = 1.0


async def fails(post: Post) -> bytes:
    return answer(500) if random.random() < 0.3 else OK


async def hangs(post: Post) -> bytes:
    if random.random() < 0.01:
        await asyncio.sleep(3 * TIMEOUT)
    return OK


async def slow(post: Post) -> bytes:
    await asyncio.sleep(0.05)
    return OK


async def lies(post: Post) -> bytes:
    """Says too much, goes away in the middle, redirects."""
    if random.random() < 0.95:
        return OK
    return random.choice([answer(200, body=b"x" * 1_000_000), b"", answer(307, "Location: http://x/")])


async def well(post: Post) -> bytes:
    return OK


ADDRESSES: dict[str, Answering] = {
    "well": well, "500": fails, "hangs": hangs, "slow": slow, "lies": lies, "gone": well,
}  # fmt: skip


async def test_webhooks_through_kills(
    own_postgres: object, own_redis: Redis, tmp_path: Path, row: Callable[[str], None]
) -> None:
    random.seed(25)
    _, url = own_postgres  # type: ignore[misc]
    settings = {"REDIS_URL": own_redis.url, "WEBHOOK_TIMEOUT": str(TIMEOUT), "WEBHOOK_RETRY_MAX": "2"}
    nodes = [Server(tmp_path / f"node{n}", url, **settings) for n in range(2)]
    receivers = {name: Receiver(answering) for name, answering in ADDRESSES.items()}
    for receiver in receivers.values():
        await receiver.listen()
    await asyncio.gather(*(node.start_async() for node in nodes))
    kills = 0

    async def kill() -> None:
        nonlocal kills
        while True:
            await asyncio.sleep(KILLS)
            node = nodes[kills % 2]
            await asyncio.to_thread(node.kill9)
            kills += 1
            await node.start_async()

    began = time.monotonic()
    try:
        async with nodes[0].api("backend", "service") as service:
            for receiver in receivers.values():
                body = {"url": receiver.url, "events": ["message"]}
                assert (await service.post("/api/server/webhooks", json=body)).status_code == 201
        sessions = [await new_session(nodes[0]) for _ in range(SESSIONS)]
        await receivers["gone"].stop()
        killer = asyncio.create_task(kill())
        back = asyncio.create_task(_back(receivers["gone"]))
        await asyncio.gather(*(_talk(nodes, session) for session in sessions))
        said = time.monotonic() - began
        async with asyncio.timeout(600):
            await back
            while any(len(receiver.taken()) < SESSIONS * EACH for receiver in receivers.values()):
                await asyncio.sleep(1)
        killer.cancel()
    finally:
        for node in nodes:
            await asyncio.to_thread(node.close)
        for receiver in receivers.values():
            await receiver.stop()
    for name, receiver in receivers.items():
        taken = receiver.taken()
        lost = reordered = 0
        for session in sessions:
            mine = [post.data["content"] for post in taken if post.data["session_id"] == session]
            lost += EACH - len(set(mine))
            reordered += mine != sorted(mine, key=int)
        again = sum(post.taken for post in receiver.posts) - len(taken)
        row(
            f"{name:<6} {SESSIONS * EACH} messages in {said:.0f} s, {kills} kills, {len(receiver.posts)} "
            f"requests, {again} taken again under the same id, {lost} lost, {reordered} sessions out of order"
        )
        assert (lost, reordered, len(taken)) == (0, 0, SESSIONS * EACH), name


async def _back(receiver: Receiver) -> None:
    await asyncio.sleep(GONE)
    await receiver.listen()


async def _talk(nodes: list[Server], session: str) -> None:
    """Each message until it is acknowledged, by whichever node is there."""
    for number in range(EACH):
        body = {"content": str(number), "reply": False, "client_message_id": f"{session}:{number}"}
        for node in _forever(nodes):
            try:
                async with node.api("alice") as api:
                    sent = await api.post(f"/api/chat/sessions/{session}/messages", json=body)
                if sent.is_success:
                    break
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)


def _forever(nodes: list[Server]) -> "list[Server]":
    return [random.choice(nodes) for _ in range(1000)]
