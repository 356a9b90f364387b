"""Who joins a session that somebody has joined before need not wait, and is told the same as who does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.access import Caller
from events.errors import ChatError, SessionArchived, SessionNotFound, ValidationFailed
from events.joining import Joined
from events.outbox import Sink
from events.room import Connection
from events.schema import SendMessage
from events.sessions import Origin
from migrations.run import upgrade
from server.config import Settings
from server.metrics import Metrics
from server.node.build import build
from server.node.running import running
from server.services import Services
from server.transports.codecs import SocketIOCodec

ALICE, BOB, EVE = (Caller("user", name, expires_at=9e9) for name in ("alice", "bob", "eve"))


class Reader(Sink):
    def __init__(self, services: Services) -> None:
        super().__init__(services.hub.flusher)
        self.services = services
        self.got: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.got.append(data)

    def cut(self) -> None:
        assert self.services.admission.draining, "cut off"


class Client(Connection):
    def end(self, error: ChatError) -> None:
        """The node stops with it."""


@dataclass
class Node:
    services: Services
    count: int = field(default=0)

    def connection(self, caller: Caller) -> Connection:
        self.count += 1
        conn = Client(f"c{self.count}", caller, SocketIOCodec(), Reader(self.services), "socketio", 0.0)
        assert self.services.membership.connected(conn) is None
        return conn

    async def session(self) -> str:
        record = await self.services.sessions.create_session(ALICE, Origin("test"))
        await self.services.participation.put_participant(ALICE, record.session_id, BOB.key, "member")
        return record.session_id

    async def say(self, session_id: str, content: str) -> None:
        await self.services.messages.send(ALICE, SendMessage(session_id=session_id, content=content))

    async def slowly(self, conn: Connection, session_id: str, after: int | None = None) -> Joined:
        joined = await self.services.joining.join(conn, session_id, after, 50)
        joined.then()
        return joined

    def at_once(self, conn: Connection, session_id: str, after: int | None = None) -> Joined | None:
        joined = self.services.joining.at_once(conn, session_id, after, 50)
        if joined is not None:
            joined.then()
        return joined


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings.load(
        {"DATABASE_URL": f"sqlite:///{tmp_path}/parley.db", "JWT_SECRET_KEY": "x" * 40, "DEBUG": "true",
         "RATE_LIMIT_ENABLED": "false", "PRESENCE_GRACE": "30", "MAX_ROOMS_PER_CONNECTION": "3"},
        None, data_dir=tmp_path,
    )  # fmt: skip
    await asyncio.to_thread(upgrade, settings.database_url)
    built = build(settings, Metrics())
    async with running(built):
        yield Node(built.services)


def told(joined: Joined) -> dict[str, Any]:
    reply: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(joined.reply))
    reply["session"].pop("last_activity")
    return reply


async def test_the_first_has_to_wait_and_who_comes_next_is_told_the_same(node: Node) -> None:
    name = await node.session()
    for n in range(3):
        await node.say(name, f"number {n}")
    assert node.at_once(node.connection(ALICE), name) is None
    first = await node.slowly(node.connection(ALICE), name)
    for after in (None, 0, 2, 3):
        quick = node.at_once(node.connection(BOB), name, after)
        assert quick is not None
        assert told(quick) == told(await node.slowly(node.connection(BOB), name, after)) | {
            "online": quick.reply["online"]
        }
    assert [m["content"] for m in told(first)["messages"]] == ["number 0", "number 1", "number 2"]


async def test_who_has_just_left_is_online_and_counted_once(node: Node) -> None:
    name = await node.session()
    alice = node.connection(ALICE)
    await node.slowly(alice, name)
    bob = node.connection(BOB)
    assert node.at_once(bob, name) is not None
    node.services.membership.disconnected(bob)  # it has its grace
    again = node.at_once(node.connection(ALICE), name)
    assert again is not None
    assert again.reply["online"] == [
        {"user_id": "alice", "status": "online", "connections": 2},
        {"user_id": "bob", "status": "online", "connections": 1},
    ]
    assert again.reply["online"] == await node.services.presence.online(name)


async def test_nothing_is_lost_between_the_reply_and_what_follows(node: Node) -> None:
    name = await node.session()
    await node.slowly(node.connection(ALICE), name)
    bob = node.connection(BOB)
    assert node.at_once(bob, name) is not None
    await node.say(name, "hello")
    assert isinstance(bob.sink, Reader)
    async with asyncio.timeout(10):
        while b'"hello"' not in b"".join(bob.sink.got):
            await asyncio.sleep(0)
    assert b"".join(bob.sink.got).count(b'"hello"') == 1
    late = node.connection(BOB)
    quick = node.at_once(late, name)
    if quick is None:  # what was read is older than the message
        quick = await node.slowly(late, name)
    assert [m["content"] for m in told(quick)["messages"]] == ["hello"]


@pytest.mark.parametrize("caller", [EVE, Caller("user", "alice", sessions=frozenset(["x"]), expires_at=9e9)])
async def test_who_may_not_is_refused_and_leaves_nothing_behind(node: Node, caller: Caller) -> None:
    name = await node.session()
    await node.slowly(node.connection(ALICE), name)
    conn = node.connection(caller)
    with pytest.raises(SessionNotFound):
        node.at_once(conn, name)
    assert conn.rooms == () and conn.held is None
    assert conn not in node.services.hub.rooms[name].members


async def test_what_is_older_than_what_was_delivered_is_not_told(node: Node) -> None:
    name = await node.session()
    await node.say(name, "one")
    await node.slowly(node.connection(ALICE), name)
    room = node.services.hub.rooms[name]
    room.delivered += 1  # from SQL, while the bus was away: the log does not hold it yet
    assert node.at_once(node.connection(BOB), name) is None


async def test_what_changes_while_it_is_read_is_not_kept(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await node.session()
    await node.slowly(node.connection(ALICE), name)
    node.services.hub.rooms[name].changed()
    messages = node.services.messages
    views = messages.views

    async def removed_meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(messages, "views", views)
        await node.services.participation.remove_participant(ALICE, name, BOB.key)
        await node.services.membership.access_changed(name, BOB.key)
        return await views(*args)

    monkeypatch.setattr(messages, "views", removed_meanwhile)
    await node.slowly(node.connection(ALICE), name)
    conn = node.connection(BOB)
    with pytest.raises(SessionNotFound):
        if node.at_once(conn, name) is None:
            await node.slowly(conn, name)


async def test_a_failure_leaves_nobody_half_inside(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await node.session()
    await node.slowly(node.connection(ALICE), name)
    conn = node.connection(BOB)

    def broken(room: object) -> None:
        raise ValueError("on purpose")

    monkeypatch.setattr(node.services.presence, "at_hand", broken)
    with pytest.raises(ValueError, match="on purpose"):
        node.at_once(conn, name)
    assert conn.rooms == ()
    assert conn not in node.services.hub.rooms[name].members


async def test_limits_and_ends_hold(node: Node) -> None:
    names = [await node.session() for _ in range(4)]
    for name in names[:3]:
        await node.slowly(node.connection(ALICE), name)
    await node.slowly(node.connection(BOB), names[3])
    conn = node.connection(ALICE)
    for name in names[:3]:
        assert node.at_once(conn, name) is not None
    with pytest.raises(ValidationFailed):
        node.at_once(conn, names[3])
    live = node.services.hub.rooms[names[0]].live
    assert live is not None
    live.status = "archived"
    with pytest.raises(SessionArchived):
        node.at_once(node.connection(BOB), names[0])


@pytest.mark.parametrize("what", ["gone", "held", "member", "away", "later"])
async def test_where_there_is_more_to_it_it_has_to_wait(node: Node, what: str) -> None:
    name = await node.session()
    await node.slowly(node.connection(ALICE), name)
    conn = node.connection(BOB)
    after = None
    if what == "gone":
        node.services.membership.disconnected(conn)
    elif what == "held":
        node.services.hub.hold(conn)
    elif what == "member":
        assert node.at_once(conn, name) is not None
    elif what == "away":
        node.services.delivery.lost()
    else:
        after = 7  # told elsewhere of what the log here does not hold yet
    try:
        assert node.at_once(conn, name, after) is None
    except ChatError as error:
        raise AssertionError("refused") from error


async def test_what_is_logged_and_has_not_come_here_is_not_missed(node: Node) -> None:
    name = await node.session()
    await node.slowly(node.connection(ALICE), name)
    node.services.hub.rooms[name].pos -= 1  # a title, say, of which the bus has yet to tell this node
    assert node.at_once(node.connection(BOB), name) is None


async def test_who_was_let_in_at_another_node_need_not_wait_until_this_one_hears(node: Node) -> None:
    name = await node.session()
    await node.slowly(node.connection(ALICE), name)
    room = node.services.hub.rooms[name]
    known = room.known
    await node.services.participation.put_participant(ALICE, name, EVE.key, "member")
    state = node.services.delivery.log.at_hand(name)
    assert state is not None
    room.known, room.pos = known, state.pos  # in SQL, and not even in the log yet
    await node.slowly(node.connection(EVE), name)


async def test_a_session_that_lives_on_is_not_told_as_expired(node: Node) -> None:
    name = await node.session()
    await node.slowly(node.connection(ALICE), name)
    room = node.services.hub.rooms[name]
    assert room.known is not None
    # as it was read before somebody else's coming prolonged it
    record = msgspec.structs.replace(room.known.record, expires_at=room.known.record.created_at)
    room.known = replace(room.known, record=record, views={})
    quick = node.at_once(node.connection(BOB), name)
    assert quick is not None
    assert told(quick)["session"]["status"] == "active"


async def test_a_role_that_changes_while_somebody_joins_is_the_new_one(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await node.session()
    sessions = node.services.sessions
    joinable = sessions.joinable

    async def changed_meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(sessions, "joinable", joinable)
        found = await joinable(*args)
        await node.services.participation.put_participant(ALICE, name, BOB.key, "viewer")
        return found

    monkeypatch.setattr(sessions, "joinable", changed_meanwhile)
    conn = node.connection(BOB)
    joined = await node.slowly(conn, name)
    member = conn.member(name)
    assert member is not None
    assert member.role == told(joined)["session"]["role"] == "viewer"
