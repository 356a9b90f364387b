"""Refused for a moment, unmodified clients come back by themselves; refused for good, they stay away."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import socketio

from tests.server.test_jwks import FIRST, Issuer, issuer, jwk, keys_of, token
from tests.support.doors import new_session
from tests.support.jsclient import JsClients, JsSocket
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket

__all__ = ["issuer"]  # a fixture

TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])


async def put_off(sockets: list[JsSocket]) -> None:
    """All have been sent away at least once, none of them for good."""
    async with asyncio.timeout(10):
        for socket in sockets:
            while not (await socket.state())["active"] or not socket.named("closed") + socket.named(
                "connect_error"
            ):
                await socket.wait_more()
    for socket in sockets:
        assert not [error for error in socket.named("connect_error") if error.get("data")]
        assert not socket.named("connect")


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
    python = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.5)
    refused: list[object] = []
    connected = asyncio.Event()
    python.on("connect", connected.set)
    python.on("connect_error", refused.append)

    async def come_in() -> None:
        while not python.connected:
            try:
                await python.connect(node.url, auth={"token": shown})
            except socketio.exceptions.ConnectionError:
                await asyncio.sleep(0.1)

    coming = asyncio.create_task(come_in())
    try:
        await asyncio.to_thread(issuer.reached.wait, 10)
        await put_off(sockets)
        issuer.answer = [jwk(FIRST, "first")]
        for socket in sockets:
            await socket.connected(timeout=25)
        async with asyncio.timeout(20):
            await connected.wait()
        assert not refused
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await python.disconnect()


async def test_what_a_person_has_to_change_is_told(
    sqlite_url: str, new_server: Callable[..., Server], js: JsClients
) -> None:
    node = new_server(sqlite_url)
    for shown, code in (("wrong", "UNAUTHORIZED"), (node.token("alice", ttl=-60), "TOKEN_EXPIRED")):
        for socket in await open_all(js, node, shown):
            refused = await socket.wait_event("connect_error")
            assert refused["data"]["code"] == code
            assert not (await socket.state())["active"]
