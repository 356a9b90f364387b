"""clients/python before a real node: what its stores show and do. `tests/cluster/test_store.py` has two."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from parley_client import Parley, ParleyError, SessionState, SqliteStorage, sender_of
from tests.doors.test_openai import working
from tests.support.doors import enter, new_session
from tests.support.proxy import Proxy
from tests.support.pystore import PyStores
from tests.support.server import Server
from tests.support.storeworld import World, seen
from tests.turns.waits import ask_approval, go_on


@pytest.fixture(scope="module")
def shared_server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its agent writes faster than people read, and it replays little: who was away longer has a snapshot."""
    folder = tmp_path_factory.mktemp("store")
    with Server.on_sqlite(sqlite_template, folder, STREAM_DELAY_MS="5", RECOVERY_LOG_SIZE="40") as node:
        yield node


@pytest.fixture
async def alice(shared_server: Server) -> AsyncIterator[Parley]:
    async with Parley(shared_server.url, token=shared_server.token("alice")) as parley:
        yield parley


def online(shown: SessionState) -> bool:
    return shown.connection == "online"


async def history(node: Server, session: str) -> list[dict[str, Any]]:
    async with node.api() as api:
        page = (await api.get(f"/api/chat/sessions/{session}/messages")).json()
    return [seen(message) for message in page["messages"]]


def last(shown: SessionState) -> dict[str, Any]:
    return dict(shown.messages[-1]) if shown.messages else {}


async def test_what_one_does_and_sees(shared_server: Server, alice: Parley, tmp_path: Path) -> None:
    id = await new_session(shared_server, "alice", members=("bob",), agent_id=1)
    session = alice.session(id)
    end = session.subscribe(lambda: None)
    async with enter("socketio", shared_server, "bob", id) as bob:
        await session.until(lambda now: {"alice", "bob"} <= now.online.keys())
        await bob.call("typing", is_typing=True)
        await session.until(lambda now: now.typing == ("bob",))
        session.typing()
        session.typing()
        assert (await bob.wait_event("typing"))["user_id"] == "alice"

        # An answer of every part, as history has it; then another one beside it, and back.
        assert (await session.send("/parts"))["seq"] == 1
        shown = await session.until(lambda now: last(now).get("reply_to") and not now.turns)
        assert [seen(dict(each)) for each in shown.messages] == await history(shared_server, id)
        assert sender_of(shown, shown.messages[1])["name"] == "Echo"
        question, first = shown.messages
        await session.regenerate(first["message_id"])
        shown = await session.until(
            lambda now: last(now).get("status") == "complete" and len(last(now).get("siblings", ())) == 2
        )
        await session.select(first["message_id"])
        await session.until(lambda now: last(now)["message_id"] == first["message_id"])
        await session.feedback(first["message_id"], "up", "clear")
        assert session.snapshot.messages[1]["feedback"]["value"] == "up"

        await session.mark_read()
        assert (await bob.wait_event("read"))["user_id"] == "alice"
        progress: list[int] = []
        stop = session.subscribe(lambda: progress.extend(each.sent for each in session.snapshot.uploads))
        (tmp_path / "n.txt").write_bytes(b"noted\n" * 50_000)
        sent = await session.upload(tmp_path / "n.txt", message="xyzzy", reply=False)
        stop()
        shown = await session.until(lambda now: last(now).get("files") and not now.uploads)
        assert last(shown)["files"][0]["file_id"] == sent["file_id"]
        assert sent["file_info"]["size"] == max(progress) == 300_000 and progress == sorted(progress)
        assert (await alice.file_url(sent["file_id"]))["url"].startswith(shared_server.url)
        (hit,) = (await session.search("xyzzy"))["results"]
        assert hit["message_id"] == last(shown)["message_id"]
        await session.edit(question["message_id"], "another word")
        await session.remove(last(shown)["message_id"])
        shown = await session.until(lambda now: last(now)["deleted_at"] and now.messages[0]["is_edited"])
        assert [seen(dict(each)) for each in shown.messages] == await history(shared_server, id)
        with pytest.raises(ParleyError) as refused:
            await session.edit("msg_none", "x")
        assert (refused.value.code, refused.value.retryable) == ("MESSAGE_NOT_FOUND", False)
    end()


async def test_the_list_is_live(shared_server: Server) -> None:
    id = await new_session(shared_server, "carol", members=("dave",), title="Ours")
    async with (
        Parley(shared_server.url, token=shared_server.token("dave")) as parley,
        enter("socketio", shared_server, "carol", id) as carol,
        shared_server.api("carol") as api,
    ):
        sessions, session = parley.sessions, parley.session(id)
        sessions.subscribe(lambda: None)
        await sessions.until(lambda now: [each["title"] for each in now.sessions] == ["Ours"])
        await carol.call("message", content="first", client_message_id="1")
        await sessions.until(lambda now: now.sessions[0]["unread_count"] == 1)
        session.subscribe(lambda: None)
        await session.until(lambda now: len(now.messages) == 1)
        await carol.call("message", content="second", client_message_id="2")
        shown = await sessions.until(lambda now: now.sessions[0]["unread_count"] == 2)
        assert shown.sessions[0]["last_message"] == "second"
        await session.mark_read()
        await sessions.until(lambda now: now.sessions[0]["unread_count"] == 0)
        await api.patch(f"/api/chat/sessions/{id}", json={"title": "Theirs"})
        await sessions.until(lambda now: now.sessions[0]["title"] == "Theirs")
        await new_session(shared_server, "carol", members=("dave",), title="Another")
        await sessions.until(lambda now: now.sessions[0]["title"] == "Another")
        await api.delete(f"/api/chat/sessions/{id}/participants/dave")
        await sessions.until(lambda now: len(now.sessions) == 1)
        shown_as = await session.until(lambda now: now.connection == "refused")
        assert shown_as.error is not None and shown_as.error.code == "SESSION_NOT_FOUND"


async def test_what_is_pending_outlives_a_restart(shared_server: Server, tmp_path: Path) -> None:
    """Said without a network; refused; taken back."""
    id = await new_session(shared_server, "alice")
    async with Proxy(shared_server.port) as network:

        def opened() -> Parley:
            storage = SqliteStorage(tmp_path / "pending.db")
            return Parley(network.url, token=shared_server.token("alice"), storage=storage)

        async with opened() as parley:
            session = parley.session(id)
            session.subscribe(lambda: None)
            await session.until(online)
            network.refusing = True
            network.cut()
            await session.until(lambda now: now.connection == "offline")
            for text in ("one", "two", "", "three"):
                session.send(text, client_message_id=f"id {text}")
            shown = await session.until(lambda now: {each["status"] for each in now.pending} == {"waiting"})
            assert [each["content"] for each in shown.pending] == ["one", "two", "", "three"]
            assert session.discard("id two")
        async with opened() as parley:
            session = parley.session(id)
            session.subscribe(lambda: None)
            network.refusing = False
            shown = await session.until(lambda now: len(now.messages) == 2 and len(now.pending) == 1)
            assert [message["content"] for message in shown.messages] == ["one", "three"]
            (refused,) = shown.pending
            assert refused["status"] == "failed" and refused["error"] is not None
            assert refused["error"]["code"] == "VALIDATION_ERROR"
        async with opened() as parley:
            session = parley.session(id)
            session.subscribe(lambda: None)
            shown = await session.until(lambda now: len(now.messages) == 2 and now.pending)
            assert [each["status"] for each in shown.pending] == ["failed"]
            assert session.discard("id ")
            assert session.snapshot.pending == ()


async def test_an_answer_that_waits_for_people(shared_server: Server, alice: Parley) -> None:
    async with working(shared_server) as (worker, agent):
        id = await new_session(shared_server, "alice", agent_id=int(agent))
        session = alice.session(id)
        session.subscribe(lambda: None)
        await session.send("pay")
        first = await worker.write(await worker.request(), "Shall I? ", end=False)
        await ask_approval(worker, id, first)
        shown = await session.until(lambda now: last(now).get("status") == "waiting")
        assert (shown.turns[0]["state"], last(shown)["interrupts"][0]["id"]) == ("waiting", "i1")
        codes = []
        for status, payload in (("resolved", {}), ("resolved", {"approved": True}), ("cancelled", None)):
            try:
                await session.answer(first, "i1", status, payload)  # type: ignore[arg-type]
            except ParleyError as error:
                codes.append(error.code)
        assert codes == ["VALIDATION_ERROR", "CONFLICT"]
        await go_on(worker, await worker.request(), "Paid.")
        shown = await session.until(lambda now: last(now)["status"] == "complete" and not now.turns)
        assert [seen(dict(each)) for each in shown.messages] == await history(shared_server, id)


async def test_who_was_away_for_long(shared_server: Server) -> None:
    """More has changed than a page takes, in packets larger than aiohttp takes by itself; and more comes."""
    id = await new_session(shared_server, "alice")
    async with (
        Proxy(shared_server.port) as network,
        enter("socketio", shared_server, "alice", id) as other,
        Parley(network.url, token=shared_server.token("alice")) as parley,
    ):
        session = parley.session(id)
        session.subscribe(lambda: None)
        await session.until(online)
        network.refusing = True
        network.cut()
        for first in range(0, 600, 20):
            said = [(f"{n}", f"{n:05} " * 1700) for n in range(first, first + 20)]
            calls = [other.call("message", content=text, client_message_id=id) for id, text in said]
            await asyncio.gather(*calls)
        network.refusing = False
        await other.call("message", content="and one more", client_message_id="last")
        shown = await session.until(lambda now: len(now.messages) == 601)
    assert [message["seq"] for message in shown.messages] == list(range(1, 602))


async def test_what_has_ended_is_read(shared_server: Server) -> None:
    id = await new_session(shared_server, "alice")

    def ended(shown: SessionState) -> bool:
        return shown.connection == "ended" and bool(shown.messages)

    async with Parley(shared_server.url, token=shared_server.token("alice")) as parley:
        session = parley.session(id)
        session.subscribe(lambda: None)
        await session.send("kept")
        await parley.sessions.archive(id)
        shown = await session.until(ended)
        assert shown.error is not None and shown.error.code == "SESSION_ARCHIVED"
    async with Parley(shared_server.url, token=shared_server.token("alice")) as parley:
        session = parley.session(id)
        session.subscribe(lambda: None)
        assert last(await session.until(ended))["content"] == "kept"
        await session.reopen()
        await session.until(online)
        await session.send("on it goes")
        await session.until(lambda now: len(now.messages) == 2)
    with pytest.raises(ParleyError) as closed:
        await parley.sessions.refresh()
    assert closed.value.code == "CLOSED"


@pytest.mark.parametrize("good", [True, False], ids=["expired", "none"])
async def test_tokens(shared_server: Server, good: bool) -> None:
    """One that has expired is asked for anew; one that is none has to be mended, by `reconnect`."""
    id = await new_session(shared_server, "alice")
    right = shared_server.token("alice")
    tokens = [shared_server.token("alice", ttl=-60) if good else f"{right}x"]

    def token() -> str:
        return tokens.pop(0) if tokens else right

    async with Parley(shared_server.url, token=token) as parley:
        session = parley.session(id)
        session.subscribe(lambda: None)
        if not good:
            shown = await session.until(lambda now: now.connection == "refused")
            assert shown.error is not None and shown.error.code == "UNAUTHORIZED"
            await parley.reconnect()
        await session.until(online)


async def test_what_is_shown_is_the_servers_history(shared_server: Server, tmp_path: Path) -> None:
    """Two clients of a user and another one's, by random deeds, cuts and restarts; `make faults` has more."""
    async with World(PyStores(tmp_path), [shared_server], 1, "socketio") as world:
        await world.live(120)
        await world.settles()


async def test_who_waits_for_a_connection_is_told_that_there_comes_none() -> None:
    """Nobody is at that port; the message said meanwhile is taken by nobody, either."""
    async with Parley("http://127.0.0.1:9", token="a.eyJzdWIiOiJhbGljZSJ9.c") as parley:
        session = parley.session("s")
        session.subscribe(lambda: None)
        await session.until(lambda now: now.connection == "offline")
        asked = asyncio.create_task(session.remove("m"))
        session.send("said")
        await session.until(lambda now: [each["status"] for each in now.pending] == ["waiting"])
    with pytest.raises(ParleyError) as closed:
        await asked
    assert (closed.value.code, session.snapshot.connection) == ("CLOSED", "offline")
