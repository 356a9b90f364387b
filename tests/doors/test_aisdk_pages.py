"""Pages of the AI SDK's of `examples/`, unmodified, in Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.agents.worker import Worker
from tests.doors.test_openai import history, working
from tests.support.bundled import ExampleBrowser, ExamplePage
from tests.support.doors import Door, enter
from tests.support.server import Server
from tests.turns.waits import ask_approval, go_on

pytestmark = [
    pytest.mark.browser,
    pytest.mark.parametrize("example", ["usechat", "assistant-ui"]),
]

QUESTIONS, ANSWERS = "user", "assistant"


@pytest.fixture(scope="module")
def node(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pages")
    origins = json.dumps([f"http://127.0.0.1:{port}"])
    with Server.on_sqlite(sqlite_template, folder, CORS_ORIGINS=origins) as running:
        yield running


async def test_a_page(node: Server, browser: ExampleBrowser, example: str) -> None:
    """An answer over a refresh and in two tabs, an approval that outlives one, a stop. Who is there
    over Socket.IO is told the equal messages."""
    chat = str(uuid4())
    async with working(node) as (worker, agent):
        query = {"parley": node.url, "token": node.token(), "agent": agent, "chat": chat}
        page, other = (ExamplePage(browser, example, query) for _ in range(2))
        await page.open()
        await page.do("ask", text="count")
        request = await worker.request()
        first = await worker.write(request, "One, ", end=False)
        await page.wait("One,")
        async with enter("socketio", node, "alice", chat) as watcher:
            await other.open()
            await other.wait("One,")
            await page.do("reload")
            await page.wait("One,")
            where = {"session_id": chat, "message_id": first}
            await worker.call("stream_chunk", **where, index=1, content="two.")
            await worker.call("stream_end", **where)
            for tab in (page, other):
                await tab.wait("One, two.")
                assert (await tab.shown(QUESTIONS), await tab.shown(ANSWERS)) == (["count"], ["One, two."])

            await _pays(worker, page)
            brings_tools = example == "assistant-ui"
            if brings_tools:
                await _paints(worker, page)
            await _stops(worker, page, watcher)
        shown = await page.shown(QUESTIONS), await page.shown(ANSWERS)
        stored = await history(node, chat)
        asked, said = ["count", "pay", "for ever"], ["One, two.", "Paid.", "On and on"]
        if brings_tools:
            asked.insert(2, "paint")
            said.insert(2, "It is dark.")
        assert shown == (asked, said)
        assert shown[0] == [each["content"] for each in stored if each["message_type"] != "stream"]
        answers = [each for each in stored if each["message_type"] == "stream"]
        assert shown[1] == [each["content"] for each in answers]
        told = {end["message_id"]: end["status"] for end in watcher.named("stream_end")}
        assert told == {each["message_id"]: each["status"] for each in answers}
        assert list(told.values()) == [*["complete"] * (len(answers) - 1), "cancelled"]


async def _pays(worker: Worker, page: ExamplePage) -> None:
    await page.do("ask", text="pay")
    request = await worker.request()
    begun = await worker.begin(request)
    await ask_approval(worker, request["session_id"], begun["message_id"])
    await page.wait("Yes")
    await page.do("reload")
    await page.do("click", role="button", label="Yes")
    resumed = await worker.request()
    assert resumed["resume"]["interrupts"][0]["answer"]["payload"] == {"approved": True}
    await go_on(worker, resumed, "Paid.")
    await page.wait("Paid.")


async def _paints(worker: Worker, page: ExamplePage) -> None:
    """With a tool that the question brings: the page carries it out."""
    await page.do("ask", text="paint")
    request = await worker.request()
    assert [(tool["name"], tool["parameters"]["required"]) for tool in request["tools"]] == [
        ("paint", ["colour"])
    ]
    begun = await worker.begin(request)
    where = {"session_id": request["session_id"], "message_id": begun["message_id"]}
    call = {"type": "tool", "id": "t", "tool_call_id": "call-9", "name": "paint", "executed_by": "client"}
    given = {"input": {"colour": "rgb(1, 2, 3)"}, "state": "input_available"}
    await worker.call("stream_part", **where, part=call | given)
    wants = {"id": "i", "reason": "tool_call", "tool_call_id": "call-9"}
    assert (await worker.call("stream_wait", **where, interrupts=[wants]))["ok"]
    resumed = await worker.request()
    assert resumed["resume"]["interrupts"][0]["answer"]["payload"] == "done"
    await go_on(worker, resumed, "It is dark.")
    await page.wait("It is dark.")
    assert await page.do("run", script="document.body.style.backgroundColor") == "rgb(1, 2, 3)"


async def _stops(worker: Worker, page: ExamplePage, watcher: Door) -> None:
    await page.do("ask", text="for ever")
    message_id = await worker.write(await worker.request(), "On and on", end=False)
    await page.wait("On and on")
    await page.do("click", role="button", label="Stop")
    await watcher.wait_event("stream_end", lambda end: end["message_id"] == message_id)
    assert await worker.cancelled.get() == message_id
