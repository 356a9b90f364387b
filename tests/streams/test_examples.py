"""The examples do what they say, run as their users run them."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.doors import enter, new_session
from tests.support.folder import serving
from tests.support.proxy import Proxy
from tests.support.server import ROOT, Server
from tests.support.services import program

EXAMPLES = ROOT / "examples"
JS = ROOT / "tests" / "js"
PYTHON = ROOT / "clients" / "python"
CLIENT = JS / "node_modules" / "socket.io-client" / "dist" / "socket.io.esm.min.js"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """The folder as `python -m http.server` serves it, with the client beside it."""
    folder = shutil.copytree(EXAMPLES / "page", tmp_path / "page")
    shutil.copyfile(CLIENT, folder / CLIENT.name)
    with serving(folder) as address:
        yield address


@pytest.mark.browser
async def test_the_page_survives_a_refresh_in_mid_answer(
    sqlite_url: str, new_server: Callable[..., Server], page: str, tmp_path: Path
) -> None:
    server = new_server(sqlite_url, DEBUG="true", CORS_ORIGINS=json.dumps([page]), STREAM_DELAY_MS="40")
    process = await asyncio.create_subprocess_exec(
        program("node"), str(JS / "example_page.mjs"),
        str(JS), f"{page}/?server={server.url}", str(tmp_path / "profile"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(), 45)
    assert process.returncode == 0, errors.decode()
    seen = json.loads(output)
    assert seen["errors"] == []
    assert seen["status_after_reload"] == "streaming"
    assert 0 < seen["length_after_reload"] < len(seen["question"])
    assert seen["answer"] == seen["question"]
    assert seen["bubbles"] == 2
    assert 0 < len(seen["stopped"]) < len(seen["question"])
    assert seen["question"].startswith(seen["stopped"])
    assert seen["stopped_after_reload"] == seen["stopped"]
    assert seen["stop_is_hidden"]


@asynccontextmanager
async def worker(server: Server, agent_id: int, *command: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command, server.url,
        env={**os.environ, "PYTHONPATH": str(PYTHON), "AGENT_TOKEN": server.token(str(agent_id), "agent")},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 15) == b"waiting for requests\n"
        yield
    finally:
        process.kill()
        await process.wait()


async def test_a_worker_that_asks_first(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """It, the server and the page start anew while it waits."""
    server = new_server(sqlite_url)
    async with server.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Mine", "kind": "remote"})
    agent_id = made.json()["id"]
    session_id = await new_session(server, agent_id=agent_id)
    command = [sys.executable, str(EXAMPLES / "worker-approval" / "worker.py")]
    waits: dict[str, dict[str, Any]] = {}
    async with worker(server, agent_id, *command), enter("websocket", server, "alice", session_id) as alice:
        for asked in ("yes", "no"):
            mark = alice.mark()
            await alice.message(asked, when_busy="parallel")
            waits[asked] = await alice.wait_event("stream_end", since=mark)
            assert waits[asked]["status"] == "waiting"
    server.kill9()
    await server.start_async()
    async with worker(server, agent_id, *command), enter("websocket", server, "alice", session_id) as alice:
        for asked, told in (("yes", "Paid: receipt call-"), ("no", "Nothing was paid.")):
            mark, payload = alice.mark(), {"approved": asked == "yes"}
            where = {"message_id": waits[asked]["message_id"], "interrupt_id": "pay"}
            assert (await alice.call("answer", **where, status="resolved", payload=payload))["ok"]
            end = await alice.wait_event("stream_end", since=mark)
            assert end["message_id"] == where["message_id"]
            assert end["content"].startswith(f"I can pay that. {told}"), end


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_a_worker(node: Server, language: str, tmp_path: Path) -> None:
    async with node.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Mine", "kind": "remote"})
    agent_id = made.json()["id"]
    session_id = await new_session(node, agent_id=agent_id)
    if language == "python":
        command = [sys.executable, str(EXAMPLES / "worker-python" / "worker.py")]
    else:
        shutil.copyfile(EXAMPLES / "worker-javascript" / "worker.mjs", tmp_path / "worker.mjs")
        (tmp_path / "node_modules").symlink_to(JS / "node_modules")
        command = [program("node"), str(tmp_path / "worker.mjs")]
    async with worker(node, agent_id, *command), enter("websocket", node, "alice", session_id) as alice:
        for number, question in enumerate(("hello", "once more")):
            mark = alice.mark()
            sent = await alice.message(question)
            end = await alice.wait_event("stream_end", since=mark)
            assert end["status"] == "complete", end
            answer = next(m for m in await alice.history() if m["message_id"] == end["message_id"])
            assert answer["content"].startswith(f"You said “{question}”, and {2 * number} messages")
            assert answer["reply_to"] == sent["message_id"]
            thought, tool, text, source = answer["parts"]
            assert (thought["type"], thought["text"][:8]) == ("reasoning", "They may")
            assert (tool["type"], tool["state"], tool["output"]) == ("tool", "output_available", 2 * number)
            assert (text["type"], text["text"]) == ("text", answer["content"])
            assert (source["type"], source["title"]) == ("source", "How to count")
        mark = alice.mark()
        await alice.message("a question " * 20)
        chunk = await alice.wait_event("stream_chunk", since=mark)
        assert (await alice.call("stream_cancel", message_id=chunk["message_id"]))["status"] == "cancelled"
        # It has heard of it, and takes the next one.
        mark = alice.mark()
        await alice.message("and now?")
        assert (await alice.wait_event("stream_end", since=mark))["status"] == "complete"


async def test_openai(node: Server) -> None:
    """Two questions in one session."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "openai-python" / "chat.py"), node.url,
        env={**os.environ, "PARLEY_TOKEN": node.token()},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(b"hello\n\nand once more\n"), 30)
    first, second, last = output.decode().splitlines()
    assert (first, second) == ("hello", "and once more")
    async with node.api() as api:
        session_id = last.removeprefix("session ")
        page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()["messages"]
    assert [message["content"] for message in page] == ["hello", "hello", "and once more", "and once more"]


async def test_openai_in_the_background(node: Server) -> None:
    """Its connection breaks in mid-answer: nothing is missing, nothing comes twice."""
    question = "".join(f"{number}, " for number in range(100))
    async with Proxy(node.port) as proxy:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(EXAMPLES / "openai-python" / "background.py"), proxy.url, question,
            env={**os.environ, "PARLEY_TOKEN": node.token()}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert b"is being answered" in await process.stdout.readline()
            begun = await process.stdout.readuntil(b"9, ")
            proxy.cut()
            rest = await process.stdout.read()
            assert await process.wait() == 0
    assert (begun + rest).decode() == f"{question}\n[completed]\n"
    assert proxy.accepted >= 2
