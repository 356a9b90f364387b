"""Traffic in several rooms, and the strict reader: what it saw must be exactly what was sent."""

import asyncio
import random
from typing import Any

from tests.support.inbox import Inbox
from tests.support.rawclient import RawClient
from tests.support.server import Server


class Traffic:
    """One writer in several sessions: messages and streams, `pause` seconds between two of them."""

    def __init__(self, server: Server, sessions: list[str], token: str, pause: float = 0.01) -> None:
        self._server, self._sessions, self._token, self._pause = server, sessions, token, pause
        self.messages: dict[str, list[str]] = {
            session: [] for session in sessions
        }  # contents, in order of seq
        self.texts: dict[str, str] = {}  # message id of a stream -> its whole text
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._clients: list[RawClient] = []

    async def __aenter__(self) -> "Traffic":
        self._clients = [
            await RawClient(self._server.ws_url, session, self._token).open() for session in self._sessions
        ]
        self._task = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        for client in self._clients:
            await client.close()

    async def stop(self) -> None:
        """Finish what is begun; nothing more after it."""
        self._stopping.set()
        if self._task is not None:
            task, self._task = self._task, None
            await task

    async def _write(self) -> None:
        number = 0
        dice = random.Random(1)
        streams: dict[RawClient, str] = {}
        while not self._stopping.is_set():
            number += 1
            client, session = dice.choice(list(zip(self._clients, self._sessions, strict=True)))
            kind = dice.random()
            if kind < 0.5:
                content = f"message {number}"
                ack = await client.send("message", content=content, reply=False)
                assert ack["ok"], ack
                self.messages[session].append(content)
            elif kind < 0.9 and client in streams:
                await self._chunk(client, streams[client], f"<{number}>")
            elif client in streams:
                ack = await client.send("stream_end", message_id=streams.pop(client))
                assert ack["ok"], ack
            else:
                ack = await client.send("stream_start")
                assert ack["ok"], ack
                streams[client] = ack["message_id"]
                self.texts[ack["message_id"]] = ""
            try:
                await asyncio.wait_for(self._stopping.wait(), self._pause)
            except TimeoutError:
                continue
        for client, stream in streams.items():
            ack = await client.send("stream_end", message_id=stream)
            assert ack["ok"], ack

    async def _chunk(self, client: RawClient, stream: str, content: str) -> None:
        ack = await client.send("stream_chunk", message_id=stream, content=content)
        assert ack["ok"], ack
        self.texts[stream] += content


def check(reader: Inbox, traffic: Traffic, since: int = 0) -> None:
    """0 lost, 0 twice, 0 out of order, over all rooms; positions only grow."""
    for session, contents in traffic.messages.items():
        seen = [
            e.data for e in reader.events[since:] if e.name == "message" and e.data["session_id"] == session
        ]
        assert [m["content"] for m in seen] == contents
        revisions = [
            e.data["revision"]
            for e in reader.events[since:]
            if e.name in ("message", "stream_start", "stream_end") and e.data["session_id"] == session
        ]
        assert revisions == sorted(set(revisions))
    texts: dict[str, list[Any]] = {}
    for event in reader.events[since:]:
        data = event.data
        if event.name == "stream_start":
            assert data["message_id"] not in texts
            texts[data["message_id"]] = [0, "", False]
        elif event.name == "stream_chunk":
            text = texts[data["message_id"]]
            assert data["index"] == text[0], "a chunk is lost, doubled or out of order"
            assert not text[2], "a chunk after its end"
            text[0] += data["count"]
            text[1] += data["content"]
        elif event.name == "stream_end":
            texts[data["message_id"]][2] = True
            if "content" in data:
                texts[data["message_id"]][1] = data["content"]
    assert {name: text[1] for name, text in texts.items()} == traffic.texts
    assert all(text[2] for text in texts.values())
    positions = [e.position for e in reader.events[since:] if e.position is not None]
    assert positions == sorted(set(positions))


async def all_seen(reader: Inbox, server: Server, sessions: list[str], timeout: float = 20) -> None:
    """Wait until the reader has each session's newest revision."""
    async with server.api("alice") as api:
        newest = {s: (await api.get(f"/api/chat/sessions/{s}")).json()["last_revision"] for s in sessions}
    async with asyncio.timeout(timeout):
        for session, revision in newest.items():
            while not any(
                event.data.get("revision") == revision and event.data.get("session_id") == session
                for event in reader.events
                if isinstance(event.data, dict)
            ):
                await reader.wait_more()


async def three_sessions(server: Server) -> list[str]:
    """Alice's, with bob as a member."""
    sessions = []
    async with server.api("alice") as api:
        for _ in range(3):
            session = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
            await api.put(f"/api/chat/sessions/{session}/participants/bob", json={"role": "member"})
            sessions.append(session)
    return sessions
