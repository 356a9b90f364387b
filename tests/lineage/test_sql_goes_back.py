"""The database goes back: live members get every message from then on, who comes back whole snapshots."""

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cluster.conftest import Nodes
from tests.lineage.faults import backed_up, documented, go_back, operator
from tests.support.doors import Door, SocketIoDoor, enter, new_session
from tests.support.inbox import Received
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.services import Postgres, Redis
from tests.support.sioclient import SioWebSocket
from tests.support.sseclient import SseClient

NewCluster = Callable[..., Nodes]


def contents(messages: list[dict[str, object]]) -> list[object]:
    return [message["content"] for message in messages]


async def run(*command: object, env: dict[str, str] | None = None) -> str:
    done = await asyncio.to_thread(
        subprocess.run, [str(word) for word in command], env=env, check=True, capture_output=True, text=True
    )
    return str(done.stdout)


async def say(door: Door, words: list[str], seconds: float = 30) -> None:
    """Repeated until the database is there again."""
    async with asyncio.timeout(seconds):
        for word in words:
            while not (await door.call("message", content=word, client_message_id=word))["ok"]:
                await asyncio.sleep(0.05)


async def told_again(door: Door, word: str, since: int = 0) -> tuple[int, int]:
    """(place, revision) of the reset, behind which everything comes up to `word`. Some of that may have come
    before it, too: until the node knows."""

    def is_reset(event: Received) -> bool:
        return event.name == "session" and event.data["event"] == "reset"

    told = await door.wait_event("session", lambda e: e["event"] == "reset", since=since, timeout=20)
    place = next(n for n, e in enumerate(door.inbox.events[since:], since) if is_reset(e))
    await door.wait_event("message", lambda m: m["content"] == word, since=place, timeout=20)
    return place, told["last_revision"]


@pytest.mark.parametrize("nodes_", [1, 2])
async def test_live_members_get_every_message(
    new_cluster: NewCluster, redis: Redis, own_postgres: tuple[Postgres, str], tmp_path: Path, nodes_: int
) -> None:
    """Ten messages are lost with the database's last minute; fifteen follow, with the same revisions."""
    postgres, url = own_postgres
    nodes = new_cluster(redis.url, nodes_, database_url=url)
    session = await new_session(nodes[0], "alice", members=("bob", "carol"))
    kept = [f"kept {n}" for n in range(10)]
    lost = [f"lost {n}" for n in range(10)]
    after = [f"after {n}" for n in range(15)]
    async with (
        enter("socketio", nodes[0], "alice", session) as alice,
        enter("websocket", nodes[-1], "bob", session) as bob,
        enter("rest", nodes[-1], "carol", session) as carol,
    ):
        await say(alice, kept)
        await bob.wait_event("message", lambda m: m["content"] == kept[-1])
        held = bob.joined["lineage"]
        await backed_up(postgres, tmp_path / "copy")
        await say(alice, lost)
        everyone = (alice, bob, carol)
        for door in everyone:
            await door.wait_event("message", lambda m: m["content"] == lost[-1])
        marks = [door.mark() for door in everyone]
        await go_back(postgres, tmp_path / "copy")
        await say(alice, after)
        for door, mark in zip(everyone, marks, strict=True):
            place, revision = await told_again(door, after[-1], mark)
            assert revision == 10
            assert contents(door.named("message", place)) == after
            assert not set(contents(door.named("message", mark))) & set(lost)
        async with enter("socketio", nodes[-1], "bob", session, after_revision=20, lineage=held) as back:
            assert back.joined["reset"] and contents(back.joined["messages"]) == kept + after
            assert back.joined["lineage"] != held
        assert contents(await alice.history()) == kept + after
        async with nodes[0].api(None) as api:
            async with asyncio.timeout(10):  # it is on its way back to the bus
                while (await api.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.05)
            metrics = (await api.get("/metrics")).text
        rewinds = [line for line in metrics.splitlines() if "rewinds_total{" in line]
        assert rewinds.count('parley_rewinds_total{store="database"} 1.0') == 1, rewinds
        await alice.message("and on")
        for door in everyone:
            await door.wait_event("message", lambda m: m["content"] == "and on")


async def test_nobody_is_left_who_knows_what_was_lost(
    new_cluster: NewCluster, own_redis: Redis, own_postgres: tuple[Postgres, str], tmp_path: Path
) -> None:
    """Redis is out of reach while the database goes back, and the node that served what is lost has ended.
    Once Redis is back its log tells, before anybody says anything."""
    postgres, url = own_postgres
    nodes = new_cluster(own_redis.url, 1, database_url=url)
    session = await new_session(nodes[0], "alice")
    async with enter("websocket", nodes[0], "alice", session) as alice:
        await say(alice, ["kept"])
        await backed_up(postgres, tmp_path / "copy")
        await say(alice, ["lost 1", "lost 2"])
        await alice.wait_event("message", lambda m: m["content"] == "lost 2")
        held = alice.joined["lineage"]
        own_redis.pause()
        nodes[0].kill9()
    await go_back(postgres, tmp_path / "copy")
    await nodes[0].start_async()
    async with enter("websocket", nodes[0], "alice", session) as alice:
        assert (alice.joined["last_revision"], alice.joined["lineage"]) == (1, held)
        own_redis.resume()
        async with asyncio.timeout(10):
            while (await alice.call("history"))["lineage"] == held:
                await asyncio.sleep(0.05)
        async with enter("websocket", nodes[0], "alice", session, after_revision=3, lineage=held) as back:
            assert back.joined["reset"] and contents(back.joined["messages"]) == ["kept"]
        await alice.message("after")
        await alice.wait_event("message", lambda m: m["content"] == "after")


@pytest.mark.parametrize("say_so", [True, False])
async def test_the_restore_procedure(
    own_redis: Redis,
    own_postgres: tuple[Postgres, str],
    new_cluster: NewCluster,
    tmp_path: Path,
    say_so: bool,
) -> None:
    """The commands of docs/operations.md; clients come back ahead of the database, and it grows past them."""
    postgres, url = own_postgres
    nodes = new_cluster(own_redis.url, 1, database_url=url)
    node = nodes[0]
    session = await new_session(node, "alice")
    async with enter("socketio", node, "alice", session) as alice:
        await say(alice, [f"kept {n}" for n in range(3)])
        by_hand = operator(node, tmp_path, postgres)
        backup, restore = documented()
        await by_hand(*[line for line in backup if not line.startswith("python")])
        await say(alice, [f"lost {n}" for n in range(3)])
    async with enter("socketio", node, "alice", session) as alice:
        held = alice.joined["lineage"]
        assert alice.joined["last_revision"] == 6
    await node.stop_async()
    told = await by_hand(*(restore if say_so else restore[:-1]))
    assert ("a new lineage" in told) == say_so
    await node.start_async()
    async with enter("socketio", node, "alice", session, after_revision=6, lineage=held) as alice:
        assert alice.joined["reset"] and alice.joined["last_revision"] == 3
        assert len(alice.joined["messages"]) == 3
        await say(alice, [f"new {n}" for n in range(5)])
    everything = [f"kept {n}" for n in range(3)] + [f"new {n}" for n in range(5)]
    if say_so:  # the counter is past what the client has seen: only the lineage tells
        async with enter("socketio", node, "alice", session, after_revision=6, lineage=held) as alice:
            assert alice.joined["reset"] and contents(alice.joined["messages"]) == everything
        raw = RawClient(node.ws_url, session, node.token("alice"))
        raw.url += f"?after_revision=6&lineage={held}"
        async with raw:
            welcome = await raw.welcome()
            assert welcome["reset"] and contents(welcome["messages"]) == everything
        url_ = f"{node.url}/api/chat/sessions/{session}/events?after_revision=6&lineage={held}"
        async with SseClient(url_, node.token("alice")) as sse:
            first = await sse.wait_event("welcome")
            assert first["reset"] and contents(first["messages"]) == everything
        async with node.api("alice") as api:
            query = {"after_revision": 6, "lineage": held}
            page = (await api.get(f"/api/chat/sessions/{session}/messages", params=query)).json()
            assert page["reset"] and contents(page["messages"]) == everything


async def test_ahead_of_a_database_that_was_put_back(
    server: Server, sqlite_template: Path, tmp_path: Path
) -> None:
    """SQLite's file, and a client that names no lineage."""
    session = await new_session(server, "alice")
    async with enter("websocket", server, "alice", session) as alice:
        await say(alice, ["kept"])
    await server.stop_async()
    file = Path(server.database_url.removeprefix("sqlite:///"))
    shutil.copyfile(file, tmp_path / "copy.db")
    await server.start_async()
    async with enter("websocket", server, "alice", session) as alice:
        await say(alice, ["lost 1", "lost 2"])
    await server.stop_async()
    await run("rm", "-f", f"{file}-wal", f"{file}-shm")
    shutil.copyfile(tmp_path / "copy.db", file)
    await server.start_async()
    async with enter("socketio", server, "alice", session, after_revision=3) as alice:
        assert alice.joined["reset"] and contents(alice.joined["messages"]) == ["kept"]
        page = await alice.call("history", after_revision=3)
        assert page["reset"] and contents(page["messages"]) == ["kept"]
        page = await alice.call("history", after_revision=1)
        assert "reset" not in page and page["messages"] == []


async def test_another_message_under_the_last_revision(server: Server) -> None:
    """The counter stands where it stood: only the message tells that members were served another history."""
    session = await new_session(server, "alice")
    async with (
        enter("socketio", server, "alice", session) as alice,
        enter("rest", server, "alice", session) as reader,
    ):
        await say(alice, ["kept", "lost"])
        await reader.wait_event("message", lambda m: m["content"] == "lost")
        marks = alice.mark(), reader.mark()
        path = server.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=20)) as file, file:
            changed = file.execute(
                "UPDATE chat_messages SET message_id = 'msg_instead', content = 'instead',"
                " client_message_id = 'instead' WHERE content = 'lost'"
            )
            assert changed.rowcount == 1
        for door, mark in zip((alice, reader), marks, strict=True):
            told = await door.wait_event("session", lambda e: e["event"] == "reset", since=mark, timeout=15)
            assert told["last_revision"] == 1
            await door.wait_event("message", lambda m: m["content"] == "instead", since=mark, timeout=15)
        await say(alice, ["and on"])
        await reader.wait_event("message", lambda m: m["content"] == "and on")


def changed(server: Server, statement: str) -> int:
    """By somebody else, in the database's file; how many rows."""
    path = server.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=20)) as file, file:
        return file.execute(statement).rowcount


#: Another message has the revision of one that members were told of.
INSTEAD = (
    "UPDATE chat_messages SET message_id = 'instead-' || session_id, content = 'instead',"
    " client_message_id = 'instead' WHERE content = 'lost'"
)


@pytest.mark.parametrize("stops", [False, True])
async def test_everybody_has_left_before_the_database_is_asked(server: Server, stops: bool) -> None:
    """What a room's last member was told is looked up all the same; where the node stops, before it does."""
    session = await new_session(server, "alice")
    async with enter("socketio", server, "alice", session) as alice:
        await say(alice, ["kept", "lost"])
        await alice.wait_event("message", lambda m: m["content"] == "lost")
        held = alice.joined["lineage"]
        assert changed(server, INSTEAD) == 1
    if stops:
        await server.stop_async()
        await server.start_async()
    async with asyncio.timeout(10), enter("socketio", server, "alice", session) as alice:
        while True:
            joined = await alice.call("join", after_revision=2, lineage=held)
            if joined.get("reset"):
                break
            await asyncio.sleep(0.1)
    assert contents(joined["messages"]) == ["kept", "instead"]


async def test_what_a_client_brings_along_is_of_a_history_that_is_lost(server: Server) -> None:
    """No log reaches back to it, and nothing that was told in its room is lost. What another room's snapshot
    showed is, whose counter stands where it stood."""
    busy, quiet = await new_session(server, "alice"), await new_session(server, "bob")
    async with (
        enter("websocket", server, "alice", busy) as alice,
        enter("websocket", server, "bob", quiet) as bob,
    ):
        await say(alice, ["lost"])
        await say(bob, ["kept", "lost"])
        held = bob.joined["lineage"]
    await server.stop_async()
    await server.start_async()
    async with enter("socketio", server, "alice", busy) as alice:
        assert changed(server, INSTEAD) == 2
        async with (
            enter("websocket", server, "bob", quiet) as writer,
            enter("socketio", server, "bob", quiet, after_revision=2, lineage=held) as bob,
        ):
            if "reset" not in bob.joined:  # else it was noticed before
                assert bob.joined["messages"] == []
                assert isinstance(bob, SocketIoDoor) and isinstance(bob.client, SioWebSocket)
                await bob.client.closed(10)
            async with enter("socketio", server, "bob", quiet, after_revision=2, lineage=held) as bob:
                assert bob.joined["reset"] and contents(bob.joined["messages"]) == ["kept", "instead"]
                await say(writer, ["and on"])
                await bob.wait_event("message", lambda m: m["content"] == "and on")
            await writer.wait_event("message", lambda m: m["content"] == "and on")
            assert not any(told["event"] == "reset" for told in writer.named("session"))
        await alice.wait_event("session", lambda told: told["event"] == "reset")


@pytest.mark.parametrize("kind", ["socketio", "websocket"])
async def test_an_id_that_is_used_again(
    sqlite_url: str, new_server: Callable[..., Server], kind: str
) -> None:
    server = new_server(sqlite_url, WS_CREATE_SESSIONS="true")
    async with enter("websocket", server, "alice", "mine") as alice:
        await say(alice, ["one", "two"])
        held = alice.joined["lineage"]
    async with server.api("alice") as api:
        assert (await api.delete("/api/chat/sessions/mine?purge=true")).status_code == 200
    async with enter("websocket", server, "alice", "mine") as alice:
        await say(alice, ["new 1", "new 2", "new 3"])
        again = await alice.call("join", after_revision=2, lineage=held)
        assert again["reset"] and contents(again["messages"]) == ["new 1", "new 2", "new 3"]
    if kind == "socketio":
        async with enter("socketio", server, "alice", "mine", after_revision=7) as alice:
            assert alice.joined["reset"] and len(alice.joined["messages"]) == 3
