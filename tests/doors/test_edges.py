"""Edges of the contract that no other file is about: just over a limit, nearly an origin, half a packet."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.doors import enter, new_session
from tests.support.rawclient import RawClient
from tests.support.refusals import refusal
from tests.support.server import Server
from tests.support.services import Redis
from tests.support.sioclient import SioWebSocket
from tests.support.sseclient import SseClient

LIMIT = 262_144


@pytest.fixture(scope="module")
def large(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Takes large messages."""
    folder = tmp_path_factory.mktemp("doors-large")
    shutil.copyfile(sqlite_template, folder / "parley.db")
    url = f"sqlite:///{folder}/parley.db"
    with Server(folder, url, WS_MESSAGE_SIZE_LIMIT="1048576", OUTBOX_LIMIT="8388608") as node:
        yield node


def payload_of(session: str, size: int) -> dict[str, Any]:
    """A message's payload of exactly `size` bytes as JSON."""
    bare = {"session_id": session, "content": ""}
    return {**bare, "content": "x" * (size - len(json.dumps(bare)))}


@pytest.mark.parametrize("kind", ["socketio", "polling"])
async def test_a_socketio_payload_at_the_limit_and_one_more(parley: Server, kind: str) -> None:
    session = await new_session(parley)
    async with enter(kind, parley, "alice", session) as alice:
        emit = alice.client.emit  # type: ignore[attr-defined]
        assert (await emit("message", payload_of(session, LIMIT)))["ok"]
        refused = await emit("message", payload_of(session, LIMIT + 1))
        assert refused["error"]["code"] == "PAYLOAD_TOO_LARGE"
        # The connection lives, and nothing of it was stored.
        assert len(await alice.history()) == 1


async def test_a_raw_websocket_with_many_parameters_is_welcomed(parley: Server) -> None:
    client = RawClient(parley.ws_url, await new_session(parley), parley.token("alice"))
    client.url += "?" + "&".join(f"a{n}=1" for n in range(200))
    async with client:
        assert (await client.welcome())["ok"]


@pytest.mark.parametrize("data", ["{}", "null", '"x"', '{"a": [1]}'])
async def test_an_event_without_an_array_gets_its_ack(parley: Server, data: str) -> None:
    async with SioWebSocket(parley.ws_url) as socket:
        await socket.connect(parley.token("alice"))
        answer = await socket.emit_raw(data)
        assert answer["error"]["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize("kind", ["socketio", "polling", "websocket", "rest"])
async def test_more_than_an_origin_is_none(
    sqlite_url: str, new_server: Callable[..., Server], kind: str
) -> None:
    node = new_server(sqlite_url, CORS_ORIGINS='["https://app.example"]')
    session = await new_session(node)
    for origin in ("https://app.example/page", "https://me@app.example", "https://app.example?x"):
        found = await refusal(kind, node, node.token("alice"), session, origin=origin)
        assert found.closed == 4003 if kind == "websocket" else found.http == 403


async def test_cross_origin_headers_of_polling(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, CORS_ORIGINS='["https://app.example"]')
    path = "/socket.io/?EIO=4&transport=polling"
    async with node.api(None) as api:
        opened = await api.get(path, headers={"Origin": "https://app.example"})
        assert opened.headers["access-control-expose-headers"] == "Retry-After"
        asked = await api.options(path, headers={"Origin": "https://app.example"})
        allowed = asked.headers["access-control-allow-headers"].lower()
        for name in ("authorization", "content-type", "idempotency-key", "last-event-id"):
            assert name in allowed


async def test_a_time_without_a_zone_is_utc(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, TZ="Pacific/Auckland")
    session = await new_session(node)
    async with enter("rest", node, "alice", session) as alice:
        created = [(await alice.message(str(n)))["created_at"] for n in range(3)]
        for spelled in (created[1], created[1].removesuffix("Z"), created[1].replace("Z", "+00:00")):
            later = await alice.history(after=spelled)
            assert all(m["created_at"] > created[1] for m in later)
            assert len(later) == len([c for c in created if c > created[1]])


async def test_a_restricted_service_sees_its_sessions_alone(parley: Server) -> None:
    mine, other = await new_session(parley), await new_session(parley)
    async with parley.api("reporter", "service", sessions=[mine]) as api:
        assert (await api.get(f"/api/chat/sessions/{mine}")).status_code == 200
        refused = await api.get(f"/api/chat/sessions/{other}")
        assert refused.json()["error"]["code"] == "SESSION_NOT_FOUND"
        listed = (await api.get("/api/chat/sessions")).json()["sessions"]
        assert [line["session_id"] for line in listed] == [mine]
        # How agents are asked is no session's business.
        agents = (await api.get("/api/chat/agents")).json()["agents"]
        assert agents and not any("config" in agent for agent in agents)
        assert "config" not in (await api.get("/api/chat/agents/1")).json()
    async with parley.api("reporter", "service") as api:
        assert all("config" in agent for agent in (await api.get("/api/chat/agents")).json()["agents"])


async def test_readiness_names_the_redis_that_is_away(
    sqlite_url: str, new_server: Callable[..., Server], own_redis: Redis
) -> None:
    node = new_server(sqlite_url, REDIS_URL=own_redis.url)
    async with node.api(None) as api:
        assert (await api.get("/readyz")).json()["checks"]["redis"] == "ok"
        own_redis.kill9()
        async with asyncio.timeout(15):
            while (answer := await api.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.05)
        assert answer.status_code == 503
        assert answer.json()["failing"] == ["redis"]


async def test_only_owner_and_service_extend(parley: Server) -> None:
    session = await new_session(parley, members=("bob",), viewers=("carol",), agent_id=1)
    for sub, role, status in (
        ("bob", None, 403),
        ("carol", None, 403),
        ("1", "agent", 403),
        ("eve", None, 404),
        ("alice", None, 200),
        ("billing", "service", 200),
    ):
        async with parley.api(sub, role) as api:
            answer = await api.post(f"/api/chat/sessions/{session}/extend", json={"hours": 1})
            assert answer.status_code == status, (sub, answer.text)


async def test_a_share_link_hears_nothing_of_its_users_other_sessions(parley: Server) -> None:
    shared, private = await new_session(parley, "bob"), await new_session(parley, "bob")
    async with (
        SioWebSocket(parley.ws_url) as link,
        SioWebSocket(parley.ws_url) as whole,
        enter("websocket", parley, "bob", private) as bob,
    ):
        await link.connect(parley.token("bob", sessions=[shared]))
        await whole.connect(parley.token("bob"))
        assert (await link.emit("join", {"session_id": shared}))["ok"]
        await bob.message("for bob's eyes")
        await whole.wait_event("session", lambda e: e["event"] == "activity")
        await link.emit("leave", {"session_id": shared})  # what was sent before has come when this is acked
        assert link.named("session") == []


async def test_lines_end_nowhere_inside_an_event_stream(parley: Server) -> None:
    session = await new_session(parley, agent_id=1)
    text = "a\u2028b\u2029c\x85d\r\ne \u2013 \u201cf\u201d"
    async with enter("rest", parley, "alice", session) as alice:
        # The client of this suite breaks lines where Unicode does.
        sent = await alice.message(text)
        assert (await alice.wait_event("message", lambda m: m["seq"] == sent["seq"]))["content"] == text
        answer = await alice.wait_event("stream_end", lambda m: m["status"] == "complete")
        chunks = [c["content"] for c in alice.named("stream_chunk")]
        assert "".join(chunks) == text
    url = f"{parley.url}/api/chat/streams/{answer['message_id']}"
    async with SseClient(url, parley.token("alice")) as reader:
        assert (await reader.wait_event("stream_chunk"))["content"] == text
    async with enter("rest", parley, "alice", session) as again:
        assert again.joined["messages"][0]["content"] == text


async def test_every_accepted_command_is_counted(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url)
    session = await new_session(node)
    path = f"/api/chat/sessions/{session}"
    async with node.api("alice") as api:
        async with SioWebSocket(node.ws_url) as socket:
            await socket.connect(node.token("alice"))
            for name, payload in (
                ("join", {}),
                ("message", {"content": "a"}),
                ("typing", {"is_typing": True}),
                ("read", {"seq": 1}),
                ("history", {}),
                ("stream_start", {"message_id": "s"}),
                ("stream_chunk", {"content": "a"}),
                ("stream_chunk", {"content": "b"}),
                ("stream_cancel", {"message_id": "s"}),
                ("leave", {}),
            ):
                assert (await socket.emit(name, {"session_id": session, **payload}))["ok"]
            assert not (await socket.emit("message", {"session_id": session}))["ok"]
        assert (await api.post(f"{path}/typing", json={"is_typing": False})).status_code == 200
        assert (await api.post(f"{path}/messages", json={"content": "b"})).status_code == 201
        assert (await api.get(path)).json()["request_count"] == 12
        # What was not written yet is neither lost by archiving nor by a clean stop.
        assert (await api.delete(path)).status_code == 200
        await node.restart_async()
        assert (await api.get(path)).json()["request_count"] == 12


@pytest.mark.parametrize("kind", ["socketio", "polling", "websocket", "rest"])
async def test_what_is_nested_deep_is_kept_or_refused(either: Server, kind: str) -> None:
    def nested(depth: int) -> Any:
        return json.loads('{"a":' * depth + "1" + "}" * depth)

    session = await new_session(either, members=("bob",))
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("websocket", either, "bob", session) as bob,
    ):
        for depth in (190, 250, 300, 900):
            reply = await alice.call("message", content="x", metadata=nested(depth))
            if depth == 190:
                seen = await bob.wait_event("message", lambda m: m["seq"] == 1)
                assert seen["metadata"] == nested(depth)
            else:
                assert reply["error"]["code"] == "VALIDATION_ERROR"
        assert (await alice.history())[0]["metadata"] == nested(190)
    async with enter(kind, either, "alice", session) as again:
        assert again.joined["messages"][0]["metadata"] == nested(190)


async def test_a_refusal_of_what_is_nearly_json_has_its_ref(parley: Server) -> None:
    session = await new_session(parley)
    async with RawClient(parley.ws_url, session, parley.token("alice")) as client:
        await client.welcome()
        for ref, text in enumerate(("NaN", '"\\ud800"', '"a\\u0000b"', "1e999", "[" * 500 + "]" * 500)):
            await client.send_text(f'{{"type": "message", "ref": {ref}, "content": {text}}}')
            ack = await client.wait_event("ack", lambda a, ref=ref: a["ref"] == ref)
            assert ack["error"]["code"] == "VALIDATION_ERROR", text
        for hopeless in ('{"ref": 1, "content": ', '{"ref": "\\ud800", "content": NaN}', "[" * 60_000):
            mark = client.mark()
            await client.send_text(hopeless)
            assert (await client.wait_event("error", since=mark))["code"] == "VALIDATION_ERROR"


async def test_nul_in_an_address_is_refused(either: Server) -> None:
    session = await new_session(either)
    path = f"/api/chat/sessions/{session}"
    async with either.api("alice") as api:
        for method, address in (
            ("PATCH", f"{path}/messages/%00"),
            ("DELETE", f"{path}/messages/%00"),
            ("GET", "/api/chat/streams/%00"),
            ("GET", "/api/chat/files/%00/url"),
            ("GET", "/files/%00"),
            ("GET", "/api/chat/sessions/%00"),
        ):
            answer = await api.request(method, address, json={"content": "x"} if method == "PATCH" else None)
            assert answer.status_code == 422, (method, address, answer.text)
    found = await refusal("websocket", either, either.token("alice"), "\0")
    assert found.closed == 4004
    async with either.api("alice", sessions=["\0"]) as api:
        assert (await api.get("/api/chat/sessions")).status_code == 401


@pytest.mark.parametrize("kind", ["socketio", "polling", "websocket", "rest"])
async def test_a_large_message_is_bounded_in_what_it_is_made_of(large: Server, kind: str) -> None:
    """Beyond the bounds of depth and width it is refused with what the problem is, at every door alike; the
    same brackets in a text are a text."""
    session = await new_session(large)
    async with enter(kind, large, "alice", session) as alice:
        deep = json.loads("[" * 150 + "]" * 150)
        for shape in ([[]] * 40_000, [{}] * 40_000, [deep] * 300, [json.loads("[" * 250 + "]" * 250)]):
            reply = await alice.call("message", content="x", metadata={"shape": shape})
            assert reply["error"]["code"] == "VALIDATION_ERROR"
            problem = "at most 200 levels, and 32768 arrays and objects"
            assert reply["error"]["details"] == {"field": "", "problem": problem}
        kept = await alice.message("[{" * 300_000, metadata={"wide": [[]] * 30_000})
        assert (await alice.history())[-1]["message_id"] == kept["message_id"]


@pytest.mark.parametrize("kind", ["socketio", "polling", "websocket", "rest"])
async def test_long_open_answers_are_whole_for_who_joins(parley: Server, kind: str) -> None:
    """Also for the second, who finds the session known already; what is written then goes on from there."""
    session = await new_session(parley, members=("bob", "cat"))
    async with enter("websocket", parley, "alice", session) as alice:
        written: dict[str, str] = {}
        for letter in "ab":
            message_id = (await alice.call("stream_start"))["message_id"]
            written[message_id] = letter * 60_000
            for index in range(3):
                chunk = {"message_id": message_id, "index": index, "content": letter * 20_000}
                reply = await alice.call("stream_chunk", **chunk)
                assert reply["ok"]
        async with enter(kind, parley, "bob", session) as bob, enter(kind, parley, "cat", session) as cat:
            for door in (bob, cat):
                told = {each["message_id"]: each for each in door.joined["streams"]}
                assert {name: each["content"] for name, each in told.items()} == written
                assert {each["next_index"] for each in told.values()} == {3}
            await alice.call("stream_chunk", message_id=message_id, index=3, content="!")
            for door in (bob, cat):
                chunk = await door.wait_event("stream_chunk")
                assert (chunk["message_id"], chunk["index"], chunk["content"]) == (message_id, 3, "!")
