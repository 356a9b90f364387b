"""What AG-UI's clients fail of: how events are framed, and what has to stand before the last one."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from ag_ui_validate.pytest_plugin import assert_valid_agui

from server.dialects.agui.routes import RunFrames
from server.dialects.agui.runevents import RunEvents
from server.dialects.answerlines import AnswerLine
from tests.doors.test_openai import history, working
from tests.support.agui import Agents
from tests.support.server import Server
from tests.turns.waits import ask_approval

#: Characters without a boundary, of which `@ag-ui/client` fails.
MOST = 10 * 1024 * 1024


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    running = Agents()
    yield running
    running.close()


@pytest.mark.parametrize(("declared", "told"), [("1.0", "1.0"), ("1.7", "1.0"), (None, None)])
async def test_frames(parley: Server, declared: str | None, told: str | None) -> None:
    """Lines end in LF, whatever the text has; who declares a version is told the one that is spoken."""
    said = "one\r\ntwo\rthree\u2028four\n\nfive"
    body: dict[str, Any] = {
        "threadId": str(uuid4()),
        "runId": "r",
        "messages": [{"id": "q", "role": "user", "content": said}],
    }
    if declared is not None:
        body["protocolVersion"] = declared
    async with parley.api() as api:
        answer = await api.post("/api/ag-ui/Echo", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b"\r" not in answer.content
    *frames, last = answer.text.split("\n\n")
    assert last == ""
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert events[0].get("protocolVersion") == told
    assert "".join(event.get("delta", "") for event in events) == said
    assert ("outcome" in events[-1]) == (told is not None)


def test_no_frame_is_too_long_for_a_client() -> None:
    """However long the text is that a reader is told in one piece."""
    text = "\x01" * 2_000_000 + "end"  # each is six characters of JSON
    frames = RunFrames(RunEvents("t", "r", modern=True))
    told = [frame for line in (AnswerLine("stream_chunk", "m", content=text),) for frame in frames.tell(line)]
    assert max(map(len, told)) < MOST
    events = [json.loads(frame.removeprefix(b"data: ")) for frame in told]
    assert "".join(event.get("delta", "") for event in events) == text


async def test_a_stop_closes_all_that_is_open(parley: Server, agents: Agents) -> None:
    """A client fails a run that finishes with anything open."""
    call = {"type": "tool", "id": "t", "tool_call_id": "c", "name": "add", "executed_by": "agent"}
    thought = {"type": "reasoning", "id": "r", "text": "Hm"}
    async with working(parley) as (worker, model):
        reader = await agents.agent(parley, model, str(uuid4()))
        await reader.run("?", apart=True)
        request = await worker.request()
        message_id = await worker.write(request, end=False)
        where = {"session_id": request["session_id"], "message_id": message_id}
        for part in (
            {"type": "step", "id": "s"},
            call | {"state": "input_streaming", "input_text": '{"a": 1}'},
            thought,
        ):
            assert (await worker.call("stream_part", **where, part=part))["ok"]
        await reader.until("events.some(({ type }) => type === 'REASONING_MESSAGE_CONTENT')")
        stopper = await agents.agent(parley, model, where["session_id"], copilotkit=True)
        await stopper.abort()
        state = await reader.until("!agent.isRunning")
    assert_valid_agui(state["events"])
    assert state["failures"] == []
    ends = [event["type"] for event in state["events"]][-5:]
    assert ends == [
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TOOL_CALL_END",
        "STEP_FINISHED",
        "RUN_FINISHED",
    ]
    assert state["events"][-1]["outcome"] == {"type": "cancelled"}


async def test_an_interrupt_stands_behind_all_that_it_is_about(parley: Server, agents: Agents) -> None:
    """The state and the messages of the thread, in the ids that the run has told."""
    async with working(parley) as (worker, model):
        reader = await agents.agent(parley, model, str(uuid4()))
        await reader.run("pay", state={"page": 1}, apart=True)
        request = await worker.request()
        message_id = await worker.write(request, "I am about to pay.", end=False)
        where = {"session_id": request["session_id"], "message_id": message_id}
        seen = asyncio.create_task(reader.until("agent.state.seen === 1"))
        await worker.call("stream_part", **where, part={"type": "data", "name": "state", "data": {"seen": 1}})
        await seen
        before = await reader.state()
        assert (await ask_approval(worker, where["session_id"], message_id))["ok"]
        state = await reader.until("!agent.isRunning")
    assert_valid_agui(state["events"])
    snapshot, messages, end = state["events"][-3:]
    assert (snapshot["type"], snapshot["snapshot"]) == ("STATE_SNAPSHOT", {"seen": 1})
    assert (messages["type"], messages["messages"]) == ("MESSAGES_SNAPSHOT", state["messages"])
    assert end["outcome"]["type"] == "interrupt"
    assert [each["id"] for each in state["messages"]] == [each["id"] for each in before["messages"]]
    called = state["messages"][-1]["toolCalls"][0]["id"]
    assert end["outcome"]["interrupts"][0]["toolCallId"] == called
    assert (await history(parley, where["session_id"]))[-1]["status"] == "waiting"
