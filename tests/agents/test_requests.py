"""What the config adds to a request, which faults are tried again, and how sessions go on."""

import asyncio
import json
from typing import Any

import pytest

from events.agents.base import AnswerFailed
from events.agents.openai import OpenAI
from tests.agents.shapes.refusal import error
from tests.agents.test_lessons import OF_TURNS, wants_turns
from tests.agents.test_openai import collect, openai_session, request
from tests.agents.upstream import (
    DONE,
    Plan,
    Upstream,
    answer,
    framed,
    lines,
    piece,
    refusal,
    silence,
    upstream,
)
from tests.support.doors import enter
from tests.support.server import Server

# --- what is sent


async def test_what_the_config_adds(kind: OpenAI) -> None:
    config = {
        "max_completion_tokens": 7, "reasoning_effort": "low", "response_format": {"type": "json_object"},
        "extra_body": {"top_k": 3, "provider": {"only": ["a"]}}, "extra_headers": {"HTTP-Referer": "https://x"},
        "stream_options": False, "api_key_env": "TEST_API_KEY", "api_key_header": "api-key",
    }  # fmt: skip
    async with upstream(answer("yes")) as served:
        assert (await collect(kind, request("hi", base_url=served.url, **config)))[0] == "yes"
    assert served.asked[0] == {
        "model": "small", "messages": [{"role": "user", "content": "hi"}], "stream": True,
        "max_completion_tokens": 7, "reasoning_effort": "low", "response_format": {"type": "json_object"},
        "top_k": 3, "provider": {"only": ["a"]},
    }  # fmt: skip
    assert served.heads[0]["http-referer"] == "https://x"
    assert served.heads[0]["api-key"] == "sk-1"
    assert "authorization" not in served.heads[0]


@pytest.mark.parametrize(
    "config",
    [
        {"extra_body": {"messages": []}},
        {"extra_body": {"stream": False}},
        {"extra_headers": {"Authorization": "x"}},
        {"extra_headers": {"Host": "x"}},
        {"extra_headers": {"X-Key": "x"}, "api_key_header": "x-key"},
        {"api_key_header": "Content-Length"},
        {"extra_headers": {"X-Two": "a\r\nb"}},
        {"extra_headers": {"": "x"}},
        {"max_tokens": 1, "max_completion_tokens": 1},
        {"turns": "never"},
    ],
    ids=str,
)
async def test_a_config_that_would_break_the_request(node: Server, config: dict[str, Any]) -> None:
    body = {"base_url": "http://127.0.0.1:9/v1", "model": "m", **config}
    async with node.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "x", "kind": "openai", "config": body})
        assert made.status_code == 422, made.text
        assert "config" in made.text


# --- faults


def in_stream(code: Any, message: str = "no") -> bytes:
    return b"data: " + error(message, code=code) + b"\n\n"


async def failure(kind: OpenAI, served: Upstream, **config: Any) -> tuple[str, int]:
    with pytest.raises(AnswerFailed) as failed:
        await collect(kind, request("hi", base_url=served.url, **config))
    return failed.value.code, len(served.asked)


@pytest.mark.parametrize(
    ("plan", "code", "requests"),
    [
        (refusal(429, "Retry-After: 61"), "UPSTREAM_RATE_LIMIT", 1),
        (refusal(429, "Retry-After: 0.01"), "UPSTREAM_RATE_LIMIT", 3),
        (refusal(503, "Retry-After: 3600"), "UPSTREAM_ERROR", 1),
        (refusal(429, body=error("x", code="insufficient_quota")), "UPSTREAM_QUOTA", 1),
        (refusal(402), "UPSTREAM_QUOTA", 1),
        (refusal(400, body=error("x", code="content_filter")), "UPSTREAM_FILTERED", 1),
        (lines(in_stream(429)), "UPSTREAM_RATE_LIMIT", 3),
        (lines(in_stream("429")), "UPSTREAM_RATE_LIMIT", 3),
        (lines(in_stream("rate_limit_exceeded", "Please try again in 9m38s.")), "UPSTREAM_RATE_LIMIT", 1),
        (lines(in_stream("insufficient_quota")), "UPSTREAM_QUOTA", 1),
        (lines(in_stream(502)), "UPSTREAM_ERROR", 3),
        (lines(in_stream("context_length_exceeded")), "UPSTREAM_CONTEXT", 1),
        (lines(piece("half"), in_stream(429)), "UPSTREAM_RATE_LIMIT", 1),
        (lines(piece(finish="length"), DONE), "UPSTREAM_LENGTH", 1),
        (lines(piece(finish="content_filter"), DONE), "UPSTREAM_FILTERED", 1),
        (lines(piece(" "), piece(finish="stop"), DONE), "UPSTREAM_EMPTY", 1),
        (lines(piece(finish="tool_calls"), DONE), "UPSTREAM_EMPTY", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_fault_is_tried_again_where_that_helps(
    kind: OpenAI, plan: Plan, code: str, requests: int
) -> None:
    async with upstream(plan) as served:
        assert await failure(kind, served) == (code, requests)


async def test_a_date_to_come_back_at(kind: OpenAI) -> None:
    date = "Mon, 30 Nov 2026 10:00:00 GMT"
    soon, late = "Mon, 30 Nov 2026 10:00:00 GMT", "Mon, 30 Nov 2026 10:05:00 GMT"
    async with upstream(refusal(429, f"Date: {date}", f"Retry-After: {soon}"), answer("yes")) as served:
        assert (await collect(kind, request("hi", base_url=served.url)))[0] == "yes"
    async with upstream(refusal(429, f"Date: {date}", f"Retry-After: {late}")) as served:
        assert await failure(kind, served) == ("UPSTREAM_RATE_LIMIT", 1)


async def test_the_wait_that_is_asked_for_is_kept(kind: OpenAI) -> None:
    times = []

    def choose(_: dict[str, Any]) -> Plan:
        times.append(asyncio.get_running_loop().time())
        return refusal(429, "Retry-After-Ms: 300") if len(times) == 1 else answer("yes")

    async with upstream() as served:
        served.choose = choose
        assert (await collect(kind, request("hi", base_url=served.url)))[0] == "yes"
    assert times[1] - times[0] >= 0.3


async def test_comments_are_signs_of_life(kind: OpenAI) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await lines(b": hello\n\n", ends=False)(writer)
        for _ in range(4):
            await asyncio.sleep(0.15)
            writer.write(framed(b": OPENROUTER PROCESSING\n\n"))
        for line in (piece("thought"), piece(finish="stop"), DONE):
            writer.write(framed(line))
        writer.write(b"0\r\n\r\n")

    async with upstream(slowly) as served:
        assert (await collect(kind, request("hi", base_url=served.url)))[0] == "thought"
    async with upstream(silence(b": hello\n\n")) as served:
        assert await failure(kind, served) == ("UPSTREAM_TIMEOUT", 3)


async def test_json_in_place_of_a_stream(kind: OpenAI) -> None:
    whole = {
        "object": "chat.completion", "usage": {"total_tokens": 5},
        "choices": [{"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}],
    }  # fmt: skip
    async with upstream(refusal(200, body=json.dumps(whole).encode())) as served:
        assert await collect(kind, request("hi", base_url=served.url)) == ("whole", 5)
    async with upstream(refusal(200, body=error("no", code=429))) as served:
        assert await failure(kind, served) == ("UPSTREAM_RATE_LIMIT", 3)
    async with upstream(refusal(200, body=b'{"choices": [')) as served:
        assert await failure(kind, served) == ("UPSTREAM_ERROR", 1)


# --- through the server


@pytest.fixture(scope="module")
def node(shared_server: Server) -> Server:
    return shared_server


async def test_a_session_goes_on_after_an_answer_that_failed(node: Server) -> None:
    """The question stays without an answer, and a template that wants turns takes the next one."""
    async with upstream() as served:
        served.choose = lambda body: (
            lines(piece(finish="stop"), DONE)
            if body["messages"][-1]["content"] == "empty, please"
            else wants_turns(OF_TURNS[0].body)(body)
        )
        session_id = await openai_session(node, served)
        async with enter("socketio", node, "alice", session_id) as alice:
            ends: set[str] = set()

            async def ask(text: str) -> dict[str, Any]:
                await alice.message(text)
                end = await alice.wait_event("stream_end", lambda e: e["message_id"] not in ends)
                ends.add(end["message_id"])
                return end

            first = await ask("empty, please")
            assert (first["status"], first["error"]["code"]) == ("failed", "UPSTREAM_EMPTY")
            for text in ("one", "two"):
                end = await ask(text)
                assert (end["status"], end.get("error")) == ("complete", None)
    assert [(each["role"], each["content"]) for each in served.asked[-1]["messages"]] == [
        ("user", "empty, please\n\none"), ("assistant", "yes"), ("user", "two"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("eclipse", "other"),
        ("stop", "stop"),
    ],
)
async def test_an_answer_says_why_it_ended(node: Server, finish: str, reason: str) -> None:
    async with upstream(lines(piece("half"), piece(finish=finish), piece(tokens=9), DONE)) as served:
        session_id = await openai_session(node, served)
        async with enter("websocket", node, "alice", session_id) as alice:
            await alice.message("hello")
            end = await alice.wait_event("stream_end")
            shown = [m for m in await alice.history() if m["message_type"] == "stream"]
    usage = {"input_tokens": 1, "output_tokens": 8, "total_tokens": 9}
    for told in (end, *shown):
        assert (told["status"], told["tokens_used"], told.get("error")) == ("complete", 9, None)
        assert (told["finish_reason"], told["usage"], told["model"]) == (reason, usage, "m")


async def test_an_answer_that_failed_says_so_as_well(node: Server) -> None:
    async with upstream(lines(piece(finish="length"), piece(tokens=9), DONE), refusal(401)) as served:
        session_id = await openai_session(node, served)
        async with enter("websocket", node, "alice", session_id) as alice:
            await alice.message("hello")
            end = await alice.wait_event("stream_end")
            assert (end["status"], end["error"]["code"]) == ("failed", "UPSTREAM_LENGTH")
            assert (end["finish_reason"], end["tokens_used"]) == ("length", 9)
            await alice.message("hello?")
            end = await alice.wait_event("stream_end", lambda e: e["message_id"] != end["message_id"])
            assert (end["error"]["code"], end["finish_reason"]) == ("UPSTREAM_UNAUTHORIZED", "error")


async def test_tokens_are_those_of_question_and_answer(node: Server) -> None:
    """As the upstream counts them, else by an estimate of the same: also of an answer that was stopped."""
    question = "x" * 400
    plain = lines(piece("y" * 40), piece(finish="stop"), DONE)
    async with upstream(plain, silence(piece("y" * 40)), refusal(401)) as served:
        for status in ("complete", "cancelled", "failed"):
            session_id = await openai_session(node, served)
            async with enter("socketio", node, "alice", session_id) as alice:
                await alice.message(question)
                if status == "cancelled":
                    chunk = await alice.wait_event("stream_chunk")
                    await alice.call("stream_cancel", message_id=chunk["message_id"])
                end = await alice.wait_event("stream_end")
                assert end["status"] == status
                assert end["tokens_used"] == (0 if status == "failed" else 104 + 10)
                assert "usage" not in end


async def test_two_people_in_one_session(node: Server) -> None:
    async with upstream(answer("yes")) as served:
        session_id = await openai_session(node, served)
        async with enter("socketio", node, "alice", session_id) as alice:
            await alice.message("hi")
            await alice.wait_event("stream_end")
        async with node.api("backend", "service") as api:
            added = await api.put(f"/api/chat/sessions/{session_id}/participants/bob", json={})
            assert added.status_code < 300, added.text
        async with enter("socketio", node, "bob", session_id) as bob:
            await bob.message("me too")
            await bob.wait_event("stream_end")
    texts = [each["content"] for each in served.asked[-1]["messages"]]
    assert len(texts) == 3
    assert texts[0].endswith(": hi")
    assert texts[2].endswith(": me too")
    assert texts[0].split(":")[0] != texts[2].split(":")[0]
