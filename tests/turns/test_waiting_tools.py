"""Tools of an `openai` agent that people have a word in: approvals, and tools of the page."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.agents.test_openai import openai_session
from tests.agents.test_tool_harm import serving
from tests.agents.toolservers import calling, tool_server
from tests.agents.upstream import Upstream, answer, upstream
from tests.support.doors import Door, enter, new_session
from tests.support.server import Server

PATIENT = {"first_token_timeout": 20, "timeout": 20}
WHERE = {
    "name": "where",
    "title": "Where are you?",
    "description": "The place where the user is.",
    "parameters": {"type": "object", "properties": {"exact": {"type": "boolean"}}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with tool_server(folder) as (place, _):
        yield place


@pytest.fixture
def node(sqlite_template: Path, tmp_path: Path) -> Iterator[Server]:
    with Server.on_sqlite(sqlite_template, tmp_path) as running:
        yield running


def results(asked: dict[str, Any]) -> list[str]:
    """What the model was told of its calls."""
    return [message["content"] for message in asked["messages"] if message["role"] == "tool"]


async def waiting(alice: Door) -> dict[str, Any]:
    await alice.message("hello")
    return await alice.wait_event("stream_end", lambda e: e["status"] == "waiting")


async def say(alice: Door, waits: dict[str, Any], interrupt: str, **said: Any) -> None:
    given = {"status": "resolved", "message_id": waits["message_id"], "interrupt_id": interrupt, **said}
    reply = await alice.call("answer", **given)
    assert reply["ok"], reply


async def ended(alice: Door) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The answer as history has it, and its tools by their part."""
    end = await alice.wait_event("stream_end", lambda e: e["status"] != "waiting", timeout=20)
    stored = next(m for m in await alice.history() if m["message_id"] == end["message_id"])
    assert stored["parts"] == end["parts"]
    return stored, {part["id"]: part for part in stored["parts"] if part["type"] == "tool"}


async def test_an_approval_outlives_its_node(node: Server, url: str, folder: Path) -> None:
    """What was shown is carried out; what needs no word is carried out before; the model goes on."""
    called = calling(
        ("add", {"a": 2, "b": 3}), ("refuse", {}), ("add", {"a": 1, "b": 1}), text="Let me see.", thought="hm"
    )
    async with upstream(called, answer("It is ", "five.", tokens=9)) as served:
        tools = [{"url": url, "approval": ["add"]}]
        session_id = await openai_session(node, served, tools=tools, **PATIENT)
        async with enter("websocket", node, "alice", session_id) as alice:
            waits = await waiting(alice)
            assert [(each["id"], each["reason"]) for each in waits["interrupts"]] == [
                ("tool-1", "confirmation"),
                ("tool-3", "confirmation"),
            ]
            node.kill9()
        await node.start_async()
        async with enter("websocket", node, "alice", session_id) as alice:
            shown = next(m for m in alice.joined["messages"] if m["status"] == "waiting")
            states = {p["id"]: (p["state"], p.get("input")) for p in shown["parts"] if p["type"] == "tool"}
            assert states["tool-1"] == ("approval_requested", {"a": 2, "b": 3})
            assert states["tool-2"][0] == "output_error"
            assert not (folder / "trace").exists()
            await say(alice, waits, "tool-1", payload={"approved": True})
            await say(alice, waits, "tool-3", payload={"approved": False, "reason": "too small"})
            stored, by_id = await ended(alice)
            told = alice.named("stream_part")
            assert "approval_responded" in [part["part"].get("state") for part in told]
    assert (folder / "trace").read_text() == "add 2 3\n"
    assert (by_id["tool-1"]["state"], by_id["tool-1"]["output"]) == ("output_available", {"result": 5})
    assert (by_id["tool-3"]["state"], by_id["tool-3"]["error"]) == (
        "output_denied",
        "it was not allowed: too small",
    )
    assert (stored["status"], stored["content"]) == ("complete", "Let me see.\n\nIt is five.")
    assert stored["usage"]["total_tokens"] == 14
    first, refused, denied = results(served.asked[1])
    assert (first, denied) == ("5", "Error: it was not allowed: too small")
    assert "not on a Sunday" in refused
    [said] = [m for m in served.asked[1]["messages"] if m["role"] == "assistant"]
    assert said["reasoning_content"] == "hm"
    assert said["tool_calls"][0]["function"]["arguments"] == '{"a":2,"b":3}'


async def test_a_tool_of_the_page(shared_server: Server) -> None:
    async with upstream(
        calling(("where", {"exact": True})), calling(("where", {})), answer("You are in Delft.")
    ) as served:
        session_id = await openai_session(shared_server, served, page_tools=[WHERE], **PATIENT)
        async with enter("socketio", shared_server, "alice", session_id) as alice:
            waits = await waiting(alice)
            [asked] = waits["interrupts"]
            assert (asked["id"], asked["reason"], asked["message"]) == (
                "tool-1",
                "tool_call",
                "Where are you? (where)",
            )
            assert [each["function"]["name"] for each in served.asked[0]["tools"]] == ["where"]
            await say(alice, waits, "tool-1", payload={"city": "Delft"})
            await alice.wait_event(
                "stream_end", lambda e: e["status"] == "waiting" and len(e["interrupts"]) == 2, timeout=20
            )
            await say(alice, waits, "tool-2", status="cancelled")
            stored, by_id = await ended(alice)
    assert stored["content"] == "You are in Delft."
    assert (by_id["tool-1"]["executed_by"], by_id["tool-1"]["output"]) == ("client", {"city": "Delft"})
    assert (by_id["tool-2"]["state"], by_id["tool-2"]["error"]) == ("output_error", "it was not carried out")
    assert results(served.asked[2]) == ['{"city":"Delft"}', "Error: it was not carried out"]


async def test_one_that_goes_on_waits_for_its_place(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """It is one of the answers that are written for its user, as one that begins."""
    slow = {"STREAM_DELAY_MS": "60000", "STREAM_CHUNK_SIZE": "1", "SHUTDOWN_GRACE": "0"}
    node = new_server(sqlite_url, MAX_STREAMS_PER_USER="1", **slow)
    other = await new_session(node, "alice", agent_id=1)
    async with upstream(calling(("where", {})), answer("In Delft.")) as served:
        session_id = await openai_session(node, served, page_tools=[WHERE], **PATIENT)
        async with (
            enter("websocket", node, "alice", session_id) as alice,
            enter("websocket", node, "alice", other) as elsewhere,
        ):
            waits = await waiting(alice)
            await elsewhere.message("a long answer")
            begun = await elsewhere.wait_event("stream_start")
            await say(alice, waits, "tool-1", payload="Delft")
            async with asyncio.timeout(10):
                while "at most 1 answers at a time" not in node.log_text():
                    await asyncio.sleep(0.02)
            assert len(served.asked) == 1
            assert (await elsewhere.call("stream_cancel", message_id=begun["message_id"]))["ok"]
            stored, _ = await ended(alice)
    assert (stored["status"], stored["content"]) == ("complete", "In Delft.")


async def test_people_are_asked_for_so_long(shared_server: Server) -> None:
    """As the agent's config says. What nobody answers is not carried out, and the model is told why."""
    async with upstream(calling(("where", {})), answer("Somewhere.")) as served:
        session_id = await openai_session(
            shared_server, served, page_tools=[WHERE], tool_limits={"answer_seconds": 0.5}, **PATIENT
        )
        async with enter("websocket", shared_server, "alice", session_id) as alice:
            [asked] = (await waiting(alice))["interrupts"]
            assert datetime.fromisoformat(asked["expires_at"]) > datetime.now(UTC) - timedelta(seconds=10)
            stored, by_id = await ended(alice)
    assert stored["interrupts"][0]["answer"]["why"] == "expired"
    assert (stored["content"], by_id["tool-1"]["error"]) == ("Somewhere.", "nobody answered in time")
    assert results(served.asked[1]) == ["Error: nobody answered in time"]


def naming(served: Upstream, place: str, title: str | None = None) -> None:
    """Have an upstream be a server of one tool, which says where it was called."""
    tool = {"name": "t", "inputSchema": {"type": "object"}} | ({"title": title} if title else {})
    content = {"content": [{"type": "text", "text": place}]}
    serving(served, lambda _: content, lambda _: {"tools": [tool]})


@pytest.mark.parametrize("left", [2, 1], ids=["another has the name", "it is gone"])
async def test_an_approval_is_of_the_tool_that_was_shown(shared_server: Server, left: int) -> None:
    """Not of its name: of two servers that list the same one, the second has another name."""
    async with (
        upstream() as here,
        upstream() as there,
        upstream(calling(("t", {})), answer("done")) as served,
    ):
        naming(here, "here")
        naming(there, "there")
        tools = [{"url": each.url, "approval": "always"} for each in (here, there)]
        session_id = await openai_session(shared_server, served, tools=tools, **PATIENT)
        async with enter("websocket", shared_server, "alice", session_id) as alice:
            waits = await waiting(alice)
            async with shared_server.api("backend", "service") as api:
                session = (await api.get(f"/api/chat/sessions/{session_id}")).json()
                path = f"/api/chat/agents/{session['agent']['id']}"
                config = (await api.get(path)).json()["config"]
                config["tools"] = tools[::-1][:left]
                assert (await api.patch(path, json={"config": config})).status_code == 200
            await say(alice, waits, "tool-1", payload={"approved": True})
            _, by_id = await ended(alice)
        assert not [asked for asked in there.asked if asked.get("method") == "tools/call"]
    if left == 2:
        assert by_id["tool-1"]["output"] == "here"
    else:
        assert by_id["tool-1"]["error"] == "not called: the tool that was allowed is not there now"
    assert len(results(served.asked[1])) == 1


async def test_a_title_is_a_line_with_the_tools_name(shared_server: Server) -> None:
    """And no longer than a part's, however long and many-lined its server writes it."""
    async with upstream() as tools, upstream(calling(("t", {}))) as served:
        naming(tools, "here", "Reads\n\u202ea file" + " and more" * 20_000)
        given = [{"url": tools.url, "approval": "always"}]
        session_id = await openai_session(shared_server, served, tools=given, **PATIENT)
        async with enter("websocket", shared_server, "alice", session_id) as alice:
            [asked] = (await waiting(alice))["interrupts"]
            [part] = (await alice.history())[-1]["parts"]
    assert asked["message"].startswith("Reads  a file and more") and asked["message"].endswith(" (t)")
    assert part["title"] == asked["message"].removesuffix(" (t)") and len(part["title"]) == 500
    assert asked["tool_call_id"] == part["tool_call_id"]


async def test_a_stop_while_it_waits(shared_server: Server) -> None:
    async with upstream(calling(("where", {})), answer("another")) as served:
        session_id = await openai_session(shared_server, served, page_tools=[WHERE], **PATIENT)
        async with enter("websocket", shared_server, "alice", session_id) as alice:
            waits = await waiting(alice)
            stopped = await alice.call("stream_cancel", message_id=waits["message_id"])
            assert stopped["status"] == "cancelled"
            await alice.message("and now?")
            await alice.wait_event("stream_end", lambda e: e["status"] == "complete")
    assert len(served.asked) == 2


async def test_what_an_agent_may_not_be_given(shared_server: Server) -> None:
    async with shared_server.api("backend", "service") as api:
        for config, told in (
            ({"page_tools": [WHERE, WHERE]}, "page_tools: two have the same name"),
            ({"page_tools": [{"name": "a b"}]}, "page_tools[0].name"),
            ({"tools": [{"url": "http://127.0.0.1:9/mcp", "approval": "perhaps"}]}, "approval"),
        ):
            whole = {"base_url": "http://127.0.0.1:9/v1", "model": "m", **config}
            body = {"name": "x", "kind": "openai", "config": whole}
            refused = await api.post("/api/chat/agents", json=body)
            assert refused.status_code == 422
            assert told in refused.text
