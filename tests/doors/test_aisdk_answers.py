"""Answers of every kind and every end, as the AI SDK's chats of 5, 6 and 7 put them together."""

import asyncio
from typing import Any

import pytest

from tests.agents.worker import Worker
from tests.doors.test_openai import history, working
from tests.support.aisdk import AISdk, Chat, texts
from tests.support.doors import enter
from tests.support.server import Server
from tests.turns.waits import APPROVAL, TOOL, ask_approval, go_on

SDKS = (5, 6, 7)
Where = dict[str, Any]


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> int:
    """The AI SDK's major version."""
    version: int = request.param
    return version


async def asking(pages: AISdk, node: Server, sdk: int, model: str, **options: Any) -> Chat:
    return await pages.chat(node, sdk, f"ask-{sdk}-{model}", query=f"agent_id={model}", **options)


async def begun(worker: Worker) -> tuple[dict[str, Any], Where]:
    request = await worker.request()
    answer = await worker.begin(request)
    return request, {"session_id": request["session_id"], "message_id": answer["message_id"]}


async def test_thoughts_tools_and_sources(parley: Server, pages: AISdk, sdk: int) -> None:
    chat = await pages.chat(parley, sdk, f"parts-{sdk}")
    shown = await chat.send("/parts")
    assert (shown["status"], shown.get("error")) == ("ready", None)
    answer = shown["messages"][-1]
    stored = (await history(parley, shown["id"]))[-1]
    parts = {part["type"]: part for part in answer["parts"]}
    kept = {part["type"]: part for part in stored["parts"]}
    assert [part["type"] for part in answer["parts"]] == [
        "step-start", "reasoning", "tool-look_up", "tool-weather", "step-start", "text", "source-url",
    ]  # fmt: skip
    assert parts["reasoning"]["text"] == kept["reasoning"]["text"]
    assert parts["text"]["text"] == stored["content"]
    found, failed = parts["tool-look_up"], parts["tool-weather"]
    assert (found["state"], found["input"]) == ("output-available", {"word": "parts"})
    assert "source" in found["output"]["parts"]
    assert (failed["state"], failed["errorText"]) == ("output-error", "There is no weather in an example.")
    assert found["providerExecuted"] is failed["providerExecuted"] is True  # the page is to call none
    assert parts["source-url"]["url"] == "https://commonmark.org/help/"


async def test_parts_as_they_come(parley: Server, pages: AISdk, sdk: int) -> None:
    """Several texts, a tool's input while it is written, data that is replaced, and a file; a reader over
    Socket.IO is told the equal message."""
    async with working(parley) as (worker, model):
        chat = await asking(pages, parley, sdk, model)
        await chat.send("go", apart=True)
        _, where = await begun(worker)
        async with enter("socketio", parley, "alice", where["session_id"]) as watcher:
            await worker.call("stream_chunk", **where, content="One", index=0)
            calling = {"type": "tool", "id": "t", "tool_call_id": "c", "name": "find", "input_text": '{"a'}
            await worker.call("stream_part", **where, part={**calling, "state": "input_streaming"})
            await worker.call("stream_delta", **where, part="t", content='": "bc')
            shown = await chat.until("last?.parts.find((part) => part.input?.a === 'bc')")
            assert shown["messages"][-1]["parts"][-1]["state"] == "input-streaming"
            done = {**calling, "input": {"a": "bc"}, "output": [1], "state": "output_available"}
            await worker.call("stream_part", **where, part=done)
            for share in (10, 90):
                data = {"type": "data", "id": "d", "name": "progress", "data": {"share": share}}
                await worker.call("stream_part", **where, part=data)
            gone = {"type": "data", "name": "note", "data": "passing", "transient": True}
            await worker.call("stream_part", **where, part=gone)
            file = {"type": "file", "id": "f", "url": "https://example.com/a.png", "media_type": "image/png"}
            await worker.call("stream_part", **where, part=file)
            await worker.call("stream_chunk", **where, content="Two", part="second")
            await worker.call("stream_end", **where, finish_reason="length", usage={"total_tokens": 7})
            shown = await chat.until("chat.status === 'ready' && text === 'OneTwo'")
            await watcher.wait_event("stream_end")
    stored = (await history(parley, where["session_id"]))[-1]
    assert stored["content"] == "One\n\nTwo"
    types = [part["type"] for part in shown["messages"][-1]["parts"]]
    assert types == ["step-start", "text", "tool-find", "data-progress", "file", "text"]
    parts = shown["messages"][-1]["parts"]
    assert parts[3]["data"] == {"share": 90}
    assert [part["data"] for part in shown["data"] if part["type"] == "data-note"] == ["passing"]
    assert shown["finished"][-1].get("finishReason") == "length"
    assert shown["messages"][-1]["metadata"]["usage"] == {"total_tokens": 7}


ENDS: list[tuple[dict[str, Any], str | None]] = [
    ({"status": "interrupted"}, "INTERRUPTED"),
    ({"status": "failed", "error": {"code": "MODEL_DOWN", "message": "no model"}}, "MODEL_DOWN"),
    ({"finish_reason": "error"}, "FAILED"),
    ({"status": "cancelled"}, None),
]


@pytest.mark.parametrize(("end", "code"), ENDS, ids=lambda value: str(value)[:30])
async def test_an_answer_that_is_not_whole_is_an_error(
    parley: Server, pages: AISdk, sdk: int, end: dict[str, Any], code: str | None
) -> None:
    """A clean end would be taken for success, as it is where a person has stopped it."""
    async with working(parley) as (worker, model):
        chat = await asking(pages, parley, sdk, model)
        await chat.send("go", apart=True)
        _, where = await begun(worker)
        await worker.call("stream_chunk", **where, content="So far", index=0)
        await worker.call("stream_end", **where, **end)
        shown = await chat.until("['error', 'ready'].includes(chat.status)")
    assert texts(shown["messages"][-1]) == "So far"
    assert (shown["status"], shown.get("error", "").split(":")[0]) == (
        ("ready", "") if code is None else ("error", code)
    )


@pytest.mark.parametrize("approved", [True, False])
async def test_a_person_allows_a_call_or_does_not(
    parley: Server, pages: AISdk, sdk: int, approved: bool
) -> None:
    """The same message goes on, in the same place, and nothing is told twice."""
    async with working(parley) as (worker, model):
        chat = await asking(pages, parley, sdk, model, automatic=True)
        await chat.send("go", apart=True)
        _, where = await begun(worker)
        await worker.call("stream_chunk", **where, content="I pay. ", index=0)
        assert (await ask_approval(worker, where["session_id"], where["message_id"]))["ok"]
        shown = await chat.until("chat.status === 'ready'")
        tool = shown["messages"][-1]["parts"][-1]
        if sdk == 5:  # it knows no approvals: the page is asked by a tool of its own
            assert (tool["type"], tool["input"]["message"]) == ("tool-ask_user", "Pay 5 EUR?")
            output = {"tool": "ask_user", "toolCallId": tool["toolCallId"], "output": {"approved": approved}}
            await chat.act("addToolOutput", output, apart=True)
        else:
            assert (tool["state"], tool["input"]) == ("approval-requested", TOOL["input"])
            response = {"id": tool["approval"]["id"], "approved": approved}
            await chat.act("addToolApprovalResponse", response, apart=True)
        resumed = await worker.request()
        assert resumed["resume"]["interrupts"][0]["answer"]["payload"] == {"approved": approved}
        claimed = await go_on(worker, resumed, end=False)
        ended = {"state": "output_available", "output": "paid"}
        if not approved:
            ended = {"state": "output_denied", "error": "not now"}
        await worker.call("stream_part", **where, part={**TOOL, **ended})
        await worker.call("stream_chunk", **where, content="Done.")
        await worker.call("stream_end", **where)
        shown = await chat.until("chat.status === 'ready' && text === 'I pay. Done.'")
        await asyncio.sleep(0)
        again = await chat.state()
    assert claimed["ok"]
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]
    assert again["status"] == "ready"  # it does not go on for ever by itself
    answer = shown["messages"][-1]
    assert answer["id"] == where["message_id"]
    (tool,) = [part for part in answer["parts"] if part["type"] == "tool-pay"]
    if approved:
        assert (tool["state"], tool["output"]) == ("output-available", "paid")
    else:
        assert tool["state"] == ("output-error" if sdk == 5 else "output-denied")
    assert len([part for part in answer["parts"] if part["type"] == "text"]) == 2
    stored = (await history(parley, where["session_id"]))[-1]
    assert stored["content"] == "I pay. Done."


async def test_a_tool_of_the_page(parley: Server, pages: AISdk, sdk: int) -> None:
    async with working(parley) as (worker, model):
        tools = {"pick": {"description": "Picks one.", "parameters": {"type": "object"}}}
        chat = await asking(pages, parley, sdk, model, automatic=True, body={"tools": tools})
        await chat.send("go", apart=True)
        request, where = await begun(worker)
        assert request["tools"] == [{"name": "pick", **tools["pick"]}]
        tool = {
            "type": "tool", "id": "t", "tool_call_id": "call-9", "name": "pick", "input": {"of": 2},
            "state": "input_available", "executed_by": "client",
        }  # fmt: skip
        await worker.call("stream_part", **where, part=tool)
        asked = {"id": "i", "reason": "tool_call", "tool_call_id": "call-9"}
        assert (await worker.call("stream_wait", **where, interrupts=[asked]))["ok"]
        shown = await chat.until("chat.status === 'ready'")
        assert shown["messages"][-1]["parts"][-1]["state"] == "input-available"
        output = {"tool": "pick", "toolCallId": "call-9", "output": {"picked": 1}}
        await chat.act("addToolOutput", output, apart=True)
        resumed = await worker.request()
        assert resumed["resume"]["interrupts"][0]["answer"]["payload"] == {"picked": 1}
        await go_on(worker, resumed, end=False)
        ended = {**tool, "state": "output_available", "output": {"picked": 1}}
        await worker.call("stream_part", **where, part=ended)
        await worker.call("stream_chunk", **where, content="One it is.")
        await worker.call("stream_end", **where)
        shown = await chat.until("chat.status === 'ready' && text === 'One it is.'")
    parts = shown["messages"][-1]["parts"]
    assert [part["type"] for part in parts] == ["step-start", "tool-pick", "step-start", "text"]
    assert len(shown["messages"]) == 2


async def test_what_is_asked_of_people_besides_calls(parley: Server, pages: AISdk, sdk: int) -> None:
    """It is a call of `ask_user`, whose output is the answer."""
    async with working(parley) as (worker, model):
        chat = await asking(pages, parley, sdk, model, automatic=True)
        await chat.send("go", apart=True)
        _, where = await begun(worker)
        asked = {"id": "size", "reason": "input_required", "message": "Which size?"}
        assert (await worker.call("stream_wait", **where, interrupts=[asked]))["ok"]
        shown = await chat.until("chat.status === 'ready'")
        tool = shown["messages"][-1]["parts"][-1]
        assert (tool["type"], tool["input"]["message"]) == ("tool-ask_user", "Which size?")
        error = {"state": "output-error", "errorText": "none of them"}
        output = {"tool": "ask_user", "toolCallId": tool["toolCallId"], **error}
        await chat.act("addToolOutput", output, apart=True)
        resumed = await worker.request()
        assert resumed["resume"]["interrupts"][0]["answer"]["status"] == "cancelled"
        await go_on(worker, resumed, "As you like.")
        shown = await chat.until("chat.status === 'ready' && text === 'As you like.'")
    assert len(shown["messages"]) == 2


@pytest.mark.parametrize("sdk", [version for version in SDKS if version > 5])
async def test_two_tabs_answer_and_the_first_counts(parley: Server, pages: AISdk, sdk: int) -> None:
    """5 knows no approvals."""
    async with working(parley) as (worker, model):
        chat = await asking(pages, parley, sdk, model, automatic=True)
        await chat.send("go", apart=True)
        _, where = await begun(worker)
        await worker.call("stream_chunk", **where, content="I pay. ", index=0)
        await ask_approval(worker, where["session_id"], where["message_id"])
        shown = await chat.until("chat.status === 'ready'")
        others = [
            await pages.chat(parley, sdk, shown["id"], messages=shown["messages"], automatic=True)
            for _ in range(2)
        ]
        approval = shown["messages"][-1]["parts"][-1]["approval"]["id"]
        assert approval == APPROVAL["id"]
        await chat.act("addToolApprovalResponse", {"id": approval, "approved": True}, apart=True)
        resumed = await worker.request()
        same, other = others
        await same.act("addToolApprovalResponse", {"id": approval, "approved": True}, apart=True)
        await other.act("addToolApprovalResponse", {"id": approval, "approved": False}, apart=True)
        refused = await other.until("chat.status === 'error'")
        assert "CONFLICT" in refused["error"]
        await go_on(worker, resumed, "Done.")
        for each in (chat, same):
            shown = await each.until("chat.status === 'ready' && text === 'I pay. Done.'")
            assert len(shown["messages"]) == 2
