"""The dearest input of every REST call (`server.bounds.CALLS`), and of every door (`server.bounds.DOORS`).

Each is what prepares it, a `yield`, and the call itself; what comes after another `yield` only clears up.
Adding a call: an entry here.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from websockets.asyncio.client import connect as connect_socket

from bench.turns import texts, webhooks
from bench.turns.crowd import Listener, gathered, listen, tour
from bench.turns.world import BUNDLE, SETTINGS, World
from events.agents.replies import HISTORY_MESSAGES
from migrations.run import upgrade
from server.bounds import Call
from tests.agents.worker import Worker
from tests.files.pictures import jpeg
from tests.people.conftest import CLIENT
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.services import Redis
from tests.support.sioclient import SioPolling, SioWebSocket
from tests.support.sseclient import SseClient
from tests.support.web import web_client

S = "/api/chat/sessions/{session_id}"
Run = Callable[[World], AsyncIterator[None]]


@dataclass(frozen=True)
class Dear:
    """`told` in the table of docs/security.md. `lingers` as of `bench.turns.commands.Input`."""

    told: str
    run: Run
    lingers: float = 0.0


def ok(answer: httpx.Response) -> httpx.Response:
    answer.raise_for_status()
    return answer


def get(path: str, sub: str = "owner", role: str | None = None) -> Run:
    async def run(world: World) -> AsyncIterator[None]:
        client = world.api(sub, role)
        yield
        ok(await client.get(path))

    return run


HALL = f"/api/chat/sessions/{World.hall}"


# --- sessions


async def create(world: World) -> AsyncIterator[None]:
    body = {"title": "t" * 200, "metadata": texts.wide()}
    yield
    ok(await world.api().post("/api/chat/sessions", json=body))


async def patch(world: World) -> AsyncIterator[None]:
    body = {"title": "t" * 200, "metadata": texts.wide()}
    yield
    ok(await world.api().patch(HALL, json=body))


async def purge(world: World) -> AsyncIterator[None]:
    session = await world.session(metadata=texts.wide())
    for _ in range(5):
        await world.message(session, metadata=texts.wide())
    yield
    ok(await world.api().delete(f"/api/chat/sessions/{session}", params={"purge": "true"}))


async def archive(world: World) -> AsyncIterator[None]:
    """With thousands of members, whose memberships end."""
    session = await world.session()
    ok(await world.api().put(f"/api/chat/sessions/{session}/participants/many", json={"role": "member"}))
    token = world.server.token("many")
    members = await gathered(world.server.port, [(f"/ws/{session}", token)] * world.size.leaving)
    yield
    ok(await world.api().delete(f"/api/chat/sessions/{session}"))
    await ended(members)


async def ended(listeners: Sequence[Listener]) -> None:
    async with asyncio.timeout(30):
        await asyncio.gather(*(each.ended.wait() for each in listeners))


async def extend(world: World) -> AsyncIterator[None]:
    yield
    ok(await world.api().post(f"{HALL}/extend", json={"unknown": texts.wide()}))


async def put_participant(world: World) -> AsyncIterator[None]:
    body = {"role": "member", "unknown": texts.wide()}
    yield
    ok(await world.api().put(f"{HALL}/participants/{texts.name(1)}", json=body))


async def delete_participant(world: World) -> AsyncIterator[None]:
    path = f"{HALL}/participants/{texts.name(990)}"
    ok(await world.api().put(path, json={"role": "member"}))
    yield
    ok(await world.api().delete(path))


async def events(world: World) -> AsyncIterator[None]:
    token = world.server.token("owner")
    stream = SseClient(f"{world.server.url}{HALL}/events?limit=500", token)
    yield
    await stream.open()
    await stream.wait_event("welcome")
    await stream.close()


# --- messages and answers


def _question(**more: object) -> dict[str, object]:
    return {"content": texts.long_text(10_000), "metadata": {"all": texts.wide()["all"][:18_000]}, **more}


async def _asked(world: World, path: str, body: dict[str, object]) -> None:
    """Up to the answer's beginning; then it is stopped."""
    stream = SseClient(world.server.url + path, world.server.token("owner"), method="POST", body=body)
    await stream.open()
    begun = await stream.wait_event("stream_start")
    ok(await world.api().post(f"/api/chat/streams/{begun['message_id']}/cancel"))
    await stream.close()


async def chat(world: World) -> AsyncIterator[None]:
    body = _question(agent_id=1)
    yield
    await _asked(world, "/api/chat", body)


async def ask(world: World) -> AsyncIterator[None]:
    session, body = await world.session(agent_id=1, metadata=texts.wide()), _question()
    yield
    await _asked(world, f"/api/chat/sessions/{session}/messages/stream", body)


async def ask_with_history(world: World) -> AsyncIterator[None]:
    """Whose agent is told of the conversation so far."""
    session = await world.session(agent_id=1)
    for _ in range(20):
        await world.message(session, content=texts.long_text(1000), metadata=texts.wide())
    yield
    await _asked(world, f"/api/chat/sessions/{session}/messages/stream", {"content": "x"})


def _brought(size: int = 1200) -> list[dict[str, str]]:
    """As many messages as are stored, of all that a body may hold, and a question."""
    before = [{"role": "user", "content": texts.long_text(size)} for _ in range(HISTORY_MESSAGES)]
    return [*before, {"role": "user", "content": "x"}]


def _called() -> list[dict[str, Any]]:
    """Answers of as many calls as a message may have, all of one id, and as many outputs as fit."""
    calls = [{"id": "c", "function": {"name": "f"}}] * 100
    made = [{"role": "assistant", "tool_calls": calls}] * 10
    given = [{"role": "tool", "tool_call_id": "c", "content": ""}] * 480
    return [*made, *given, {"role": "user", "content": "x"}] * 4


def chat_completions(messages: list[dict[str, Any]]) -> Run:
    async def run(world: World) -> AsyncIterator[None]:
        body = {"model": "Echo", "stream": True, "messages": messages}
        yield
        async with world.api().stream("POST", "/v1/chat/completions", json=body) as answer:
            ok(answer)
            async for line in answer.aiter_lines():
                if '"role"' in line:
                    break

    return run


async def responses(world: World) -> AsyncIterator[None]:
    body = {"model": "Echo", "stream": True, "input": _brought()}
    yield
    async with world.api().stream("POST", "/v1/responses", json=body) as answer:
        ok(answer)
        async for line in answer.aiter_lines():
            if "response.in_progress" in line:
                break


def response(path: str) -> Run:
    """An answer with as much text as a message may have."""

    async def run(world: World) -> AsyncIterator[None]:
        response_id = await _responded(world, *[texts.escaped()] * 6)
        client = world.api()
        yield
        ok(await client.get(f"/v1/responses/{response_id}{path}"))

    return run


async def cancel_response(world: World) -> AsyncIterator[None]:
    response_id = await _responded(world, *["x"] * world.size.pieces, end=False)
    yield
    ok(await world.api().post(f"/v1/responses/{response_id}/cancel"))


async def _responded(world: World, *pieces: str, end: bool = True) -> str:
    """A response of the agent's, of these pieces."""
    async with Worker(world.server, int(world.agent)) as worker:
        body = {"model": world.agent, "background": True, "input": _brought()}
        made = ok(await world.api().post("/v1/responses", json=body)).json()
        while (request := await worker.request())["session_id"] != made["conversation"]["id"]:
            pass
        await worker.write(request, *pieces, end=end)
        return str(made["id"])


async def ui_chat(world: World) -> AsyncIterator[None]:
    """All that a page shows comes along, and a long question with a file."""
    session = await world.session(agent_id=1)
    body = {"id": session, "messages": _ui_shown()}
    yield
    await _ui_answer(world, "POST", "/api/ai/chat", session, json=body)


async def ui_socket(world: World) -> AsyncIterator[None]:
    session, body = await world.session(agent_id=1), _ui_shown()
    asked = {"type": "send", "requestId": "r", "id": session, "headers": {}, "body": {}, "messages": body}
    token = world.server.token("owner")
    async with connect_socket(
        f"{world.server.ws_url}/ws/ai?token={token}", max_size=None, proxy=None
    ) as socket:
        text = json.dumps(asked)
        yield
        await socket.send(text)
        while '"text-delta"' not in str(await socket.recv()):
            pass
        ok(await world.api().post(f"/api/ai/chat/{session}/stop"))


async def ui_resume(world: World) -> AsyncIterator[None]:
    session = await world.session(agent_id=1)
    await world.message(session, content=texts.long_text(20_000))
    yield
    await _ui_answer(world, "GET", f"/api/ai/chat/{session}/stream", session)


async def ui_stop(world: World) -> AsyncIterator[None]:
    session = await world.session(agent_id=1)
    await world.message(session, content=texts.long_text(20_000))
    yield
    told = b'{"unknown": [' + b"1.5," * 1_000_000 + b"1]}"
    ok(await world.api().post(f"/api/ai/chat/{session}/stop", content=told))


def _ui_shown() -> list[dict[str, object]]:
    """All that a page shows."""
    shown = [_ui_message(f"m{n}", [_ui_text(1000)]) for n in range(450)]
    file: dict[str, object] = {"type": "file", "url": f"data:text/plain,{'f' * 500_000}", "filename": "f.txt"}
    last = _ui_message("last", [_ui_text(50_000), file], metadata={"all": texts.wide()["all"][:8000]})
    return [*shown, last]


def _ui_text(length: int) -> dict[str, object]:
    return {"type": "text", "text": texts.long_text(length)}


def _ui_message(id: str, parts: list[dict[str, object]], **more: object) -> dict[str, object]:
    return {"id": id, "role": "user", "parts": parts, **more}


async def _ui_answer(world: World, method: str, path: str, session: str, **body: object) -> None:
    """Up to its first word; then it is stopped."""
    async with world.api().stream(method, path, **body) as answer:  # type: ignore[arg-type]
        ok(answer)
        async for line in answer.aiter_lines():
            if '"text-delta"' in line:
                break
    ok(await world.api().post(f"/api/ai/chat/{session}/stop"))


async def agui_run(world: World) -> AsyncIterator[None]:
    """As `ui_chat`, with tools and a context of the page."""
    session = await world.session(agent_id=1)
    shown = [{"id": f"m{n}", "role": "user", "content": texts.long_text(1000)} for n in range(450)]
    source = {"type": "data", "value": base64.b64encode(b"f" * 370_000).decode(), "mimeType": "text/plain"}
    content = [{"type": "text", "text": texts.long_text(40_000)}, {"type": "document", "source": source}]
    tools = [{"name": f"t{n}", "parameters": {"all": texts.wide()["all"][:100]}} for n in range(60)]
    context = [{"description": "all", "value": texts.wide()["all"][:6000]}]
    last = {"id": "last", "role": "user", "content": content}
    body = {"messages": [*shown, last], "tools": tools, "context": context}
    yield
    await _agui_answer(world, "/api/ag-ui/Echo", session, **body)


async def agui_connect(world: World) -> AsyncIterator[None]:
    yield
    await _agui_answer(world, "/api/ag-ui/agent/Echo/connect", World.hall, messages=[])


async def agui_stop(world: World) -> AsyncIterator[None]:
    session = await world.session(agent_id=1)
    await world.message(session, content=texts.long_text(20_000))
    yield
    ok(await world.api().post(f"/api/ag-ui/agent/Echo/stop/{session}", json={"unknown": texts.wide()}))


async def _agui_answer(world: World, path: str, session: str, **body: object) -> None:
    """Up to its first word, or its end; then it is stopped."""
    asked = {"threadId": session, "runId": world.new_id(), **body}
    async with world.api().stream("POST", path, json=asked) as answer:
        ok(answer)
        async for line in answer.aiter_lines():
            if '"TEXT_MESSAGE_CONTENT"' in line:
                break
    ok(await world.api().post(f"/api/ag-ui/agent/Echo/stop/{session}"))


async def cancel(world: World) -> AsyncIterator[None]:
    message_id = await world.stream(World.quiet, world.size.pieces)
    yield
    ok(await world.api().post(f"/api/chat/streams/{message_id}/cancel"))


# --- agents


def _agent() -> dict[str, object]:
    return {"name": "a" * 100, "kind": "remote", "config": texts.wide()}


async def new_agent(world: World) -> AsyncIterator[None]:
    body = _agent()
    yield
    ok(await world.service.post("/api/chat/agents", json=body))


async def change_agent(world: World) -> AsyncIterator[None]:
    made, body = ok(await world.service.post("/api/chat/agents", json=_agent())).json(), _agent()
    yield
    ok(await world.service.patch(f"/api/chat/agents/{made['id']}", json=body))


async def delete_agent(world: World) -> AsyncIterator[None]:
    made = ok(await world.service.post("/api/chat/agents", json=_agent())).json()
    yield
    ok(await world.service.delete(f"/api/chat/agents/{made['id']}"))


# --- files


async def upload(world: World) -> AsyncIterator[None]:
    data = "\r\n--bé".encode() * (2**20 + 2**18 - 1000)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    body = head + data + b"\r\n--b--\r\n"
    yield
    ok(await world.api().post(f"/api/chat/sessions/{World.quiet}/files", content=body, headers=headers))


async def _uploaded(world: World, data: bytes, kind: str) -> str:
    answer = await world.api().post(
        f"/api/chat/sessions/{World.quiet}/files",
        files={"file": ("a", data, kind)},
        data={"post": "false"},
    )
    return str(ok(answer).json()["file_id"])


async def file_url(world: World) -> AsyncIterator[None]:
    file_id = await _uploaded(world, b"x", "text/plain")
    yield
    ok(await world.api().get(f"/api/chat/files/{file_id}/url"))


async def download(world: World) -> AsyncIterator[None]:
    file_id = await _uploaded(world, b"x" * (10 * 2**20 - 1000), "text/plain")
    yield
    ok(await world.api().get(f"/files/{file_id}"))


async def thumbnail(world: World) -> AsyncIterator[None]:
    file_id = await _uploaded(world, jpeg(2000, 2000), "image/jpeg")
    yield
    ok(await world.api().get(f"/files/{file_id}/thumb"))


async def signed(world: World) -> AsyncIterator[None]:
    file_id = await _uploaded(world, b"x" * (10 * 2**20 - 1000), "text/plain")
    url = ok(await world.api().get(f"/api/chat/files/{file_id}/url")).json()["url"]
    yield
    ok(await world.api().get(url))


# --- for services


async def publish(world: World) -> AsyncIterator[None]:
    body = {"session_id": World.hall, "event": "news", "data": {"all": texts.wide()["all"][:2000]}}
    yield
    ok(await world.service.post("/api/server/publish", json=body))


async def publish_to_user(world: World) -> AsyncIterator[None]:
    body = {"user_id": "many", "event": "news", "data": {"x": 1}, "unknown": texts.wide()}
    yield
    ok(await world.service.post("/api/server/publish", json=body))


async def disconnect(world: World) -> AsyncIterator[None]:
    """All connections of one user."""
    token = world.server.token("leaver")
    ok(await world.service.put(f"/api/chat/sessions/{World.quiet}/participants/leaver", json={}))
    leavers = await gathered(world.server.port, [(f"/ws/{World.quiet}", token)] * world.size.leaving)
    yield
    ok(await world.service.post("/api/server/disconnect", json={"user_id": "leaver"}))
    await ended(leavers)


async def erase(world: World) -> AsyncIterator[None]:
    user = world.new_id()
    ok(await world.service.put(f"/api/chat/sessions/{world.quiet}/participants/{user}", json={}))
    async with RawClient(world.server.ws_url, world.quiet, world.server.token(user)) as writer:
        await writer.welcome()
        for _ in range(30):
            await writer.send("message", content="x", metadata=texts.wide())
        await asyncio.gather(*(writer.send_nowait("message", content="x") for _ in range(300)))
    yield
    ok(await world.service.delete(f"/api/server/users/{user}"))


async def development_token(world: World) -> AsyncIterator[None]:
    body = {"sub": "a", "sessions": ["s" * 100] * 50, "unknown": texts.wide()}
    yield
    ok(await world.api().post("/api/dev/token", json=body))


CALLS: Mapping[Call, tuple[Dear, ...]] = {
    ("POST", "/api/chat"): (Dear("180 KiB of metadata", chat),),
    ("POST", "/api/chat/sessions"): (Dear("25,000 objects of metadata", create),),
    ("GET", "/api/chat/sessions"): (
        Dear(
            "100 sessions with 25,000 objects of metadata each, of 10,000",
            get("/api/chat/sessions?limit=100", "lister"),
        ),
        Dear("the last page of 10,000", get("/api/chat/sessions?limit=100&offset=9900", "lister")),
    ),
    ("GET", S): (Dear("1,000 participants, 25,000 objects of metadata", get(HALL)),),
    ("PATCH", S): (Dear("25,000 objects of metadata", patch),),
    ("DELETE", S): (
        Dear("a session of messages with 25,000 objects each, with `purge`", purge),
        Dear("2,000 members", archive),
    ),
    ("POST", f"{S}/extend"): (Dear("an unknown field of 25,000 objects", extend),),
    ("GET", f"{S}/presence"): (Dear("1,000 users online", get(f"{HALL}/presence")),),
    ("PUT", f"{S}/participants/{{user_id}}"): (Dear("the last of 1,000", put_participant, 1.2),),
    ("DELETE", f"{S}/participants/{{user_id}}"): (Dear("one of 1,000", delete_participant, 1.2),),
    ("GET", f"{S}/events"): (Dear("500 messages of a session with 1,000 participants", events),),
    ("POST", f"{S}/messages/stream"): (
        Dear("180 KiB of metadata", ask),
        Dear("a word, after 20 messages with 25,000 objects each", ask_with_history),
    ),
    ("GET", "/api/chat/streams/{message_id}"): (
        Dear("256 KiB that JSON escapes", get("/api/chat/streams/msg_sess_answers_1")),
    ),
    ("POST", "/v1/chat/completions"): (
        Dear("50 messages before the question", chat_completions(_brought())),
        Dear("4 answers of 1,000 calls, with 1,900 outputs", chat_completions(_called())),
    ),
    ("POST", "/v1/responses"): (Dear("50 messages before the question", responses),),
    ("GET", "/v1/responses/{response_id}"): (
        Dear("an answer of 256 KiB that JSON escapes, as events", response("?stream=true")),
        Dear("the same, whole", response("")),
    ),
    ("POST", "/v1/responses/{response_id}/cancel"): (Dear("an answer of many pieces", cancel_response),),
    ("GET", "/v1/responses/{response_id}/input_items"): (
        Dear("50 messages before the question", response("/input_items?limit=100")),
    ),
    ("POST", "/api/ai/chat"): (Dear("4 MiB of messages, of which the last has a file of 500 KB", ui_chat),),
    ("GET", "/api/ai/chat/{chat_id}/stream"): (Dear("an answer of many pieces", ui_resume),),
    ("POST", "/api/ai/chat/{chat_id}/stop"): (Dear("an unknown field of a million numbers", ui_stop),),
    ("POST", "/api/ag-ui/{agent_id}"): (Dear("as `/api/ai/chat`, with tools and a context", agui_run),),
    ("POST", "/api/ag-ui/agent/{agent_id}/run"): (Dear("the same", agui_run),),
    ("POST", "/api/ag-ui/agent/{agent_id}/connect"): (Dear("a page of 4,000 messages", agui_connect),),
    ("POST", "/api/ag-ui/agent/{agent_id}/stop/{thread_id}"): (
        Dear("an unknown field of 25,000 objects", agui_stop),
    ),
    ("GET", "/api/ag-ui/info"): (Dear("200 agents with 25,000 objects each", get("/api/ag-ui/info")),),
    ("GET", "/v1/models"): (Dear("200 agents with 25,000 objects each", get("/v1/models")),),
    ("GET", "/v1/models/{model}"): (Dear("one", get("/v1/models/Echo")),),
    ("POST", "/api/chat/streams/{message_id}/cancel"): (Dear("an answer of many pieces", cancel),),
    ("GET", "/api/chat/agents"): (
        Dear("200 agents with 25,000 objects each", get("/api/chat/agents")),
        Dear(
            "200 agents with 25,000 objects each, for `service`", get("/api/chat/agents", "bench", "service")
        ),
    ),
    ("POST", "/api/chat/agents"): (Dear("25,000 objects", new_agent),),
    ("GET", "/api/chat/agents/{agent_id}"): (Dear("25,000 objects", get("/api/chat/agents/3")),),
    ("PATCH", "/api/chat/agents/{agent_id}"): (Dear("25,000 objects", change_agent),),
    ("DELETE", "/api/chat/agents/{agent_id}"): (Dear("25,000 objects", delete_agent),),
    ("POST", f"{S}/files"): (Dear("10 MiB of text that looks like the end of a part", upload),),
    ("GET", "/api/chat/files/{file_id}/url"): (Dear("one", file_url),),
    ("GET", "/files/{file_id}"): (Dear("10 MiB", download),),
    ("GET", "/files/{file_id}/thumb"): (Dear("one", thumbnail),),
    ("GET", "/api/chat/search"): (
        Dear("one syllable, in messages of 80 KiB", get("/api/chat/search?q=%EB%82%B4&limit=100", "dear")),
        Dear(
            "16 words", get("/api/chat/search?limit=100&q=" + "%20".join(f"w{n}" for n in range(16)), "owner")
        ),
        Dear(
            "256 syllables, in 500 titles of 200 characters",
            get("/api/chat/search?q=" + quote(texts.SYLLABLES), "titled"),
        ),
    ),
    ("POST", "/api/server/publish"): (
        Dear("20 KiB to 4,000 in a session", publish),
        Dear("to 3,000 connections of one user", publish_to_user),
    ),
    ("POST", "/api/server/disconnect"): (Dear("2,000 connections", disconnect, 0.5),),
    ("GET", "/api/server/stats"): (Dear("all", get("/api/server/stats", "bench", "service")),),
    ("GET", "/api/server/connections"): (
        Dear("10,000 rows", get("/api/server/connections", "bench", "service")),
    ),
    ("GET", "/api/server/feedback"): (
        Dear("100 of one session", get("/api/server/feedback?session_id=sess_rated", "bench", "service")),
    ),
    ("DELETE", "/api/server/users/{user_id}"): (
        Dear("300 messages, and 30 with 25,000 objects each", erase),
    ),
    ("POST", webhooks.BASE): (Dear("an unknown field of 25,000 objects", webhooks.add),),
    ("GET", webhooks.BASE): (Dear("20 with addresses of 1,900 characters", webhooks.listed),),
    ("GET", f"{webhooks.BASE}/{{webhook_id}}"): (Dear("one", webhooks.on_one("GET", "")),),
    ("PATCH", f"{webhooks.BASE}/{{webhook_id}}"): (
        Dear("an unknown field of 25,000 objects", webhooks.on_one("PATCH", "", {"events": ["session"]})),
    ),
    ("DELETE", f"{webhooks.BASE}/{{webhook_id}}"): (Dear("one", webhooks.on_one("DELETE", "")),),
    ("POST", f"{webhooks.BASE}/{{webhook_id}}/rotate"): (
        Dear("an unknown field of 25,000 objects", webhooks.on_one("POST", "/rotate", {})),
    ),
    ("POST", f"{webhooks.BASE}/{{webhook_id}}/replay"): (
        Dear("a long session", webhooks.on_one("POST", "/replay")),
    ),
    ("GET", f"{webhooks.BASE}/{{webhook_id}}/deliveries"): (
        Dear("all sessions", webhooks.on_one("GET", "/deliveries?state=all")),
    ),
    ("POST", "/api/dev/token"): (Dear("an unknown field of 25,000 objects", development_token),),
    ("GET", "/healthz"): (Dear("there is but one", get("/healthz")),),
    ("GET", "/readyz"): (Dear("there is but one", get("/readyz")),),
    ("GET", "/metrics"): (Dear("all", get("/metrics")),),
    ("GET", "/"): (Dear("there is but one", get("/")),),
    ("GET", "/web/{name}"): (Dear("the longest", get("/web/app.js")),),
    ("GET", "/vendor/{name}"): (Dear("there is but one", get("/vendor/" + CLIENT.name)),),
    ("GET", "/chat/"): (Dear("there is but one", get("/chat/")),),
    ("GET", "/chat/{name}"): (Dear("the longest", get("/chat/" + BUNDLE)),),
    ("GET", "/openapi.json"): (Dear("there is but one", get("/openapi.json")),),
    ("GET", "/asyncapi.json"): (Dear("there is but one", get("/asyncapi.json")),),
    ("GET", "/docs/{path}"): (Dear("the longest", get("/docs/reference/objects.html")),),
}


# --- doors


async def tcp(world: World) -> AsyncIterator[None]:
    yield
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 2500 + b"\r\n")
    await reader.read(100)
    writer.close()


async def unhurried(world: World) -> AsyncIterator[None]:
    """A client that takes a few KiB at a time."""
    file_id = await _uploaded(world, b"x" * (10 * 2**20 - 1000), "text/plain")
    yield
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port, limit=4096)
    writer.write(
        f"GET /files/{file_id} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Authorization: Bearer {world.server.token('owner')}\r\n\r\n".encode()
    )
    while await reader.read(4096):
        pass
    writer.close()


async def engine(world: World) -> AsyncIterator[None]:
    yield
    async with SioWebSocket(world.server.ws_url):
        pass


async def polled(world: World) -> AsyncIterator[None]:
    """As much as may wait for one poll (OUTBOX_LIMIT): beyond it a session ends whose poll is on its way."""
    async with SioPolling(world.server.url) as client:
        await client.connect(world.server.token("owner"))
        body = json.dumps(["history", {"session_id": "sess_dear", "limit": 500}])
        yield
        await asyncio.gather(*[await client.start_raw(body) for _ in range(2)])


async def forwarded(world: World) -> AsyncIterator[None]:
    """The node between is looked at."""
    folder = world.server.folder / world.new_id()
    folder.mkdir()
    url = f"sqlite:///{folder}/pair.db"
    await asyncio.to_thread(upgrade, url)
    with Redis() as redis:
        between = Server(folder / "between", url, REDIS_URL=redis.url, **SETTINGS, **world.probe.settings)
        owner = Server(folder / "owner", url, REDIS_URL=redis.url, **SETTINGS)
        try:
            await asyncio.gather(between.start_async(), owner.start_async())
            async with SioPolling(owner.url) as client:
                await client.connect(owner.token("owner"))
                client.url = f"{between.url}/socket.io/"
                world.probe.watch(between.pid)
                yield
                await client.emit("presence", {"status": "away", "unknown": texts.wide()})
                yield
        finally:
            world.probe.watch(world.server.pid)
            await asyncio.gather(asyncio.to_thread(between.close), asyncio.to_thread(owner.close))


async def connect(world: World) -> AsyncIterator[None]:
    """A tourist's connection comes back after it was cut off, into all its rooms."""
    token = world.server.token("tourist0")
    async with SioWebSocket(world.server.ws_url) as client:
        await client.connect(token)
        for room in world.rooms:
            await client.emit("join", {"session_id": room, "limit": 1})
        pid, offset = client.pid, client.offset
        client.abort()
        await client.closed()
    async with RawClient(world.server.ws_url, world.rooms[0], world.server.token("owner")) as writer:
        await writer.welcome()
        for _ in range(0, world.size.missed, 100):
            await asyncio.gather(*(writer.send_nowait("message", content="x") for _ in range(100)))
    yield
    async with SioWebSocket(world.server.ws_url) as again:
        if (await again.connect(token, pid=pid, offset=offset)).get("pid") != pid:
            raise RuntimeError("not recovered")


async def raw(world: World) -> AsyncIterator[None]:
    token = world.server.token("owner")
    yield
    listener = await listen(world.server.port, f"/ws/{World.hall}?limit=500", token)
    async with asyncio.timeout(20):
        await listener.spoken_to.wait()
    listener.transport.abort()


async def refused(world: World) -> AsyncIterator[None]:
    client = web_client(base_url=world.server.url)
    yield
    await client.get(HALL, headers={"Authorization": "Bearer " + "a" * 15_000})
    await client.aclose()


async def admin(world: World) -> AsyncIterator[None]:
    async with SioWebSocket(world.server.ws_url) as client:
        yield
        await client.write("40/admin," + json.dumps({"password": "a password of the benchmark's"}))
        await client.wait_event("@/admin")


async def presence_of_a_tourist(world: World) -> AsyncIterator[None]:
    listener = world.crowd[-1]
    yield
    listener.say('42["presence",{"status":"away"}]')
    await asyncio.sleep(0.3)
    listener.say('42["presence",{"status":"online"}]')
    await asyncio.sleep(0.3)


async def gone(world: World) -> AsyncIterator[None]:
    """A connection ends that was in many rooms."""
    listener = await tour(world.server.port, world.server.token("tourist1"), world.rooms)
    await world.probe.rest()
    yield
    listener.transport.abort()


DOORS: Mapping[str, tuple[Dear, ...]] = {
    "a TCP connection": (Dear("a head of 16 KiB", tcp),),
    "any answer over HTTP": (Dear("10 MiB, taken 4 KiB at a time", unhurried),),
    "Socket.IO session, before CONNECT": (Dear("one", engine),),
    "Socket.IO poll and post": (Dear("two pages of dear messages, as much as waits for a poll", polled),),
    "Socket.IO request for another node's session": (Dear("250 KiB", forwarded),),
    "Socket.IO CONNECT": (
        Dear("a recovery of 200 rooms and 1,500 messages", connect),
        Dear("`presence` of one who is in many rooms", presence_of_a_tourist),
        Dear("the end of one that was in 200 rooms", gone, 0.5),
    ),
    "`/ws/{session_id}`": (Dear("a session with 1,000 participants", raw),),
    "`/ws/ai`": (Dear("4 MiB of messages, of which the last has a file of 500 KB", ui_socket),),
    "`/files/…` with a signature": (Dear("10 MiB", signed),),
    "a token that is refused": (Dear("15 KiB", refused),),
    "`/admin` CONNECT": (Dear("with 4,000 connections", admin, 3.0),),
}
