"""AG-UI's own client, and CopilotKit's, unmodified, at `/api/ag-ui`: asked, told, stopped."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from ag_ui_validate.pytest_plugin import assert_valid_agui

from tests.doors.test_openai import history, working
from tests.support.agui import Agents, texts, types
from tests.support.doors import enter, new_session
from tests.support.server import Server

QUESTION = "what is the meaning of all this, please?"


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    running = Agents()
    yield running
    running.close()


def thread() -> str:
    return str(uuid4())


@pytest.mark.parametrize("copilotkit", [False, True])
async def test_a_run_makes_its_session(parley: Server, agents: Agents, copilotkit: bool) -> None:
    agent = await agents.agent(parley, "Echo", thread(), copilotkit=copilotkit)
    state = await agent.run(QUESTION)
    assert texts(state) == [("user", QUESTION), ("assistant", QUESTION)]
    assert types(state) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert state["failures"] == []
    assert_valid_agui(state["events"])
    asked, answered = await history(parley, state["threadId"])
    assert (asked["content"], asked["sender_id"]) == (QUESTION, "alice")
    assert asked["client_message_id"] == state["messages"][0]["id"]
    assert answered["message_id"] == state["messages"][1]["id"] == state["runs"][0]["result"]["message_id"]
    usage = state["events"][-1]["usage"]
    assert usage == [{"totalTokens": answered["tokens_used"]}]
    again = await agent.run("And then?")
    assert texts(again)[2:] == [("user", "And then?"), ("assistant", "And then?")]


def read(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the arguments of calls as what they say: a model's spaces are not kept."""
    for message in messages:
        for call in message.get("toolCalls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return messages


async def test_thoughts_tools_and_sources(parley: Server, agents: Agents) -> None:
    """As the room sees them; and who connects has the same messages as who was there."""
    agent = await agents.agent(parley, "Echo", thread())
    state = await agent.run("/parts")
    assert_valid_agui(state["events"])
    answered = (await history(parley, state["threadId"]))[-1]
    roles = [message["role"] for message in state["messages"]]
    assert roles == ["user", "reasoning", "assistant", "tool", "tool", "assistant"], roles
    later = await agents.agent(parley, "Echo", state["threadId"], copilotkit=True)
    assert read((await later.connect())["messages"]) == read(state["messages"])
    calls = [part for part in answered["parts"] if part["type"] == "tool"]
    told = [call for message in state["messages"] for call in message.get("toolCalls", [])]
    assert [call["function"]["arguments"] for call in told] == [part["input"] for part in calls]
    sources = [event["value"] for event in state["events"] if event.get("name") == "source"]
    assert sources == [part for part in answered["parts"] if part["type"] == "source"]


async def begun(worker: Any, request: dict[str, Any], text: str = "So far") -> dict[str, Any]:
    """An answer that is being written, and what names it."""
    message_id = await worker.write(request, text, end=False)
    return {"session_id": request["session_id"], "message_id": message_id}


async def test_the_room_sees_the_same(parley: Server, agents: Agents) -> None:
    """Who is in the session over Socket.IO; a second page that comes in mid-answer has all of it, once."""
    session_id = await new_session(parley, agent_id=1, members=("bob",))
    async with working(parley) as (worker, model):
        session_id = await new_session(parley, agent_id=int(model), members=("bob",))
        first = await agents.agent(parley, model, session_id)
        async with enter("socketio", parley, "bob", session_id) as bob:
            await first.run(QUESTION, apart=True)
            where = await begun(worker, await worker.request())
            second = await agents.agent(parley, model, session_id, "bob", copilotkit=True)
            await second.connect(apart=True)
            await second.until("last?.content === 'So far'")
            await worker.call("stream_chunk", **where, index=1, content=", so good.")
            await worker.call(
                "stream_end", **where, usage={"input_tokens": 3, "output_tokens": 4}, model="m-1"
            )
            told = await first.until("!agent.isRunning")
            later = await second.until("!agent.isRunning")
            await bob.wait_event("stream_end")
            seen = "".join(chunk["content"] for chunk in bob.named("stream_chunk"))
    assert texts(told)[-1] == ("assistant", seen) == ("assistant", "So far, so good.")
    assert told["events"][-1]["usage"] == [{"model": "m-1", "inputTokens": 3, "outputTokens": 4}]
    assert [each["content"] for each in later["messages"]] == [QUESTION, seen]
    assert later["messages"][1]["id"] == told["messages"][1]["id"]
    assert later["messages"][0]["name"] == "alice"


async def test_what_is_not_whole_is_an_error(parley: Server, agents: Agents) -> None:
    """Clients take every end but an error for success. The text so far stays."""
    async with working(parley) as (worker, model):
        for end, code in (
            ({"status": "interrupted"}, "INTERRUPTED"),
            ({"status": "failed", "error": {"code": "UPSTREAM_ERROR", "message": "no"}}, "UPSTREAM_ERROR"),
            ({"finish_reason": "length"}, "LENGTH"),
        ):
            agent = await agents.agent(parley, model, thread())
            await agent.run("?", apart=True)
            where = await begun(worker, await worker.request())
            assert (await worker.call("stream_end", **where, **end))["ok"]
            state = await agent.until("!agent.isRunning")
            assert (state["events"][-1]["type"], state["events"][-1]["code"]) == ("RUN_ERROR", code)
            assert state["messages"][-1]["content"] == "So far"
            assert_valid_agui(state["events"])
            # Who comes later is told so, too.
            later = await agents.agent(parley, model, state["threadId"], copilotkit=True)
            told = await later.connect()
            assert told["messages"][-1]["content"] == "So far"
            if "status" in end:
                assert told["events"][-1]["code"] == code
                assert told["messages"][-1]["metadata"] == {"status": end["status"]}


@pytest.mark.parametrize("copilotkit", [False, True])
async def test_a_stop(parley: Server, agents: Agents, copilotkit: bool) -> None:
    """CopilotKit's is the runtime's call. An end of version 1.0 is a broken event to a client of before."""
    async with working(parley) as (worker, model):
        reader = await agents.agent(parley, model, thread(), copilotkit=copilotkit)
        await reader.run("?", apart=True)
        where = await begun(worker, await worker.request())
        await reader.until("last?.content === 'So far'")
        stopper = await agents.agent(parley, model, where["session_id"], copilotkit=True)
        await stopper.abort()
        assert await worker.cancelled.get() == where["message_id"]
        state = await reader.until("!agent.isRunning")
    end = state["events"][-1]
    if copilotkit:
        assert (end["type"], end["code"]) == ("RUN_ERROR", "abort")
    else:
        assert (end["type"], end["outcome"]) == ("RUN_FINISHED", {"type": "cancelled"})
        assert_valid_agui(state["events"])
    assert state["failures"] == []
    assert (await history(parley, where["session_id"]))[-1]["status"] == "cancelled"


async def test_a_second_run_while_busy(parley: Server, agents: Agents) -> None:
    """It waits in line, as at every door; a stop of it is its own."""
    async with working(parley) as (worker, model):
        thread_id = thread()
        first = await agents.agent(parley, model, thread_id)
        second = await agents.agent(parley, model, thread_id, copilotkit=True)
        await first.run("first", apart=True)
        where = await begun(worker, await worker.request())
        await second.run("second", apart=True)
        async with enter("websocket", parley, "alice", thread_id) as alice:
            if not alice.joined["turns"][1:]:
                await alice.wait_event("turn", lambda turn: turn["state"] == "queued")
            await second.abort()
            await alice.wait_event("turn", lambda turn: turn["state"] == "done")
        await worker.call("stream_end", **where)
        assert (await first.until("!agent.isRunning"))["events"][-1]["outcome"] == {"type": "success"}
        stopped = await second.until("!agent.isRunning")
        assert (stopped["events"][-1]["type"], stopped["events"][-1]["code"]) == ("RUN_ERROR", "abort")
        await first.run("third", apart=True)
        await worker.write(await worker.request(), "yes")
        assert (await first.until("!agent.isRunning"))["messages"][-1]["content"] == "yes"


async def test_the_same_question_again(parley: Server, agents: Agents) -> None:
    """The same run is the same answer; another run of it is another answer, which stands beside the first."""
    async with working(parley) as (worker, model):
        agent = await agents.agent(parley, model, thread())
        await agent.run("?", runId="run-1", apart=True)
        await worker.write(await worker.request(), "one")
        one = await agent.until("!agent.isRunning")
        await agent.say(one["messages"][:1])
        same = await agent.run(runId="run-1")
        assert same["messages"] == one["messages"]
        await agent.say(one["messages"][:1])
        await agent.run(apart=True)
        await worker.write(await worker.request(), "two")
        two = await agent.until("!agent.isRunning")
    assert [each["content"] for each in two["messages"]] == ["?", "two"]
    known = await history(parley, two["threadId"])
    assert [each["content"] for each in known] == ["?", "two"]
    assert len(known[1]["siblings"]) == 2


async def test_nothing_of_a_thread_that_is_not_there_or_not_mine(parley: Server, agents: Agents) -> None:
    theirs = await new_session(parley, "carol", agent_id=1)
    for thread_id in (thread(), theirs):
        agent = await agents.agent(parley, "Echo", thread_id, copilotkit=True)
        state = await agent.connect()
        assert (state["messages"], state["events"], state["failures"]) == ([], [], [])
        assert state["runs"] == [{}]
    agent = await agents.agent(parley, "Echo", theirs)
    state = await agent.run("hello")
    assert state["failures"][0]["status"] == 404
    assert state["failures"][0]["payload"]["error"]["code"] == "SESSION_NOT_FOUND"
    nobody = await agents.agent(parley, "nobody", thread())
    assert (await nobody.run("hello"))["failures"][0]["payload"]["error"]["code"] == "AGENT_NOT_FOUND"


@pytest.mark.parametrize("field", ["context", "forwardedProps", "state"])
async def test_what_a_run_says_is_as_long_as_a_message_at_every_door(parley: Server, field: str) -> None:
    long: Any = {"a": "x" * 300_000}
    value = [{"description": "long", "value": long}] if field == "context" else long
    run = {"threadId": "too-long", "runId": "1", "messages": [{"id": "1", "role": "user", "content": "go"}]}
    async with parley.api() as api:
        refused = await api.post("/api/ag-ui/Echo", json=run | {field: value})
    assert refused.status_code in (413, 422), refused.text[:200]


async def test_the_runtime_tells_of_its_agents(parley: Server) -> None:
    async with parley.api() as api:
        told = (await api.get("/api/ag-ui/info")).json()
    assert {told["agents"][known]["name"] for known in ("Echo", "1", "default")} == {"Echo"}
    assert told["mode"] == "sse"
