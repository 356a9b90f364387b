"""An orderly end: clients are told to come back, what was counted is written, open streams hold
nothing up.
"""

import sqlite3
import time

from tests.support.doors import enter, new_session
from tests.support.jsclient import JsClients
from tests.support.server import Server


async def test_clients_are_sent_away_and_come_back(server: Server, js: JsClients) -> None:
    session = await new_session(server)
    official = await js.open(server.url, server.token("alice"))
    assert (await official.emit("join", {"session_id": session}))["ok"]
    mark = official.mark()
    async with (
        enter("socketio", server, "alice", session) as socketio,
        enter("polling", server, "alice", session),
        enter("websocket", server, "alice", session) as websocket,
        enter("rest", server, "alice", session) as events,
    ):
        began = time.monotonic()
        assert await server.stop_async() == 0
        assert time.monotonic() - began < 5
        assert await websocket.client.closed() == 1012
        await events.client.ended()
        # Closed at the engine: a DISCONNECT packet would make clients stay away.
        await socketio.client.closed()
        assert socketio.named("@disconnect") == []
        gone = await official.wait_event("disconnect", since=mark)
        assert gone["reason"] in ("transport close", "transport error")
    await server.start_async()
    await official.connected(since=mark)
    assert (await official.emit("join", {"session_id": session}))["ok"]


async def test_what_was_counted_is_written(server: Server) -> None:
    session = await new_session(server)
    path = f"/api/chat/sessions/{session}"
    async with server.api("alice") as api:
        for n in range(5):
            assert (await api.post(f"{path}/messages", json={"content": str(n)})).status_code == 201
        for _ in range(2):
            assert (await api.get(f"{path}/messages")).status_code == 200
        refused = await api.post(f"{path}/messages", json={"content": ""})
        assert refused.status_code == 422
    await server.stop_async()
    with sqlite3.connect(server.database_url.removeprefix("sqlite:///")) as database:
        query = "SELECT request_count, message_count FROM chat_sessions WHERE session_id = ?"
        row = database.execute(query, [session]).fetchone()
    database.close()
    assert row == (7, 5)
