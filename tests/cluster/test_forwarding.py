"""What a node believes of a request that another passed on, and what of one that only says so."""

import asyncio
import secrets
import time
from contextlib import suppress
from typing import Any, Self

import httpx
import pytest
import redis.asyncio

from server.backends import node_key
from server.config import Settings
from server.engine import requests
from server.engine.requests import credentials
from server.forwarding import Forwarding
from server.identity.peer import FORWARDED, client_address, dev_token_allowed, metrics_allowed
from server.underway import Underway
from storage.errors import StorageUnavailable
from storage.nodekey import FRESH, NodeKey
from tests.cluster.conftest import Nodes
from tests.engine.kit import Raw
from tests.server.test_peer import settings
from tests.support.doors import new_session
from tests.support.sioclient import SioPolling, SioWebSocket
from tests.support.web import web_client

ONE, TWO, THREE = ("node_" + digit * 16 for digit in "123")
BODY = b"4hello"


def forwarding(
    node: str, now: float = 1000.0, secret: bytes = b"s" * 32, address: str | None = None, **more: Any
) -> Forwarding:
    async def address_of(owner: str) -> str | None:
        return address

    return Forwarding(
        node, address_of, lambda scope: scope["client"][0], NodeKey(secret, lambda: now), lambda: now,
        **({"patience": 5, "most": 100, "max_body": 1000} | more),
    )  # fmt: skip


def request(query: bytes = b"EIO=4&transport=polling&sid=2222222222222222x", **more: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/socket.io/", "query_string": query,
        "headers": [(b"x-forwarded-for", b"6.6.6.6")], "client": ("10.0.0.2", 1),
    }  # fmt: skip
    return scope | more


async def nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def stamped(by: Forwarding, scope: dict[str, Any], body: bytes = b"") -> dict[str, Any]:
    """The request as `by` passes it on to TWO, for a client at 9.9.9.9 that showed a token."""
    shown = {**scope, "headers": [*scope["headers"], (b"authorization", b"Bearer secret")]}
    target = scope["path"] + "?" + scope["query_string"].decode()
    stamp = by._proof(TWO.removeprefix("node_"), scope["method"], target, "9.9.9.9", shown, body)
    return {**scope, "headers": [*scope["headers"], stamp]}


async def test_a_proved_request_has_its_clients_address_and_credentials() -> None:
    one, two = forwarding(ONE), forwarding(TWO)
    accepted, _ = two.accept(stamped(one, request()), nothing)
    assert accepted["client"] == ("9.9.9.9", 0) and accepted["parley.forwarded"]
    assert accepted["headers"] == []  # what it was forwarded for is known
    shown = request(headers=[(b"authorization", b"Bearer secret")])
    assert credentials(accepted) == credentials(shown) is not None
    # also where the client's own network is trusted: what else passed through says nothing of it
    assert client_address(accepted, settings(TRUSTED_PROXIES="9.0.0.0/8")) == "9.9.9.9"


@pytest.mark.parametrize(
    "how",
    ["another key", "another query", "another method", "another node", "long ago", "made up", "nothing",
     "two stamps", "no stamp", "a second time"],
)  # fmt: skip
async def test_a_request_that_only_says_so_is_taken_as_it_is(how: str) -> None:
    two = forwarding(THREE if how == "another node" else TWO)
    scope = stamped(forwarding(ONE), request())
    if how == "another key":
        scope = stamped(forwarding(ONE, secret=b"t" * 32), request())
    elif how == "another query":
        scope["query_string"] = b"EIO=4&transport=polling&sid=2222222222222222y"
    elif how == "another method":
        scope["method"] = "POST"
    elif how == "long ago":
        scope = stamped(forwarding(ONE, now=1000.0 - FRESH - 1), request())
    elif how in ("made up", "nothing"):
        scope = request(headers=[(FORWARDED, b"9.9.9.9 - 00 AAAA" if how == "made up" else b"")])
    elif how == "two stamps":
        scope["headers"].append(scope["headers"][-1])
    elif how == "a second time":
        assert two.accept(scope, nothing)[0]["parley.forwarded"]
    else:
        scope = request() if how == "no stamp" else scope
    accepted, _ = two.accept(scope, nothing)
    assert accepted["client"] == ("10.0.0.2", 1) and "parley.forwarded" not in accepted
    assert FORWARDED not in [name for name, _ in accepted["headers"]]


async def test_a_proof_is_for_one_body() -> None:
    async def read(body: bytes) -> list[str]:
        parts = [body[:3], body[3:]]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        _, checked = two.accept(stamped(forwarding(ONE), request(method="POST"), BODY), receive)
        return [str((await checked())["type"]) for _ in range(2)]

    two = forwarding(TWO)
    assert await read(BODY) == ["http.request", "http.request"]
    assert await read(BODY[::-1]) == ["http.request", "http.disconnect"]


def test_what_was_passed_on_is_not_from_this_machine() -> None:
    host = (b"host", b"127.0.0.1")
    local = request(client=("127.0.0.1", 1), headers=[host])
    debug = settings(DEBUG="1")
    assert metrics_allowed(debug, local) and dev_token_allowed(debug, local)
    for stamp in (b"", b"made up"):
        passed = local | {"headers": [host, (FORWARDED, stamp)]}
        assert not metrics_allowed(debug, passed) and not dev_token_allowed(debug, passed)


async def asked(node: Forwarding, sid: str, **more: Any) -> tuple[bool, int | None]:
    """(answered, status)."""
    sent: list[dict[str, Any]] = []
    bodies = asyncio.Queue[dict[str, Any]]()
    bodies.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message: Any) -> None:
        sent.append(message)

    query = b"EIO=4&transport=polling&sid=" + sid.encode()
    answered = await node.elsewhere(sid, request(query, **more), bodies.get, send)
    return answered, sent[0]["status"] if sent else None


async def test_sessions_of_nobody() -> None:
    gone = forwarding(ONE)
    sid = forwarding(TWO).new_sid()
    assert sid.startswith("2" * 16)
    assert await asked(gone, sid) == (True, 410)  # its node is gone: the client begins anew
    assert await asked(gone, gone.new_sid()) == (False, None)  # our own, and over
    assert await asked(gone, "no sid of ours") == (False, None)
    # once is enough: nodes that do not agree must not send it round
    assert await asked(gone, sid, **{"parley.forwarded": True}) == (False, None)
    dead = forwarding(ONE, address="http://127.0.0.1:9")
    assert await asked(dead, sid) == (True, 410)
    await gone.close()
    await dead.close()


async def test_what_was_passed_on_to_the_wrong_node_goes_no_further() -> None:
    """Two machines whose nodes have registered 127.0.0.1: each would send it to itself, for ever."""
    sid = forwarding(TWO).new_sid()
    query = b"EIO=4&transport=polling&sid=" + sid.encode()
    three = forwarding(THREE, address="http://127.0.0.1:9")
    accepted, _ = three.accept(stamped(forwarding(ONE), request(query)), nothing)
    assert await asked(three, sid) == (True, 410)  # a client's own is passed on, to nobody here
    more = {"parley.misled": accepted["parley.misled"]}
    assert await asked(three, sid, **more) == (False, None)
    await three.close()


async def test_an_address_that_was_known_is_used_while_redis_is_away() -> None:
    answers: list[Any] = ["http://127.0.0.1:9", StorageUnavailable()]

    async def address_of(owner: str) -> str | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    now = [1000.0]
    node = Forwarding(
        ONE, address_of, lambda scope: "", NodeKey(b"s" * 32, lambda: now[0]), lambda: now[0], patience=5,
        most=100, max_body=1000,
    )  # fmt: skip
    assert await node._address("2" * 16) == "http://127.0.0.1:9"
    now[0] += 60
    assert await node._address("2" * 16) == "http://127.0.0.1:9"
    await node.close()


class Mute:
    """A node that says whether it has a session and answers nothing else; `asked` counts what else comes."""

    def __init__(self, has: bool = True) -> None:
        self.asked = asyncio.Semaphore(0)
        self.heads = 0
        self._says = b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % (b"204 " if has else b"404 ")
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Mute":
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"HEAD"):
                self.heads += 1
                writer.write(self._says)
            self.asked.release()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


class Sent:
    """What a request was answered; `body` is what comes, piece by piece, and then nothing."""

    def __init__(self, node: Forwarding, *body: dict[str, Any], client: str = "9.9.9.9", **more: Any) -> None:
        self.status: int | None = None
        self.read = 0
        self._body = list(body) or [{"type": "http.request", "body": b"", "more_body": False}]
        scope = request(client=(client, 1), **more)
        sid = scope["query_string"].rpartition(b"=")[2].decode()
        self.task = asyncio.create_task(node.elsewhere(sid, scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._body:
            await asyncio.Event().wait()
        self.read += len(self._body[0].get("body", b""))
        return self._body.pop(0)

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)

    async def answered(self) -> int | None:
        async with asyncio.timeout(10):
            await self.task
        return self.status


def piece(size: int, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


async def test_a_body_has_the_owners_bounds_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Mute() as owner:
        node = forwarding(ONE, address=owner.url)
        post = {"method": "POST"}
        told = Sent(node, piece(1), **post, headers=[(b"content-length", b"1001")])
        assert (await told.answered(), told.read) == (413, 1)  # by its length, with its first piece
        long = Sent(node, *[piece(300)] * 100, **post)
        assert await long.answered() == 413 and long.read <= 1200
        monkeypatch.setattr(requests, "BODY_TIMEOUT", 0.05)
        assert await Sent(node, piece(1), piece(1), **post).answered() == 408
        assert owner.asked.locked()  # the owner has heard of none
        await node.close()


async def test_of_a_node_that_is_not_there_nothing_is_read() -> None:
    node = forwarding(ONE)
    post = Sent(node, piece(300), method="POST")
    assert (await post.answered(), post.read) == (410, 0)
    await node.close()


async def test_requests_under_way_are_bounded_by_address_and_in_all() -> None:
    async with Mute() as owner:
        node = forwarding(ONE, address=owner.url, most=101, max_body=1 << 20)
        whole = piece(10, more=False)
        under_way = []
        for at in range(101):  # each address has its share
            client = f"9.9.9.{at // 100}"
            under_way.append(Sent(node, whole, client=client))
            await owner.asked.acquire()
            if at == 99:
                assert await Sent(node, whole, client=client).answered() == 429
        refused = Sent(node, whole, client="8.8.8.8")
        assert (await refused.answered(), refused.read) == (503, 0)
        await left(under_way)
        again = Sent(node, whole, client="8.8.8.8")
        await owner.asked.acquire()
        await left([again])
        await node.close()


async def left(under_way: list[Sent]) -> None:
    """Their clients leave."""
    for sent in under_way:
        sent.task.cancel()
    await asyncio.gather(*(sent.task for sent in under_way), return_exceptions=True)


def test_where_all_come_from_one_address_it_has_nearly_all() -> None:
    polls = Underway(1000, 100)
    assert [polls.enter("192.0.2.1") for _ in range(901)] == [0] * 900 + [429]
    assert [polls.enter("198.51.100.1") for _ in range(101)] == [0] * 100 + [429]
    assert polls.enter("192.0.2.1") == 429 and polls.enter("203.0.113.1") == 503


@pytest.mark.parametrize("client", ["9.9.9.9", "10.0.0.1"])  # the second is a proxy of ours
async def test_slow_bodies_keep_nobody_out(client: str) -> None:
    async with Mute() as owner:
        most, size = 32 * 1024 * 1024, 1 << 20
        node = forwarding(
            ONE, address=owner.url, max_body=size, place_of=lambda a: "" if a == "10.0.0.1" else a
        )
        slow: list[Sent] = []
        for _ in range(60):  # each sends all but its end
            slow.append(Sent(node, piece(size - 1), method="POST", client=client))
            while not slow[-1].read:
                await asyncio.sleep(0)
        while len(node._bodies) < sum(not sent.task.done() for sent in slow):  # told, and not yet gone
            await asyncio.sleep(0)
        gone = [sent for sent in slow if sent.task.done()]
        assert gone == slow[: len(gone)]  # the oldest
        assert {await sent.answered() for sent in gone} == {503}
        assert (60 - len(gone)) * size <= most and 60 - len(gone) >= most // size // 2
        for other in (client, "8.8.8.8"):
            newcomer = Sent(node, piece(10, more=False), method="POST", client=other)
            await owner.asked.acquire()
            await left([newcomer])
        await left(slow)
        assert node._bodies.weight == 0 and len(node._bodies) == 0
        await node.close()


async def test_bodies_count_as_far_as_they_have_come() -> None:
    async with Mute() as owner:
        node = forwarding(ONE, address=owner.url, max_body=1 << 20)
        first = Sent(node, piece(10), method="POST")
        while not first.read:
            await asyncio.sleep(0)
        small = [first, *(Sent(node, piece(10), method="POST") for _ in range(500))]
        while not all(sent.read for sent in small):
            await asyncio.sleep(0)
        assert not any(sent.task.done() for sent in small)
        await left(small)
        assert node._bodies.weight == 0
        await node.close()


async def test_no_body_is_awaited_for_a_session_that_its_owner_has_not() -> None:
    async with Mute(has=False) as owner:
        node = forwarding(ONE, address=owner.url)
        post = Sent(node, piece(300), method="POST")
        assert (await post.answered(), post.read) == (400, 0)
        await node.close()
    async with Mute() as owner:
        node = forwarding(ONE, address=owner.url)
        for _ in range(3):  # asked once
            sent = Sent(node, piece(10, more=False), method="POST")
            await owner.asked.acquire()
            await left([sent])
        assert owner.heads == 1 and node._bodies.weight == 0
        await node.close()


async def test_a_made_up_session_of_a_live_node(steady: Nodes) -> None:
    async with web_client() as http:
        opened = (await http.get(steady[0].url + "/socket.io/?EIO=4&transport=polling")).text
        sid = opened.split('"sid":"')[1].split('"')[0]
    made_up = sid[:16] + "x" * (len(sid) - 16)
    for name, status in ((made_up, b"400"), (sid, b"100")):
        async with await Raw.connect(steady[1].port) as raw:
            target = f"/socket.io/?EIO=4&transport=polling&sid={name}"
            head = f"POST {target} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
            raw.send(head.encode())
            async with asyncio.timeout(10):
                assert (await raw.reader.readline()).split()[1] == status


async def test_a_polling_client_that_asks_another_node_each_time(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice")
    async with SioPolling(steady[0].url) as client:
        client.url = steady[1].url + "/socket.io/"
        await client.connect(steady[0].token("alice"))
        client.url = steady[2].url + "/socket.io/"
        assert (await client.emit("join", {"session_id": session}))["ok"]
        for at in (0, 1, 2, 1):
            client.url = steady[at].url + "/socket.io/"
            reply = await client.emit("message", {"session_id": session, "content": str(at), "reply": False})
            assert reply["ok"]
        await client.wait_event("message", lambda m: m["content"] == "1")


async def test_an_upgrade_that_comes_to_another_node(steady: Nodes) -> None:
    async with web_client() as http:
        url = steady[0].url + "/socket.io/?EIO=4&transport=polling"
        opened = (await http.get(url)).text
        sid = opened.split('"sid":"')[1].split('"')[0]
        async with SioWebSocket(steady[1].ws_url, query={"sid": sid}) as socket:
            await socket.write("2probe")
            async with asyncio.timeout(10):
                while "3probe" not in socket.packets:
                    await asyncio.sleep(0.01)
            await socket.write("5")
            answer = await socket.connect(steady[0].token("alice"))
            assert "sid" in answer


# --- nodes that Redis tells of


class Node:
    """A listener at an address in Redis: `heads` has what came; what it answers is the test's."""

    def __init__(self, answer: bytes = b"") -> None:
        self.name = secrets.token_hex(8)
        self.heads: list[bytes] = []
        self.said: list[bytes] = []
        self.answer = answer
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[Any] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def register(
        self, nodes: Nodes, key: bytes | None, name: str | None = None, ago: float = 0
    ) -> None:
        """As a node with this key does; plainly without one."""
        client = redis.asyncio.from_url(nodes[0].env["REDIS_URL"])
        value = self.url
        if key is not None:
            node_key = NodeKey(key, lambda: time.time() - ago)
            value = node_key.register(f"node_{name or self.name}", self.url, 30)
        await client.set(f"chat:lease-of:node_{self.name}", value, ex=60)
        await client.aclose()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._tasks.add(asyncio.current_task())
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        with suppress(ConnectionError):
            while data := await reader.read(1000):
                self.said.append(data)
        writer.close()

    def write(self, data: bytes) -> None:
        self._writers[-1].write(data)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()
        await asyncio.gather(*self._tasks)


def key_of(nodes: Nodes) -> bytes:
    environ = {name: nodes[0].env[name] for name in ("JWT_SECRET_KEY",)}
    return node_key(Settings.load(environ, None))


#: What a client shows, and what no other node is to see.
SHOWN = {
    "Authorization": "Bearer t-in-header", "Cookie": "c=t-in-cookie", "X-Forwarded-For": "6.6.6.6",
}  # fmt: skip


async def poll(nodes: Nodes, name: str) -> httpx.Response:
    target = f"/socket.io/?EIO=4&transport=polling&sid={name}abc&token=t-in-query"
    async with web_client(headers=SHOWN) as http:
        return await http.get(nodes[0].url + target)


@pytest.mark.parametrize("how", ["plain", "another key", "another node's", "long ago"])
async def test_an_address_that_no_node_registered_hears_nothing(steady: Nodes, how: str) -> None:
    async with Node() as stranger:
        key = {"plain": None, "another key": b"x" * 32}.get(how, key_of(steady))
        other = "0" * 16 if how == "another node's" else None
        await stranger.register(steady, key, other, ago=60 if how == "long ago" else 0)
        assert (await poll(steady, stranger.name)).status_code == 410
        async with await Raw.connect(steady[0].port) as raw:
            status, _, _ = await raw.upgrade(f"/socket.io/?EIO=4&transport=websocket&sid={stranger.name}abc")
            assert status == 410
        assert stranger.heads == []


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_no_credentials_travel_to_another_node(steady: Nodes) -> None:
    async with Node(OK) as owner:
        await owner.register(steady, key_of(steady))
        assert (await poll(steady, owner.name)).text == "ok"
        async with await Raw.connect(steady[0].port) as raw:
            target = f"/socket.io/?EIO=4&transport=websocket&sid={owner.name}abc&token=t-in-query"
            assert (await raw.upgrade(target, {**SHOWN, "X-More": "t-in-more"}))[0] == 502
        for head in owner.heads:
            assert b"t-in-" not in head and b"forwarded-for" not in head.lower()
            assert head.count(FORWARDED) == 1
        names = {line.partition(b":")[0].lower() for line in owner.heads[1].split(b"\r\n")[1:-2]}
        wanted = {
            b"host",
            b"upgrade",
            b"connection",
            b"sec-websocket-key",
            b"sec-websocket-version",
            FORWARDED,
        }
        assert names == wanted | {FORWARDED}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nnope", 400),
        (OK, 502),
        (b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", 502),
        (b"no http at all\r\n\r\n", 410),
    ],
)
async def test_without_a_101_there_is_no_tunnel(steady: Nodes, answer: bytes, status: int) -> None:
    async with Node(answer) as owner:
        await owner.register(steady, key_of(steady))
        async with await Raw.connect(steady[0].port) as raw:
            asking = asyncio.create_task(
                raw.upgrade(f"/socket.io/?EIO=4&transport=websocket&sid={owner.name}abc")
            )
            while not owner.heads:
                await asyncio.sleep(0.01)
            raw.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            owner.hang_up()
            found, _, body = await asking
            assert found == status and (status != 400 or body == b"nope")
            assert await raw.reader.read() == b""  # answered once, and closed
        assert owner.said == []


async def test_what_comes_before_the_101_is_passed_on_after_it(steady: Nodes) -> None:
    async with Node() as owner:
        await owner.register(steady, key_of(steady))
        async with await Raw.connect(steady[0].port) as raw:
            asking = asyncio.create_task(
                raw.upgrade(f"/socket.io/?EIO=4&transport=websocket&sid={owner.name}abc")
            )
            while not owner.heads:
                await asyncio.sleep(0.01)
            raw.text("2probe")
            await raw.writer.drain()
            await asyncio.sleep(0.05)  # until it has been read: nothing tells
            assert owner.said == []
            owner.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n")
            assert (await asking)[0] == 101
            raw.text("5")
            while len(b"".join(owner.said)) < 19:
                await asyncio.sleep(0.01)
            owner.hang_up()
            assert await raw.reader.read() == b""
