"""A raw WebSocket is told why it is closed by an event: some browsers show their pages no code of 1012 to
1014."""

from collections.abc import Callable

import pytest

from tests.support.doors import new_session
from tests.support.rawclient import RawClient
from tests.support.server import Server


@pytest.mark.parametrize(
    ("case", "code", "closed"),
    [
        ("bad token", "UNAUTHORIZED", 4001),
        ("no session", "SESSION_NOT_FOUND", 4004),
        ("full", "SERVER_FULL", 1013),
    ],
)
async def test_a_refused_one(
    sqlite_url: str, new_server: Callable[..., Server], case: str, code: str, closed: int
) -> None:
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS="1")
    session = await new_session(node)
    async with RawClient(node.ws_url, session, node.token("alice")) as first:
        await first.welcome()
        if case != "full":
            await first.close()
        token = "nonsense" if case == "bad token" else node.token("alice")
        name = "sess_nobody" if case == "no session" else session
        async with RawClient(node.ws_url, name, token) as client:
            told = await client.wait_event("error")
            assert (told["code"], await client.closed()) == (code, closed)


async def test_one_that_drains(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url)
    async with RawClient(node.ws_url, await new_session(node), node.token("alice")) as client:
        await client.welcome()
        await node.stop_async()
        assert (await client.wait_event("error"))["code"] == "UNAVAILABLE"
        assert await client.closed() == 1012
