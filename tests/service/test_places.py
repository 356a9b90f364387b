"""Nobody takes all of a node's connections: an identity, a network, or who has shown no token yet."""

import asyncio
import re
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from itertools import count
from typing import Any, cast

import pytest

from events.access import Caller
from events.errors import ServerFull
from events.hub import Hub
from events.outbox import Sink
from events.room import Connection
from server.engine.strangers import Strangers, places_for
from server.places import Places
from tests.support.doors import enter, new_session
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket
from tests.support.web import web_client

MOST = 40


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """For what is started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def small_node(few_descriptors: None, sqlite_url: str, new_server: Callable[..., Server]) -> Iterator[Server]:
    """Has 256 places for strangers."""
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS=str(MOST))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield node


@pytest.mark.parametrize("kind", ["websocket", "socketio", "events", "reader"])
async def test_one_user_leaves_places_to_others(
    sqlite_url: str, new_server: Callable[..., Server], kind: str
) -> None:
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS=str(MOST), STREAM_LEASE="60")
    room = await new_session(node, "mallory", members=("alice",))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(enter("socketio", node, "mallory", room))
        stream = (await first.call("stream_start"))["message_id"]
        api = await stack.enter_async_context(node.api("mallory"))

        async def one_more() -> bool:
            if kind == "websocket":
                raw = await stack.enter_async_context(RawClient(node.ws_url, room, node.token("mallory")))
                with suppress(AssertionError, ConnectionError, TimeoutError):
                    return bool(await raw.welcome())
                return False
            if kind == "socketio":
                socket = await stack.enter_async_context(SioWebSocket(node.ws_url))
                try:
                    return "sid" in await socket.connect(node.token("mallory"))
                except ConnectionError:
                    assert socket.reason == "SERVER_FULL"
                    return False
            path = f"/api/chat/sessions/{room}/events" if kind == "events" else f"/api/chat/streams/{stream}"
            answer = await stack.enter_async_context(api.stream("GET", path))
            if answer.status_code == 503:
                assert (await answer.aread()) and answer.json()["error"]["code"] == "SERVER_FULL"
            return answer.status_code == 200

        taken = 1
        while await one_more():
            taken += 1
            assert taken < MOST
        assert taken >= MOST // 2
        # Others come in, with a second tab, too.
        async with enter("websocket", node, "alice", room), enter("socketio", node, "alice", room) as alice:
            assert (await alice.call("message", content="hello"))["ok"]


async def test_who_holds_a_share_link_takes_no_place_of_its_user(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS=str(MOST))
    room = await new_session(node, "alice", members=("bob",))
    link = node.token("bob", sessions=[room], session_role="viewer")
    async with AsyncExitStack() as stack:

        async def one_more() -> bool:
            raw = await stack.enter_async_context(RawClient(node.ws_url, room, link))
            with suppress(AssertionError, ConnectionError, TimeoutError):
                return bool(await raw.welcome())
            return False

        taken = 0
        while await one_more():
            taken += 1
        assert MOST // 10 <= taken < MOST // 2, "the others have room for another network's holders"
        # He himself has as many as anybody who was not here yet.
        async with enter("websocket", node, "bob", room), enter("socketio", node, "bob", room) as bob:
            assert (await bob.call("message", content="hello"))["ok"]
            async with enter("websocket", node, "bob", room) as third:
                assert (await third.call("message", content="again"))["ok"]


async def test_a_herd_that_comes_back_finds_only_what_is_free(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """All of them ask while there are places, and each takes a while to be brought back."""
    most, herd, others = 12, 10, 9
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS=str(most))
    names = [f"user-{n}" for n in range(herd)]
    room = await new_session(node, "alice", members=tuple(names))
    records = []
    async with AsyncExitStack() as stack:
        for name in names:
            first = await stack.enter_async_context(SioWebSocket(node.ws_url))
            await first.connect(node.token(name))
            assert (await first.emit("join", {"session_id": room}))["ok"]
            records.append((node.token(name), first.pid))
    async with AsyncExitStack() as stack:
        await connections(node, 0)
        for n in range(others):
            other = await stack.enter_async_context(SioWebSocket(node.ws_url))
            assert "sid" in await other.connect(node.token(f"other-{n}"))
        back = [await stack.enter_async_context(SioWebSocket(node.ws_url)) for _ in records]
        answers = await asyncio.gather(
            *(socket.connect(token, pid=pid) for socket, (token, pid) in zip(back, records, strict=True)),
            return_exceptions=True,
        )
        served = [answer for answer in answers if isinstance(answer, dict)]
        assert len(served) == most - others
        assert all(answer["pid"] in {pid for _, pid in records} for answer in served)
        put_off = [socket for socket in back if socket.sid is None]
        assert {socket.reason for socket in put_off} == {"SERVER_FULL"}
        await connections(node, most)
        # A place that becomes free is the next one's, and nothing is kept for those who were put off.
        await back[answers.index(served[0])].connection.close()  # type: ignore[union-attr]
        await connections(node, most - 1)
        async with SioWebSocket(node.ws_url) as again:
            token, pid = records[back.index(put_off[0])]
            assert (await again.connect(token, pid=pid))["pid"] == pid


async def connections(node: Server, many: int) -> None:
    """Waits until the node has so many."""
    async with asyncio.timeout(10), node.api("service", role="service") as api:
        while True:
            lines = (await api.get("/metrics")).text.splitlines()
            counts = [
                float(line.rpartition(" ")[2]) for line in lines if line.startswith("parley_connections{")
            ]
            if sum(counts) == many:
                return
            await asyncio.sleep(0.02)


async def test_who_comes_back_takes_the_place_of_an_own_connection(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """A user with several tabs, on a node that has places left for others' first connections alone."""
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS="20")
    async with AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(SioWebSocket(node.ws_url)) for _ in range(2)]
        for tab in tabs:
            assert "sid" in await tab.connect(node.token("alice"))
        for n in range(16):
            other = await stack.enter_async_context(SioWebSocket(node.ws_url))
            assert "sid" in await other.connect(node.token(f"other-{n}"))
        for tab in tabs:
            again = await stack.enter_async_context(SioWebSocket(node.ws_url))
            assert (await again.connect(node.token("alice"), pid=tab.pid))["pid"] == tab.pid
            await tab.closed()
        await connections(node, 18)


async def test_sessions_without_a_token_are_bounded(small_node: Server) -> None:
    node = small_node
    room = await new_session(node, "alice")
    async with web_client(base_url=node.url) as api:

        async def handshake() -> str:
            answer = await api.get("/socket.io/?EIO=4&transport=polling")
            assert answer.status_code == 200
            return answer.text.partition('"sid":"')[2].partition('"')[0]

        sids = [await handshake() for _ in range(400)]
        alive = 0
        for sid in sids:
            pong = await api.post(f"/socket.io/?EIO=4&transport=polling&sid={sid}", content="3")
            alive += pong.status_code == 200
        assert 100 <= alive <= 256
        # Who means to authenticate comes in meanwhile, from the same address, over polling as well.
        for kind in ("polling", "socketio", "websocket", "rest"):
            async with enter(kind, node, "alice", room) as alice:
                assert (await alice.call("message", content="hello"))["ok"]


async def test_silent_connections_are_bounded(small_node: Server) -> None:
    node = small_node
    room = await new_session(node, "alice")
    async with enter("socketio", node, "alice", room) as alice, enter("rest", node, "alice", room) as reader:
        silent = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(400)]
        # Some have said a part of what they mean to ask.
        for _, writer in silent[::2]:
            writer.write(b"GET /healthz HTTP/1.1\r\n")
        async with asyncio.timeout(10):
            for stream, _ in silent[:100]:
                with suppress(ConnectionError):
                    assert await stream.read(1) == b""
        async with enter("websocket", node, "alice", room) as newcomer:
            assert (await newcomer.call("message", content="hello"))["ok"]
        # Who was here before is here still.
        await reader.wait_event("message")
        assert (await alice.call("message", content="again"))["ok"]
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize("kind", ["upload", "poll's post"])
async def test_strangers_bodies_that_do_not_end_are_bounded(small_node: Server, kind: str) -> None:
    node = small_node
    room = await new_session(node, "alice")
    upload = f"/api/chat/sessions/{room}/files"
    opened = []
    async with enter("polling", node, "alice", room) as alice:
        for _ in range(550):  # more than it has file descriptors
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            opened.append(writer)
            target = upload
            if kind != "upload":
                writer.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n")
                sid = re.search(r'"sid":"([^"]+)', (await reader.readuntil(b"}")).decode())
                assert sid
                target = f"/socket.io/?EIO=4&transport=polling&sid={sid[1]}"
            writer.write(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n4".encode())
        async with enter("websocket", node, "alice", room) as newcomer:
            assert (await newcomer.call("message", content="hello"))["ok"]
        await alice.wait_event("message")  # who was here before is here still
    for writer in opened:
        writer.close()


async def test_who_was_answered_and_sends_line_ends_is_bounded(small_node: Server) -> None:
    node = small_node
    room = await new_session(node, "alice")
    silent = []
    for _ in range(400):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\r\n")
        silent.append((reader, writer))
    async with asyncio.timeout(20):
        for reader, _ in silent:
            with suppress(ConnectionError):
                while await reader.read(1000):
                    pass
    async with enter("websocket", node, "alice", room) as newcomer:
        assert (await newcomer.call("message", content="hello"))["ok"]
    for _, writer in silent:
        writer.close()


@pytest.mark.parametrize("query", ["sid=", "xsid=1", "a=sid=1", "sid2=x"])
async def test_a_full_node_takes_nobody_for_having_a_session(
    sqlite_url: str, new_server: Callable[..., Server], query: str
) -> None:
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS="1")
    room = await new_session(node, "alice")
    async with (
        enter("websocket", node, "alice", room),
        web_client(base_url=node.url) as api,
    ):
        for more in ("", "&" + query):
            answer = await api.get("/socket.io/?EIO=4&transport=polling" + more)
            assert answer.status_code == 503, (more, answer.text)


async def test_who_hangs_up_in_a_body_is_no_fault(server: Server) -> None:
    token = server.token("alice")
    async with server.api("alice") as api:
        for path in ("/api/chat/sessions", "/api/chat"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            writer.write(f"{head}Expect: 100-continue\r\nContent-Length: 100\r\n\r\n".encode())
            assert b"100" in await reader.readline()  # the body is being read
            writer.write(b'{"title": ')
            writer.close()
            await writer.wait_closed()
            assert (await api.get("/api/chat/sessions")).status_code == 200
    server.stop()
    log = server.log.read_text()
    assert "ClientDisconnect" not in log and '"level": "error"' not in log and "Traceback" not in log


# --- the rules


def test_a_small_node_has_thousands_of_places_for_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100_000, 100_000))
    assert places_for(40) >= 4000 and places_for(10_000) == 20_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert places_for(40) == places_for(10_000) == 512


class Gone:
    def __init__(self) -> None:
        self.gone = False

    def abort(self) -> None:
        self.gone = True

    def get_extra_info(self, name: str) -> tuple[str, int]:
        assert name == "peername"
        return "a", 1


def test_the_oldest_stranger_of_a_place_goes_first() -> None:
    strangers = Strangers(9, str)
    other, proxied = Gone(), [Gone() for _ in range(2)]
    strangers.add(other, "b")
    many = [Gone() for _ in range(20)]
    for one in many:
        strangers.add(one, "a")
    assert [one.gone for one in many] == [True] * 14 + [False] * 6
    assert not other.gone
    # Whoever comes a step further is the youngest again, and weighs what it did.
    last = Gone()
    assert strangers.meet(many[14]) == "a" and strangers.meet(last) == "a"
    assert [one.gone for one in (many[14], many[15], last)] == [False, True, False]
    many[15:] = [*many[16:], last]
    assert strangers.weight == 7
    # In all the oldest goes, wherever it is; a proxy's have no place.
    for one in proxied:
        strangers.add(one, "")
    assert not other.gone and len(strangers) == 9
    strangers.add(Gone(), "c")
    assert other.gone
    # A long head weighs more; who is known is none of them.
    strangers.discard(many[-1])
    strangers.discard(many[-1])
    assert strangers.weight == 8
    strangers.add(Gone(), "c", 4)
    assert strangers.weight <= 9 and not many[-1].gone


def test_networks_share_the_last_places_where_there_are_several() -> None:
    hub = Hub()
    seconds = count(step=10.0)
    places = Places(hub, 100, lambda: next(seconds))

    def connect(user: str, address: str) -> None:
        caller = Caller("user", user)
        places.admit(caller, address)
        conn = Connection(f"{user}@{address}", caller, cast(Any, None), cast(Sink, None), "websocket", 0.0)
        conn.address = address
        hub.add(conn)

    for number in range(100):  # everybody behind one proxy
        connect(f"u{number}", "192.0.2.1")
    with pytest.raises(ServerFull):
        connect("one more", "192.0.2.1")
    for conn in list(hub.connections.values())[:6]:
        hub.remove(conn)
    connect("elsewhere", "198.51.100.1")
    with pytest.raises(ServerFull):
        connect("v", "192.0.2.1")
    connect("elsewhere too", "198.51.100.2")


def test_a_place_is_kept_for_as_long_as_a_recovery_takes() -> None:
    hub, seconds = Hub(), count()
    places = Places(hub, 8, lambda: next(seconds))
    alice = Caller("user", "alice")

    def connection(number: int, caller: Caller = alice) -> Connection:
        return Connection(
            f"{caller.sub} {number}", caller, cast(Any, None), cast(Sink, None), "socketio", 0.0
        )

    with ExitStack() as recoveries:
        taken = [connection(number) for number in range(8)]
        for conn in taken[:4]:
            recoveries.enter_context(places.kept(conn, None))
        with pytest.raises(ServerFull):  # what is free is less than what the user has, counting those
            for conn in taken[4:]:
                recoveries.enter_context(places.kept(conn, None))
        with pytest.raises(ServerFull):
            places.admit(alice, "")
        for number in range(3):
            other = connection(number, Caller("user", f"{number}"))
            places.admit(other.caller, "")
            hub.add(other)
        assert places.full
    assert not places.full
    places.admit(alice, "")


def test_a_network_that_comes_at_once_gets_no_more_than_its_part() -> None:
    """All within the time for which a count of networks holds."""
    hub = Hub()
    places = Places(hub, 100, lambda: 5.0)
    here: Counter[str] = Counter()

    def connect(address: str) -> None:
        caller = Caller("user", f"{here.total()}")
        places.admit(caller, address)
        conn = Connection(caller.sub, caller, cast(Any, None), cast(Sink, None), "websocket", 0.0)
        conn.address = address
        hub.add(conn)
        here[address] += 1

    for _ in range(48):
        connect("192.0.2.1")
    for n in range(47):
        connect(f"198.51.100.{n}")
    with pytest.raises(ServerFull):
        for _ in range(6):
            connect("192.0.2.1")
    assert here["192.0.2.1"] == 51
    connect("198.51.100.200")
