"""What is committed when: seen from a second connection, and after the server was killed in mid-answer."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from storage.database import Database
from storage.messages import Messages
from storage.sessions import Sessions
from tests.support.doors import enter, new_session
from tests.support.server import Server

CHECKPOINT = 0.5


async def test_kill_9_in_mid_answer(database_url: str, new_server: Callable[..., Server]) -> None:
    server = new_server(database_url, STREAM_CHECKPOINT=str(CHECKPOINT), STREAM_DELAY_MS="20")
    session_id = await new_session(server, agent_id=1)
    text = "".join(f"{n:04d} " for n in range(2000))
    came: list[tuple[float, str]] = []
    async with enter("websocket", server, "alice", session_id) as alice:
        sent = await alice.message(text)
        start = await alice.wait_event("stream_start")
        rows = await committed(database_url, session_id, start["message_id"])
        assert rows["session"].agent_id == 1
        assert [(m.message_id, m.status) for m in rows["messages"]] == [
            (sent["message_id"], "complete"),
            (start["message_id"], "streaming"),
        ]
        async with asyncio.timeout(10):
            seen = 0
            while not came or came[-1][0] - came[0][0] < 3 * CHECKPOINT:
                for chunk in alice.named("stream_chunk")[seen:]:
                    came.append((time.monotonic(), chunk["content"]))
                seen = len(came)
                await alice.inbox.wait_more()
        server.kill9()
        killed = time.monotonic()
    await server.start_async()
    async with server.api() as api:
        page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()
    answer = page["messages"][1]
    assert (answer["message_id"], answer["status"]) == (start["message_id"], "interrupted")
    # What it had shown its reader by then.
    older = "".join(content for at, content in came if at < killed - CHECKPOINT)
    assert answer["content"].startswith(older)
    assert text.startswith(answer["content"])
    assert len(older) > 100
    # The same question's answer is over; a new one begins.
    async with enter("websocket", server, "alice", session_id) as alice:
        assert alice.joined["streams"] == []
        await alice.message("go on")
        end = await alice.wait_event("stream_end")
        assert end["status"] == "complete"


async def committed(url: str, session_id: str, message_id: str) -> dict[str, Any]:
    """What another connection to the database sees."""
    database = Database(url, pool_size=1, max_overflow=0)
    await database.connect()
    try:
        session = await Sessions(database).get(session_id)
        messages, _ = await Messages(database).page(session_id, limit=10, max_bytes=1 << 20)
        return {"session": session, "messages": messages}
    finally:
        await database.disconnect()


async def test_an_orderly_end_lets_an_answer_finish(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    server = new_server(sqlite_url, STREAM_DELAY_MS="20", SHUTDOWN_GRACE="10")
    session_id = await new_session(server, agent_id=1)
    text = "it takes a while, and the server waits " * 5
    async with enter("websocket", server, "alice", session_id) as alice:
        await alice.message(text)
        await alice.wait_event("stream_chunk")
        await server.stop_async()
    await server.start_async()
    async with server.api() as api:
        page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()
    assert (page["messages"][1]["status"], page["messages"][1]["content"]) == ("complete", text)


async def test_an_orderly_end_does_not_wait_for_ever(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    server = new_server(sqlite_url, STREAM_DELAY_MS="20", SHUTDOWN_GRACE="0.2")
    session_id = await new_session(server, agent_id=1)
    async with enter("websocket", server, "alice", session_id) as alice:
        await alice.message("word " * 1000)
        chunk = await alice.wait_event("stream_chunk")
        assert await server.stop_async() == 0
    await server.start_async()
    async with server.api() as api:
        page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()
    answer = page["messages"][1]
    assert answer["status"] == "interrupted"
    assert answer["content"].startswith(chunk["content"])
