"""Refused for a moment, unmodified clients come back by themselves; refused for good, they stay away."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from tests.clients.everybody import EVERYBODY, Clients, Socket, clients
from tests.server.test_jwks import FIRST, Issuer, issuer, jwk, keys_of, token
from tests.support.doors import new_session
from tests.support.jsclient import JsClients, JsSocket
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket

__all__ = ["issuer"]  # a fixture

TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])


async def put_off(sockets: Sequence[Socket]) -> None:
    """All have been sent away at least once, none of them for good."""
    async with asyncio.timeout(30):
        for socket in sockets:
            while not socket.named("closed") + socket.named("connect_error"):
                await socket.wait_more()
    for socket in sockets:
        assert (await socket.state())["active"]
        assert not socket.named("connect")
        assert not told(socket)


def told(socket: Socket) -> list[object]:
    """What CONNECT_ERROR said: an application takes that for final."""
    return [error["data"] for error in socket.named("connect_error") if error.get("data")]


async def open_all(js: JsClients, node: Server, shown: str) -> list[JsSocket]:
    return [await js.open(node.url, shown, transports=kinds, wait=False) for kinds in TRANSPORTS]


async def test_a_full_node(sqlite_url: str, new_server: Callable[..., Server], js: JsClients) -> None:
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS="3")
    async with AsyncExitStack() as stack:
        for n in range(3):
            here = await stack.enter_async_context(SioWebSocket(node.ws_url))
            assert "sid" in await here.connect(node.token(f"here-{n}"))
        sockets = [
            await js.open(node.url, node.token(f"new-{n}"), transports=kinds, wait=False)
            for n, kinds in enumerate(TRANSPORTS)
        ]
        await put_off(sockets)
    for socket in sockets:
        await socket.connected(timeout=15)


async def test_who_has_too_many_connections_of_his_own(
    sqlite_url: str, new_server: Callable[..., Server], js: JsClients
) -> None:
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS="8")
    session = await new_session(node, "alice")
    async with AsyncExitStack() as stack:
        for _ in range(5):
            raw = RawClient(node.ws_url, session, node.token("alice"))
            await (await stack.enter_async_context(raw)).welcome()
        sockets = await open_all(js, node, node.token("alice"))
        await put_off(sockets)
        # Others come in meanwhile.
        async with SioWebSocket(node.ws_url) as other:
            assert "sid" in await other.connect(node.token("bob"))
    for socket in sockets:
        await socket.connected(timeout=15)


async def test_too_many_connects(sqlite_url: str, new_server: Callable[..., Server], js: JsClients) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")

    async def connect() -> bool:
        async with SioWebSocket(node.ws_url) as socket:
            try:
                return "sid" in await socket.connect(node.token("alice"))
            except ConnectionError:
                assert (socket.code, socket.reason) == (4008, "RATE_LIMIT")
                return False

    assert not all(await asyncio.gather(*(connect() for _ in range(125))))
    for socket in await open_all(js, node, node.token("alice")):
        await socket.connected(timeout=20)
        assert not socket.named("connect_error")


async def test_an_issuer_that_is_away(
    sqlite_url: str, new_server: Callable[..., Server], js: JsClients, issuer: Issuer
) -> None:
    issuer.answer = (503, b"")
    node = new_server(sqlite_url, **keys_of(issuer.url))
    shown = token(sub="alice", exp=time.time() + 600)
    sockets = await open_all(js, node, shown)
    await asyncio.to_thread(issuer.reached.wait, 10)
    await put_off(sockets)
    issuer.answer = [jwk(FIRST, "first")]
    for socket in sockets:
        await socket.connected(timeout=25)
        assert not told(socket)


async def test_what_a_person_has_to_change_is_told(
    sqlite_url: str, new_server: Callable[..., Server], js: JsClients
) -> None:
    node = new_server(sqlite_url)
    for shown, code in (("wrong", "UNAUTHORIZED"), (node.token("alice", ttl=-60), "TOKEN_EXPIRED")):
        for socket in await open_all(js, node, shown):
            refused = await socket.wait_event("connect_error")
            assert refused["data"]["code"] == code
            assert not (await socket.state())["active"]


# The same for everybody, at once: what takes its time is to be sent away and to come back.


@pytest.mark.timeout(120)
async def test_everybody_comes_back(
    parley: Server, sqlite_url: str, new_server: Callable[..., Server], issuer: Issuer
) -> None:
    """A full node, too many connects, and an issuer that is away."""
    pages = json.dumps([parley.url])
    full = new_server(sqlite_url, CORS_ORIGINS=pages, WS_MAX_CONNECTIONS=str(len(EVERYBODY)))
    hasty = new_server(sqlite_url, CORS_ORIGINS=pages, RATE_LIMIT_ENABLED="true")
    issuer.answer = (503, b"")
    without_keys = new_server(sqlite_url, CORS_ORIGINS=pages, **keys_of(issuer.url))
    async with AsyncExitStack() as stack:
        everybody = [clients(name, parley) for name in EVERYBODY]
        await asyncio.gather(*(stack.enter_async_context(each) for each in everybody))
        async with asyncio.TaskGroup() as group:
            group.create_task(_to_a_full_node(full, everybody))
            group.create_task(_too_often(hasty, everybody))
            group.create_task(_while_the_issuer_is_away(without_keys, everybody, issuer))


async def _to_a_full_node(node: Server, everybody: Sequence[Clients]) -> None:
    async with AsyncExitStack() as stack:
        for n in range(len(everybody)):
            here = await stack.enter_async_context(SioWebSocket(node.ws_url))
            assert "sid" in await here.connect(node.token(f"here-{n}"))
        sockets = await _open(node, everybody, node.token)
        await put_off(sockets)
    await _all_in(sockets)


async def _too_often(node: Server, everybody: Sequence[Clients]) -> None:
    """One user's rate, of which a token comes each half second."""
    async with AsyncExitStack() as stack:
        while True:
            socket = await stack.enter_async_context(SioWebSocket(node.ws_url))
            try:
                await socket.connect(node.token("alice"))
            except ConnectionError:
                break
    await _all_in(await _open(node, everybody, lambda _: node.token("alice")))


async def _while_the_issuer_is_away(node: Server, everybody: Sequence[Clients], issuer: Issuer) -> None:
    sockets = await _open(node, everybody, lambda sub: token(sub=sub, exp=time.time() + 600))
    await put_off(sockets)
    issuer.answer = [jwk(FIRST, "first")]
    await _all_in(sockets)


async def _open(node: Server, everybody: Sequence[Clients], token_of: Callable[[str], str]) -> list[Socket]:
    return [
        await each.open(node.url, token_of(name), wait=False)
        for name, each in zip(EVERYBODY, everybody, strict=True)
    ]


async def _all_in(sockets: Sequence[Socket]) -> None:
    for name, socket in zip(EVERYBODY, sockets, strict=True):
        await socket.connected(timeout=40)
        assert not told(socket), name
