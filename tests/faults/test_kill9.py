"""kill -9 the instant an ack arrives, under load: what was acknowledged is there, once, and
the sequence has no gap.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.doors import new_session
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.services import Postgres

SENDERS = 8
IN_FLIGHT = 5


async def kill_under_load(node: Server, kill: Callable[[], None], after: int) -> tuple[str, dict[str, int]]:
    """Senders keep messages in flight until ack number `after`, which brings the kill.
    Returns the session and the seq of every acknowledged message by its key.
    """
    session = await new_session(node, "alice")
    acked: dict[str, int] = {}

    def on_ack(key: str, answer: asyncio.Future[dict[str, Any]]) -> None:
        if answer.exception() is not None:
            return
        reply = answer.result()
        assert reply["ok"], reply
        acked[key] = reply["seq"]
        if len(acked) == after:
            kill()

    async def sender(number: int) -> None:
        client = RawClient(node.ws_url, session, node.token("alice"))
        try:
            async with client:
                await client.welcome()
                count = 0
                while True:
                    batch = []
                    for _ in range(IN_FLIGHT):
                        key = f"{number}-{count}"
                        count += 1
                        answer = client.send_nowait("message", content=key, client_message_id=key)
                        answer.add_done_callback(lambda done, key=key: on_ack(key, done))
                        batch.append(answer)
                    await asyncio.wait(batch, return_when=asyncio.FIRST_COMPLETED)
                    await batch[0]
        except ConnectionError:
            return

    async with asyncio.timeout(30):
        await asyncio.gather(*(sender(number) for number in range(SENDERS)))
    assert len(acked) >= after
    return session, acked


async def stored(node: Server, session: str) -> list[dict[str, Any]]:
    """The whole history, over as many pages as it takes."""
    messages: list[dict[str, Any]] = []
    async with node.api("alice") as api:
        while True:
            last = messages[-1]["seq"] if messages else 0
            answer = await api.get(
                f"/api/chat/sessions/{session}/messages",
                params={"after_seq": last, "order": "asc", "limit": 500},
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            messages += page["messages"]
            if not page["has_more"]:
                assert page["last_seq"] == len(messages)
                return messages


async def check(node: Server, session: str, acked: dict[str, int]) -> int:
    """Returns how many unacknowledged messages made it, which is nobody's loss."""
    messages = await stored(node, session)
    assert [m["seq"] for m in messages] == list(range(1, len(messages) + 1))
    assert [m["revision"] for m in messages] == list(range(1, len(messages) + 1))
    found = {m["client_message_id"]: m["seq"] for m in messages}
    assert max(Counter(m["client_message_id"] for m in messages).values()) == 1
    lost = {key: seq for key, seq in acked.items() if found.get(key) != seq}
    assert not lost
    return len(messages) - len(acked)


async def kill_repeatedly(
    node: Server, kill: Callable[[], None], back: Callable[[], object], times: int
) -> str:
    draw = random.Random(times)
    runs, acked, more = [], 0, 0
    for _ in range(times):
        session, acks = await kill_under_load(node, kill, after=draw.randrange(1, 200))
        back()
        more += await check(node, session, acks)
        runs.append((session, acks))
        acked += len(acks)
    for session, acks in runs:
        await check(node, session, acks)
    return f"{times} kills: {acked} acknowledged, 0 lost, 0 doubled, 0 gaps ({more} stored without an ack)"


async def test_kill9(any_server: Server) -> None:
    await kill_repeatedly(any_server, any_server.kill9, any_server.start, times=1)


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_kill9_fifty_times(any_server: Server, row: Callable[[str], None]) -> None:
    row(await kill_repeatedly(any_server, any_server.kill9, any_server.start, times=50))


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_kill9_of_server_and_database(
    own_postgres: tuple[Postgres, str], new_server: Callable[..., Server], row: Callable[[str], None]
) -> None:
    cluster, url = own_postgres
    node = new_server(url)

    def kill() -> None:
        cluster.kill9()
        node.kill9()

    def back() -> None:
        cluster.start()
        node.start()

    row(await kill_repeatedly(node, kill, back, times=15))
