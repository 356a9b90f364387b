"""A server of tools that means harm spoils its own calls, and costs nobody else anything."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from events.agents import mcphttp
from events.agents.mcphttp import VALUES, WIDE
from events.agents.mcpmessages import ASKED, MOST
from events.agents.mcpsession import MOST_TOOLS
from events.agents.openai import OpenAI
from tests.agents.test_tools import answered, outputs, results
from tests.agents.toolservers import calling
from tests.agents.upstream import STREAM_HEAD, Plan, Upstream, answer, framed, refusal, upstream

TOOL = {"name": "t", "inputSchema": {"type": "object"}}
#: A stream that ends before its answer, and says where to go on.
BROKEN = b"id: 1\nretry: 0\ndata:\n\n"

Answers = Callable[[dict[str, Any]], Plan | dict[str, Any]]


def told(asked: dict[str, Any], result: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()


def whole(body: bytes, status: str = "200 OK") -> Plan:
    async def plan(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return plan


def events(*data: bytes, ends: bool = True) -> Plan:
    async def plan(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for each in data:
            writer.write(framed(each))
            await writer.drain()
        if ends:
            writer.write(b"0\r\n\r\n")
        else:
            await asyncio.Event().wait()

    return plan


def serving(served: Upstream, called: Answers, listed: Answers = lambda _: {"tools": [TOOL]}) -> None:
    """Have an upstream be a server of tools. What it is told of and not asked, it takes."""

    def choose(asked: dict[str, Any]) -> Plan:
        method = asked.get("method")
        if method == "initialize":
            server = {"name": "w", "version": "1"}
            made: Plan | dict[str, Any] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": server,
            }
        elif method in ("tools/list", "tools/call") or not asked:
            made = listed(asked) if method == "tools/list" else called(asked)
        elif "id" in asked and method is not None:
            return refusal(404)
        else:
            return whole(b"", "202 Accepted")
        return whole(told(asked, made)) if isinstance(made, dict) else made

    served.choose = choose


async def shown_of(kind: OpenAI, tools: Upstream, **server: Any) -> Any:
    """What comes of a call."""
    async with upstream(calling(("t", {})), answer("well")) as model:
        shown = outputs(await answered(kind, model, {"url": tools.url, **server}))
        assert len(results(model.asked[-1])) == 1
        return shown[0]


async def test_a_servers_own_schema_is_not_run(kind: OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^b$"}}}
    async with upstream() as tools:
        listed = {"tools": [{**TOOL, "outputSchema": schema}]}
        serving(tools, lambda _: {"content": [], "structuredContent": {"a": "c"}}, lambda _: listed)
        assert await shown_of(kind, tools) == {"a": "c"}


@pytest.mark.parametrize("form", ["whole", "an event", "an event without its end"])
@pytest.mark.parametrize("harm", ["wide", "deep", "many"])
async def test_what_is_dear_to_read_is_not_read(kind: OpenAI, harm: str, form: str) -> None:
    value = {
        "wide": b"[" + b"[]," * WIDE + b"1]",
        "deep": b"[" * 250 + b"]" * 250,
        "many": b"[" + b"1," * VALUES + b"1,1]",
    }[harm]

    def called(asked: dict[str, Any]) -> Plan:
        body = told(asked, {"content": [], "structuredContent": {"a": "?"}}).replace(b'"?"', value)
        if form == "whole":
            return whole(body)
        return events(b"data: " + body + (b"\r\n\r\n" if form == "an event" else b"\r"))

    async with upstream() as tools:
        serving(tools, called)
        error = await shown_of(kind, tools)
        assert "SSE stream ended" in error or "Failed to parse" in error


async def test_a_result_in_many_pieces_is_cut(kind: OpenAI) -> None:
    async with upstream() as tools:
        serving(tools, lambda _: {"content": [{"type": "text", "text": "x"}] * (MOST + 1)})
        assert (await shown_of(kind, tools)).endswith(f"x\n\n[cut: {MOST + 1} blocks in all]")


async def test_a_flood_of_questions_is_not_answered(kind: OpenAI) -> None:
    def called(asked: dict[str, Any]) -> Plan:
        ping = b'data: {"jsonrpc": "2.0", "id": %d, "method": "ping"}\n\n'
        note = b'data: {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}\n\n'
        return events(
            *(ping % n + note for n in range(200)), b"data: " + told(asked, {"content": []}) + b"\n\n"
        )

    async with upstream() as tools:
        serving(tools, called)
        assert await shown_of(kind, tools) == "(no output)"
        await kind.close()
        assert 0 < sum("result" in asked for asked in tools.asked) <= ASKED + 2


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_call_that_was_given_up_is_read_no_more(
    kind: OpenAI, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    """Neither where it hangs, nor where it breaks off again and again."""
    monkeypatch.setattr(mcphttp, "RESUMING", 0.01)
    async with upstream() as tools:
        serving(tools, lambda _: events(BROKEN, ends=not hangs))
        assert await shown_of(kind, tools, timeout=1) == "it took longer than 1 seconds"
        async with asyncio.timeout(10):
            while any("_run_request_post" in task.get_name() for task in asyncio.all_tasks()):
                await asyncio.sleep(0.01)
        await tools.until(0)


async def test_an_answer_is_not_gone_on_with_for_ever(kind: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcphttp, "RESUMING", 0.0)
    monkeypatch.setattr(mcphttp, "RESUMED", 3)
    async with upstream() as tools:
        serving(tools, lambda _: events(BROKEN))
        assert "exhausted" in await shown_of(kind, tools)
        assert tools.asked.count({}) == 3


async def test_a_list_without_an_end(kind: OpenAI) -> None:
    def listed(asked: dict[str, Any]) -> dict[str, Any]:
        names = [f"t{len(tools.asked)}-{n}" for n in range(MOST_TOOLS * 2 // 3)]
        return {"tools": [TOOL, *({**TOOL, "name": name} for name in names)], "nextCursor": "more"}

    async with upstream() as tools:
        serving(tools, lambda _: {"content": [{"type": "text", "text": "hi"}]}, listed)
        assert await shown_of(kind, tools) == "hi"
        assert [len(each.tools or ()) for each in kind._tools._listings.values()] == [MOST_TOOLS]
