"""Tools of MCP servers, which the model calls: results, every failure, and the bounds."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from events.agents import toolrelay
from events.agents.deltas import Citation, Delta, Finish, NextStep, ToolOutput, ToolReady
from events.agents.openai import OpenAI
from events.agents.toolcommands import ToolCommands, parsed
from events.agents.toolconfig import ToolServer
from events.agents.toolserver import ListedTool
from events.agents.toolsessions import ToolSessions
from events.agents.upstreams import Upstreams
from events.schema import Usage
from tests.agents.shapes.responses import COMPLETED, call, said, stream, thought
from tests.agents.test_openai import openai_session, request
from tests.agents.toolservers import STDIO, calling, reasoned, tool_server
from tests.agents.upstream import DONE, Plan, Upstream, answer, lines, piece, refusal, upstream
from tests.support.doors import enter
from tests.support.server import Server
from tests.support.shown import Shown, as_stored

PATIENT = {"first_token_timeout": 20, "timeout": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with tool_server(folder) as (place, _):
        yield place


@pytest.fixture
async def programs() -> AsyncIterator[OpenAI]:
    """Where the operator lets the tests' server run."""
    made = OpenAI({}.get, commands=ToolCommands([parsed(" ".join(STDIO))]))
    yield made
    await made.close()


def stdio(**more: Any) -> dict[str, Any]:
    return {"command": STDIO[0], "args": STDIO[1:], **more}


async def answered(kind: OpenAI, served: Upstream, *tools: dict[str, Any], **config: Any) -> list[Delta]:
    asked = request("hi", base_url=served.url, tools=list(tools), **{**PATIENT, **config})
    async with asyncio.timeout(30):
        return [delta async for delta in kind.answer(asked) if delta != ""]


def outputs(deltas: list[Delta]) -> dict[int, Any]:
    """What was shown of each call: its output, or its error."""
    return {d.call: d.error or d.output for d in deltas if isinstance(d, ToolOutput)}


def results(asked: dict[str, Any]) -> list[str]:
    """What the model was told of its calls."""
    return [message["content"] for message in asked["messages"] if message["role"] == "tool"]


class Stub:
    """A session with a server of no tools."""

    live = is_open = True

    async def tools(self) -> list[ListedTool]:
        return []

    async def close(self) -> None:
        self.live = False


class Stubs(ToolSessions):
    async def _open(self, server: ToolServer) -> Any:
        return Stub()


async def test_one_users_chats_push_out_nobody_elses_sessions(kind: OpenAI) -> None:
    """Nor the one that all share."""
    kept = Stubs({}.get, kind._connections, None, ToolCommands(), most=3)
    own, shared = ToolServer(url="http://x/mcp", own_session=True), ToolServer(url="http://y/mcp")
    await kept.tools(shared, "chat-0", "ann")
    await kept.tools(own, "chat-1", "ann")
    first = [held.session for held in kept._held.values()]
    for number in range(3):
        await kept.tools(own, f"chat-{2 + number}", "ben")
    assert [held.session for held in kept._held.values()][:2] == first
    assert all(session.live for session in first) and len(kept._held) == 3
    await kept.close()


async def test_two_calls_at_once(kind: OpenAI, url: str) -> None:
    called = calling(("meet", {}), ("meet", ""), text="Let me see.")
    async with upstream(called, answer("both ", "met", tokens=9)) as served:
        deltas = await answered(kind, served, {"url": url})
    assert outputs(deltas) == {0: {"result": "met"}, 1: {"result": "met"}}
    assert [d.input for d in deltas if isinstance(d, ToolReady)] == [{}, {}]
    assert "".join(d for d in deltas if isinstance(d, str)) == "Let me see.both met"
    assert [d for d in deltas if isinstance(d, NextStep)] == [NextStep()]
    assert [d for d in deltas if isinstance(d, Finish)][-1] == Finish("stop")
    assert [d.total_tokens for d in deltas if isinstance(d, Usage)] == [5, 14]
    first, second = served.asked
    assert {"add", "meet", "wait"} < {tool["function"]["name"] for tool in first["tools"]}
    said, *told = second["messages"][1:]
    assert (said["content"], [call["id"] for call in said["tool_calls"]]) == (
        "Let me see.",
        ["call-0", "call-1"],
    )
    assert [(each["tool_call_id"], each["content"]) for each in told] == [
        ("call-0", "met"),
        ("call-1", "met"),
    ]


async def test_calls_by_the_responses_api(kind: OpenAI, url: str) -> None:
    """The thought that led to the calls goes back with them."""
    called = lines(
        stream(
            *thought(0, encrypted_content="c2VjcmV0"),
            *call(1, "call-0", "meet", "{}"),
            *call(2, "call-1", "meet", "{}"),
            COMPLETED,
        )
    )
    async with upstream(called, lines(stream(*said(0, "both met"), COMPLETED))) as served:
        deltas = await answered(kind, served, {"url": url, "allow": ["meet"]}, api="responses")
    assert outputs(deltas) == {0: {"result": "met"}, 1: {"result": "met"}}
    assert "".join(d for d in deltas if isinstance(d, str)) == "both met"
    assert [(tool["type"], tool["name"], tool["strict"]) for tool in served.asked[0]["tools"]] == [
        ("function", "meet", False)
    ]
    function = {"type": "function_call", "name": "meet", "arguments": "{}"}
    assert served.asked[1]["input"][1:] == [
        {"type": "reasoning", "summary": [], "id": "rs_1", "encrypted_content": "c2VjcmV0"},
        {**function, "call_id": "call-0"},
        {**function, "call_id": "call-1"},
        {"type": "function_call_output", "call_id": "call-0", "output": "met"},
        {"type": "function_call_output", "call_id": "call-1", "output": "met"},
    ]


async def test_what_goes_wrong_is_told_and_shown(kind: OpenAI, url: str) -> None:
    calls = [
        ("refuse", {}),
        ("add", {"a": "one", "b": 2}),
        ("add", '{"a": 1'),
        ("add", [1, 2]),
        ("nothing", {}),
        ("crash", {}),
        ("add", {"a": 1, "b": 2}),
    ]
    async with upstream(calling(*calls), answer("well")) as served:
        deltas = await answered(kind, served, {"url": url, "allow": ["refuse", "add"]})
    shown = outputs(deltas)
    assert "not on a Sunday" in shown[0]
    assert "valid integer" in shown[1]
    assert "not a JSON object" in shown[2] and "not a JSON object" in shown[3]
    assert "no tool 'nothing'" in shown[4]
    assert "no tool 'crash'" in shown[5], "it is not allowed"
    assert shown[6] == {"result": 3}
    told = results(served.asked[1])
    assert [text.startswith("Error: ") for text in told] == [True] * 6 + [False]
    assert [text.removeprefix("Error: ") for text in told[:6]] == [shown[number] for number in range(6)]
    assert all(json.loads(call["function"]["arguments"]) is not None for call in said_calls(served.asked[1]))
    assert {tool["function"]["name"] for tool in served.asked[0]["tools"]} == {"refuse", "add"}


def said_calls(asked: dict[str, Any]) -> list[dict[str, Any]]:
    return next(each["tool_calls"] for each in asked["messages"] if "tool_calls" in each)


async def test_what_is_no_text_is_named(kind: OpenAI, url: str) -> None:
    async with upstream(calling(("look", {})), calling(("look", {})), answer("seen")) as served:
        deltas = await answered(kind, served, {"url": url})
    [told] = results(served.asked[1])
    for part in ("See", "[image: image/png, 2 bytes]", "[Guide](https://docs.example/b)", "[c](file:///c)",
                 "https://docs.example/a:\nAll of it.", "[file:///b: application/pdf, 2 bytes]"):  # fmt: skip
        assert part in told
    sources = [(d.url, d.title, d.snippet) for d in deltas if isinstance(d, Citation)]
    assert sources == [
        ("https://docs.example/b", "Guide", None),
        ("https://docs.example/a", "https://docs.example/a", "All of it."),
    ], "each once"
    ids = [call["id"] for message in served.asked[2]["messages"] for call in message.get("tool_calls", ())]
    assert ids == ["call-0", "call-0_1"], "an upstream that counts anew has calls of its own all the same"


async def test_an_output_is_cut_and_says_so(kind: OpenAI, url: str) -> None:
    calls = [("write", {"size": size}) for size in (3000, 3000, 3000)]
    limits = {"output_bytes": 1000, "total_bytes": 1600, "parallel": 1}
    async with upstream(calling(*calls), answer("long")) as served:
        deltas = await answered(kind, served, {"url": url}, tool_limits=limits)
    told = results(served.asked[1])
    assert [len(text) for text in told] == [1000, 600, 256]
    assert all(text.startswith("xxx") and "[cut: 3000 bytes in all]" in text for text in told)
    assert outputs(deltas) == dict(enumerate(told))


async def test_more_than_a_message_may_have_costs_the_call_alone(kind: OpenAI, url: str) -> None:
    calls = calling(("write", {"size": 2_000_000}), ("meet", {}), ("meet", {}))
    async with upstream(calls, answer("well")) as served:
        shown = outputs(await answered(kind, served, {"url": url}))
    assert "1048576" in shown[0]
    assert (shown[1], shown[2]) == ({"result": "met"}, {"result": "met"})


async def test_a_call_that_takes_too_long(kind: OpenAI, url: str, folder: Path) -> None:
    calls = calling(("wait", {}), ("add", {"a": 1, "b": 1}))
    async with upstream(calls, answer("gave up")) as served:
        shown = outputs(await answered(kind, served, {"url": url, "timeout": 1}))
    assert shown == {0: "it took longer than 1 seconds", 1: {"result": 2}}
    await until_traced(folder, "cancelled")


async def test_the_time_for_all_calls(kind: OpenAI, url: str) -> None:
    plans = (calling(("wait", {})), calling(("add", {"a": 1, "b": 1})), answer("late"))
    async with upstream(*plans) as served:
        shown = outputs(await answered(kind, served, {"url": url}, tool_limits={"seconds": 1}))
    assert shown == dict.fromkeys((0, 1), "the time for this answer's tools is used up")


async def test_the_last_round_is_without_calls(kind: OpenAI, url: str) -> None:
    async with upstream() as served:
        again = calling(("add", {"a": 1, "b": 1}))
        served.choose = lambda asked: answer("enough") if asked.get("tool_choice") == "none" else again
        deltas = await answered(kind, served, {"url": url}, tool_limits={"rounds": 2})
    assert [asked.get("tool_choice") for asked in served.asked] == [None, None, "none"]
    assert all(asked["tools"] for asked in served.asked), "a model that has called tools is told of them"
    assert outputs(deltas) == {0: {"result": 2}, 1: {"result": 2}}
    async with upstream(again) as served:
        limits = {"rounds": 1, "calls": 1}
        with pytest.raises(Exception, match="UPSTREAM_EMPTY"):
            await answered(kind, served, {"url": url}, tool_limits=limits)
        assert len(served.asked) == 2


async def test_a_stop_cancels_what_runs(kind: OpenAI, url: str, folder: Path) -> None:
    trace = folder / "trace"
    trace.unlink(missing_ok=True)
    async with upstream(calling(("wait", {}))) as served:
        asked = request("hi", base_url=served.url, tools=[{"url": url}], **PATIENT)

        async def go() -> None:
            async with aclosing(kind.answer(asked)) as deltas:  # type: ignore[type-var]
                async for _ in deltas:
                    pass

        task = asyncio.create_task(go())
        await until_traced(folder, "waiting")
        task.cancel()
        await asyncio.wait([task])
    await until_traced(folder, "cancelled")


async def until_traced(folder: Path, line: str) -> None:
    async with asyncio.timeout(15):
        while not (folder / "trace").exists() or line not in (folder / "trace").read_text():
            await asyncio.sleep(0.01)


async def test_a_server_that_is_killed_and_comes_back(kind: OpenAI, tmp_path: Path) -> None:
    with tool_server(tmp_path) as (url, process):
        port = int(url.split(":")[2].split("/")[0])
        async with upstream(calling(("crash", {}), ("wait", {})), answer("broken")) as served:
            shown = outputs(await answered(kind, served, {"url": url}))
        assert all("connection failed" in shown[number] for number in (0, 1)), shown
        process.wait(10)
        async with upstream(calling(("add", {"a": 1, "b": 1})), answer("away")) as served:
            assert "connection failed" in outputs(await answered(kind, served, {"url": url}))[0]
    with tool_server(tmp_path, port):
        async with upstream(calling(("add", {"a": 1, "b": 1})), answer("back")) as served:
            assert outputs(await answered(kind, served, {"url": url})) == {0: {"result": 2}}


@pytest.mark.parametrize(("given", "told"), [({}, "127.0.0.1:9"), ({"name": "clock"}, "clock")])
async def test_a_server_that_cannot_be_reached_is_said(
    kind: OpenAI, url: str, given: dict[str, Any], told: str
) -> None:
    server = {"url": "http://127.0.0.1:9/mcp", **given}
    async with upstream(answer("without")) as served:
        deltas = await answered(kind, served, server, system_prompt="Be kind")
        assert "without" in deltas
        assert "tools" not in served.asked[0]
        assert served.asked[0]["messages"][0]["content"] == (
            f"Be kind\n\nThe tools of {told} cannot be reached at the moment."
        )


async def test_a_program_as_a_server(programs: OpenAI, tmp_path: Path) -> None:
    """It crashes, is started again for the next call, and ends with the node."""
    plans = (calling(("crash", {}), ("meet", {})), calling(("add", {"a": 1, "b": 1})), answer("so"))
    async with upstream(*plans) as served:
        shown = outputs(await answered(programs, served, stdio(), tool_limits={"parallel": 2}))
    assert shown == {**dict.fromkeys((0, 1), "the server ended while it ran"), 2: {"result": 2}}
    assert len(running()) == 2, "the program, and what ends it when the node is gone"
    await programs.close()
    assert running() == []


def running() -> list[int]:
    """Processes below this one that run the server's program."""
    below = psutil.Process().children(recursive=True)
    return [each.pid for each in below if each.cmdline()[-len(STDIO) + 1 :] == STDIO[1:]]


async def test_what_a_program_may_be_run(programs: OpenAI) -> None:
    base = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}
    programs.check({**base, "tools": [stdio()]})
    for wrong, words in (
        ({"command": "sh", "args": ["-c", "true"]}, "TOOL_COMMANDS"),
        (stdio(args=[*STDIO[1:], "more"]), "TOOL_COMMANDS"),
        (stdio(env=["OTHER_API_KEY"]), "TOOL_COMMANDS does not give OTHER_API_KEY"),
    ):
        with pytest.raises(ValueError, match=words):
            programs.check({**base, "tools": [wrong]})
    async with upstream(answer("without")) as served:
        await answered(programs, served, {"command": "sh", "args": ["-c", "true"]})
        assert "cannot be reached" in served.asked[0]["messages"][0]["content"]


def test_a_config_of_tools_says_what_is_wrong() -> None:
    kind = OpenAI({}.get, upstreams=Upstreams())
    base = {"base_url": "https://api.example/v1", "model": "m"}
    for tools, words in (
        ([{}], "url or command"),
        ([{"url": "https://a.example/mcp", "command": "x"}], "url or command"),
        ([{"url": "ftp://a.example"}], "match"),
        ([{"url": "http://10.0.0.1/mcp"}], "own network"),
        ([{"url": "https://a.example/", "headers": {"Authorization": "Bearer x"}}], "has a key"),
        ([{"url": "https://a.example/", "headers": {"Host": "b"}}], "host cannot be set"),
        ([{"url": "https://a.example/", "headers": {"X": {"env": "X_API_KEY"}}}], "does not tie X_API_KEY"),
        ([{"url": "https://a.example/", "headers": {"X": {"env": "SECRET"}}}], "match"),
        ([{"command": "x"}], "TOOL_COMMANDS"),
        ([{"url": "https://a.example/", "args": ["x"]}], "belong to a command"),
        ([{"url": "https://a.example/", "name": "a"}, {"url": "https://b.example/", "name": "a"}], "same"),
        ([{"url": "https://a.example/", "surprise": 1}], "surprise"),
    ):
        with pytest.raises(ValueError, match=words):
            kind.check({**base, "tools": tools})
    for limits in ({"rounds": 0}, {"parallel": 1000}, {"seconds": 0}, {"surprise": 1}):
        with pytest.raises(ValueError):
            kind.check({**base, "tool_limits": limits})


async def test_a_key_goes_with_the_request(kind: OpenAI) -> None:
    """And no redirect leads it anywhere else."""
    headers = {"Authorization": {"env": "TEST_API_KEY", "prefix": "Bearer "}, "X-Region": "eu"}
    async with upstream(answer("no")) as other, upstream(answer("without")) as model:
        async with upstream(refusal(307, f"Location: {other.url}/mcp")) as tools:
            await answered(kind, model, {"url": tools.url, "headers": headers})
        assert other.asked == []
    assert {head["authorization"] for head in tools.heads} == {"bearer sk-1"}
    assert {head["x-region"] for head in tools.heads} == {"eu"}


async def test_tools_of_the_upstream_stand_beside_them(kind: OpenAI, url: str) -> None:
    extra = {"tools": [{"type": "web_search"}], "tool_choice": "auto"}
    config = {"extra_body": extra, "tool_limits": {"rounds": 1}}
    again = calling(("add", {"a": 1, "b": 1}))
    async with upstream(again, answer("so")) as served:
        await answered(kind, served, {"url": url, "allow": ["add"]}, **config)
    assert [[tool["type"] for tool in asked["tools"]] for asked in served.asked] == [
        ["function", "web_search"]
    ] * 2
    assert [asked["tool_choice"] for asked in served.asked] == ["auto", "none"]


async def test_a_model_that_takes_no_tools_answers_without(kind: OpenAI, url: str) -> None:
    words = b'{"error": {"message": "registry.ollama.ai/library/x does not support tools"}}'
    async with upstream() as served:
        served.choose = lambda asked: refusal(400, body=words) if "tools" in asked else answer("plain")
        for _ in range(2):
            assert "plain" in await answered(kind, served, {"url": url}, model="learns")
        assert ["tools" in asked for asked in served.asked] == [True, False, False]


def test_what_a_server_started_ends_with_it(tmp_path: Path) -> None:
    """A program that goes on after its input has ended, and another that it has started."""
    pids = tmp_path / "pids"
    stubborn = f"""
import os, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pids)!r} + ".new", "w").write(f"{{os.getpid()}} {{other.pid}}")
os.rename({str(pids)!r} + ".new", {str(pids)!r})
print("ready", flush=True)
time.sleep(600)
"""
    for ends in ("its input", "its life"):
        relay = subprocess.Popen(
            [sys.executable, "-I", "-S", toolrelay.__file__, "1000", sys.executable, "-c", stubborn],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with relay:
            assert relay.stdin is not None and relay.stdout is not None
            assert relay.stdout.readline() == b"ready\n"
            started = [int(pid) for pid in pids.read_text().split()]
            if ends == "its input":
                relay.stdin.close()  # as where the node was killed
            else:
                relay.send_signal(signal.SIGTERM)
            relay.wait(10)
        deadline = time.monotonic() + 10
        while any(map(is_alive, started)):  # killed: the kernel takes its time
            assert time.monotonic() < deadline
            time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Through the server.

LOOKED = ["text", "tool", "tool", "source", "source", "step", "reasoning", "text"]


async def test_everybody_sees_the_same_parts(shared_server: Server, url: str) -> None:
    """Whoever knows parts, whoever knows text alone, whoever comes later; and the next question's model."""
    called = calling(("look", {}), ("nothing", '{"a": 1'), text="Let me see.")
    plans = (called, thinking("Aha", "Seen."), calling(("add", {"a": 1, "b": 1})), answer("Two."))
    async with upstream(*plans) as served:
        session_id = await openai_session(shared_server, served, tools=[{"url": url}], **PATIENT)
        async with enter("socketio", shared_server, "alice", session_id) as alice:
            await alice.message("look")
            end = await alice.wait_event("stream_end")
            assert (end["status"], end["finish_reason"], end["usage"]["total_tokens"]) == (
                "complete",
                "stop",
                12,
            )
            does = [each["status"] for each in alice.named("agent_status")]
            assert does == ["calling_tool", "thinking", None]
            [told] = [m for m in await alice.history() if m["message_type"] == "stream"]
            assert [part["type"] for part in told["parts"]] == LOOKED
            assert told["content"] == "Let me see.\n\nSeen."
            shown = Shown().take_all(alice.events, told["message_id"])
            assert shown.as_message == as_stored(told)
            [seen, missing] = [part for part in told["parts"] if part["type"] == "tool"]
            assert (seen["state"], seen["input"], seen["executed_by"]) == ("output_available", {}, "agent")
            assert seen["output"].startswith("See")
            assert (missing["state"], missing["input_text"]) == ("output_error", '{"a": 1')
            assert "no tool 'nothing'" in missing["error"]
            await alice.message("and now?")
            await alice.wait_event("stream_end", lambda e: e["message_id"] != told["message_id"])
    roles = [each["role"] for each in served.asked[2]["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert served.asked[2]["messages"][1]["tool_calls"][0]["function"]["name"] == "look"


def thinking(thought: str, text: str) -> Plan:
    return lines(reasoned(thought), piece(text), piece(finish="stop"), piece(tokens=7), DONE)


async def test_a_stop_stops_its_tools(shared_server: Server, url: str, folder: Path) -> None:
    (folder / "trace").unlink(missing_ok=True)
    async with upstream(calling(("wait", {}))) as served:
        session_id = await openai_session(shared_server, served, tools=[{"url": url}], **PATIENT)
        async with enter("websocket", shared_server, "alice", session_id) as alice:
            await alice.message("wait")
            called = await alice.wait_event(
                "stream_part", lambda e: e["part"].get("state") == "input_available"
            )
            await until_traced(folder, "waiting")
            assert (await alice.call("stream_cancel", message_id=called["message_id"]))["ok"]
            assert (await alice.wait_event("stream_end"))["status"] == "cancelled"
            await until_traced(folder, "cancelled")
            [told] = [m for m in await alice.history() if m["message_type"] == "stream"]
            assert [part["state"] for part in told["parts"]] == ["input_available"]


async def test_thought_without_a_word_is_kept(shared_server: Server) -> None:
    async with upstream(thinking("hm", "")) as served:
        session_id = await openai_session(shared_server, served)
        async with enter("socketio", shared_server, "alice", session_id) as alice:
            await alice.message("think")
            end = await alice.wait_event("stream_end")
            assert (end["status"], end["error"]["code"]) == ("failed", "UPSTREAM_EMPTY")
            [told] = [m for m in await alice.history() if m["message_type"] == "stream"]
            assert told["parts"] == [{"type": "reasoning", "id": "reasoning-1", "text": "hm"}]


async def test_text_alone_has_no_parts(shared_server: Server) -> None:
    async with upstream(answer("a", "b")) as served:
        session_id = await openai_session(shared_server, served)
        async with enter("socketio", shared_server, "alice", session_id) as alice:
            await alice.message("hi")
            end = await alice.wait_event("stream_end")
            assert not alice.named("stream_part") and "parts" not in end
            assert all("part" not in chunk for chunk in alice.named("stream_chunk"))
            assert all("parts" not in message for message in await alice.history())


async def test_a_program_needs_the_operators_word(shared_server: Server) -> None:
    config = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "tools": [stdio()]}
    async with shared_server.api("backend", "service") as api:
        body = {"name": "x", "kind": "openai", "config": config}
        refused = await api.post("/api/chat/agents", json=body)
        assert refused.status_code == 422
        assert "tools[0]: command: TOOL_COMMANDS" in refused.text
