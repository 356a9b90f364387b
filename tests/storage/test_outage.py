"""While PostgreSQL is away commands wait: a short outage costs nobody an error, a long one is told soon."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from storage.append import append
from storage.database import Database, SqlConnection
from storage.errors import AlreadyExists, StorageUnavailable
from storage.ops import DeleteMessage, EditMessage, EndStream
from storage.patience import LEAST, PATIENCE, WAIT, Patience
from tests.storage.conftest import StillClock, Store
from tests.support.doors import KINDS, Door, Reply, as_reply, enter, new_session
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.services import Postgres

#: Beyond the bound, for a machine that is busy with other tests: less than a second wait would take.
SLACK = 4.0
NewServer = Callable[..., Server]


class Sender:
    """Sends one message after the other, and keeps book."""

    def __init__(self, door: Door) -> None:
        self.door, self.over = door, False
        self.said: list[str] = []

    async def run(self) -> None:
        while not self.over:
            key = f"{self.door.kind} {len(self.said)}"
            reply = await self.door.call("message", content=key, client_message_id=key)
            assert reply["ok"] and "duplicate" not in reply, reply
            self.said.append(key)


async def everything(door: Door, number: int) -> None:
    """Each kind of command once; every one succeeds."""
    key = f"{door.kind} x{number}"

    async def done(command: str, **payload: Any) -> Reply:
        if not door.speaks(command):
            return {}
        reply = await door.call(command, **payload)
        assert reply["ok"], (door.kind, command, reply)
        return reply

    said = await done("message", content=key, client_message_id=key)
    await asyncio.gather(done("history", limit=1), done("read", seq=said["seq"]))
    await done("edit", message_id=said["message_id"], content=f"{key} edited")
    begun = await done("stream_start", message_id=f"{key} stream".replace(" ", "-"))
    await done("stream_chunk", message_id=begun["message_id"], index=0, content="text")
    await done("stream_end", message_id=begun["message_id"])
    await done("delete", message_id=said["message_id"])
    await done("join")


@pytest.mark.timeout(120)
async def test_a_restart_of_the_database_is_seen_by_nobody(
    own_postgres: tuple[Postgres, str], new_server: NewServer
) -> None:
    postgres, url = own_postgres
    node = new_server(url)
    session = await new_session(node, "alice")
    async with AsyncExitStack() as stack:
        doors = [await stack.enter_async_context(enter(kind, node, "alice", session)) for kind in KINDS]
        api = await stack.enter_async_context(node.api("alice"))
        senders = [Sender(door) for door in doors]

        async def all_else() -> int:
            rounds = 0
            while not senders[0].over:
                created, listed, *_ = await asyncio.gather(
                    api.post("/api/chat/sessions", json={"title": f"{rounds}"}),
                    api.get("/api/chat/sessions"),
                    *(everything(door, rounds) for door in doors),
                )
                assert (created.status_code, listed.status_code) == (201, 200), (created.text, listed.text)
                rounds += 1
            return rounds

        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(sender.run())
            rounds = group.create_task(all_else())
            for bring_down in (postgres.stop, postgres.kill9):
                await doors[0].wait_event("message", since=doors[0].mark())
                await asyncio.to_thread(bring_down)
                await asyncio.sleep(1.5)  # the fault itself
                await asyncio.to_thread(postgres.start)
                marks = [len(sender.said) for sender in senders]
                while any(len(s.said) < mark + 3 for s, mark in zip(senders, marks, strict=True)):
                    await doors[0].wait_event("message", since=doors[0].mark(), timeout=30)
            for sender in senders:
                sender.over = True
        assert rounds.result() > 0
        # All of it once, and what one has said in the order in which he said it.
        stored: list[dict[str, Any]] = []
        while page := await doors[0].history(order="asc", after_seq=len(stored)):
            stored += page
        assert [m["seq"] for m in stored] == list(range(1, len(stored) + 1))
        for sender in senders:
            mine = [m["content"] for m in stored if m["content"] in set(sender.said)]
            assert mine == sender.said
        assert len([m for m in stored if m["message_type"] == "stream"]) == rounds.result() * len(doors)
        for door in doors:
            await door.wait_event("message", lambda m: m["seq"] == stored[-1]["seq"] or True)
            seqs = [e.data["seq"] for e in door.events if e.name in ("message", "stream_start")]
            assert len(seqs) == len(set(seqs))


@pytest.mark.timeout(120)
async def test_a_longer_outage_is_told_in_time(
    own_postgres: tuple[Postgres, str], new_server: NewServer
) -> None:
    """Refused at first, then silent: whoever comes waits no longer than the bound, at every door, also beside
    one who has just come."""
    postgres, url = own_postgres
    async with Proxy(postgres.port) as way, AsyncExitStack() as stack:
        node = await asyncio.to_thread(new_server, url.replace(f":{postgres.port}/", f":{way.port}/"))
        session = await new_session(node, "alice")
        other = await new_session(node, "alice")
        doors = [await stack.enter_async_context(enter(kind, node, "alice", session)) for kind in KINDS]
        api = await stack.enter_async_context(node.api("alice"))
        said = [await door.message(f"before {door.kind}") for door in doors]
        begun = [await door.call("stream_start", message_id=f"open-{door.kind}") for door in doors]
        assert all(reply["ok"] for reply in begun)
        for fault in (_refuse, _fall_silent):
            fault(way)
            key = fault.__name__
            asked = []
            for door, mine in zip(doors, said, strict=True):
                asked += [
                    refused(door.call("message", content=key, client_message_id=f"{key} {door.kind} {n}"))
                    for n in range(3)
                ]
                asked += [refused(door.call("history")) for _ in range(5)]
                asked.append(refused(door.call("edit", message_id=mine["message_id"], content="no")))
                asked.append(refused(door.call("stream_start", message_id=f"{key}-{door.kind}")))
                if door.speaks("join"):
                    asked.append(
                        refused(door.call("join", session_id=other))
                        if door.kind != "websocket"
                        else refused(door.call("join"))
                    )
            asked += [
                refused_by_rest(api.post("/api/chat/sessions", json={})),
                refused_by_rest(api.get("/api/chat/sessions")),
                refused_by_rest(api.get("/api/chat/search", params={"q": "before"})),
                refused_by_rest(api.get(f"/api/chat/sessions/{other}/events")),
            ]
            if fault is _fall_silent:
                asked += [refused(door.call("stream_end", message_id=f"open-{door.kind}")) for door in doors]
            late = asyncio.create_task(_just_before_the_end(api, other))
            await asyncio.gather(*asked)
            late.cancel()
            await asyncio.gather(late, return_exceptions=True)
            assert (await api.get("/readyz")).status_code == 503
        way.cut()
        way.resume()
        async with asyncio.timeout(20):
            while (await api.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.1)
        # A repeat is served, once, and what was refused is nowhere.
        for door in doors:
            for n in range(3):
                await door.message(key, client_message_id=f"{key} {door.kind} {n}")
        stored = [m["content"] for m in await doors[0].history(order="asc")]
        assert stored.count(key) == 3 * len(doors)
        # An end that was not taken yet is kept.
        async with asyncio.timeout(20):
            while any(m["status"] == "streaming" for m in await doors[0].history()):
                await asyncio.sleep(0.1)


async def _just_before_the_end(api: httpx.AsyncClient, session: str) -> None:
    """Somebody asks when the others have waited for nearly as long as they may."""
    await asyncio.sleep(WAIT - 1.0)  # the fault itself
    await api.get(f"/api/chat/sessions/{session}/events")


def _refuse(way: Proxy) -> None:
    way.refusing = True
    way.cut()


def _fall_silent(way: Proxy) -> None:
    way.refusing = False
    way.freeze()


async def refused(call: Any) -> None:
    began = time.monotonic()
    reply = await call
    assert not reply["ok"], reply
    error = reply["error"]
    assert (error["code"], error["retryable"]) == ("UNAVAILABLE", True), error
    assert error["retry_after"] >= 1
    assert time.monotonic() - began < WAIT + LEAST + SLACK


async def refused_by_rest(call: Any) -> None:
    async def reply() -> Reply:
        answer = await call
        assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
        return as_reply(answer)

    await refused(reply())


# The writer alone, where an answer is lost at the driver.


@pytest.fixture
async def store(database_url: str, clock: StillClock) -> AsyncIterator[Store]:
    store = Store(Database(database_url), clock)
    await store.db.connect()
    await store.session()
    yield store
    await store.close()


def lose_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the next COMMIT, and of the next statement of the short way."""
    command, short, left = SqlConnection.command, append, {"COMMIT", "append"}

    async def committed(self: SqlConnection, sql: str) -> None:
        await command(self, sql)
        if sql in left:
            left.remove(sql)
            raise ConnectionResetError

    async def appended(*given: Any) -> Any:
        done = await short(*given)
        if "append" in left:
            left.remove("append")
            raise ConnectionResetError
        return done

    monkeypatch.setattr(SqlConnection, "command", committed)
    monkeypatch.setattr("storage.writer.append", appended)


async def test_an_answer_that_is_lost_is_found_by_the_next_try(
    store: Store, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has committed, and nobody was told: nothing is stored twice, and everybody is told."""
    lose_answers(monkeypatch)
    started = {"message_type": "stream", "message_id": "st", "status": "streaming"}
    ops = [store.new("one"), store.new("two", client_message_id="k"), store.new("", **started)]
    done = await asyncio.gather(*map(store.writer.submit, ops))
    plain = await asyncio.gather(*(store.writer.submit(store.new(f"{n}")) for n in range(3)))
    assert not any(c.duplicate for c in (*done, *plain))
    lose_answers(monkeypatch)
    changes = [
        EditMessage("s", done[0].record.message_id, "one!", "user", "alice", clock.now),
        DeleteMessage("s", done[1].record.message_id, accepted=clock.now),
        EndStream("s", "st", "complete", "text"),
    ]
    clock.advance(seconds=1)
    done += await asyncio.gather(*map(store.writer.submit, changes))
    assert not any(c.duplicate for c in done)
    assert (await store.messages.counts("s"))[1:] == (6, 9), "six messages, three changes, each once"
    told = sorted(c.record.revision for batch in store.batches for c in batch)
    assert told == list(range(1, 10))
    lose_answers(monkeypatch)
    assert (await store.say("two", client_message_id="k")).duplicate


async def test_a_session_whose_answer_is_lost_is_made_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute, lost = SqlConnection.execute, []

    async def executed(self: SqlConnection, *given: Any, **values: Any) -> int:
        done = await execute(self, *given, **values)
        if not lost:
            lost.append(given)
            raise ConnectionResetError
        return done

    PATIENCE.set(Patience())
    monkeypatch.setattr(SqlConnection, "execute", executed)
    made = await store.session("t")
    assert await store.sessions.get("t") == made
    lost.clear()
    with pytest.raises(AlreadyExists):
        await store.session("t", trace_id="another")


async def test_what_waits_is_bounded(
    postgres: Postgres, postgres_url: str, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.writer.MAX_AWAY", 10_000)
    async with Proxy(postgres.port) as way:
        store = Store(Database(postgres_url.replace(f":{postgres.port}/", f":{way.port}/")), clock)
        await store.db.connect()
        await store.session()
        way.refusing = True
        way.cut()
        first = store.writer.submit(store.new("x" * 5000))
        async with asyncio.timeout(10):
            while not store.db.outage.on:
                await asyncio.sleep(0.01)
        kept = store.writer.submit(store.new("x" * 4000))
        with pytest.raises(StorageUnavailable):
            await store.writer.submit(store.new("x" * 4000))
        way.refusing = False
        assert [(await sent).record.seq for sent in (first, kept)] == [1, 2]
        await store.close()
