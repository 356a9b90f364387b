"""Workers that are connected to other nodes than the one a question comes to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest

from tests.agents.test_remote import readers
from tests.agents.worker import Worker
from tests.cluster.conftest import Nodes
from tests.support.doors import enter, new_session
from tests.support.proxy import Proxy
from tests.support.services import Redis
from tests.support.sseclient import SseClient


@pytest.fixture
async def agent(steady: Nodes) -> AsyncIterator[int]:
    async with steady[0].api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
        yield made.json()["id"]


async def test_a_worker_on_another_node(steady: Nodes, agent: int) -> None:
    session_id = await new_session(steady[0], agent_id=agent)
    async with (
        Worker(steady[1], agent) as one,
        Worker(steady[2], agent) as two,
        enter("websocket", steady[0], "alice", session_id) as alice,
    ):
        for number in range(3):
            mark = alice.mark()
            await alice.message(f"question {number}")
            asked = [asyncio.create_task(worker.request()) for worker in (one, two)]
            done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=10)
            worker = one if asked[0] in done else two
            await worker.write(done.pop().result(), "from ", "afar")
            end = await alice.wait_event("stream_end", since=mark)
            assert end["status"] == "complete"
            # Only one of them was asked.
            for task in waiting:
                assert not task.done()
                task.cancel()
        answers = [m["content"] for m in await alice.history() if m["sender_type"] == "agent"]
        assert answers == ["from afar"] * 3


async def test_no_worker_on_any_node(steady: Nodes, agent: int) -> None:
    session_id = await new_session(steady[0], agent_id=agent)
    async with enter("socketio", steady[0], "alice", session_id) as alice:
        await alice.message("anybody?")
        end = await alice.wait_event("stream_end")
        assert end["error"]["code"] == "AGENT_UNAVAILABLE"


async def test_a_worker_goes_on_at_another_node(steady: Nodes, agent: int) -> None:
    session_id = await new_session(steady[0], agent_id=agent)
    async with enter("websocket", steady[0], "alice", session_id) as alice:
        async with Worker(steady[1], agent) as worker:
            await alice.message("hello")
            request = await worker.request()
            message_id = await worker.write(request, "a", "b", "c", end=False)
        async with Worker(steady[2], agent) as worker:
            begun = await worker.begin(request)
            assert (begun["message_id"], begun["next_index"]) == (message_id, 3)
            await worker.write(request, "d", "e", end=False)
            async with enter("websocket", steady[1], "alice", session_id) as late:
                (opened,) = late.joined["streams"]
                assert (opened["content"], opened["next_index"]) == ("abcde", 5)
                again = await late.call("stream_resume", message_id=message_id, from_index=2)
                assert (again["content"], again["next_index"]) == ("cde", 5)
            stopped = await alice.call("stream_cancel", message_id=message_id)
            assert stopped["status"] == "cancelled"
            async with asyncio.timeout(5):
                assert await worker.cancelled.get() == message_id
        # The reply does not wait for the bus; what the room is told comes over it.
        end = await alice.wait_event("stream_end")
        assert (end["message_id"], end["status"]) == (message_id, "cancelled")
        assert "".join(c["content"] for c in alice.named("stream_chunk")) == "abcde"


async def test_an_answer_that_ends_while_its_reader_looks_is_told_once(
    new_cluster: Callable[..., Nodes], redis: Redis, postgres_url: str
) -> None:
    """The reader is in the room before the answer begins; its node sees the database again when it has ended,
    and then still has all that the bus told meanwhile."""
    async with Proxy(urlsplit(postgres_url).port or 0) as way:
        behind = postgres_url.replace(f":{way.target}/", f":{way.port}/")
        near = new_cluster(redis.url, 1)[0]
        far = await new_cluster(redis.url, 1, behind, start=False).start_async()
        async with near.api("backend", "service") as api:
            made = await api.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
        agent = made.json()["id"]
        session_id = await new_session(near, agent_id=agent)
        url = f"{far[0].url}/api/chat/sessions/{session_id}/messages/stream"
        question = {"content": "hello", "client_message_id": "once"}
        reader = SseClient(url, near.token("alice"), method="POST", body=question)
        async with (
            Worker(near, agent) as worker,
            near.api() as api,
            far[0].api() as there,
            AsyncExitStack() as leaving,
        ):
            leaving.push_async_callback(reader.close)
            asked = await api.post(f"/api/chat/sessions/{session_id}/messages", json=question)
            assert asked.is_success
            request = await worker.request()
            opening = asyncio.create_task(reader.open())
            await readers(there, 1)
            for _ in range(3):  # as many questions to the database as a join has: by then it waits
                await there.get(f"/api/chat/sessions/{session_id}/messages")
            way.freeze()
            message_id = await worker.write(request, "a", "b", "c")
            way.resume()
            await opening
            await reader.ended()
            assert reader.events[0].data["message_id"] == message_id
            assert "".join(piece["content"] for piece in reader.named("stream_chunk")) == "abc"
            assert reader.events[-1].name == "stream_end"
