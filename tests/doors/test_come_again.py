"""Whatever is refused for a moment says when to come again: in the error, over HTTP in the header, too."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.server.test_jwks import Issuer, issuer, keys_of, token
from tests.support.doors import new_session
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import HandshakeRefused, SioWebSocket
from tests.support.sseclient import SseClient
from tests.support.web import web_client

__all__ = ["issuer"]  # a fixture

HTTP = ("rest", "event stream", "polling")
#: Doors of a connection.
ENTRIES = ("event stream", "polling", "websocket", "socketio")


async def refused(door: str, node: Server, shown: str, session: str) -> dict[str, Any]:
    """The error that this door tells; AssertionError where it lets one in, or an answer has no header."""
    if door in HTTP:
        paths = {
            "rest": "/api/chat/sessions",
            "event stream": f"/api/chat/sessions/{session}/events",
            "polling": "/socket.io/?EIO=4&transport=polling",
        }
        async with web_client(base_url=node.url) as api:
            answer = await api.get(paths[door], headers={"Authorization": f"Bearer {shown}"})
        assert int(answer.headers["retry-after"]) >= 1
        error: dict[str, Any] = answer.json()["error"]
    elif door == "websocket":
        async with RawClient(node.ws_url, session, shown) as client:
            error = await client.wait_event("error")
    else:
        with pytest.raises(HandshakeRefused) as caught:
            async with SioWebSocket(node.ws_url):
                pass
        error = json.loads(caught.value.body)["error"]
    return error


@pytest.mark.parametrize("door", ENTRIES)
async def test_a_full_node(door: str, sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS="1")
    session = await new_session(node)
    async with RawClient(node.ws_url, session, node.token("alice")) as first:
        await first.welcome()
        error = await refused(door, node, node.token("alice"), session)
    assert (error["code"], error["retryable"]) == ("SERVER_FULL", True)
    assert error["retry_after"] >= 1


@pytest.mark.parametrize("door", ["rest", "event stream", "websocket"])
async def test_an_issuer_that_is_away(
    door: str, sqlite_url: str, new_server: Callable[..., Server], issuer: Issuer
) -> None:
    issuer.answer = (503, b"")
    node = new_server(sqlite_url, **keys_of(issuer.url))
    shown = token(sub="alice", exp=time.time() + 600)
    error = await refused(door, node, shown, "sess_any")
    assert (error["code"], error["retryable"]) == ("UNAVAILABLE", True)
    assert error["retry_after"] >= 1


async def test_a_line_of_requests_that_is_full(parley: Server) -> None:
    """More than may wait behind each other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", parley.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 30)
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    head, _, body = said[said.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: 1\r\n" in head.lower() + b"\r\n"
    error = json.loads(body)["error"]
    assert (error["code"], error["retry_after"]) == ("RATE_LIMIT", 1000)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_client_of_an_older_protocol_is_in_the_log(parley: Server, transport: str) -> None:
    """It cannot be served, and shows nothing but "xhr poll error"."""
    async with web_client(base_url=parley.url) as api:
        answer = await api.get(f"/socket.io/?EIO=3&transport={transport}&t=log-{transport}")
        assert answer.status_code == 400
    async with asyncio.timeout(10):
        while "Engine.IO 3, not 4" not in parley.log_text():
            await asyncio.sleep(0.02)


async def test_an_event_source_is_told_by_an_event(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """A status would be its last; what waiting does not mend has one, and so has `fetch`."""
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS="1")
    session = await new_session(node)
    asks = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
    url = f"{node.url}/api/chat/sessions/{session}/events"
    async with SseClient(url, node.token("eve"), headers=asks) as eve:
        assert (eve.status, eve.json()["error"]["code"]) == (404, "SESSION_NOT_FOUND")
    async with RawClient(node.ws_url, session, node.token("alice")) as first:
        await first.welcome()
        async with SseClient(url, node.token("alice"), headers=asks) as page:
            await page.ended()
            assert (page.status, page.named("error")[0]["code"]) == (200, "SERVER_FULL")
            assert page.retry is not None and page.retry > 1000
        async with SseClient(url, node.token("alice")) as fetching:
            assert (fetching.status, fetching.json()["error"]["code"]) == (503, "SERVER_FULL")
