"""One long answer and four kinds of reader: all end with the identical text, no chunk applied twice."""

import random
import sqlite3
from typing import Any

from tests.support.doors import enter, new_session
from tests.support.inbox import Inbox
from tests.support.jsclient import JsClients, JsSocket
from tests.support.server import Server
from tests.support.sseclient import SseClient

CHUNKS = 2000
CUTS = 10


class Text:
    """What a reader has: it takes the chunk that is next, and nothing else."""

    def __init__(self, content: str = "", next_index: int = 0) -> None:
        self.content, self.next_index = content, next_index

    def take(self, chunk: dict[str, Any]) -> None:
        assert chunk["index"] == self.next_index, "each chunk once, in order"
        self.content += chunk["content"]
        self.next_index += chunk["count"]


def heard(inbox: Inbox, since: int = 0, text: Text | None = None) -> str:
    text = text or Text()
    for chunk in inbox.named("stream_chunk", since):
        text.take(chunk)
    return text.content


class Follower:
    """An SSE reader that loses its connection and asks for the rest with Last-Event-ID."""

    def __init__(self, server: Server, message_id: str) -> None:
        self._url = f"{server.url}/api/chat/streams/{message_id}"
        self._token = server.token("carol")
        self._past: list[SseClient] = []
        self._now: SseClient | None = None

    async def reconnect(self) -> None:
        last = None
        if self._now is not None:
            # In the middle of something.
            await self._now.wait_event("stream_chunk")
            last = self._now.last_event_id
            await self._now.close()
            self._past.append(self._now)
        self._now = await SseClient(self._url, self._token, last_event_id=last).open()
        assert self._now.status == 200

    async def finish(self) -> tuple[str, dict[str, Any]]:
        assert self._now is not None
        await self._now.ended()
        text = Text()
        for client in (*self._past, self._now):
            for chunk in client.named("stream_chunk"):
                text.take(chunk)
        end = self._now.named("stream_end")[-1]
        await self._now.close()
        return text.content, end


async def test_every_reader_has_the_whole_answer(server: Server, js: JsClients) -> None:
    session_id = await new_session(server, members=("bob", "carol", "dave", "erin"))
    dice = random.Random()
    cuts = set(dice.sample(range(20, CHUNKS - 20), CUTS))
    resumes = set(dice.sample(range(20, CHUNKS - 20), 4))
    late_at = CHUNKS // 2
    written = ""

    bob = await js.open(server.url, server.token("bob"), transports=["websocket"])
    assert (await bob.emit("join", {"session_id": session_id}))["ok"]
    async with (
        enter("socketio", server, "alice", session_id) as alice,
        enter("websocket", server, "dave", session_id) as dave,
    ):
        message_id = (await alice.call("stream_start"))["message_id"]
        carol = Follower(server, message_id)
        await carol.reconnect()
        for index in range(CHUNKS):
            content = f"{index} {'é' if index % 7 else '😀'}{'x' * dice.randrange(8)} "
            written += content
            reply = await alice.call("stream_chunk", message_id=message_id, index=index, content=content)
            assert reply["next_index"] == index + 1
            if index in cuts:
                await cut(bob)
            if index in resumes:
                await carol.reconnect()
            if index == late_at:
                late = await js.open(server.url, server.token("erin"), transports=["websocket"])
                joined = await late.emit("join", {"session_id": session_id})
        assert (await alice.call("stream_end", message_id=message_id))["ok"]

        for reader in (bob, dave, late):
            end = await reader.wait_event("stream_end")
            assert (end["status"], "content" in end) == ("complete", False)
        assert heard(bob) == written
        assert heard(dave) == written
        opened = joined["streams"][0]
        assert opened["message_id"] == message_id
        assert opened["next_index"] > late_at
        assert heard(late, text=Text(opened["content"], opened["next_index"])) == written
        text, end = await carol.finish()
        assert (text, end["status"]) == (written, "complete")

        connects = bob.named("connect")[1:]
        assert len(connects) == CUTS
        assert all(c["recovered"] for c in connects)

    path = server.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        row = database.execute("SELECT content, status FROM chat_messages WHERE message_id = ?", [message_id])
        assert row.fetchone() == (written, "complete")
    database.close()


async def cut(socket: JsSocket) -> None:
    """Break its connection, if it has one again since the last time."""
    lost = len(socket.named("disconnect"))
    await socket.wait_count("connect", lost + 1)
    await socket.cut()
    await socket.wait_count("disconnect", lost + 1)
