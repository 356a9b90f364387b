"""Random streams of parts, over every transport at once: readers from the beginning and from each piece on,
cut off and recovered, resumed over HTTP; all end with what the producer said and the history has."""

import random
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.streams.test_sse import following
from tests.support.doors import KINDS, Door, enter, new_session
from tests.support.saying import Message, say
from tests.support.server import Server
from tests.support.shown import Shown, as_stored
from tests.support.sioclient import SioWebSocket
from tests.support.sseclient import SseClient

SEEDS = range(10)


class Recovering:
    """A Socket.IO reader that is cut off, and comes back by its `pid` and offset."""

    def __init__(self, node: Server, stack: AsyncExitStack, session_id: str) -> None:
        self._node, self._stack, self._session_id = node, stack, session_id
        self.clients: list[SioWebSocket] = []
        self._pid = ""

    async def begin(self) -> None:
        client = await self._connect()
        assert (await client.emit("join", {"session_id": self._session_id}))["ok"]

    async def _connect(self, **auth: Any) -> SioWebSocket:
        client = await self._stack.enter_async_context(SioWebSocket(self._node.ws_url))
        answer = await client.connect(self._node.token("bob"), **auth)
        assert auth.get("pid", answer["pid"]) == answer["pid"], "recovered"
        self._pid = answer["pid"]
        self.clients.append(client)
        return client

    async def cut(self) -> None:
        last = self.clients[-1]
        last.abort()
        await self._connect(pid=self._pid, offset=last.offset)


class Following:
    """A reader of the one stream over HTTP, that goes on by `Last-Event-ID`."""

    def __init__(self, node: Server, stack: AsyncExitStack, message_id: str) -> None:
        self._node, self._stack, self._message_id = node, stack, message_id
        self.clients: list[SseClient] = []

    async def go_on(self) -> None:
        last = None
        if self.clients:
            last = self.clients[-1].last_event_id
            await self.clients[-1].close()
        client = following(self._node, self._message_id, "bob", last_event_id=last)
        self.clients.append(await self._stack.enter_async_context(client))


async def told(reader: Door | SioWebSocket, message_id: str, shown: Shown | None = None) -> Shown:
    await reader.wait_event("stream_end", lambda end: end["message_id"] == message_id)
    return (shown or Shown()).take_all(reader.events, message_id)


@pytest.mark.parametrize("seed", SEEDS)
async def test_all_end_with_the_same(node: Server, seed: int) -> None:
    rng = random.Random(seed)
    said = say(rng, f"s{seed}", rng.randint(4, 14))
    session_id = await new_session(node, members=("bob",))
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(enter(KINDS[seed % 4], node, "alice", session_id))
        readers = [await stack.enter_async_context(enter(kind, node, "bob", session_id)) for kind in KINDS]
        recovering = Recovering(node, stack, session_id)
        await recovering.begin()
        message_id = (await producer.call("stream_start"))["message_id"]
        answer = Following(node, stack, message_id)
        await answer.go_on()
        late: list[tuple[Door, Shown]] = []
        for index, (command, payload) in enumerate(said):
            reply = await producer.call(command, message_id=message_id, index=index, **payload)
            assert (reply["ok"], reply["next_index"]) == (True, index + 1), reply
            reader = await stack.enter_async_context(enter("websocket", node, "bob", session_id))
            late.append((reader, Shown(reader.joined["streams"][0])))
            if rng.random() < 0.3:
                await recovering.cut()
            if rng.random() < 0.3:
                await answer.go_on()
        assert (await producer.call("stream_end", message_id=message_id))["ok"]

        expected = Message(said).as_message
        for reader in readers:
            assert (await told(reader, message_id)).as_message == expected
        for reader, shown in late:
            assert (await told(reader, message_id, shown)).as_message == expected
        shown = Shown()
        for client in recovering.clients[:-1]:
            shown.take_all(client.events, message_id)
        assert (await told(recovering.clients[-1], message_id, shown)).as_message == expected
        await answer.clients[-1].ended()
        shown = Shown()
        for client in answer.clients:
            shown.take_all(client.events, message_id)
        assert shown.as_message == expected

        (message,) = await readers[0].history()
        assert as_stored(message) == expected
        # Who comes when it is over: by its pieces, and with the text in one where they are not known.
        async with following(node, message_id, "bob") as client:
            await client.ended()
            assert Shown().take_all(client.events, message_id).as_message == expected
        for begin in range(len(said)):
            resumed = await readers[0].call("stream_resume", message_id=message_id, from_index=begin)
            whole = resumed["content"] if resumed["index"] == 0 else None
            assert whole in (None, expected[0])
            assert expected[0].endswith(resumed["content"])
            assert resumed.get("parts", expected[1]) == expected[1]
