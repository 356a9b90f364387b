"""Workers that connect from outside: they share requests, take them up again, and die."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import httpx

from tests.agents.worker import Worker
from tests.support.doors import Door, enter, new_session
from tests.support.server import Server
from tests.support.sseclient import SseClient


async def ended(alice: Door, since: int = 0) -> dict[str, Any]:
    return await alice.wait_event("stream_end", since=since)


async def test_requests_are_shared_and_each_goes_to_one(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with (
        Worker(node, agent) as one,
        Worker(node, agent) as two,
        Worker(node, agent + 1000) as other,
        enter("websocket", node, "alice", session_id) as alice,
    ):
        for number in range(4):
            mark = alice.mark()
            await alice.message(f"question {number}")
            worker = (one, two)[number % 2]
            request = await worker.request()
            assert request["message"]["content"] == f"question {number}"
            await worker.write(request, "answer ", str(number))
            assert (await ended(alice, mark))["status"] == "complete"
        assert [len(w.requests._queue) for w in (one, two, other)] == [0, 0, 0]  # type: ignore[attr-defined]
        answers = [m for m in await alice.history() if m["sender_type"] == "agent"]
        assert [m["content"] for m in answers] == [f"answer {n}" for n in range(4)]
        questions = [m for m in await alice.history() if m["sender_type"] == "user"]
        assert [a["reply_to"] for a in answers] == [q["message_id"] for q in questions]


async def test_a_worker_is_told_what_messages_are_made_of(node: Server, agent: int) -> None:
    """Also what an answer keeps for its model alone, which no reader is told."""
    session_id = await new_session(node, agent_id=agent)
    data = {"type": "data", "id": "d", "name": "place", "data": [1, 2]}
    thought = {"type": "reasoning", "id": "r", "text": "hm", "provider_metadata": {"signature": "s"}}
    async with Worker(node, agent) as worker, enter("websocket", node, "alice", session_id) as alice:
        asked = await alice.call("message", parts=[{"type": "text", "id": "t", "text": "Where?"}, data])
        assert asked["ok"], asked
        request = await worker.request()
        message = request["message"]
        assert (message["content"], message["parts"][1]) == ("Where?", data)
        begun = await worker.begin(request)
        where = {"session_id": session_id, "message_id": begun["message_id"]}
        for command in (
            {"command": "stream_part", "part": thought, "index": 0},
            {"command": "stream_chunk", "content": "Here.", "index": 1},
            {"command": "stream_end"},
        ):
            reply = await worker.call(command.pop("command"), **where, **command)
            assert reply["ok"], reply
        await ended(alice)
        await alice.message("And when?")
        question, answer = (await worker.request())["history"]
        assert question["parts"] == message["parts"]
        assert answer["parts"] == [thought, {"type": "text", "id": "text", "text": "Here."}]
        told = (await alice.history())[1]
        del thought["provider_metadata"]
        assert told["parts"] == [thought, answer["parts"][1]]
        assert "signature" not in str(alice.events)


async def test_no_worker(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with enter("socketio", node, "alice", session_id) as alice:
        sent = await alice.message("anybody there?")
        end = await ended(alice)
        assert (end["status"], end["error"]["code"]) == ("failed", "AGENT_UNAVAILABLE")
        start = await alice.wait_event("stream_start")
        assert (start["sender_type"], start["reply_to"]) == ("agent", sent["message_id"])


async def test_one_that_does_not_ack_is_passed_over(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with (
        Worker(node, agent, deaf=True) as deaf,
        Worker(node, agent) as awake,
        enter("websocket", node, "alice", session_id) as alice,
    ):
        await alice.message("hello")
        first = await deaf.request()
        second = await awake.request()
        assert first == second
        await awake.write(second, "here I am")
        assert (await ended(alice))["status"] == "complete"


async def test_one_that_comes_back_goes_on_where_it_was(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with enter("websocket", node, "alice", session_id) as alice:
        async with Worker(node, agent) as worker:
            await alice.message("hello")
            request = await worker.request()
            message_id = await worker.write(request, "a", "b", "c", end=False)
        async with Worker(node, agent) as worker:
            begun = await worker.begin(request)
            assert (begun["duplicate"], begun["next_index"]) == (True, 3)
            assert begun["message_id"] == message_id
            await worker.write(request, "d", "e")
        end = await ended(alice)
        assert (end["message_id"], end["status"]) == (message_id, "complete")
        assert [c["index"] for c in alice.named("stream_chunk")] == [0, 1, 2, 3, 4]
        assert "".join(c["content"] for c in alice.named("stream_chunk")) == "abcde"
        assert len(alice.named("stream_start")) == 1


async def test_one_that_dies_leaves_its_text(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with (
        enter("websocket", node, "alice", session_id) as alice,
        Worker(node, agent) as spare,
        Worker(node, agent) as mortal,
    ):
        # Whose turn it is, is not said.
        await alice.message("hello")
        waiting = [asyncio.create_task(w.request()) for w in (mortal, spare)]
        done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        for task in rest:
            task.cancel()
        victim, survivor = (mortal, spare) if waiting[0] in done else (spare, mortal)
        await victim.write(done.pop().result(), "to be con", end=False)
        await victim.die()
        end = await ended(alice)
        assert end["status"] == "interrupted"
        mark = alice.mark()
        await alice.message("go on")
        request = await survivor.request()
        assert [m["content"] for m in request["history"]] == ["hello", "to be con"]
        await survivor.write(request, "tinued")
        assert (await ended(alice, mark))["status"] == "complete"


async def test_one_that_takes_it_and_begins_nothing(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with enter("websocket", node, "alice", session_id) as alice, Worker(node, agent) as lazy:
        await alice.message("hello")
        request = await lazy.request()
        end = await ended(alice)
        assert (end["status"], end["error"]["code"]) == ("failed", "AGENT_UNAVAILABLE")
        # Too late: the message has its answer.
        late = await lazy.begin(request)
        assert (late["duplicate"], late["status"]) == (True, "failed")


async def test_stop_tells_the_worker(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with enter("websocket", node, "alice", session_id) as alice, Worker(node, agent) as worker:
        await alice.message("hello")
        request = await worker.request()
        message_id = await worker.write(request, "one moment", end=False)
        reply = await alice.call("stream_cancel", message_id=message_id)
        assert reply["status"] == "cancelled"
        async with asyncio.timeout(5):
            assert await worker.cancelled.get() == message_id
        more = await worker.call(
            "stream_chunk", session_id=session_id, message_id=message_id, index=1, content="too late"
        )
        assert more["error"]["code"] == "STREAM_CLOSED"


async def test_history_is_bounded(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with enter("websocket", node, "alice", session_id) as alice, Worker(node, agent) as worker:
        for number in range(60):
            await alice.message(f"small {number}", reply=False)
        await alice.message("now")
        history = (await worker.request())["history"]
        assert [m["content"] for m in history] == [f"small {n}" for n in range(10, 60)]
        for number in range(5):
            await alice.message(f"{number}" + "x" * 20_000, reply=False)
        await alice.message("and now")
        history = (await worker.request())["history"]
        assert [m["content"][0] for m in history] == ["2", "3", "4"]


async def test_a_worker_reaches_only_its_sessions(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=1)
    async with Worker(node, agent) as worker:
        reply = await worker.call("stream_start", session_id=session_id)
        assert reply["error"]["code"] == "SESSION_NOT_FOUND"


# Over REST.


def stream_url(node: Server, session_id: str) -> str:
    return f"{node.url}/api/chat/sessions/{session_id}/messages/stream"


async def test_an_answer_over_sse(node: Server, agent: int) -> None:
    """Asked again while the worker is still thinking: the same answer, and the worker is not asked twice."""
    session_id = await new_session(node, agent_id=agent)
    url, token = stream_url(node, session_id), node.token("alice")
    body = {"content": "hello", "client_message_id": "q-1"}
    async with Worker(node, agent) as worker:
        first, again = (SseClient(url, token, method="POST", body=body) for _ in range(2))
        opening = [asyncio.create_task(first.open())]
        request = await worker.request()
        opening.append(asyncio.create_task(again.open()))
        async with enter("rest", node, "alice", session_id) as alice:
            message_id = await worker.write(request, "a", "b", "c")
            await ended(alice)
        await asyncio.gather(*opening)
        async with AsyncExitStack() as leaving:
            for reader in (first, again):
                leaving.push_async_callback(reader.close)
            for reader in (first, again):
                await reader.ended()
                assert reader.events[0].data["message_id"] == message_id
                assert "".join(c["content"] for c in reader.named("stream_chunk")) == "abc"
                assert reader.events[-1].data["status"] == "complete"
        assert worker.requests.empty()


async def test_no_worker_over_sse(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    body = {"content": "hello"}
    async with SseClient(
        stream_url(node, session_id), node.token("alice"), method="POST", body=body
    ) as reader:
        await reader.ended()
        assert [e.name for e in reader.events] == ["stream_start", "stream_end"]
        end = reader.events[-1].data
        assert (end["status"], end["error"]["code"]) == ("failed", "AGENT_UNAVAILABLE")


async def test_a_whole_answer_in_one_piece(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    async with Worker(node, agent) as worker, node.api() as api:
        body = {"content": "hello", "stream": False}
        asking = asyncio.create_task(api.post(stream_url(node, session_id), json=body))
        await worker.write(await worker.request(), "all ", "of it")
        answer = (await asking).json()
        assert answer["message"]["content"] == "all of it"
        assert worker.requests.empty()


async def readers(api: httpx.AsyncClient, count: int) -> None:
    """Until so many connections listen for events, this way or that."""
    async with asyncio.timeout(10):
        while count != await listening(api):
            await asyncio.sleep(0.05)


async def listening(api: httpx.AsyncClient) -> int:
    lines = (await api.get("/metrics")).text.splitlines()
    found = [line for line in lines if line.startswith('parley_connections{transport="sse"}')]
    return int(float(found[0].split()[1])) if found else 0


async def test_whoever_waits_for_a_whole_answer_listens_for_its_end(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent)
    body = {"content": "hello", "stream": False, "client_message_id": "once"}
    async with Worker(node, agent) as worker, node.api() as api:
        await readers(api, 0)
        first = asyncio.create_task(api.post(stream_url(node, session_id), json=body))
        request = await worker.request()
        again = asyncio.create_task(api.post(stream_url(node, session_id), json=body))
        await readers(api, 2)
        # One goes: nobody waits for him, and the answer is the other's all the same.
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await readers(api, 1)
        await worker.write(request, "for ", "one")
        assert (await again).json()["message"]["content"] == "for one"
        await readers(api, 0)
        # It has ended: a repeat has it at once.
        repeat = await api.post(stream_url(node, session_id), json=body)
        assert repeat.json()["message"]["content"] == "for one"
        assert worker.requests.empty()


async def test_who_is_removed_does_not_get_a_whole_answer(node: Server, agent: int) -> None:
    session_id = await new_session(node, agent_id=agent, members=("bob",))
    body = {"content": "hello", "stream": False}
    async with Worker(node, agent) as worker, node.api() as alice, node.api("bob") as bob:
        asking = asyncio.create_task(bob.post(stream_url(node, session_id), json=body))
        request = await worker.request()
        await readers(alice, 1)
        gone = await alice.delete(f"/api/chat/sessions/{session_id}/participants/bob")
        assert gone.is_success
        await worker.write(request, "for others")
        assert (await asking).json()["error"]["code"] == "SESSION_NOT_FOUND"


async def test_a_worker_that_is_behind_is_not_cut_off_by_what_it_is_asked(node: Server, agent: int) -> None:
    """Its poll is on its way, and people ask more than may wait for it: what it has no room for waits."""
    sessions = [await new_session(node, agent_id=agent) for _ in range(6)]
    poll = {"EIO": "4", "transport": "polling"}
    async with node.api(None) as worker, node.api("alice") as alice:
        opened = await worker.get("/socket.io/", params=poll)
        poll["sid"] = json.loads(opened.text[1:])["sid"]
        token = json.dumps({"token": node.token(str(agent), "agent")})
        await worker.post("/socket.io/", params=poll, content=f"40{token}")
        assert (await worker.get("/socket.io/", params=poll)).text.startswith("40")
        for session_id in sessions:
            said = {"content": "x" * 250_000}
            sent = await alice.post(f"/api/chat/sessions/{session_id}/messages", json=said)
            assert sent.status_code == 201
        asked = 0
        async with asyncio.timeout(10):
            while asked < len(sessions):
                told = (await worker.get("/socket.io/", params=poll)).text
                for packet in told.split("\x1e"):
                    if packet == "2":
                        await worker.post("/socket.io/", params=poll, content="3")
                    assert not packet.startswith(("41", "1", "{")), packet[:100]
                    if packet.startswith("42"):
                        asked += 1
                        ack_id = packet[2 : packet.index("[")]
                        await worker.post("/socket.io/", params=poll, content=f"43{ack_id}[]")
