"""What nodes say to each other through Redis, and what others write there in their name."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from storage.nodekey import FRESH, PROOF_BYTES, WINDOW, NodeKey
from tests.redis.conftest import Side
from tests.support.services import Redis

NewNode = Callable[..., Any]


def node_key(key: bytes = b"k" * 32, now: float = 1000.0) -> NodeKey:
    return NodeKey(key, lambda: now)


# Proofs.


def test_a_proof_holds_once_for_what_it_was_made_for() -> None:
    one, two = node_key(), node_key()
    proof = one.prove(b"a", b"bc")
    assert len(proof) == PROOF_BYTES
    assert not two.holds(proof, b"ab", b"c")
    assert not two.holds(proof, b"a", b"bd")
    assert not two.holds(proof[:-1], b"a", b"bc") and not two.holds(b"", b"a", b"bc")
    assert two.holds(proof, b"a", b"bc")
    assert not two.holds(proof, b"a", b"bc")


@pytest.mark.parametrize("away", [-FRESH - 1, FRESH + 1])
def test_a_proof_of_another_time_or_key_does_not_hold(away: float) -> None:
    assert not node_key().holds(node_key(now=1000.0 + away).prove(b"a"), b"a")
    assert not node_key().holds(node_key(b"other" * 7).prove(b"a"), b"a")


@cache
def proofs() -> list[bytes]:
    one = node_key()
    return [one.prove(b"a") for _ in range(WINDOW + 41)]


@given(st.lists(st.integers(0, 40) | st.integers(WINDOW - 5, WINDOW + 40), max_size=60))
def test_in_any_order_each_holds_once_or_not_at_all(order: list[int]) -> None:
    two = node_key()
    had: set[int] = set()
    for at in order:
        late = bool(had) and at <= max(had) - WINDOW
        assert two.holds(proofs()[at], b"a") == (at not in had and not late)
        if not late:
            had.add(at)


def test_who_was_not_heard_of_for_long_is_forgotten() -> None:
    now = [1000.0]
    here = NodeKey(b"k" * 32, lambda: now[0])
    for _ in range(5):
        assert here.holds(NodeKey(b"k" * 32, lambda: now[0]).prove(b"a"), b"a")
        now[0] += FRESH
    assert len(here._heard) <= 3


def test_a_registration_is_one_nodes_and_ends() -> None:
    value = node_key().register("n1", "http://10.0.0.1:8003", 20)
    assert node_key().registered("n1", value) == "http://10.0.0.1:8003"
    assert node_key(now=1019).registered("n1", value) == "http://10.0.0.1:8003"
    assert node_key(now=1021).registered("n1", value) is None
    assert node_key().registered("n2", value) is None
    assert node_key(b"other" * 7).registered("n1", value) is None
    assert node_key().registered("n1", value.replace("10.0.0.1", "10.0.0.2")) is None
    assert node_key().registered("n1", value.replace("1020", "2020")) is None
    for found in ("http://10.0.0.1:8003", "", " ", "nan nan nan", "ü ü ü"):
        assert node_key().registered("n1", found) is None
    assert node_key().register("n1", "", 20) == ""


# Signals.


@asynccontextmanager
async def writer(server: Redis, *channels: str) -> AsyncIterator[tuple[Any, list[tuple[str, bytes]]]]:
    """Somebody with the right to publish, and what it has heard on these channels."""
    client = redis.asyncio.from_url(server.url)
    heard: list[tuple[str, bytes]] = []
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(*channels)

        async def listen() -> None:
            while (message := await pubsub.get_message(timeout=0.2)) is not None:
                if message["type"] == "message":
                    heard.append((message["channel"].decode(), message["data"]))

        client.listen = listen
        yield client, heard
    await client.aclose()


async def signals(side: Side) -> list[tuple[str, str, bytes]]:
    await side.settled()
    return list(side.ears.signals)


async def test_a_signal_that_no_node_sent_is_not_heard(
    redis: Redis, new_node: NewNode, caplog: pytest.LogCaptureFixture
) -> None:
    one = await new_node("n1")
    async with writer(redis, "test:all") as (client, _):
        proof = node_key(b"other" * 7).prove(b"signal", b"test:all", b"x\0y")
        for said in (b"Sdisconnect\0{}", b"Ndisconnect\0{}", b"N", b"N" + bytes(PROOF_BYTES) + b"x\0y",
                     b"N" + proof + b"x\0y"):  # fmt: skip
            await client.publish("test:all", said)
        assert await signals(one) == []
    assert caplog.text.count("dropped a signal on test:all") == 1


async def test_a_signal_is_heard_once_on_its_channel(redis: Redis, new_node: NewNode) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    async with writer(redis, "test:all") as (client, heard):
        one.bus.signal("all", "cancel", b"m1")
        assert await signals(two) == [("all", "cancel", b"m1")]
        await client.listen()
        ((_, recorded),) = [(channel, data) for channel, data in heard if data[:1] == b"N"]
        for channel in ("test:all", "test:session:A", "test:node:n2"):
            await client.publish(channel, recorded)
        assert await signals(two) == [("all", "cancel", b"m1")]
        one.bus.signal("session:A", "access", b"alice")
        assert (await signals(two))[1:] == [("session:A", "access", b"alice")]


async def test_nodes_with_another_key_do_not_hear_each_other(new_node: NewNode) -> None:
    one, two = await new_node("n1"), await new_node("n2", key=b"o" * 32)
    one.bus.signal("all", "cancel", b"m1")
    await one.settled()
    assert await signals(two) == []
