"""clients/js before a real node: what its stores show and do. `tests/cluster/test_store.py` has two nodes."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doors.test_openai import working
from tests.support.doors import enter, new_session
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.storeclient import StoreClients, Tab, beside
from tests.support.storeworld import World, seen
from tests.turns.waits import ask_approval, go_on

ONLINE = "({ connection }) => connection === 'online'"
TRANSPORTS = ("socketio", "websocket", "sse")


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreClients]:
    running = StoreClients(beside(tmp_path_factory.mktemp("package")))
    yield running
    running.close()


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shared_server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its agent writes faster than people read, and it replays little: who was away longer has a snapshot."""
    folder = tmp_path_factory.mktemp("store")
    with Server.on_sqlite(sqlite_template, folder, STREAM_DELAY_MS="5", RECOVERY_LOG_SIZE="40") as node:
        yield node


@pytest.fixture
def new_tab(shared_server: Server, clients: StoreClients) -> Callable[..., Tab]:
    def make(user: str = "alice", url: str = "", **given: Any) -> Tab:
        given = {"token": shared_server.token(user), **given}
        return Tab(clients, clients.new_name(), url or shared_server.url, **given)

    return make


async def history(node: Server, session: str) -> list[dict[str, Any]]:
    async with node.api() as api:
        page = (await api.get(f"/api/chat/sessions/{session}/messages")).json()
    return [seen(message) for message in page["messages"]]


async def test_what_one_does_and_sees(
    shared_server: Server, new_tab: Callable[..., Tab], transport: str
) -> None:
    session = await new_session(shared_server, "alice", members=("bob",), agent_id=1)
    tab = await new_tab(transport=transport).open(session)
    async with enter("socketio", shared_server, "bob", session) as bob:
        await tab.until(session, "({ online }) => online.alice && online.bob")
        await bob.call("typing", is_typing=True)
        await tab.until(session, "({ typing }) => typing[0] === 'bob'")
        await tab.act(session, "typing")
        assert (await bob.wait_event("typing"))["user_id"] == "alice"

        # An answer of every part, as history has it; then another one beside it, and back.
        assert (await tab.act(session, "send", "/parts"))["seq"] == 1
        shown = await tab.until(session, "({ messages }) => messages[1]?.status === 'complete'")
        assert [seen(message) for message in shown["messages"]] == await history(shared_server, session)
        first = shown["messages"][1]
        await tab.act(session, "regenerate", first["message_id"])
        new = "({ messages: [, answer] }) => answer?.status === 'complete' && answer.siblings?.length === 2"
        shown = await tab.until(session, new)
        assert shown["messages"][1]["message_id"] != first["message_id"]
        await tab.act(session, "select", first["message_id"])
        await tab.until(session, f"({{ messages }}) => messages[1]?.message_id === '{first['message_id']}'")

        await tab.act(session, "markRead")
        assert (await bob.wait_event("read"))["user_id"] == "alice"
        sent = await tab.do(
            "upload",
            session=session,
            name="n.txt",
            content="noted",
            more={"message": "xyzzy", "reply": False},
        )
        shown = await tab.until(
            session, "({ messages, uploads }) => messages.at(-1).files && !uploads.length"
        )
        assert shown["messages"][-1]["files"][0]["file_id"] == sent["file_id"]
        assert (await tab.do("ask", method="fileUrl", args=[sent["file_id"]]))["url"].startswith(
            shared_server.url
        )
        assert (await tab.act(session, "search", "xyzzy"))["results"][0]["message_id"] == shown["messages"][
            -1
        ]["message_id"]
        await tab.act(session, "edit", shown["messages"][0]["message_id"], "another word")
        await tab.act(session, "remove", shown["messages"][-1]["message_id"])
        shown = await tab.until(
            session, "({ messages }) => messages.at(-1).deleted_at && messages[0].is_edited"
        )
        assert [seen(message) for message in shown["messages"]] == await history(shared_server, session)
    doors = {"socketio": ["fetch", "io"], "websocket": ["WebSocket", "fetch"], "sse": ["fetch"]}
    assert await tab.do("went") == doors[transport], "all of it goes by the network that was given"


async def test_the_list_is_live(shared_server: Server, new_tab: Callable[..., Tab]) -> None:
    session = await new_session(shared_server, "carol", members=("dave",), title="Ours")
    tab = await new_tab("dave").open(None)
    await tab.until(None, "({ sessions }) => sessions.length === 1 && sessions[0].title === 'Ours'")
    async with enter("socketio", shared_server, "carol", session) as carol, shared_server.api("carol") as api:
        await carol.call("message", content="first", client_message_id="1")
        await tab.until(
            None, "({ sessions: [ours] }) => ours.last_message === 'first' && ours.unread_count === 1"
        )
        await tab.do("watch", session=session)
        await tab.until(session, "({ messages }) => messages.length === 1")
        await carol.call("message", content="second", client_message_id="2")
        await tab.until(
            None, "({ sessions: [ours] }) => ours.last_message === 'second' && ours.unread_count === 2"
        )
        await tab.act(session, "markRead")
        await tab.until(None, "({ sessions: [ours] }) => ours.unread_count === 0")
        await api.patch(f"/api/chat/sessions/{session}", json={"title": "Theirs"})
        await tab.until(None, "({ sessions: [ours] }) => ours.title === 'Theirs'")
        await new_session(shared_server, "carol", members=("dave",), title="Another")
        await tab.until(None, "({ sessions }) => sessions[0].title === 'Another'")
        await api.delete(f"/api/chat/sessions/{session}/participants/dave")
        await tab.until(None, "({ sessions }) => sessions.length === 1")
        await tab.until(
            session,
            "({ connection, error }) => connection === 'refused' && error.code === 'SESSION_NOT_FOUND'",
        )


async def test_who_leaves_before_the_snapshot_comes(
    shared_server: Server, new_tab: Callable[..., Tab]
) -> None:
    session = await new_session(shared_server, "erin", members=("frank",))
    tab = await new_tab("frank").open(None)
    await tab.until(None, "({ connection, sessions }) => connection === 'online' && sessions.length")
    await tab.do("glance", session=session)
    async with shared_server.api("ops", "service") as service:
        found = (await service.get("/api/server/connections", params={"session_id": session})).json()
    assert found["connections"] == []
    async with enter("socketio", shared_server, "erin", session) as erin:
        await erin.call("message", content="unseen", client_message_id="1")
        await tab.until(None, "({ sessions: [ours] }) => ours.last_message === 'unseen'")
    assert (await tab.state(session))["messages"] == []


async def test_what_is_pending_outlives_a_reload(shared_server: Server, new_tab: Callable[..., Tab]) -> None:
    """Said without a network; refused; taken back."""
    session = await new_session(shared_server, "alice")
    async with Proxy(shared_server.port) as network:
        tab = await new_tab(url=network.url).open(session)
        await tab.until(session, ONLINE)
        network.refusing = True
        network.cut()
        await tab.until(session, "({ connection }) => connection === 'offline'")
        for text in ("one", "two", "", "three"):
            await tab.do("say", session=session, text=text, more={"client_message_id": f"id {text}"})
        shown = await tab.until(
            session, "({ pending }) => pending.every(({ status }) => status === 'waiting')"
        )
        assert [(each["content"], each["status"]) for each in shown["pending"]] == [
            ("one", "waiting"), ("two", "waiting"), ("", "waiting"), ("three", "waiting"),
        ]  # fmt: skip
        assert await tab.act(session, "discard", "id two") is True
        await tab.reload(session)
        network.refusing = False
        shown = await tab.until(
            session, "({ messages, pending }) => messages.length === 2 && pending.length === 1"
        )
    assert [message["content"] for message in shown["messages"]] == ["one", "three"]
    assert (shown["pending"][0]["status"], shown["pending"][0]["error"]["code"]) == (
        "failed",
        "VALIDATION_ERROR",
    )
    await tab.act(session, "discard", "id ")
    assert (await tab.state(session))["pending"] == []


async def test_an_answer_that_waits_for_people(
    shared_server: Server, new_tab: Callable[..., Tab], transport: str
) -> None:
    async with working(shared_server) as (worker, agent):
        session = await new_session(shared_server, "alice", agent_id=int(agent))
        tab = await new_tab(transport=transport).open(session)
        await tab.act(session, "send", "pay")
        first = await worker.write(await worker.request(), "Shall I? ", end=False)
        await ask_approval(worker, session, first)
        shown = await tab.until(session, "({ messages }) => messages[1]?.status === 'waiting'")
        assert (shown["turns"][0]["state"], shown["messages"][1]["interrupts"][0]["id"]) == ("waiting", "i1")
        assert (await tab.act(session, "answer", first, "i1", {"status": "resolved", "payload": {}}))[
            "failed"
        ]
        await tab.act(session, "answer", first, "i1", {"status": "resolved", "payload": {"approved": True}})
        again = {"status": "cancelled"}
        assert (await tab.act(session, "answer", first, "i1", again))["failed"] == "CONFLICT"
        await go_on(worker, await worker.request(), "Paid.")
        shown = await tab.until(session, "({ messages }) => messages[1].status === 'complete'")
        assert [seen(message) for message in shown["messages"]] == await history(shared_server, session)
        assert shown["turns"] == []


async def test_who_was_away_for_long(
    shared_server: Server, new_tab: Callable[..., Tab], transport: str
) -> None:
    """More has changed than one page takes, and goes on changing."""
    session = await new_session(shared_server, "alice")
    async with (
        Proxy(shared_server.port) as network,
        enter("socketio", shared_server, "alice", session) as other,
    ):
        tab = await new_tab(url=network.url, transport=transport).open(session)
        await tab.until(session, ONLINE)
        network.refusing = True
        network.cut()
        calls = [other.call("message", content=f"{n} " * 150, client_message_id=f"{n}") for n in range(900)]
        await asyncio.gather(*calls)
        network.refusing = False
        await other.call("message", content="and one more", client_message_id="last")
        shown = await tab.until(session, "({ messages }) => messages.length === 901")
    assert [message["seq"] for message in shown["messages"]] == list(range(1, 902))


async def test_what_has_ended_is_read(
    shared_server: Server, new_tab: Callable[..., Tab], transport: str
) -> None:
    session = await new_session(shared_server, "alice")
    tab = await new_tab(transport=transport).open(session)
    await tab.act(session, "send", "kept")
    await tab.act(None, "archive", session)
    await tab.until(
        session, "({ connection, error }) => connection === 'ended' && error.code === 'SESSION_ARCHIVED'"
    )
    await tab.reload(session)
    await tab.until(
        session, "({ connection, messages }) => connection === 'ended' && messages[0]?.content === 'kept'"
    )
    await tab.act(session, "reopen")
    await tab.until(session, ONLINE)
    await tab.act(session, "send", "on it goes")
    await tab.until(session, "({ messages }) => messages.length === 2")


async def test_tokens(shared_server: Server, new_tab: Callable[..., Tab], transport: str) -> None:
    """One that has expired is asked for anew; one that is none has to be mended."""
    session = await new_session(shared_server, "alice")
    old, good = shared_server.token("alice", ttl=-60), shared_server.token("alice")
    await (tab := new_tab(token=[old, good], transport=transport)).open(session)
    await tab.until(session, ONLINE)
    await (tab := new_tab(token=[good + "x", good + "x", good], transport=transport)).open(session)
    await tab.until(
        session, "({ connection, error }) => connection === 'refused' && error.code === 'UNAUTHORIZED'"
    )


async def test_what_is_shown_is_the_servers_history(
    shared_server: Server, clients: StoreClients, transport: str
) -> None:
    """Two tabs and another user, by random deeds, cuts and reloads; `make faults` has many more of them."""
    async with World(clients, [shared_server], 1, transport) as world:
        await world.live(150)
        await world.settles()
