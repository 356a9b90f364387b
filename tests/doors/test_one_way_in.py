"""Whatever is written goes through dispatch, at every door: counted, logged, in time, within its rate."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest
from starlette.routing import Route

from events.catalog import CATALOG, OPERATIONS
from server.app import create_app
from server.bounds import CALLS, GIVES, WRITES
from server.config import Settings
from tests.server.test_metrics_live import scraped
from tests.support.doors import enter, new_session
from tests.support.server import SECRET, Server
from tests.support.services import Postgres

BASE = "/api/chat/sessions"
S = f"{BASE}/{{session_id}}"
W = "/api/server/webhooks"
MESSAGE = {"content": "hello", "reply": False}
FILE = {"file": ("a.txt", b"text", "text/plain")}

#: Method and path as they are declared -> what is asked there.
UI_MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
RUN: dict[str, Any] = {
    "threadId": "a-thread",
    "runId": "r1",
    "messages": [{"id": "m1", "role": "user", "content": "hi"}],
}
RUNS = [("POST", "/api/ag-ui/{agent_id}"), ("POST", "/api/ag-ui/agent/{agent_id}/run")]
#: Calls that write nothing where there is nothing to stop, and one that reads.
STOPS = {
    ("POST", "/api/ai/chat/{chat_id}/stop"),
    ("POST", "/api/ag-ui/agent/{agent_id}/stop/{thread_id}"),
}
READS = {("POST", "/api/ag-ui/agent/{agent_id}/connect")}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/chat"): {"json": {"content": "hi", "stream": False}},
    ("POST", f"{S}/messages/stream"): {"json": {"content": "hi", "stream": False}},
    ("POST", "/v1/chat/completions"): {
        "json": {"model": "1", "messages": [{"role": "user", "content": "hi"}]}
    },
    ("POST", "/api/ai/chat"): {"json": {"id": "a-chat", "messages": [UI_MESSAGE]}},
    ("POST", "/api/ai/chat/{chat_id}/stop"): {"json": {}},
    RUNS[0]: {"json": RUN},
    RUNS[1]: {"json": RUN | {"threadId": "another"}},
    ("POST", "/api/ag-ui/agent/{agent_id}/stop/{thread_id}"): {"json": {}},
    ("POST", "/v1/responses"): {"json": {"model": "1", "input": "hi"}},
    ("POST", "/v1/responses/{response_id}/cancel"): {},
    ("POST", "/api/chat/streams/{message_id}/cancel"): {},
    ("POST", BASE): {"json": {}},
    ("PATCH", S): {"json": {"title": "t"}},
    ("POST", f"{S}/extend"): {"json": {"hours": 1}},
    ("PUT", f"{S}/participants/{{user_id}}"): {"json": {"role": "member"}},
    ("DELETE", f"{S}/participants/{{user_id}}"): {},
    ("POST", f"{S}/files"): {"files": FILE},
    ("POST", "/api/chat/agents"): {"json": {"name": "new", "kind": "echo"}},
    ("PATCH", "/api/chat/agents/{agent_id}"): {"json": {"name": "changed"}},
    ("DELETE", "/api/chat/agents/{agent_id}"): {},
    ("POST", "/api/server/publish"): {"json": {"event": "app:x", "data": {}, "user_id": "alice"}},
    ("POST", "/api/server/disconnect"): {"json": {"user_id": "nobody"}},
    ("DELETE", "/api/server/users/{user_id}"): {},
    ("POST", W): {"json": {"url": "http://127.0.0.1:9/hook"}},
    ("PATCH", f"{W}/{{webhook_id}}"): {"json": {"events": ["message"]}},
    ("POST", f"{W}/{{webhook_id}}/rotate"): {"json": {}},
    ("POST", f"{W}/{{webhook_id}}/replay"): {},
    ("DELETE", f"{W}/{{webhook_id}}"): {},
    ("POST", f"{S}/messages"): {"json": MESSAGE},
    ("PATCH", f"{S}/messages/{{message_id}}"): {"json": {"content": "changed"}},
    ("DELETE", f"{S}/messages/{{message_id}}"): {},
    ("DELETE", S): {},
}
OF_SERVICES = ("/api/chat/agents", "/api/server/")


@pytest.fixture(scope="module")
def loud(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("loud")
    (folder / "parley.db").write_bytes(sqlite_template.read_bytes())
    with Server(
        folder, f"sqlite:///{folder}/parley.db", LOG_LEVEL="DEBUG", WS_CREATE_SESSIONS="true"
    ) as node:
        yield node


def test_each_route_that_writes_says_what_it_writes(tmp_path: Path) -> None:
    settings = Settings.load(
        {"JWT_SECRET_KEY": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}, None, data_dir=tmp_path
    )
    writing = {
        (method, route.path.replace(":path}", "}"))
        for route in create_app(settings).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"GET", "HEAD"}
    }
    named = {call for call in GIVES if call[0] != "GET"} | set(WRITES)
    assert writing - named == {("POST", "/api/dev/token"), *READS}
    assert named - writing == set()
    assert set(WRITES.values()) == OPERATIONS.keys() | {"message", "stream_cancel"}
    for call, name in WRITES.items():
        rate = OPERATIONS[name].rate if name in OPERATIONS else CATALOG[name].bounds.rate
        assert CALLS[call].rate == rate, call
    assert set(BODIES) == named - {("POST", f"{S}/{{command}}")}


def name_of(call: tuple[str, str]) -> str:
    return WRITES.get(call) or GIVES[call]


async def asked(api: httpx.AsyncClient, call: tuple[str, str], **places: Any) -> httpx.Response:
    method, path = call
    how = BODIES[call]
    if path.endswith("/replay"):
        how = {"json": {"session_id": places["session_id"]}}
    return await api.request(method, path.format(**places), **how)


async def places_for(node: Server, alice: httpx.AsyncClient, service: httpx.AsyncClient) -> dict[str, Any]:
    """What the paths name: a session with a message and an agent of its own, and a response."""
    session_id = await new_session(node, agent_id=1)
    sent = await alice.post(f"{BASE}/{session_id}/messages", json=MESSAGE)
    agent = await service.post("/api/chat/agents", json={"name": "one", "kind": "echo"})
    response = await alice.post("/v1/responses", json={"model": "1", "input": "hi"})
    webhook = await service.post(W, json={"url": "http://127.0.0.1:9/hook"})
    return {
        "webhook_id": webhook.json()["webhook_id"],
        "response_id": response.json()["id"],
        "session_id": session_id,
        "chat_id": session_id,
        "thread_id": session_id,
        "message_id": sent.json()["message_id"],
        "agent_id": agent.json()["id"],
        "user_id": "bob",
    }


def lines(node: Server) -> list[str]:
    """What the log has of commands, "name outcome" each."""
    told = [line for line in node.log_text().splitlines() if '"parley.commands"' in line]
    return [json.loads(line)["event"] for line in told]


async def test_each_write_is_counted_and_logged(loud: Server) -> None:
    async with loud.api("alice") as alice, loud.api("backend", "service") as service:
        places = await places_for(loud, alice, service)
        for call in (call for call in BODIES if call not in STOPS):
            name, api = name_of(call), service if call[1].startswith(OF_SERVICES) else alice
            here = places
            if name == "stream_cancel":
                session_id = places["session_id"]
                begun = await alice.post(f"{BASE}/{session_id}/stream_start", json={})
                here = places | {"message_id": begun.json()["message_id"]}
            before, told = await scraped(loud), len(lines(loud))
            answer = await asked(api, call, **here)
            assert answer.is_success, (call, answer.text)
            after = await scraped(loud)
            key = ("parley_commands_total", (name, "ok"))
            assert after.get(key, 0) - before.get(key, 0) == 1, call
            assert f"{name} ok" in lines(loud)[told:], call


async def test_an_upload_that_posts_counts_as_the_message_that_it_is(loud: Server) -> None:
    session_id = await new_session(loud)
    before = await scraped(loud)
    async with loud.api("alice") as api:
        answer = await api.post(f"{BASE}/{session_id}/files", files=FILE)
    assert answer.json()["message_id"]
    after = await scraped(loud)
    for name in ("upload", "file"):
        key = ("parley_commands_total", (name, "ok"))
        assert after[key] - before.get(key, 0) == 1


async def test_a_session_that_is_made_by_connecting_is_counted(loud: Server) -> None:
    before = await scraped(loud)
    async with enter("websocket", loud, "alice", "an-id-of-my-own"):
        after = await scraped(loud)
    key = ("parley_commands_total", ("create_session", "ok"))
    assert after[key] - before.get(key, 0) == 1


@pytest.mark.parametrize("kind", ["socketio", "polling", "websocket", "rest"])
async def test_each_door_counts_the_same(loud: Server, kind: str) -> None:
    session_id = await new_session(loud)
    async with enter(kind, loud, "alice", session_id) as alice:
        before, told = await scraped(loud), len(lines(loud))
        sent = await alice.call("message", content="hello")
        assert sent["ok"]
        assert (await alice.call("edit", message_id=sent["message_id"], content="hallo"))["ok"]
        refused = await alice.call("edit", message_id="none", content="hallo")
        assert refused["error"]["code"] == "MESSAGE_NOT_FOUND"
        after = await scraped(loud)
        for name, outcome in (("message", "ok"), ("edit", "ok"), ("edit", "MESSAGE_NOT_FOUND")):
            key = ("parley_commands_total", (name, outcome))
            assert after[key] - before.get(key, 0) == 1
            assert f"{name} {outcome}" in lines(loud)[told:]


@pytest.mark.parametrize("path", [f"{S}/messages/stream", "/api/chat"])
async def test_a_question_ends_its_senders_typing(patient: Server, path: str) -> None:
    """As a `message` does, long before it would end by itself."""
    session_id = await new_session(patient, agent_id=1, members=("bob",))
    async with (
        enter("websocket", patient, "bob", session_id) as bob,
        enter("socketio", patient, "alice", session_id) as alice,
        patient.api("alice") as api,
    ):
        assert (await alice.call("typing", is_typing=True))["ok"]
        await bob.wait_event("typing", lambda t: t["is_typing"])
        body = {"content": "hi", "session_id": session_id, "stream": False}
        url = path.format(session_id=session_id)
        assert (await api.post(url, json=body)).status_code == 201
        # The answer comes after the question: whatever is told of it is told behind the typing's end.
        await bob.wait_event("stream_end")
        names = ["stopped" if e.name == "typing" and not e.data["is_typing"] else e.name for e in bob.events]
        assert "stopped" in names, names


#: What every write reads or changes.
TABLES = "agents, chat_sessions, chat_messages, chat_participants, chat_files, webhooks"


async def test_each_write_is_answered_in_time(
    postgres: Postgres, postgres_template: str, new_server: Callable[..., Server]
) -> None:
    """Also while the database holds up every one of them."""
    database = postgres.create_database(postgres_template)
    node = new_server(postgres.url(database))
    calls = [call for call in BODIES if name_of(call) not in OPERATIONS or OPERATIONS[name_of(call)].in_time]
    calls.remove(("POST", "/api/server/publish"))  # to a user: it asks no database
    async with node.api("alice") as alice, node.api("backend", "service") as service:
        alice.timeout = service.timeout = httpx.Timeout(40)
        places = await places_for(node, alice, service)
        apis = [service if call[1].startswith(OF_SERVICES) else alice for call in calls]
        holder = await asyncpg.connect(postgres.url(database))
        try:
            await holder.execute(f"BEGIN; LOCK TABLE {TABLES} IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(60):
                answers = await asyncio.gather(
                    *(asked(*ask, **places) for ask in zip(apis, calls, strict=True))
                )
        finally:
            await holder.close()
        for call, answer in zip(calls, answers, strict=True):
            assert answer.status_code == 503, (call, answer.text)
            assert answer.json()["error"]["code"] == "UNAVAILABLE"
            assert answer.elapsed.total_seconds() < 12, call
        shown = await scraped(node)
        expected = Counter(name_of(call) for call in calls)
        del expected["stream_cancel"]  # the stream is looked for first
        expected["message"] -= len(RUNS)  # their agent is looked for first
        found = {name: shown["parley_commands_total", (name, "UNAVAILABLE")] for name in expected}
        assert found == expected


async def test_each_write_has_its_rate(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """A flood of one kind is refused at every call of its bucket, and counted as what was refused."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="3")
    names = ("session_id", "message_id", "response_id", "chat_id", "thread_id")
    places = dict.fromkeys(names, "none")
    places |= {"agent_id": "7", "user_id": "bob", "webhook_id": "none"}
    buckets: dict[str, list[tuple[str, str]]] = {}
    for call in WRITES:
        buckets.setdefault(CALLS[call].rate or "", []).append(call)
    for bucket, calls in buckets.items():
        async with node.api(f"floods {bucket}") as api:
            for _ in range(30):
                answers = await asyncio.gather(*(asked(api, calls[0], **places) for _ in range(20)))
                if any(answer.status_code == 429 for answer in answers):
                    break
            for call in calls:
                before = await scraped(node)
                # Its bucket fills meanwhile.
                answers = await asyncio.gather(*(asked(api, call, **places) for _ in range(8)))
                refused = [answer for answer in answers if answer.status_code == 429]
                assert refused, call
                assert all("retry-after" in answer.headers for answer in refused)
                after = await scraped(node)
                key = ("parley_commands_total", (name_of(call), "RATE_LIMIT"))
                assert after[key] - before.get(key, 0) == len(refused), call
