"""Tools of the page that one question brings along."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.contract import VERSION, asyncapi
from tests.agents.test_openai import openai_session
from tests.agents.toolservers import calling, tool_server
from tests.agents.upstream import Upstream, answer, upstream
from tests.people.frames import Validators
from tests.support.doors import enter
from tests.support.server import Server
from tests.turns.conftest import Place
from tests.turns.scene import scene
from tests.turns.waits import ask_approval, go_on, say

PATIENT = {"first_token_timeout": 20, "timeout": 20}
PAINT: dict[str, Any] = {
    "name": "paint",
    "title": "Paint the page",
    "description": "Gives the page a colour.",
    "parameters": {"type": "object", "properties": {"colour": {"type": "string"}}},
}


def offered(served: Upstream, number: int) -> list[str]:
    return [tool["function"]["name"] for tool in served.asked[number].get("tools", ())]


async def test_they_outlive_their_node_and_are_for_their_question_alone(
    sqlite_template: Path, tmp_path: Path
) -> None:
    called = calling(("paint", {"colour": "red"}))
    plans = called, answer("It is red."), answer("You too."), answer("Again."), answer("Newly.")
    with Server.on_sqlite(sqlite_template, tmp_path) as node:
        async with upstream(*plans) as served:
            session_id = await openai_session(node, served, **PATIENT)
            async with enter("websocket", node, "alice", session_id) as alice:
                first = await alice.message("paint it red", tools=[PAINT])
                waits = await alice.wait_event("stream_end", lambda e: e["status"] == "waiting")
                [asked] = waits["interrupts"]
                assert (asked["reason"], asked["message"]) == ("tool_call", "Paint the page (paint)")
                node.kill9()
            await node.start_async()
            async with enter("websocket", node, "alice", session_id) as alice:
                given = {"interrupt_id": asked["id"], "status": "resolved", "payload": "done"}
                assert (await alice.call("answer", message_id=waits["message_id"], **given))["ok"]
                end = await alice.wait_event("stream_end", timeout=20)
                assert end["status"] == "complete"
                mark = alice.mark()
                await alice.message("thanks")
                await alice.wait_event("stream_end", since=mark)
                for tools in ({}, {"tools": [PAINT | {"name": "colour"}]}):
                    mark = alice.mark()
                    again = await alice.call("regenerate", message_id=first["message_id"], **tools)
                    assert again["ok"], again
                    await alice.wait_event("stream_end", since=mark)
                assert "colour." not in json.dumps(await alice.history())
    names = [offered(served, number) for number in range(5)]
    assert names == [["paint"], ["paint"], [], ["paint"], ["colour"]]


async def test_a_worker_is_told_of_them(place: Place) -> None:
    """Also when it goes on."""
    async with scene(place.front, place.back) as at:
        await at.ask("paint", tools=[PAINT])
        request = await at.worker.request()
        assert request["tools"] == [PAINT]
        written = await at.worker.write(request, "so ", end=False)
        assert (await ask_approval(at.worker, at.session_id, written))["ok"]
        assert (await say(at.alice, written))["ok"]
        resumed = await at.worker.request()
        assert resumed["tools"] == [PAINT]
        Validators(asyncapi.document(VERSION)).check("agent_request_event", resumed)
        await go_on(at.worker, resumed, "there.")
        other = await at.alice.call("message", content="and now?")
        plain = await at.worker.request()
        assert "tools" not in plain
        await at.worker.write(plain, "nothing")
        version = await at.alice.call(
            "edit", message_id=other["message_id"], content="and then?", branch=True, tools=[PAINT]
        )
        assert version["ok"], version
        assert (await at.worker.request())["tools"] == [PAINT]


async def test_each_question_in_line_has_its_own(place: Place) -> None:
    async with scene(place.front, place.back) as at:
        _, _, open_answer = await at.begun()
        second = await at.ask("second", tools=[PAINT])
        await at.ask("third", tools=[PAINT | {"name": "wipe"}])
        assert (await at.alice.call("delete", message_id=second))["ok"]
        await at.end(open_answer)
        assert [tool["name"] for tool in (await at.worker.request())["tools"]] == ["wipe"]


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        ([PAINT, PAINT], "tools"),
        ([{"name": "a b"}], "tools[0].name"),
        ([PAINT | {"parameters": {"type": "array"}}], "tools[0].parameters"),
        ([PAINT | {"parameters": {"description": "x" * 65536}}], "tools"),
        ([{"name": f"t{number}"} for number in range(65)], "tools"),
    ],
)
async def test_what_a_question_may_not_bring(place: Place, tools: list[Any], field: str) -> None:
    async with scene(place.front, place.back) as at:
        refused = await at.alice.call("message", content="?", tools=tools)
        assert refused["error"]["code"] == "VALIDATION_ERROR"
        assert refused["error"]["details"]["field"] == field
        assert await at.alice.history() == []


async def test_what_does_not_go_with_the_agents_own(shared_server: Server, tmp_path: Path) -> None:
    """It is told, and the model is not asked: no tool of the page passes for one of the agent's."""
    with tool_server(tmp_path) as (url, _):
        async with upstream(answer("no")) as served:
            limits = {"tools": 20, "description_bytes": 8000}
            tools = {"tools": [{"url": url}], "page_tools": [PAINT], "tool_limits": limits}
            session_id = await openai_session(shared_server, served, **tools, **PATIENT)
            async with enter("websocket", shared_server, "alice", session_id) as alice:
                for brought in (
                    [PAINT | {"name": "add"}],
                    [{"name": f"t{number}"} for number in range(20)],
                    [{"name": "long", "description": "x" * 8000}],
                ):
                    mark = alice.mark()
                    await alice.message("hello", tools=brought)
                    end = await alice.wait_event("stream_end", since=mark)
                    assert (end["status"], end["error"]["code"]) == ("failed", "TOOLS_REFUSED"), end
                assert served.asked == []
                mark = alice.mark()
                await alice.message("hello", tools=[PAINT | {"description": "Otherwise."}])
                assert (await alice.wait_event("stream_end", since=mark))["status"] == "complete"
    told = {tool["function"]["name"]: tool["function"]["description"] for tool in served.asked[0]["tools"]}
    assert told["paint"] == "Gives the page a colour."
