"""The AI SDK 7's own WebSocket transport, unmodified, at `/ws/ai`."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.doors.test_openai import history, working
from tests.support.aisdk import AISdk, texts
from tests.support.server import Server
from tests.turns.waits import ask_approval, go_on

Given = dict[str, Any]


async def test_chats_over_one_socket(either: Server, pages: AISdk) -> None:
    chat = await pages.chat(either, 7, f"socket-{either.port}", socket=True)
    for number, text in enumerate(("one", "two", "/parts")):
        shown = await chat.send(text)
        assert (shown["status"], shown.get("error")) == ("ready", None)
        assert len(shown["messages"]) == 2 * number + 2
    stored = await history(either, chat.id)
    answers = [message for message in shown["messages"] if message["role"] == "assistant"]
    assert [texts(answer) for answer in answers] == [m["content"] for m in stored[1::2]]
    assert [answer["id"] for answer in answers] == [m["message_id"] for m in stored[1::2]]
    await chat.close()


async def test_resume_and_a_stop_that_is_one(parley: Server, pages: AISdk) -> None:
    """A page resumes twice where React mounts it twice: that stops nothing, and a person's stop does."""
    async with working(parley) as (worker, model):
        body = {"agent_id": int(model), "tools": {"pick": {"parameters": {"type": "object"}}}}
        chat = await pages.chat(parley, 7, f"stop-{model}", socket=True, body=body)
        await chat.send("go", apart=True)
        request = await worker.request()
        assert [tool["name"] for tool in request["tools"]] == ["pick"]
        message_id = await worker.write(request, "One. ", end=False)
        await chat.until("text === 'One. '")
        tab = await pages.chat(parley, 7, chat.id, socket=True)
        for _ in range(2):
            await tab.act("resumeStream", apart=True)
            await tab.until("chat.status === 'streaming' && text === 'One. '")
        where = {"session_id": chat.id, "message_id": message_id}
        await worker.call("stream_chunk", **where, index=1, content="Two. ")
        for page in (chat, tab):
            shown = await page.until("text === 'One. Two. '")
            assert [m["id"] for m in shown["messages"] if m["role"] == "assistant"] == [message_id]
        await tab.act("stop")
        assert await worker.cancelled.get() == message_id
        await chat.until("chat.status === 'ready'")
        assert (await history(parley, chat.id))[-1]["status"] == "cancelled"
        none = await tab.act("resumeStream")
        assert (none["status"], none.get("error")) == ("ready", None)
        for page in (chat, tab):
            await page.close()


async def test_a_lost_socket_stops_nothing(parley: Server, pages: AISdk) -> None:
    async with working(parley) as (worker, model):
        chat = await pages.chat(parley, 7, f"lost-{model}", socket=True, body={"agent_id": int(model)})
        await chat.send("go", apart=True)
        message_id = await worker.write(await worker.request(), "One. ", end=False)
        await chat.until("text === 'One. '")
        await chat.close()
        await chat.until("chat.status === 'error'")
        again = await pages.chat(parley, 7, chat.id, socket=True)
        await again.act("resumeStream", apart=True)
        await again.until("text === 'One. '")
        where = {"session_id": chat.id, "message_id": message_id}
        await worker.call("stream_end", **where)
        await again.until("chat.status === 'ready'")
        await again.close()


async def test_approval_busy_and_errors(parley: Server, pages: AISdk) -> None:
    async with working(parley) as (worker, model):
        body = {"agent_id": int(model)}
        chat = await pages.chat(parley, 7, f"pay-{model}", socket=True, body=body, automatic=True)
        await chat.send("go", apart=True)
        request = await worker.request()
        message_id = await worker.write(request, "I pay. ", end=False)
        tab = await pages.chat(parley, 7, chat.id, socket=True)
        await tab.send("and then?", apart=True)
        await ask_approval(worker, chat.id, message_id)
        shown = await chat.until("chat.status === 'ready'")
        approval = shown["messages"][-1]["parts"][-1]["approval"]["id"]
        await chat.act("addToolApprovalResponse", {"id": approval, "approved": True}, apart=True)
        await go_on(worker, await worker.request(), "Done.")
        await chat.until("chat.status === 'ready' && text === 'I pay. Done.'")
        await worker.write(await worker.request(), "Nothing.")
        await tab.until("chat.status === 'ready' && text === 'Nothing.'")
        theirs = await pages.chat(parley, 7, chat.id, "mallory", socket=True)
        assert "SESSION_NOT_FOUND" in (await theirs.send("hello"))["error"]
        for page in (chat, tab, theirs):
            await page.close()


@pytest.mark.parametrize(
    "said",
    [
        "no JSON",
        json.dumps({"type": "other", "requestId": "1"}),
        json.dumps({"type": "send", "id": "x"}),
        json.dumps({"type": "resume", "requestId": "1"}),
        b"binary",
        json.dumps({"type": "send", "requestId": "1", "id": "many", "messages": [1] * 2001}),
        json.dumps({"type": "send", "requestId": "1", "id": "many", "messages": [[1] * 200_000]}),
    ],
    ids=range(7),
)
async def test_what_is_no_request_ends_the_socket(parley: Server, said: str | bytes) -> None:
    url = f"{parley.ws_url}/ws/ai?token={parley.token('erin')}"
    async with connect(url, proxy=None) as socket:
        await socket.send(json.dumps({"type": "abort", "requestId": "never seen"}))
        await socket.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_what_a_page_adds_to_a_request_is_checked(parley: Server) -> None:
    url = f"{parley.ws_url}/ws/ai?token={parley.token('erin')}"
    async with connect(url, proxy=None) as socket:
        for number, body in enumerate(("text", [], {"agent_id": "first"})):
            asked = {"type": "send", "requestId": f"{number}", "id": "added", "messages": [{}], "body": body}
            await socket.send(json.dumps(asked))
            told = json.loads(await socket.recv())
            assert told["requestId"] == f"{number}"
            assert told["errorText"].startswith("VALIDATION_ERROR")


async def test_who_gives_up_what_was_never_asked_waits(parley: Server) -> None:
    """No bucket counts it, and a long one is as dear as a hundred."""
    time = asyncio.get_running_loop().time
    url = f"{parley.ws_url}/ws/ai?token={parley.token('erin')}"
    async with connect(url, proxy=None) as socket:
        await socket.send(json.dumps({"type": "abort", "requestId": "0", "messages": ["x" * 104 * 16384]}))
        began = time()
        await socket.send(json.dumps({"type": "resume", "requestId": "1", "id": "never"}))
        assert json.loads(await socket.recv()) == {"type": "no-active", "requestId": "1"}
        assert time() - began >= 0.3


async def test_who_has_no_token_is_closed(parley: Server) -> None:
    async with connect(f"{parley.ws_url}/ws/ai?token=nonsense", proxy=None) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "UNAUTHORIZED")


def asking(chat_id: str, model: str, text: str = "go") -> str:
    message = {"id": f"m-{chat_id}", "role": "user", "parts": [{"type": "text", "text": text}]}
    body = {"agent_id": int(model)}
    return json.dumps({"type": "send", "requestId": "1", "id": chat_id, "messages": [message], "body": body})


async def chunk_of(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next of this type."""
    while (told := json.loads(await socket.recv())).get("chunk", told)["type"] != kind:
        pass
    chunk: dict[str, Any] = told.get("chunk", told)
    return chunk


async def test_who_does_not_read_is_given_up_and_nobody_waits(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """What waits for a reader of an answer is bounded; his socket stays, and has all of it again."""
    node = new_server(sqlite_url, OUTBOX_LIMIT="65536", STREAM_MAX_SIZE=str(32 << 20))
    url = f"{node.ws_url}/ws/ai?token={node.token('erin')}"
    async with working(node) as (worker, model), connect(url, proxy=None, max_size=None) as socket:
        await socket.send(asking("slow", model))
        message_id = await worker.write(await worker.request(), "begun ", end=False)
        assert (await chunk_of(socket, "text-delta"))["delta"] == "begun "
        socket.transport.pause_reading()
        where = {"session_id": "slow", "message_id": message_id}
        page = {"type": "data", "id": "page", "name": "page", "data": "x" * 50_000, "transient": True}
        for _ in range(130):
            assert (await worker.call("stream_part", **where, part=page))["ok"]
        socket.transport.resume_reading()
        assert (await chunk_of(socket, "error"))["errorText"].startswith("SLOW_CONSUMER")
        await chunk_of(socket, "end")
        await socket.send(json.dumps({"type": "resume", "requestId": "2", "id": "slow"}))
        assert (await chunk_of(socket, "text-delta"))["delta"] == "begun "
        await worker.call("stream_end", **where)
        await chunk_of(socket, "finish")


async def test_a_socket_outlives_no_token(parley: Server) -> None:
    """The answer that it reads goes on."""
    async with working(parley) as (worker, model):
        url = f"{parley.ws_url}/ws/ai?token={parley.token(ttl=2)}"
        async with connect(url, proxy=None) as socket:
            await socket.send(asking(f"late-{model}", model))
            message_id = await worker.write(await worker.request(), "One. ", end=False)
            assert (await chunk_of(socket, "text-delta"))["delta"] == "One. "
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "TOKEN_EXPIRED")
        where = {"session_id": f"late-{model}", "message_id": message_id}
        assert (await worker.call("stream_chunk", **where, index=1, content="Two."))["ok"]
        assert (await worker.call("stream_end", **where))["ok"]
        assert (await history(parley, f"late-{model}"))[-1]["content"] == "One. Two."
