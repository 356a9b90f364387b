"""AG-UI's agents behind a balancer without stickiness: a node is killed in mid-answer."""

from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

from tests.agents.worker import Worker
from tests.cluster.conftest import Nodes
from tests.cluster.proxies import nginx
from tests.doors.test_openai import history
from tests.support.agui import Agents, AgUiAgent, State, texts
from tests.support.services import Redis


async def test_a_node_dies_in_mid_answer(new_cluster: Callable[..., Nodes], redis: Redis) -> None:
    """Its readers are told of a failure, and have all of the answer, once, when they connect again; those at
    other nodes notice nothing. What the node wrote itself ends as an error, with all of its text."""
    nodes = new_cluster(redis.url)
    async with nodes[0].api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Mine", "kind": "remote"})
        agent_id = made.json()["id"]
    with closing(Agents()) as agents, nginx(nodes, "upstream.conf") as front:
        balancer = cast(Any, SimpleNamespace(url=front.url, token=nodes[0].token))

        async def page(thread: str, agent: str) -> AgUiAgent:
            return await agents.agent(balancer, agent, thread, copilotkit=True)

        readers = [await page("thread", "Mine") for _ in range(6)]
        async with Worker(nodes[0], agent_id) as worker:
            await readers[0].run("go", apart=True)
            message_id = await worker.write(await worker.request(), "One, ", end=False)
            for reader in readers[1:]:
                await reader.connect(apart=True)
            lost = await agents.agent(nodes[0], "Echo", "lost")
            await lost.run("never " * 500, apart=True)
            await lost.until("last?.role === 'assistant'")
            for reader in readers:
                await reader.until("last?.content === 'One, '")
            nodes[0].kill9()
        async with Worker(nodes[1], agent_id) as again:
            where = {"session_id": "thread", "message_id": message_id}
            reply = await again.call("stream_start", **where)
            assert reply["next_index"] == 1, reply
            await again.call("stream_chunk", **where, index=1, content="two.")
            cut = []
            for reader in readers:
                state = await reader.until("!agent.isRunning || last?.content === 'One, two.'")
                if not state["isRunning"]:
                    assert is_cut(state), state
                    assert texts(state) == [("user", "go"), ("assistant", "One, ")]
                    cut.append(reader)
            assert 0 < len(cut) < len(readers)
            for reader in cut:
                await reader.connect(apart=True)
                await reader.until("last?.content === 'One, two.'")
            await again.call("stream_end", **where)
        for reader in readers:
            state = await reader.until("!agent.isRunning")
            assert state["events"][-1]["type"] == "RUN_FINISHED"
            assert texts(state) == [("user", "go"), ("assistant", "One, two.")]
            assert state["messages"][-1]["id"] == message_id
        # Nobody goes on with it: it is told as what it is, by whoever is asked.
        broken = await lost.until("!agent.isRunning")
        assert is_cut(broken)
        later = await page("lost", "Echo")
        await later.connect(apart=True)
        told = await later.until("!agent.isRunning", timeout=50)
        end = told["events"][-1]
        assert (end["type"], end["code"]) == ("RUN_ERROR", "INTERRUPTED")
        stored = (await history(nodes[1], "lost"))[-1]
        assert (stored["status"], stored["content"]) == ("interrupted", told["messages"][-1]["content"])
        assert stored["content"].startswith(broken["messages"][-1]["content"])


def is_cut(state: State) -> bool:
    """Its page is told so: by an event, or by the connection."""
    return bool(state["failures"]) or state["events"][-1]["type"] == "RUN_ERROR"
