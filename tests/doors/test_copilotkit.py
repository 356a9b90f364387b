"""examples/copilotkit: a page of CopilotKit's, unmodified, in Chromium, with Parley as its runtime."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.agents.test_openai import openai_session
from tests.agents.toolservers import calling, tool_server
from tests.agents.upstream import DONE, STREAM_HEAD, answer, framed, piece, upstream
from tests.doors.test_openai import history
from tests.support.bundled import ExampleBrowser, ExamplePage
from tests.support.server import Server

PATIENT = {"first_token_timeout": 20, "timeout": 20}
ANSWERS, QUESTIONS = "copilot-assistant-message", "copilot-user-message"


@pytest.fixture
def node(sqlite_template: Path, tmp_path: Path, port: int) -> Iterator[Server]:
    origins = json.dumps([f"http://127.0.0.1:{port}"])
    with Server.on_sqlite(sqlite_template, tmp_path, CORS_ORIGINS=origins) as running:
        yield running


def page_of(browser: ExampleBrowser, node: Server, agent: str, thread: str) -> ExamplePage:
    query = {"parley": node.url, "token": node.token(), "agent": agent, "thread": thread}
    return ExamplePage(browser, "copilotkit", query)


async def agent_of(node: Server, session_id: str) -> str:
    async with node.api() as api:
        return str((await api.get(f"/api/chat/sessions/{session_id}")).json()["agent_id"])


@pytest.mark.browser
async def test_a_page(node: Server, browser: ExampleBrowser, tmp_path: Path) -> None:
    """A tool of the page; an approval that outlives a refresh; an answer that does, and is in two tabs; a
    stop."""
    goes_on = asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + framed(piece("One, ")))
        await goes_on.wait()
        for line in (piece("two."), piece(finish="stop"), DONE):
            writer.write(framed(line))
        writer.write(b"0\r\n\r\n")

    async def never(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + framed(piece("On and on")))
        await asyncio.Event().wait()

    painted = calling(("paint", {"colour": "rgb(1, 2, 3)"}))
    added = calling(("add", {"a": 2, "b": 3}))
    with tool_server(tmp_path) as (url, _):
        plans = painted, answer("It is dark."), added, answer("It is five."), slowly, never
        async with upstream(*plans) as served:
            made = await openai_session(node, served, tools=[{"url": url, "approval": ["add"]}], **PATIENT)
            agent, thread = await agent_of(node, made), str(uuid4())
            page = await page_of(browser, node, agent, thread).open()
            await page.do("ask", text="paint it")
            await page.wait("It is dark.")
            assert await page.do("run", script="document.body.style.backgroundColor") == "rgb(1, 2, 3)"
            context = [part for part in (await history(node, thread))[0]["parts"] if part["type"] == "data"]
            assert context[0]["data"][0]["value"] == "white"

            await page.do("ask", text="add it")
            await page.wait("Yes")
            await page.do("reload")
            await page.do("click", role="button", label="Yes")
            await page.wait("It is five.")

            await page.do("ask", text="count")
            await page.wait("One,")
            other = await page_of(browser, node, agent, thread).open()
            await other.wait("One,")
            await page.do("reload")
            await page.wait("One,")
            goes_on.set()
            for each in (page, other):
                await each.wait("One, two.")
                shown = await each.shown(ANSWERS)
                assert [text for text in shown if text] == ["It is dark.", "It is five.", "One, two."]
                assert await each.shown(QUESTIONS) == ["paint it", "add it", "count"]

            await page.do("ask", text="for ever")
            await page.wait("On and on")
            await page.do("press", test="copilot-send-button")
            stored = await ended(node, thread)
            assert (stored["status"], stored["content"]) == ("cancelled", "On and on")
            assert (await page.shown(ANSWERS))[-1] == "On and on"


async def ended(node: Server, thread: str) -> dict[str, Any]:
    """The last answer, once it is at its end: its readers hear of that."""
    async with node.api() as api, asyncio.timeout(10):
        last = (await history(node, thread))[-1]
        async with api.stream("GET", f"/api/chat/streams/{last['message_id']}") as told:
            async for _ in told.aiter_lines():
                pass
    return (await history(node, thread))[-1]
