"""What people paste, through the official client: it is stored, or the client is told and goes on."""

import asyncio

import pytest

from tests.support.doors import new_session
from tests.support.jsclient import JsClients
from tests.support.server import Server

TRANSPORTS = (["websocket"], ["polling"])


@pytest.mark.parametrize("transports", TRANSPORTS, ids=".".join)
async def test_a_paste_with_retries(parley: Server, js: JsClients, transports: list[str]) -> None:
    session = await new_session(parley, "alice")
    socket = await js.open(
        parley.url, parley.token("alice"), transports=transports, retries=3, ackTimeout=5000
    )
    sizes = (23_000, 100_000, 500_000, 1)
    answers = [
        socket.emit_nowait("message", {"session_id": session, "content": "글" * size}, timeout=20)
        for size in sizes
    ]
    first, second, third, last = await asyncio.wait_for(asyncio.gather(*answers), 20)
    assert first["ok"] and last["ok"]
    assert second["error"]["code"] == third["error"]["code"] == "PAYLOAD_TOO_LARGE"
    # Only the one that nobody would read to its end cost the connection, and it was not sent again.
    assert len(socket.named("disconnect")) == 1
    assert len(socket.named("connect")) == 2
