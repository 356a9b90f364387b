"""The service API (contract, section 9), on one node and over two."""

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.support.doors import KINDS, enter
from tests.support.rawclient import RawClient
from tests.support.refusals import refusal
from tests.support.server import Server
from tests.support.services import Postgres, Redis
from tests.support.sioclient import SioWebSocket


async def session(api: httpx.AsyncClient) -> str:
    answer = await api.post("/api/chat/sessions", json={})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


Nodes = tuple[Server, Server]


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.fixture(scope="module", params=["alone", "two"])
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Clients are on the first one, the backend speaks to the second one; or both are the same."""
    folder = tmp_path_factory.mktemp("nodes")
    if request.param == "alone":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "parley.db")
        with Server(folder, f"sqlite:///{folder}/parley.db") as server:
            yield server, server
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database(request.getfixturevalue("postgres_template"))
    with Redis() as redis:
        settings = {"REDIS_URL": redis.url}
        with (
            Server(folder / "near", postgres.url(name), **settings) as near,
            Server(folder / "far", postgres.url(name), **settings) as far,
        ):
            yield near, far
    postgres.drop_database(name)


async def test_only_services(nodes: Nodes) -> None:
    server = nodes[0]
    async with server.api("alice") as alice, server.api("7", "agent") as agent:
        for api in (alice, agent):
            for method, path in (
                ("POST", "publish"),
                ("POST", "disconnect"),
                ("GET", "stats"),
                ("GET", "connections"),
                ("DELETE", "users/bob"),
            ):
                assert code(await api.request(method, f"/api/server/{path}")) == "FORBIDDEN"


async def test_publish(nodes: Nodes) -> None:
    near, far = nodes
    async with near.api("alice") as alice, far.api("backend", "service") as service:
        room = await session(alice)
        async with RawClient(near.ws_url, room, near.token("alice")) as member:
            await member.welcome()
            path = "/api/server/publish"
            body: dict[str, Any] = {
                "session_id": room,
                "event": "order_shipped",
                "data": {"n": [1, None, "é"]},
            }
            assert (await service.post(path, json=body)).json() == {"published": True}
            assert await member.wait_event("order_shipped") == {"n": [1, None, "é"]}
            body = {"user_id": "alice", "event": "hello", "data": {"to": "alice"}}
            assert (await service.post(path, json=body)).status_code == 200
            assert (await member.wait_event("hello"))["to"] == "alice"
            ours = ("message", "connect", "session", "")
            for wrong in (
                {"event": "x", "data": {}},
                {"session_id": room, "user_id": "alice", "event": "x", "data": {}},
                *({"session_id": room, "event": name, "data": {}} for name in ours),
                {"session_id": room, "event": "x", "data": []},
                {"session_id": room, "event": "x"},
            ):
                assert code(await service.post(path, json=wrong)) == "VALIDATION_ERROR", wrong
            gone = {"session_id": "sess_none", "event": "x", "data": {}}
            assert code(await service.post(path, json=gone)) == "SESSION_NOT_FOUND"
        history = (await alice.get(f"/api/chat/sessions/{room}/messages")).json()
        assert history["messages"] == []


async def test_disconnect_and_revoke(nodes: Nodes) -> None:
    near, far = nodes
    old = near.token("carol", iat=int(time.time()) - 10)
    async with near.api("carol") as carol, far.api("backend", "service") as service:
        room = await session(carol)
        async with (
            RawClient(near.ws_url, room, old) as raw,
            SioWebSocket(near.ws_url) as sio,
            RawClient(near.ws_url, room, near.token("backend", "service")) as other,
        ):
            await raw.welcome()
            await other.welcome()
            await sio.connect(old)
            answer = await service.post("/api/server/disconnect", json={"user_id": "carol"})
            assert answer.json() == {"user_id": "carol", "revoked": False}
            assert await raw.closed() == 4001
            async with asyncio.timeout(10):
                while "41" not in sio.packets:
                    await sio.wait_more()
            assert await other.send("typing", is_typing=True)
        # Not revoked: the same token still opens.
        async with RawClient(near.ws_url, room, old) as raw, SioWebSocket(near.ws_url) as sio:
            await raw.welcome()
            await sio.connect(old)
            await service.post("/api/server/disconnect", json={"user_id": "carol", "revoke": True})
            assert await raw.closed() == 4001
            await sio.closed()
        for node in nodes:
            headers = {"Authorization": f"Bearer {old}"}
            async with node.api(None) as api:
                assert code(await api.get("/api/chat/sessions", headers=headers)) == "UNAUTHORIZED"
                # Nor one that does not say when it was issued; one from later on is fine, and so is bob's.
                bare = {"Authorization": f"Bearer {node.token('carol')}"}
                assert code(await api.get("/api/chat/sessions", headers=bare)) == "UNAUTHORIZED"
                fresh = {"Authorization": f"Bearer {node.token('carol', iat=time.time())}"}
                bob = {"Authorization": f"Bearer {node.token('bob')}"}
                for good in (fresh, bob):
                    assert (await api.get("/api/chat/sessions", headers=good)).status_code == 200
    # A node that starts later knows it, too.
    await near.restart_async()
    async with near.api(None) as api:
        assert code(await api.get("/api/chat/sessions", headers=headers)) == "UNAUTHORIZED"


@pytest.mark.parametrize("kind", ["websocket", "polling"])
async def test_revoking_an_agent_everywhere(nodes: Nodes, kind: str) -> None:
    """Its connections on another node end, and no node takes its token any more."""
    near, far = nodes
    async with far.api("backend", "service") as service, near.api("alice") as alice:
        made = await service.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
        agent = str(made.json()["id"])
        room = (await alice.post("/api/chat/sessions", json={"agent_id": int(agent)})).json()["session_id"]
        old = near.token(agent, "agent")
        async with enter(kind, near, agent, room, role="agent") as worker:
            body = {"user_id": f"agent:{agent}", "revoke": True}
            answer = await service.post("/api/server/disconnect", json=body)
            assert answer.json() == {"user_id": f"agent:{agent}", "revoked": True}
            if kind == "websocket":
                assert await worker.client.closed() == 4001
            else:
                await worker.wait_event("error", lambda e: e["code"] == "UNAUTHORIZED")
        for node in nodes:
            for door in KINDS:
                found = await refusal(door, node, old, room)
                assert found.code in ("UNAUTHORIZED", None if door == "websocket" else "UNAUTHORIZED")
                assert found.closed in (None, 4001)
            async with node.api(agent) as user:  # the user of that number is somebody else
                assert (await user.get("/api/chat/sessions")).status_code == 200


async def test_nobody_comes_in_before_revocations_are_known(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """A node that cannot read who was revoked would let in whomever that is."""
    file = sqlite_url.removeprefix("sqlite:///")

    def rename(old: str, new: str) -> None:
        with closing(sqlite3.connect(file)) as db:
            db.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename("revocations", "elsewhere")
    node = new_server(sqlite_url)
    for kind in KINDS:
        found = await refusal(kind, node, node.token("alice"), "sess_any")
        assert found.code in ("UNAVAILABLE", "UNAVAILABLE" if kind in ("rest", "socketio") else None), kind
        assert found.http in (None, 503)
    rename("elsewhere", "revocations")
    async with node.api("alice") as api, asyncio.timeout(20):
        while (answer := await api.get("/api/chat/sessions")).status_code != 200:
            assert code(answer) == "UNAVAILABLE"


async def test_a_node_that_did_not_hear_ends_them_all_the_same(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """Another node wrote the revocation, and its order to disconnect never came."""
    node = new_server(sqlite_url)
    async with node.api("carol") as carol:
        room = await session(carol)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    async with (
        RawClient(node.ws_url, room, node.token("carol")) as raw,
        SioWebSocket(node.ws_url) as sio,
        RawClient(node.ws_url, room, node.token("carol", iat=time.time())) as newer,
    ):
        await raw.welcome()
        await sio.connect(node.token("carol"))
        await newer.welcome()
        with closing(sqlite3.connect(node.database_url.removeprefix("sqlite:///"))) as db, db:
            db.execute("INSERT INTO revocations VALUES ('carol', ?)", (now,))
        assert await raw.closed() == 4001
        await sio.closed(10)
        assert (await newer.send("message", content="still here"))["ok"]


async def test_statistics_and_connections(nodes: Nodes) -> None:
    near, far = nodes
    async with near.api("alice") as alice, far.api("backend", "service") as service:
        async with asyncio.timeout(10):
            while (before := (await service.get("/api/server/stats")).json())["connections"]:
                pass  # of the tests before this one
        one, two = await session(alice), await session(alice)
        async with (
            RawClient(near.ws_url, one, near.token("alice")) as raw,
            SioWebSocket(near.ws_url) as sio,
            RawClient(far.ws_url, two, far.token("alice")) as there,
        ):
            await raw.welcome()
            await there.welcome()
            await sio.connect(near.token("bob"))
            stats = (await service.get("/api/server/stats")).json()
            assert (stats["connections"], stats["rooms"]) == (3, 2)
            assert stats["active_sessions"] == before["active_sessions"] + 2
            assert len(stats["nodes"]) == len({node.url for node in nodes})
            assert sum(node["connections"] for node in stats["nodes"]) == 3
            found = (await service.get("/api/server/connections")).json()
            assert found["total"] == 3
            rows = {(row["user_id"], row["session_id"]) for row in found["connections"]}
            assert rows == {("alice", one), ("alice", two), ("bob", None)}
            for row in found["connections"]:
                assert row["connected_at"].endswith("Z")
                assert row["last_ping"].endswith("Z")
                assert row["node"].startswith("node_")
            found = (await service.get("/api/server/connections", params={"user_id": "bob"})).json()
            assert [row["user_id"] for row in found["connections"]] == ["bob"]
            found = (await service.get("/api/server/connections", params={"session_id": two})).json()
            assert [row["session_id"] for row in found["connections"]] == [two]


async def test_erasing_a_user(nodes: Nodes) -> None:
    near, far = nodes
    async with (
        near.api("alice") as alice,
        near.api("bob") as bob,
        far.api("backend", "service") as service,
    ):
        room, ended = await session(alice), await session(bob)
        await alice.put(f"/api/chat/sessions/{room}/participants/bob", json={"role": "member"})
        for number in range(3):
            await bob.post(f"/api/chat/sessions/{room}/messages", json={"content": f"secret {number}"})
            await alice.post(f"/api/chat/sessions/{room}/messages", json={"content": f"kept {number}"})
        await bob.post(f"/api/chat/sessions/{ended}/messages", json={"content": "secret, too"})
        upload = {"file": ("a.txt", b"secret")}
        posted = await bob.post(f"/api/chat/sessions/{room}/files", files=upload)
        waiting = await bob.post(f"/api/chat/sessions/{room}/files", files=upload, data={"post": "false"})
        await bob.delete(f"/api/chat/sessions/{ended}")
        async with RawClient(near.ws_url, room, near.token("alice")) as member:
            await member.welcome()
            answer = await service.delete("/api/server/users/bob")
            assert answer.json() == {"user_id": "bob", "messages": 5, "files": 2}
            await member.wait_count("message_deleted", 4)
        messages = (await alice.get(f"/api/chat/sessions/{room}/messages")).json()["messages"]
        assert [m["content"] for m in messages if m["sender_id"] == "alice"] == ["kept 0", "kept 1", "kept 2"]
        assert {m["content"] for m in messages if m["sender_id"] == "bob"} == {None}
        assert not any("files" in m for m in messages)
        for file in (posted, waiting):
            assert code(await alice.get(file.json()["file_url"])) == "FILE_NOT_FOUND"
        found = (await alice.get("/api/chat/search", params={"q": "secret"})).json()
        assert found["results"] == []
        answer = await service.delete("/api/server/users/bob")
        assert answer.json() == {"user_id": "bob", "messages": 0, "files": 0}
