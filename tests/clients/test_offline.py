"""What was typed while there was no connection arrives at the pace of its rate, in order, once."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.support.doors import enter, new_session
from tests.support.jsclient import JsClients
from tests.support.proxy import Proxy
from tests.support.server import Server

RATE = 300


async def test_a_burst_after_a_cut(sqlite_url: str, new_server: Callable[..., Server], js: JsClients) -> None:
    """With the client's own `retries`, which takes a refusal for an answer."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE=str(RATE))
    session = await new_session(node, "alice")
    async with Proxy(node.port) as network:
        socket = await js.open(network.url, node.token("alice"), retries=3, ackTimeout=5000)
        network.refusing = True
        network.cut()
        await socket.wait_event("disconnect")
        said = [f"line {n}" for n in range(RATE + 15)]
        answers = [
            socket.emit_nowait(
                "message",
                {"session_id": session, "content": each, "client_message_id": each, "reply": False},
                timeout=60,
            )
            for each in said
        ]
        network.refusing = False
        assert all(answer["ok"] for answer in await asyncio.wait_for(asyncio.gather(*answers), 60))
    async with enter("rest", node, "alice", session) as alice:
        assert [m["content"] for m in await alice.history(order="asc")] == said


@pytest.mark.parametrize("rate", [60, 40])
async def test_a_flood_in_line_is_bounded(
    sqlite_url: str, new_server: Callable[..., Server], rate: int
) -> None:
    """A minute's messages go through, another minute's wait, and the rest is told when to come again."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE=str(rate))
    for kind in ("websocket", "socketio"):
        user = f"floods over {kind}"
        session = await new_session(node, user)
        async with enter(kind, node, user, session) as door:
            sends = [
                asyncio.create_task(door.call("message", content=f"{n}", reply=False))
                for n in range(2 * rate + 20)
            ]
            async with asyncio.timeout(10):
                while sum(send.done() for send in sends) < rate + 10:
                    await asyncio.wait(
                        [send for send in sends if not send.done()], return_when="FIRST_COMPLETED"
                    )
            answers = [send.result() for send in sends if send.done()]
            refused = [answer["error"] for answer in answers if not answer["ok"]]
            assert 5 <= len(refused) <= 20
            assert {error["code"] for error in refused} == {"RATE_LIMIT"}
            assert all(1000 <= error["retry_after"] <= 62_000 for error in refused)
            for send in sends:
                send.cancel()
            await asyncio.gather(*sends, return_exceptions=True)


async def test_a_slow_rate_is_one_too(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """Forty-five a minute: what is beyond them comes one and a third of a second after another."""
    rate = 45
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE=str(rate))

    async def say(kind: str) -> None:
        user = f"slow over {kind}"
        session = await new_session(node, user)
        said = [f"line {n}" for n in range(rate + 2)]
        async with enter(kind, node, user, session) as door:
            began = time.monotonic()
            sends = [door.call("message", content=each, reply=False) for each in said]
            assert all(answer["ok"] for answer in await asyncio.gather(*sends))
            assert time.monotonic() - began > 2.5
            assert [m["content"] for m in await door.history(order="asc")] == said

    await asyncio.gather(say("websocket"), say("socketio"))


async def test_a_rate_that_nobody_can_wait_for(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """One message in twelve seconds: who would wait for longer than clients do is told when to come."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="5")
    for kind in ("websocket", "socketio", "rest"):
        user = f"slow over {kind}"
        session = await new_session(node, user)
        async with enter(kind, node, user, session) as door:
            for _ in range(5):
                assert (await door.call("message", content="hello", reply=False))["ok"]
            refused = (await door.call("message", content="one more", reply=False))["error"]
            assert (refused["code"], refused["retryable"]) == ("RATE_LIMIT", True)
            assert 8000 < refused["retry_after"] <= 12_000
