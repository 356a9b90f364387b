"""A stream of parts over two nodes: its producer goes on at another one when its node dies, Redis goes away
and comes back, readers come at any time; all end with what was said."""

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from tests.cluster.conftest import Nodes
from tests.support.doors import Door, enter, new_session
from tests.support.saying import Message, say
from tests.support.services import Redis
from tests.support.shown import Shown, as_stored

NewCluster = Callable[..., Nodes]
READERS = ("socketio", "websocket", "rest")
STREAMS = 6


class Writing:
    """Several streams, each with a producer of its own kind of door."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self.said = {f"stream-{seed}": say(random.Random(seed), f"s{seed}", 12) for seed in range(STREAMS)}
        self.at = dict.fromkeys(self.said, 0)

    async def begin(self, door: Door) -> None:
        """Or go on, from where this node knows them."""
        for stream in self.said:
            reply = await door.call("stream_start", message_id=stream)
            assert reply["ok"] and reply["next_index"] <= self.at[stream], reply
            self.at[stream] = reply["next_index"]

    async def write(self, door: Door, pieces: int) -> None:
        """As many of each, in turns."""
        for _ in range(pieces):
            for stream, said in self.said.items():
                index = self.at[stream]
                if index < len(said):
                    command, payload = said[index]
                    reply = await door.call(command, message_id=stream, index=index, **payload)
                    assert reply["ok"] and reply["next_index"] == index + 1, reply
                    self.at[stream] = index + 1

    async def end(self, door: Door) -> None:
        for stream in self.said:
            assert (await door.call("stream_end", message_id=stream))["ok"]


class Readers:
    """Each kind of reader of a node; which were there from the beginning, and which came later."""

    def __init__(self, stack: AsyncExitStack, session_id: str) -> None:
        self._stack, self._session_id = stack, session_id
        self._all: list[tuple[Door, dict[str, Shown]]] = []

    async def come(self, nodes: Nodes, at: int) -> None:
        for kind in READERS:
            door = await self._stack.enter_async_context(enter(kind, nodes[at], "bob", self._session_id))
            streams = {line["message_id"]: Shown(line) for line in door.joined["streams"]}
            self._all.append((door, streams))

    async def compare(self, expected: dict[str, Any]) -> None:
        for door, streams in self._all:
            for stream, message in expected.items():
                await door.wait_event("stream_end", lambda end, stream=stream: end["message_id"] == stream)
                shown = streams.get(stream, Shown()).take_all(door.events, stream)
                assert shown.as_message == message, (door.kind, stream)


async def test_a_node_dies(new_cluster: NewCluster, redis: Redis) -> None:
    nodes = new_cluster(redis.url, 2)
    session_id = await new_session(nodes[0], members=("bob",))
    async with AsyncExitStack() as stack:
        writing, readers = Writing(session_id), Readers(stack, session_id)
        await readers.come(nodes, 1)
        producer = await stack.enter_async_context(enter("websocket", nodes[0], "alice", session_id))
        await writing.begin(producer)
        await writing.write(producer, 5)
        nodes[0].kill9()
        await readers.come(nodes, 1)
        producer = await stack.enter_async_context(enter("socketio", nodes[1], "alice", session_id))
        await writing.begin(producer)
        await writing.write(producer, 3)
        await readers.come(nodes, 1)
        await writing.write(producer, 12)
        await writing.end(producer)
        await compare_all(writing, readers, producer)


async def test_redis_goes_away(new_cluster: NewCluster, own_redis: Redis) -> None:
    """Readers of the producer's node are told all the while, those of another one when Redis is back."""
    nodes = new_cluster(own_redis.url, 2)
    session_id = await new_session(nodes[0], members=("bob",))
    async with AsyncExitStack() as stack:
        writing, readers = Writing(session_id), Readers(stack, session_id)
        await readers.come(nodes, 0)
        await readers.come(nodes, 1)
        producer = await stack.enter_async_context(enter("websocket", nodes[0], "alice", session_id))
        await writing.begin(producer)
        await writing.write(producer, 4)
        own_redis.kill9()
        await writing.write(producer, 3)
        await readers.come(nodes, 0)
        await writing.write(producer, 1)
        own_redis.start()
        await writing.write(producer, 12)
        await writing.end(producer)
        await compare_all(writing, readers, producer)


async def test_a_node_dies_while_redis_is_away(new_cluster: NewCluster, own_redis: Redis) -> None:
    """What was saved of its streams stays, with their parts."""
    nodes = new_cluster(own_redis.url, 2, STREAM_CHECKPOINT="0.3")
    session_id = await new_session(nodes[0], members=("bob",))
    async with (
        enter("websocket", nodes[0], "alice", session_id) as producer,
        enter("socketio", nodes[1], "bob", session_id) as bob,
    ):
        writing = Writing(session_id)
        await writing.begin(producer)
        own_redis.kill9()
        await writing.write(producer, 12)
        expected = {stream: Message(said).as_message for stream, said in writing.said.items()}
        while {m["message_id"]: as_stored(m) for m in await bob.history()} != expected:
            pass  # each of these asks the database
        nodes[0].kill9()
        own_redis.start()
        for stream, message in expected.items():
            end = await bob.wait_event(
                "stream_end", lambda e, stream=stream: e["message_id"] == stream, timeout=25
            )
            assert end["status"] == "interrupted"
            assert as_stored(end) == message


async def compare_all(writing: Writing, readers: Readers, producer: Door) -> None:
    expected = {stream: Message(said).as_message for stream, said in writing.said.items()}
    assert {m["message_id"]: as_stored(m) for m in await producer.history()} == expected
    await readers.compare(expected)
