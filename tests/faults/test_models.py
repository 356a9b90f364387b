"""Sessions with real model servers: llama.cpp's own with a tiny model of random weights, LiteLLM's proxy
before a scripted upstream. scripts/fetch_models installs them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents.shapes.errors import ERRORS
from tests.agents.upstream import DONE, Plan, Upstream, answer, lines, piece, refusal
from tests.faults.models.servers import KEY, PROGRAMS, serving
from tests.files.pictures import png
from tests.support.doors import Door, enter, new_session
from tests.support.processes import free_port
from tests.support.server import Server

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

HERE = Path(__file__).parent / "models"
WINDOW = 512

Row = Callable[[str], None]


@pytest.fixture
def llamacpp(tmp_path: Path) -> Iterator[str]:
    place = f"http://127.0.0.1:{(port := free_port())}"
    program = [str(PROGRAMS / "python"), str(HERE / "serve_tiny.py")]
    arguments = [str(tmp_path / "tiny.gguf"), str(port), str(WINDOW)]
    with serving(f"{place}/health", tmp_path / "llamacpp.log", *program, *arguments):
        yield f"{place}/v1"


async def session(node: Server, url: str, **config: Any) -> str:
    body = {"base_url": url, "model": "tiny", **config}
    async with node.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Tiny", "kind": "openai", "config": body})
        assert made.status_code == 201, made.text
    return await new_session(node, members=("bob",), agent_id=made.json()["id"])


async def ask(door: Door, text: str) -> dict[str, Any]:
    asked = await door.message(text)
    start = await door.wait_event("stream_start", lambda e: e["reply_to"] == asked["message_id"])
    return await door.wait_event("stream_end", lambda e: e["message_id"] == start["message_id"])


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_session_with_llamacpp_goes_on(server: Server, llamacpp: str, api: str, row: Row) -> None:
    """Past its window, after a question that is too long, with two people, in a template that wants turns; a
    picture is a question, too, for a model that sees none."""
    config = {"max_tokens": 30, "system_prompt": "Be brief", "extra_body": {"ignore_eos": True}, "api": api}
    session_id = await session(server, llamacpp, **config)
    async with enter("socketio", server, "alice", session_id) as alice:
        for number in range(15):
            told = await ask(alice, f"question {number} " + "word " * 10)
            # As a response it says `completed` where its window cut the answer.
            full = api == "responses" and told["usage"]["output_tokens"] < 30
            assert not full or told["usage"]["total_tokens"] == WINDOW
            assert (told["status"], told["finish_reason"]) == ("complete", "stop" if full else "length"), told
            assert told["usage"]["output_tokens"] <= 30
            assert told["usage"]["total_tokens"] <= WINDOW
        told = await ask(alice, "long " * WINDOW)
        assert (told["status"], told["error"]["code"]) == ("failed", "UPSTREAM_CONTEXT")
        async with enter("socketio", server, "bob", session_id) as bob:
            assert (await ask(bob, "and I?"))["status"] == "complete"
        assert (await ask(alice, "and now?"))["status"] == "complete"
        async with server.api("alice") as files:
            path = f"/api/chat/sessions/{session_id}/files"
            told = (await files.post(path, files={"file": ("a.png", png())}, data={"message": "a?"})).json()
        start = await alice.wait_event("stream_start", lambda e: e["reply_to"] == told["message_id"])
        end = await alice.wait_event("stream_end", lambda e: e["message_id"] == start["message_id"])
        assert end["status"] == "complete", end
    row(f"{api}: 18 answers in a window of 512 tokens, one question too long for it, one picture")


async def test_what_litellm_passes_on(
    sqlite_url: str, new_server: Any, scripted: Upstream, litellm: str, row: Row
) -> None:
    place = litellm.removeprefix("http://").removesuffix("/v1")
    hosts = f"{place}=LITELLM_API_KEY"
    server: Server = new_server(sqlite_url, UPSTREAM_HOSTS=hosts, LITELLM_API_KEY=KEY)
    bodies = {shape.shows: shape.body for shape in ERRORS if shape.server == "OpenAI"}
    plans: dict[str, tuple[Plan, str, str | None, str]] = {
        "text": (answer("hello", tokens=7), "complete", None, "stop"),
        "cut": (lines(piece("half"), piece(finish="length"), DONE), "complete", None, "length"),
        "empty": (lines(piece(finish="stop"), DONE), "failed", "UPSTREAM_EMPTY", "stop"),
        "key": (refusal(401), "failed", "UPSTREAM_UNAUTHORIZED", "error"),
        "rate": (refusal(429), "failed", "UPSTREAM_RATE_LIMIT", "error"),
        "quota": (refusal(429, body=bodies["quota"]), "failed", "UPSTREAM_QUOTA", "error"),
        "long": (refusal(400, body=bodies["too long"]), "failed", "UPSTREAM_CONTEXT", "error"),
        # It takes the break for an end: see docs/agents.md.
        "broken": (lines(piece("half")), "complete", None, "stop"),
    }
    for name, (plan, status, code, reason) in plans.items():
        scripted.plans = [plan]
        session_id = await session(server, litellm, api_key_env="LITELLM_API_KEY")
        async with enter("websocket", server, "alice", session_id) as alice:
            told = await ask(alice, name)
            seen = (told["status"], (told.get("error") or {}).get("code"), told["finish_reason"])
            assert seen == (status, code, reason), f"{name}: {told}"
    row(f"{len(plans)} ways to answer or to refuse")


async def test_responses_that_litellm_makes(
    sqlite_url: str, new_server: Any, scripted: Upstream, litellm: str, row: Row
) -> None:
    """Behind them a broken answer is one: see docs/agents.md."""
    place = litellm.removeprefix("http://").removesuffix("/v1")
    hosts = f"{place}=LITELLM_API_KEY"
    server: Server = new_server(sqlite_url, UPSTREAM_HOSTS=hosts, LITELLM_API_KEY=KEY)
    plans: dict[str, tuple[Plan, str, str | None, str]] = {
        "text": (answer("hello", tokens=7), "complete", None, "stop"),
        "cut": (lines(piece("half"), piece(finish="length"), DONE), "complete", None, "length"),
        "rate": (refusal(429), "failed", "UPSTREAM_RATE_LIMIT", "error"),
        "broken": (lines(piece("half"), ends=False), "failed", "UPSTREAM_ERROR", "error"),
    }
    config = {"api_key_env": "LITELLM_API_KEY", "api": "responses", "model": "bridged"}
    for name, (plan, status, code, reason) in plans.items():
        scripted.plans = [plan]
        session_id = await session(server, litellm, **config)
        async with enter("websocket", server, "alice", session_id) as alice:
            told = await ask(alice, name)
            seen = (told["status"], (told.get("error") or {}).get("code"), told["finish_reason"])
            assert seen == (status, code, reason), f"{name}: {told}"
    row(f"{len(plans)} ways, as responses")
