"""OpenAI's library behind a balancer without stickiness: a node is killed in mid-answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from tests.agents.worker import Worker
from tests.cluster.conftest import Nodes
from tests.cluster.proxies import nginx
from tests.doors.test_openai_tools import Completions, Responses, answer_with_a_call, go_on
from tests.support.services import Redis

NewCluster = Callable[..., Nodes]
ASKED: Any = [{"role": "user", "content": "How many?"}]


class Reader:
    """Reads a stream's events until it breaks off or ends: `error` says why."""

    def __init__(self, events: Any) -> None:
        self._events, self._told = events, asyncio.Event()
        self.seen: list[Any] = []
        self.error: openai.APIError | None = None
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for event in await self._events:
                self.seen.append(event)
                self._told.set()
        except openai.APIError as error:
            self.error = error

    async def until(self, text: str) -> None:
        async with asyncio.timeout(10):
            while self.text != text:
                self._told.clear()
                await self._told.wait()

    @property
    def text(self) -> str:
        return "".join(map(_text, self.seen))


def _text(event: Any) -> str:
    if hasattr(event, "choices"):
        return event.choices[0].delta.content or ""
    return event.delta if event.type == "response.output_text.delta" else ""


@asynccontextmanager
async def library(url: str, token: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        yield client


@pytest.mark.timeout(150)
async def test_a_node_dies_in_mid_answer(new_cluster: NewCluster, redis: Redis) -> None:
    """Its readers are cut off, and go on at another node: a response's behind the last event that they had, a
    completion's by asking the same again. Readers at other nodes notice nothing; the worker goes on, too."""
    nodes = new_cluster(redis.url)
    async with nodes[0].api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Mine", "kind": "remote"})
        agent = made.json()["id"]
    key: Any = {"extra_headers": {"Idempotency-Key": "once"}}
    with nginx(nodes, "upstream.conf") as front:
        async with library(front.url, nodes[0].token()) as client, Worker(nodes[0], agent) as worker:

            def completion() -> Reader:
                return Reader(
                    client.chat.completions.create(model="Mine", messages=ASKED, stream=True, **key)
                )

            def response(after: int = 0) -> Reader:
                return Reader(client.responses.retrieve(asked.id, stream=True, starting_after=after))

            chats = [completion()]
            begun = [await _begin(worker)]
            chats += [completion(), completion()]
            asked = await client.responses.create(model="Mine", input="How many?", background=True)
            begun.append(await _begin(worker))
            responses = [response(), response(), response()]
            # One that the node writes itself.
            async with library(nodes[0].url, nodes[0].token()) as there:
                lost = await there.responses.create(model="Echo", input="never " * 500, background=True)
            lost_reader = Reader(client.responses.retrieve(lost.id, stream=True))
            for reader in (*chats, *responses):
                await reader.until("One, ")
            nodes[0].kill9()
            async with Worker(nodes[1], agent) as again:
                for where in begun:
                    reply = await again.call("stream_start", **where)
                    assert reply["next_index"] == 1, reply
                    await again.call("stream_chunk", **where, index=1, content="two, ")
                    await again.call("stream_chunk", **where, index=2, content="three.")
                    await again.call("stream_end", **where)
                # A program with functions of its own: each of its requests goes to another node.
                for kind in (Completions, Responses):
                    asking = asyncio.create_task(kind(client, "Mine", stream=True).ask("Which one?"))
                    await answer_with_a_call(again)
                    await go_on(again)
                    assert await asking == "The second."
            async with asyncio.timeout(20):
                await asyncio.gather(*(reader.task for reader in (*chats, *responses)))
            whole = "One, two, three."
            for readers in (chats, responses):
                cut = [reader for reader in readers if reader.error is not None]
                assert 0 < len(cut) < len(readers), [reader.error for reader in readers]
                assert all(isinstance(reader.error, openai.APIConnectionError) for reader in cut)
                assert {reader.text for reader in readers} == {"One, ", whole}
            ids = {chunk.id for reader in chats for chunk in reader.seen}
            repeated = completion()
            await repeated.task
            assert (repeated.text, {chunk.id for chunk in repeated.seen}) == (whole, ids)
            first = next(reader for reader in responses if reader.error is not None)
            rest = response(first.seen[-1].sequence_number)
            await rest.task
            assert first.text + rest.text == whole
            other = next(reader for reader in responses if reader.error is None)
            assert rest.seen[-1].response == other.seen[-1].response
            numbers = [event.sequence_number for event in (*first.seen, *rest.seen)]
            assert numbers == sorted(set(numbers))
            assert numbers[-1] == other.seen[-1].sequence_number
            # Nobody goes on with it: it is told as what it is, by whoever is asked.
            if lost_reader.error is not None:
                lost_reader = Reader(client.responses.retrieve(lost.id, stream=True))
            async with asyncio.timeout(60):  # until the dead node's lease has lapsed
                await lost_reader.task
            end = lost_reader.seen[-1]
            assert (end.type, end.response.error.code) == ("response.failed", "interrupted")
            assert end.response.output_text.startswith("never ")


async def _begin(worker: Worker) -> dict[str, Any]:
    request = await worker.request()
    message_id = await worker.write(request, "One, ", end=False)
    return {"session_id": request["session_id"], "message_id": message_id}
