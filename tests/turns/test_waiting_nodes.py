"""Answers that wait, over two nodes with PostgreSQL and Redis: whichever node dies, and after all of them."""

import asyncio

from storage.ops import AnswerInterrupt
from tests.agents.test_openai import openai_session
from tests.agents.toolservers import calling
from tests.agents.upstream import answer, upstream
from tests.agents.worker import Worker
from tests.cluster.conftest import Nodes
from tests.support.doors import Door, enter, new_session
from tests.turns.conftest import commit
from tests.turns.test_waiting_tools import PATIENT, WHERE
from tests.turns.waits import TOOL, ask_approval, go_on, say


async def waiting(nodes: Nodes, agent: int, ask_at: int = 0) -> tuple[str, str]:
    """A session, and an answer in it that waits; its worker has gone."""
    session_id = await new_session(nodes[ask_at], agent_id=agent)
    async with (
        Worker(nodes[ask_at], agent) as worker,
        enter("websocket", nodes[ask_at], "alice", session_id) as alice,
    ):
        await alice.message("pay")
        answer = await worker.write(await worker.request(), "I am about to pay. ", end=False)
        assert (await ask_approval(worker, session_id, answer))["ok"]
    return session_id, answer


async def ended(door: Door, answer: str) -> dict[str, object]:
    await door.wait_event("stream_end", lambda e: (e["message_id"], e["status"]) == (answer, "complete"))
    return next(m for m in await door.history() if m["message_id"] == answer)


async def test_two_tabs_at_two_nodes(nodes: Nodes, agent: int) -> None:
    session_id, answer = await waiting(nodes, agent)
    async with (
        Worker(nodes[1], agent) as worker,
        enter("websocket", nodes[0], "alice", session_id) as one,
        enter("socketio", nodes[1], "alice", session_id) as other,
    ):
        replies = await asyncio.gather(
            say(one, answer, client_message_id="a"),
            say(other, answer, status="cancelled", client_message_id="b"),
        )
        assert sorted(reply["ok"] for reply in replies) == [False, True]
        winner, loser = sorted(replies, key=lambda reply: not reply["ok"])
        assert loser["error"]["details"]["answer"] == winner["answer"]
        request = await worker.request()
        assert request["resume"]["interrupts"][0]["answer"] == winner["answer"]
        await go_on(worker, request, "Done.")
        for door in (one, other):
            assert (await ended(door, answer))["content"] == "I am about to pay. Done."
        assert worker.requests.empty()


async def test_all_of_it_starts_anew(nodes: Nodes, agent: int) -> None:
    """While it waits: the worker, the page, both nodes. Nothing is forgotten."""
    session_id, answer = await waiting(nodes, agent)
    for node in nodes:
        node.kill9()
    await nodes.start_async()
    async with (
        Worker(nodes[1], agent) as worker,
        enter("websocket", nodes[0], "alice", session_id) as alice,
    ):
        shown = next(m for m in alice.joined["messages"] if m["message_id"] == answer)
        assert (shown["status"], shown["interrupts"][0]["id"]) == ("waiting", "i1")
        assert [turn["state"] for turn in alice.joined["turns"]] == ["waiting"]
        assert (await say(alice, answer))["ok"]
        request = await worker.request()
        assert [part for part in request["resume"]["parts"] if part["type"] == "tool"] == [TOOL]
        await go_on(worker, request, "Paid.")
        assert (await ended(alice, answer))["content"] == "I am about to pay. Paid."


async def test_it_is_gone_on_with_while_redis_is_away(nodes: Nodes, agent: int) -> None:
    session_id, answer = await waiting(nodes, agent)
    assert nodes.redis is not None
    nodes.redis.pause()
    try:
        async with (
            Worker(nodes[0], agent) as worker,
            enter("websocket", nodes[0], "alice", session_id) as alice,
        ):
            assert (await say(alice, answer))["ok"]
            assert (await go_on(worker, await worker.request(), "Paid."))["next_index"] == 2
            assert (await ended(alice, answer))["content"] == "I am about to pay. Paid."
    finally:
        nodes.redis.resume()


async def test_the_node_dies_that_was_told(nodes: Nodes, agent: int) -> None:
    """The answer is acknowledged; whoever lives hands it to the first worker that comes."""
    session_id, answer = await waiting(nodes, agent, 1)
    async with enter("websocket", nodes[0], "alice", session_id) as doomed:
        assert (await say(doomed, answer))["ok"]
        nodes[0].kill9()
    async with (
        enter("websocket", nodes[1], "alice", session_id) as alice,
        Worker(nodes[1], agent) as worker,
    ):
        async with asyncio.timeout(40):
            request = await worker.requests.get()
        await go_on(worker, request, "Paid.")
        assert (await ended(alice, answer))["content"] == "I am about to pay. Paid."
    await nodes[0].start_async()


async def test_another_node_goes_on_with_a_model(nodes: Nodes) -> None:
    """The one that asked people dies while it waits; the one that took the last answer, right after: a writer
    is all that there was of it."""
    called = calling(("where", {}), text="Let me see.")
    async with upstream(called, answer("You are in Delft.")) as served:
        session_id = await openai_session(nodes[0], served, page_tools=[WHERE], **PATIENT)
        async with enter("websocket", nodes[0], "alice", session_id) as alice:
            await alice.message("where am I?")
            waits = await alice.wait_event("stream_end")
            assert waits["status"] == "waiting"
            nodes[0].kill9()
        async with enter("websocket", nodes[1], "alice", session_id) as alice:
            given = {"status": "resolved", "user_id": "alice", "payload": "Delft"}
            op = AnswerInterrupt(session_id, waits["message_id"], "tool-1", given)
            await commit(nodes[1].database_url, op)
            whole = await ended(alice, waits["message_id"])
    assert whole["content"] == "Let me see.\n\nYou are in Delft."
    assert [message["role"] for message in served.asked[1]["messages"]] == ["user", "assistant", "tool"]
    await nodes[0].start_async()


async def test_the_node_dies_on_which_it_is_written_on(nodes: Nodes, agent: int) -> None:
    """Right after it was claimed: the worker claims it again at another node, and goes on where it was."""
    session_id, answer = await waiting(nodes, agent, 1)
    async with enter("websocket", nodes[1], "alice", session_id) as alice:
        async with Worker(nodes[0], agent) as worker:
            assert (await say(alice, answer))["ok"]
            request = await worker.request()
            assert (await go_on(worker, request, end=False))["next_index"] == 2
            nodes[0].kill9()
        async with Worker(nodes[1], agent) as again:
            where = {"session_id": session_id, "message_id": answer}
            unclaimed = await again.call("stream_chunk", **where, index=2, content="Paid.")
            assert unclaimed["error"]["code"] == "STREAM_CLOSED"
            assert (await go_on(again, request, "Paid."))["next_index"] == 2
        assert (await ended(alice, answer))["content"] == "I am about to pay. Paid."
    await nodes[0].start_async()
