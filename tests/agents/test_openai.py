"""Agents behind an OpenAI-compatible upstream: the answer, and every fault with its clear end."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from events.agents.base import AnswerFailed, Request
from events.agents.config import checked
from events.agents.models import MOST_BYTES
from events.agents.openai import OpenAI
from events.agents.prompt import conversation
from events.schema import Message, Usage
from storage.records import AgentRecord
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
    whole,
)
from tests.support.doors import enter, new_session
from tests.support.server import Server

QUICK = {"first_token_timeout": 0.4, "timeout": 0.4}
JUNK = b"data: {not json\n\n"


def said(text: str, sender: str = "user") -> Message:
    return Message(
        message_id="m", session_id="s", seq=1, revision=1, sender_type=sender, sender_id="1",  # type: ignore[arg-type]
        message_type="text", content=text, metadata={}, status="complete", created_at="", is_edited=False,
    )  # fmt: skip


def request(text: str, *history: Message, **config: Any) -> Request:
    config = {"base_url": "http://127.0.0.1:9/v1", "model": "small", **QUICK, **config}
    return Request("s", said(text), history, AgentRecord(2, "A", None, "openai", config))


async def collect(kind: OpenAI, asked: Request) -> tuple[str, int | None]:
    text, usage = "", None
    async for part in kind.answer(asked):
        if isinstance(part, Usage):
            usage = part.total_tokens
        elif isinstance(part, str):
            text += part
    return text, usage


async def test_an_answer_with_its_usage(kind: OpenAI) -> None:
    async with upstream(answer("Hel", "lo ", "世界", tokens=12)) as served:
        history = [said("before"), said("indeed", "agent")]
        asked = request(
            "hi", *history, base_url=served.url, api_key_env="TEST_API_KEY", system_prompt="Be kind",
            temperature=0.5, max_tokens=9,
        )  # fmt: skip
        assert await collect(kind, asked) == ("Hello 世界", 12)
    assert served.keys == ["bearer sk-1"]
    sent = served.asked[0]
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [
        ("system", "Be kind"),
        ("user", "before"),
        ("assistant", "indeed"),
        ("user", "hi"),
    ]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("small", 0.5, 9)


def test_the_budget_leaves_the_newest() -> None:
    history = [said(f"{n}" + "x" * 399) for n in range(10)]
    asked = request("now", *history, context_tokens=340, system_prompt="p")
    told = conversation(asked, checked(asked.agent.config))
    # 104 tokens each: three fit beside the prompt and the message.
    assert [m["content"][0] for m in told.messages] == ["p", "7", "8", "9", "n"]


FAULTS: dict[str, tuple[list[Plan], str, str, int]] = {
    # plans, text that came, code, requests made
    "401": ([refusal(401)], "", "UPSTREAM_UNAUTHORIZED", 1),
    "404": ([refusal(404)], "", "UPSTREAM_ERROR", 1),
    "429": ([refusal(429)], "", "UPSTREAM_RATE_LIMIT", 3),
    "500": ([refusal(500)], "", "UPSTREAM_ERROR", 3),
    "breaks before anything": ([lines(ends=False)], "", "UPSTREAM_ERROR", 3),
    "breaks in the middle": ([lines(piece("half"), ends=False)], "half", "UPSTREAM_ERROR", 1),
    "ends in the middle": ([lines(piece("half"))], "half", "UPSTREAM_ERROR", 1),
    "done in the middle": ([lines(piece("half"), DONE)], "half", "UPSTREAM_ERROR", 1),
    "not JSON": ([lines(piece("ok"), JUNK)], "ok", "UPSTREAM_ERROR", 1),
    "not an object": ([lines(piece("ok"), b"data: [1]\n\n")], "ok", "UPSTREAM_ERROR", 1),
    "odd choices": ([lines(piece("ok"), b'data: {"choices": 5}\n\n')], "ok", "UPSTREAM_ERROR", 1),
    "odd content": (
        [lines(b'data: {"choices": [{"index": 0, "delta": {"content": {"a": 1}}}]}\n\n')],
        "",
        "UPSTREAM_ERROR",
        1,
    ),
    "an error event": ([lines(piece("ok"), b'data: {"error": {"message": "sk-secret"}}\n\n')], "ok",
                       "UPSTREAM_ERROR", 1),
    "silent from the start": ([silence()], "", "UPSTREAM_TIMEOUT", 3),
    "silent after the head": ([silence(piece(""))], "", "UPSTREAM_TIMEOUT", 3),
    "silent in the middle": ([silence(piece("half"))], "half", "UPSTREAM_TIMEOUT", 1),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_has_its_code(kind: OpenAI, fault: str) -> None:
    plans, text, code, requests = FAULTS[fault]
    async with upstream(*plans) as served:
        asked = request("hi", base_url=served.url)
        came = ""
        with pytest.raises(AnswerFailed) as failure:
            async for part in kind.answer(asked):
                came += part if isinstance(part, str) else ""
        assert (came, failure.value.code, len(served.asked)) == (text, code, requests)
        assert "sk-" not in str(failure.value), "an upstream's words may hold parts of the key"


async def test_a_try_that_succeeds(kind: OpenAI) -> None:
    async with upstream(refusal(429, "Retry-After: 0.02"), refusal(503), answer("at last")) as served:
        assert await collect(kind, request("hi", base_url=served.url)) == ("at last", 7)
        assert len(served.asked) == 3


async def test_one_that_thinks_is_waited_for(kind: OpenAI) -> None:
    """Events without text are signs of life; together they take longer than the first token may."""

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await lines(piece(), ends=False)(writer)
        for _ in range(4):
            await asyncio.sleep(0.15)
            writer.write(framed(piece()))
        for line in (piece("thought"), piece(finish="stop"), DONE):
            writer.write(framed(line))
        writer.write(b"0\r\n\r\n")

    async with upstream(slowly) as served:
        text, _ = await collect(kind, request("hi", base_url=served.url, **QUICK))
        assert text == "thought"


async def test_no_upstream_at_all(kind: OpenAI) -> None:
    with pytest.raises(AnswerFailed) as failure:
        await collect(kind, request("hi"))
    assert failure.value.code == "UPSTREAM_ERROR"


@pytest.mark.parametrize(
    "config",
    [{"api_key_env": "MISSING_API_KEY"}, {"api_key_env": "JWT_SECRET_KEY"}, {"model": ""}, {"surprise": 1}],
    ids=["key not set", "not a key for upstreams", "no model", "unknown field"],
)
async def test_a_config_that_cannot_work(kind: OpenAI, config: dict[str, Any]) -> None:
    with pytest.raises(AnswerFailed) as failure:
        await collect(kind, request("hi", **config))
    assert failure.value.code == "AGENT_UNAVAILABLE"


async def test_giving_up_closes_the_request(kind: OpenAI) -> None:
    async with upstream(silence(piece("a"))) as served:
        asked = request("hi", base_url=served.url, timeout=30)
        async with aclosing(kind.answer(asked)) as parts:  # type: ignore[type-var]
            assert "a" in [await anext(parts) for _ in range(3)]
            assert served.open == 1
        await served.until(0)


# Through the server.


@pytest.fixture(scope="module")
def node(shared_server: Server) -> Server:
    return shared_server


async def openai_session(node: Server, served: Upstream, **config: Any) -> str:
    body = {"base_url": served.url, "model": "small", **config}
    async with node.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Small", "kind": "openai", "config": body})
        assert made.status_code == 201, made.text
    return await new_session(node, agent_id=made.json()["id"])


async def test_the_room_sees_the_answer(node: Server) -> None:
    async with upstream(answer("good ", "day", tokens=31)) as served:
        session_id = await openai_session(node, served)
        async with enter("websocket", node, "alice", session_id) as alice:
            await alice.message("hello")
            end = await alice.wait_event("stream_end")
            assert (end["status"], end["tokens_used"]) == ("complete", 31)
            assert "".join(c["content"] for c in alice.named("stream_chunk")) == "good day"
            # A second turn carries the first.
            await alice.message("again")
            await alice.wait_event("stream_end", lambda e: e["message_id"] != end["message_id"])
    roles = [(m["role"], m["content"]) for m in served.asked[1]["messages"]]
    assert roles == [("user", "hello"), ("assistant", "good day"), ("user", "again")]


async def test_the_room_sees_the_failure(node: Server) -> None:
    async with upstream(lines(piece("half of"), ends=False)) as served:
        session_id = await openai_session(node, served)
        async with enter("socketio", node, "alice", session_id) as alice:
            await alice.message("hello")
            end = await alice.wait_event("stream_end")
            assert (end["status"], end["error"]["code"]) == ("failed", "UPSTREAM_ERROR")
            answers = [m for m in await alice.history() if m["message_type"] == "stream"]
            assert [(m["content"], m["status"]) for m in answers] == [("half of", "failed")]


async def test_stop_reaches_the_upstream(node: Server) -> None:
    async with upstream(silence(piece("I was just"))) as served:
        session_id = await openai_session(node, served)
        async with enter("socketio", node, "alice", session_id) as alice:
            await alice.message("hello")
            chunk = await alice.wait_event("stream_chunk")
            reply = await alice.call("stream_cancel", message_id=chunk["message_id"])
            assert reply["status"] == "cancelled"
            await served.until(0)
            assert (await alice.wait_event("stream_end"))["status"] == "cancelled"


async def test_a_key_is_never_taken(node: Server) -> None:
    async with node.api("backend", "service") as api:
        for config in ({"api_key": "sk-1"}, {"api_key_env": "SECRET_KEY"}, {}):
            body = {
                "name": "x",
                "kind": "openai",
                "config": {"base_url": "http://x/v1", "model": "m", **config},
            }
            if not config:
                body["config"] = {}
            answered = await api.post("/api/chat/agents", json=body)
            assert answered.status_code == 422, answered.text


def listed(*names: str) -> Plan:
    return whole(json.dumps({"object": "list", "data": [{"id": name, "owned_by": "us"} for name in names]}))


async def test_without_a_model_the_first_that_the_server_lists_is_asked(kind: OpenAI) -> None:
    async with upstream(
        listed("nomic-embed-text", "llama3", "qwen3"), answer("One"), answer("Two")
    ) as served:
        asked = request("hi", base_url=served.url, model=None)
        assert (await collect(kind, asked))[0] == "One"
        assert (await collect(kind, asked))[0] == "Two"
        assert served.paths == ["/v1/models", *["/v1/chat/completions"] * 2]
        assert [each.get("model") for each in served.asked] == [None, "llama3", "llama3"]


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (listed(), "AGENT_UNAVAILABLE"),
        (whole("[]"), "AGENT_UNAVAILABLE"),
        (whole('{"data": [{"id": ""}]}'), "AGENT_UNAVAILABLE"),
        (whole(" " * (MOST_BYTES + 1)), "UPSTREAM_ERROR"),
        (refusal(401), "UPSTREAM_UNAUTHORIZED"),
        (refusal(404), "UPSTREAM_ERROR"),
    ],
)
async def test_a_server_that_lists_no_model_fails_the_answer(kind: OpenAI, plan: Plan, code: str) -> None:
    async with upstream(plan) as served:
        with pytest.raises(AnswerFailed) as failure:
            await collect(kind, request("hi", base_url=served.url, model=None))
        assert failure.value.code == code
        assert served.paths == ["/v1/models"]


async def test_one_variable_is_enough(sqlite_url: str, new_server: Any) -> None:
    async with upstream(listed("small-1"), answer("from one variable")) as served:
        node = new_server(sqlite_url, OPENAI_BASE_URL=served.url)
        async with node.api() as api:
            agents = (await api.get("/api/chat/agents")).json()["agents"]
            assert [(a["id"], a["name"]) for a in agents] == [(1, "Echo"), (2, "Assistant")]
            ask = {"agent_id": 2, "content": "hello", "stream": False}
            said = (await api.post("/api/chat", json=ask)).json()["message"]
        assert (said["status"], said["content"]) == ("complete", "from one variable")
    assert [each.get("model") for each in served.asked] == [None, "small-1"]


async def test_the_environment_makes_agent_2(sqlite_url: str, new_server: Any) -> None:
    async with upstream(answer("from the environment")) as served:
        node = new_server(
            sqlite_url, OPENAI_BASE_URL=served.url, OPENAI_MODEL="small-2", OPENAI_API_KEY="sk-env"
        )
        async with node.api() as api:
            agents = (await api.get("/api/chat/agents")).json()["agents"]
            assert [(a["id"], a["name"]) for a in agents] == [(1, "Echo"), (2, "small-2")]
        session_id = await new_session(node, agent_id=2)
        async with enter("rest", node, "alice", session_id) as alice:
            await alice.message("hello")
            await alice.wait_event("stream_end", lambda e: e["status"] == "complete")
    assert served.keys == ["bearer sk-env"]
