"""What an AG-UI run waits for: tools of the page, approvals, files; and what it tells again."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from ag_ui_validate.pytest_plugin import assert_valid_agui

from tests.agents.test_openai import openai_session
from tests.agents.toolservers import calling, tool_server
from tests.agents.upstream import answer, upstream
from tests.doors.test_openai import history, working
from tests.files.pictures import png
from tests.support.agui import Agents, texts
from tests.support.doors import enter
from tests.support.server import Server
from tests.turns.waits import APPROVAL, TOOL

PATIENT = {"first_token_timeout": 20, "timeout": 20}
PAINT: dict[str, Any] = {
    "name": "paint",
    "description": "Gives the page a colour.",
    "parameters": {"type": "object", "properties": {"colour": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    running = Agents()
    yield running
    running.close()


def gave(state: dict[str, Any], content: str) -> dict[str, Any]:
    """What the page's tool gave, to the last call."""
    calls = [call for message in state["messages"] for call in message.get("toolCalls", [])]
    return {"id": str(uuid4()), "role": "tool", "toolCallId": calls[-1]["id"], "content": content}


@pytest.mark.parametrize("copilotkit", [False, True])
async def test_tools_of_the_page(parley: Server, agents: Agents, copilotkit: bool) -> None:
    """The run that called them ends well; the next one brings what they gave, and the same answer goes on."""
    called = calling(("paint", {"colour": "red"}), text="Let me see.")
    again = calling(("paint", {"colour": "blue"}))
    async with upstream(called, again, answer("It is ", "blue.")) as served:
        session_id = await openai_session(parley, served, **PATIENT)
        agent_id = str((await session(parley, session_id))["agent_id"])
        agent = await agents.agent(parley, agent_id, session_id, copilotkit=copilotkit)
        context = [{"description": "the page", "value": "is white"}]
        first = await agent.run("paint it", tools=[PAINT], context=context)
        end = first["events"][-1]
        message = first["messages"][-1]
        assert [call["function"]["name"] for call in message["toolCalls"]] == ["paint"]
        assert end["type"] == "RUN_FINISHED"
        if copilotkit:
            assert "outcome" not in end
        else:
            pending = [message["toolCalls"][0]["id"]]
            assert end["outcome"] == {"type": "success", "pendingToolCallIds": pending}
            assert_valid_agui(first["events"])
        # A page that comes again finds the call, and carries it out.
        later = await agents.agent(parley, agent_id, session_id, copilotkit=True)
        assert (await later.connect())["messages"] == first["messages"]
        second = await agent.run(message=gave(first, "red it is"), tools=[PAINT])
        third = await agent.run(message=gave(second, "blue it is"), tools=[PAINT])
        stored = (await history(parley, session_id))[-1]
    assert third["failures"] == []
    roles = [message["role"] for message in third["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]
    assert texts(third)[-1] == ("assistant", "It is blue.")
    assert stored["status"] == "complete"
    assert stored["content"] == "Let me see.\n\nIt is blue."
    outputs = [part["output"] for part in stored["parts"] if part["type"] == "tool"]
    assert outputs == ["red it is", "blue it is"]
    asked = served.asked[2]["messages"]
    assert asked[0]["content"] == "paint it\n\n[context: the page]\nis white"
    told = [each["content"] for each in asked if each["role"] == "tool"]
    assert told == ["red it is", "blue it is"]


async def session(node: Server, session_id: str) -> dict[str, Any]:
    async with node.api() as api:
        found: dict[str, Any] = (await api.get(f"/api/chat/sessions/{session_id}")).json()
        return found


async def test_an_approval(parley: Server, agents: Agents, tmp_path: Path) -> None:
    """It outlives the page; who has let go of it hears what others decided."""
    with tool_server(tmp_path) as (url, _):
        called = calling(("add", {"a": 2, "b": 3}), ("add", {"a": 1, "b": 1}))
        async with upstream(called, answer("It is five.")) as served:
            session_id = await openai_session(
                parley, served, tools=[{"url": url, "approval": ["add"]}], **PATIENT
            )
            agent_id = str((await session(parley, session_id))["agent_id"])
            agent = await agents.agent(parley, agent_id, session_id)
            first = await agent.run("add it")
            assert_valid_agui(first["events"])
            asked = first["pendingInterrupts"]
            assert [each["reason"] for each in asked] == ["confirmation"] * 2
            calls = [call["id"] for call in first["messages"][-1]["toolCalls"]]
            assert [each["toolCallId"] for each in asked] == calls
            assert asked[0]["responseSchema"]["required"] == ["approved"]
            # The client itself refuses a run that answers only some; so does the answer wait.
            later = await agents.agent(parley, agent_id, session_id, copilotkit=True)
            connected = await later.connect()
            assert connected["pendingInterrupts"] == asked
            resume = [
                {"interruptId": each["id"], "status": "resolved", "payload": {"approved": approved}}
                for each, approved in zip(asked, (True, False), strict=True)
            ]
            second = await agent.run(resume=resume)
            assert second["pendingInterrupts"] == []
            assert second["events"][-1]["outcome"] == {"type": "success"}
            late = await later.run(resume=resume)
            assert texts(late)[-1] == texts(second)[-1] == ("assistant", "It is five.")
            other = [{**each, "payload": {"approved": False}} for each in resume]
            refused = await agents.agent(parley, agent_id, session_id)
            told = (await refused.run(resume=other))["failures"][0]
            assert (told["status"], told["payload"]["error"]["code"]) == (409, "CONFLICT")
    results = {each["toolCallId"]: each["content"] for each in second["messages"] if each["role"] == "tool"}
    assert list(map(results.get, calls)) == ['{"result":5}', "Error: it was not allowed"]


async def test_a_worker_that_asks(parley: Server, agents: Agents) -> None:
    """What is asked about no tool of the page's is an interrupt; one answered by others goes on for all."""
    async with working(parley) as (worker, model):
        agent = await agents.agent(parley, model, str(uuid4()))
        await agent.run("pay", apart=True)
        request = await worker.request()
        message_id = await worker.write(request, "I am about to pay.", end=False)
        where = {"session_id": request["session_id"], "message_id": message_id}
        await worker.call("stream_part", **where, part=TOOL)
        asks = {"id": "i2", "reason": "input_required", "message": "From which account?"}
        assert (await worker.call("stream_wait", **where, interrupts=[APPROVAL, asks]))["ok"]
        state = await agent.until("!agent.isRunning")
        assert_valid_agui(state["events"])
        approval, question = state["pendingInterrupts"]
        assert approval["toolCallId"] == state["messages"][-1]["toolCalls"][0]["id"]
        assert (question["reason"], question["message"]) == ("input_required", "From which account?")
        assert "toolCallId" not in question
        resume = [
            {"interruptId": approval["id"], "status": "resolved", "payload": {"approved": True}},
            {"interruptId": question["id"], "status": "cancelled"},
        ]
        await agent.run(resume=resume, apart=True)
        resumed = await worker.request()
        given = [each["answer"]["status"] for each in resumed["resume"]["interrupts"]]
        assert given == ["resolved", "cancelled"]
        claimed = await worker.call("stream_start", **where, fence=resumed["fence"])
        done = TOOL | {"state": "output_available", "output": {"paid": True}}
        await worker.call("stream_part", **where, index=claimed["next_index"], part=done)
        await worker.call("stream_chunk", **where, index=claimed["next_index"] + 1, content=" Paid.")
        await worker.call("stream_end", **where)
        state = await agent.until("!agent.isRunning")
    assert texts(state) == [
        ("user", "pay"),
        ("assistant", "I am about to pay. Paid."),
        ("tool", '{"paid":true}'),
    ]


async def test_files_context_and_state(parley: Server, agents: Agents) -> None:
    """What the page gives reaches the agent; what the agent says of the state reaches the page."""
    image = base64.b64encode(png()).decode()
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "source": {"type": "data", "value": image, "mimeType": "image/png"}},
        {"type": "document", "source": {"type": "url", "value": "https://example.com/a.pdf"}},
    ]
    context = [{"description": "the page", "value": "seven"}]
    async with working(parley) as (worker, model):
        agent = await agents.agent(parley, model, str(uuid4()))
        message = {"id": "q-1", "role": "user", "content": content}
        await agent.run(message=message, context=context, forwardedProps={"page": 7}, apart=True)
        request = await worker.request()
        message_id = await worker.write(request, "A picture.", end=False)
        where = {"session_id": request["session_id"], "message_id": message_id}
        state = {"type": "data", "name": "state", "data": {"seen": 1}}
        custom = {"type": "data", "name": "weather", "data": {"sun": True}}
        await worker.call("stream_part", **where, part=state)
        await worker.call("stream_part", **where, part=custom)
        await worker.call("stream_end", **where)
        told = await agent.until("!agent.isRunning")
        parts = {part["type"]: part for part in request["message"]["parts"]}
        assert parts["data"] | {"id": ""} == {"id": "", "type": "data", "name": "context", "data": context}
        assert request["message"]["metadata"]["forwarded_props"] == {"page": 7}
        assert parts["file"]["url"] == "https://example.com/a.pdf"
        [file] = request["message"]["files"]
        assert file["file_info"]["type"] == "image/png"
        assert told["state"] == {"seen": 1}
        assert [e["value"] for e in told["events"] if e["type"] == "CUSTOM"] == [{"sun": True}]
        later = await agents.agent(parley, model, where["session_id"], copilotkit=True)
        again = await later.connect()
        assert again["state"] == {"seen": 1}
        asked = again["messages"][0]
        assert [each["type"] for each in asked["content"]] == ["text", "image", "document"]
        async with parley.api() as api:
            seen = await api.get(asked["content"][1]["source"]["value"])
        assert seen.headers["content-type"] == "image/png"
        # What it answers to now is the same message.
        await agent.run("and?", apart=True)
        second = await worker.request()
        assert [part["name"] for part in second["message"]["parts"] if part["type"] == "data"] == ["state"]
        await worker.write(second, "Nothing.")
        await agent.until("!agent.isRunning")
    async with enter("websocket", parley, "alice", where["session_id"]) as alice:
        assert len(alice.joined["messages"]) == 4
