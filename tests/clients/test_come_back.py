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

#: Of the full node: as many as come.
PLACES = len(EVERYBODY) + 2
TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])


async def put_off(sockets: Sequence[Socket]) -> None:
    """All have been sent away at least once, none of them for good."""
    for socket in sockets:
        await socket.wait_any("closed", "connect_error", timeout=60)
    for socket in sockets:
        assert (await socket.state())["active"]
        assert not socket.named("connect")
        assert not told(socket)


def told(socket: Socket) -> list[object]:
    """What CONNECT_ERROR said: an application takes that for final."""
    return [error["data"] for error in socket.named("connect_error") if error.get("data")]


async def open_all(js: JsClients, node: Server, shown: str) -> list[JsSocket]:
    return [await js.open(node.url, shown, transports=kinds, wait=False) for kinds in TRANSPORTS]


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


async def test_what_a_person_has_to_change_is_told(
    sqlite_url: str, new_server: Callable[..., Server], js: JsClients
) -> None:
    node = new_server(sqlite_url)
    for shown, code in (("wrong", "UNAUTHORIZED"), (node.token("alice", ttl=-60), "TOKEN_EXPIRED")):
        for socket in await open_all(js, node, shown):
            refused = await socket.wait_event("connect_error")
            assert refused["data"]["code"] == code
            assert not (await socket.state())["active"]


@pytest.mark.timeout(200)
async def test_everybody_comes_back(
    parley: Server, sqlite_url: str, new_server: Callable[..., Server], issuer: Issuer
) -> None:
    """A full node, too many connects, and an issuer that is away: at once, for each takes its time."""
    pages = json.dumps([parley.url])
    full = new_server(sqlite_url, CORS_ORIGINS=pages, WS_MAX_CONNECTIONS=str(PLACES))
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
        for n in range(PLACES):
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
    """Each with its defaults; the newest release also with each transport alone."""
    sockets: list[Socket] = []
    for name, each in zip(EVERYBODY, everybody, strict=True):
        for kinds in (None, ["websocket"], ["polling"]) if name == "node 4.8" else (None,):
            shown = token_of(f"{name} by {kinds}")
            sockets.append(await each.open(node.url, shown, transports=kinds, wait=False))
    return sockets


async def _all_in(sockets: Sequence[Socket]) -> None:
    for socket in sockets:
        await socket.connected(timeout=40)
        assert not told(socket)
