"""The line of questions over two nodes with PostgreSQL and Redis: any node goes on with it."""

import asyncio

from storage.ops import Addressed, NewMessage
from tests.agents.worker import Worker
from tests.cluster.conftest import Nodes
from tests.support.doors import enter, new_session
from tests.turns.conftest import commit


async def test_the_line_goes_through_both_nodes(nodes: Nodes, agent: int) -> None:
    session_id = await new_session(nodes[0], agent_id=agent, members=("bob",))
    async with (
        Worker(nodes[1], agent) as worker,
        enter("websocket", nodes[0], "alice", session_id) as alice,
        enter("socketio", nodes[1], "bob", session_id) as bob,
    ):
        first = (await alice.message("first"))["message_id"]
        request = await worker.request()
        answer = await worker.write(request, "so ", end=False)
        asked = []
        for number in range(4):
            asked.append((await (bob, alice)[number % 2].message(f"next {number}"))["message_id"])
            await bob.wait_event("turn", lambda turn: turn["message_id"] == asked[-1])
        for door in (alice, bob):
            open_turns = (await door.call("history"))["turns"]
            assert [(t["message_id"], t["state"]) for t in open_turns] == [
                (first, "running"), *((question, "queued") for question in asked)
            ]  # fmt: skip
        # Stopped from another tab, at another node.
        assert (await alice.call("stream_cancel", message_id=asked[0]))["status"] == "cancelled"
        assert (await bob.call("stream_cancel", message_id=first))["status"] == "cancelled"
        async with asyncio.timeout(10):
            stopped = {await worker.cancelled.get(), await worker.cancelled.get()}
        assert stopped == {asked[0], answer}
        for question in asked[1:]:
            request = await worker.request()
            assert request["message"]["message_id"] == question
            await worker.write(request, "done")
        assert (await alice.call("history"))["turns"] == []


async def test_a_stop_at_another_node_before_the_first_word(nodes: Nodes, agent: int) -> None:
    session_id = await new_session(nodes[0], agent_id=agent)
    async with (
        Worker(nodes[1], agent) as worker,
        enter("websocket", nodes[0], "alice", session_id) as alice,
        enter("websocket", nodes[1], "alice", session_id) as other_tab,
    ):
        question = (await alice.message("first"))["message_id"]
        request = await worker.request()
        stops = [door.call("stream_cancel", message_id=question) for door in (alice, other_tab)]
        assert [reply["status"] for reply in await asyncio.gather(*stops)] == ["cancelled"] * 2
        late = await worker.begin(request)
        assert late["error"]["code"] == "STREAM_CLOSED"
        for door in (alice, other_tab):
            await door.wait_event("turn", lambda turn: turn["state"] == "done")


async def test_another_node_gives_the_question_up(nodes: Nodes, agent: int) -> None:
    session_id = await new_session(nodes[0], agent_id=agent)
    async with (
        Worker(nodes[1], agent) as worker,
        enter("websocket", nodes[0], "alice", session_id) as alice,
        enter("websocket", nodes[1], "alice", session_id) as other_tab,
        nodes[0].api() as api,
        nodes[0].api("backend", "service") as backend,
    ):
        await alice.message("first")
        answer = await worker.write(await worker.request(), "so ", end=False)
        url = f"/api/chat/sessions/{session_id}/messages/stream"
        asking = asyncio.create_task(api.post(url, json={"content": "second", "stream": False}))
        await alice.wait_event("turn", lambda turn: turn["state"] == "queued")
        await backend.delete(f"/api/chat/agents/{agent}")
        await other_tab.call("stream_cancel", message_id=answer)
        async with asyncio.timeout(15):
            given_up = await asking
        assert given_up.status_code in (404, 409)  # by this node, or by the other


async def test_the_node_that_asked_dies(nodes: Nodes, agent: int) -> None:
    session_id = await new_session(nodes[1], agent_id=agent)
    async with Worker(nodes[1], agent) as worker, enter("websocket", nodes[1], "alice", session_id) as alice:
        async with enter("websocket", nodes[0], "alice", session_id) as doomed:
            await doomed.message("first")
            request = await worker.request()
            answer = await worker.write(request, "so ", end=False)
            second = (await doomed.message("second"))["message_id"]
            nodes[0].kill9()
        where = {"session_id": session_id, "message_id": answer}
        assert (await worker.call("stream_end", **where))["ok"]
        request = await worker.request()
        assert request["message"]["message_id"] == second
        await worker.write(request, "two")
        await alice.wait_event("stream_end", lambda end: end["message_id"] != answer)
    await nodes[0].start_async()


async def test_the_node_that_took_an_interruption_dies_right_after(nodes: Nodes, agent: int) -> None:
    """A writer alone is all that there was of it: it commits, and does nothing more."""
    session_id = await new_session(nodes[0], agent_id=agent)
    async with Worker(nodes[1], agent) as worker, enter("websocket", nodes[0], "alice", session_id) as alice:
        await alice.message("first")
        answer = await worker.write(await worker.request(), "half of it", end=False)
        asks = Addressed(agent, "interrupt")
        said = NewMessage(session_id, "stop-1", None, "user", "alice", "text", "stop, and this", asks=asks)
        await commit(nodes[0].database_url, said)
        end = await alice.wait_event("stream_end")
        assert (end["message_id"], end["status"]) == (answer, "cancelled")
        request = await worker.request()
        assert request["message"]["message_id"] == "stop-1"
        assert [m["content"] for m in request["history"]] == ["first", "half of it"]


async def test_who_goes_on_elsewhere_is_steered_there(nodes: Nodes, agent: int) -> None:
    """Asked at one node, written at another that dies: what was taken up is the answer's, the rest is told
    anew."""
    session_id = await new_session(nodes[0], agent_id=agent)
    async with enter("websocket", nodes[0], "alice", session_id) as alice:
        async with Worker(nodes[1], agent) as worker:
            first = (await alice.message("first"))["message_id"]
            answer = await worker.write(await worker.request(), "so ", end=False)
            where = {"session_id": session_id, "message_id": answer}
            asked = []
            for text in ("second", "third"):
                asked.append((await alice.message(text, when_busy="steer"))["message_id"])
                told = await worker.steer()
                assert (told["message_id"], told["message"]["message_id"]) == (answer, asked[-1])
            step = {"type": "step", "id": "heard", "steered": [asked[0]]}
            assert (await worker.call("stream_part", **where, part=step))["ok"]
            assert (await worker.call("agent_status", **where, status="searching"))["ok"]
            assert (await alice.wait_event("agent_status"))["status"] == "searching"
            async with enter("websocket", nodes[0], "alice", session_id) as late:
                assert [stream["agent_status"] for stream in late.joined["streams"]] == [
                    {"status": "searching"}
                ]
            taken = await alice.wait_event("turn", lambda turn: turn["state"] == "running")
            assert (taken["message_id"], taken["answer_id"]) == (asked[0], answer)
            nodes[1].kill9()
        async with Worker(nodes[0], agent) as worker:
            assert (await worker.call("stream_chunk", **where, index=2, content="on"))["ok"]
            told = await worker.steer()
            assert (told["message_id"], told["message"]["message_id"]) == (answer, asked[1])
            assert (await worker.call("stream_end", **where))["ok"]
            request = await worker.request()
            assert request["message"]["message_id"] == asked[1]
            assert [m["message_id"] for m in request["history"]] == [first, asked[0], answer]
            await worker.write(request, "three")
            turns = (await alice.call("turns"))["turns"]
            assert [(t["message_id"], t["outcome"], t["answer_id"] == answer) for t in turns] == [
                (asked[1], "complete", False), (asked[0], "complete", True), (first, "complete", True)
            ]  # fmt: skip
    await nodes[1].start_async()
