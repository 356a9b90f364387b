"""A page: a client of one session, at any door, that keeps what docs/recovery.md tells it to keep, comes back
by it, and counts what it was told wrongly.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from tests.support.inbox import Inbox, Received
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket
from tests.support.sseclient import SseClient

KINDS = ("socketio", "websocket", "sse")
_DURABLE = ("message", "message_updated", "message_deleted", "stream_start", "stream_end")
#: As many messages as a page asks for; the tests' sessions have fewer.
_LIMIT = 500


class _Socket(SioWebSocket):
    """Knows how many events had come when the last ack came: those are in a join's reply."""

    answered = 0

    def _message(self, body: str) -> None:
        if body.startswith("3"):
            self.answered = len(self.events)
        super()._message(body)


class Page:
    """`messages` are (revision, text) by id, `texts` [text, next index] of open streams."""

    def __init__(self, kind: str, user: str, session: str, token: str) -> None:
        self.kind, self.user, self.session, self.token = kind, user, session, token
        self.node: Server | None = None
        self.refuge: Callable[[Server], Server] = lambda node: node  # where it comes back to
        self.recovered = False
        self.returned = False  # since somebody looked
        self.doubled = self.reordered = 0
        self.messages: dict[str, tuple[int, str | None]] = {}
        self.texts: dict[str, list[Any]] = {}
        self.marks: dict[str, int] = {}
        self.online: dict[str, str] = {}
        self.gone: set[str] = set()  # who was said to have gone
        self.own: dict[str, Callable[[], str]] = {}  # streams that it writes, and what it has written
        self.revision = 0
        self.lineage: str | None = None
        self._made: dict[str, int] = {}  # the revision that each message was first seen with
        self._stale = False  # a change of something older was taken back
        self._pid: str | None = None
        self._position: str | None = None
        self._inbox = Inbox()
        self._place = 0
        self._client: Any = None
        self._coming = asyncio.Lock()

    def __repr__(self) -> str:
        return f"{self.user} by {self.kind}, recovered {self.recovered}, at {self.revision}"

    # --- the connection

    async def come(self, node: Server, timeout: float = 30) -> None:
        """Connect, for the first time or again, until it is let in."""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    async with asyncio.timeout(10):
                        await self._open(node)
                    return
                except (OSError, TimeoutError):
                    await self.leave()
                    await asyncio.sleep(0.05)

    async def _open(self, node: Server) -> None:
        self.returned = self.node is not None
        self.node, self._place, self._inbox = node, 0, Inbox()
        await {"socketio": self._by_socketio, "websocket": self._by_websocket, "sse": self._by_sse}[
            self.kind
        ]()

    async def _by_socketio(self) -> None:
        assert self.node is not None
        self._client = socket = _Socket(self.node.ws_url)
        await socket.__aenter__()
        self._inbox = socket
        socket.offset = self._position
        known = {"pid": self._pid, "offset": self._position}
        answer = await socket.connect(self.token, **{k: v for k, v in known.items() if v})
        if "sid" not in answer:
            raise ConnectionError(str(answer))
        self.recovered = self._pid is not None and answer.get("pid") == self._pid
        self._pid = answer.get("pid")
        if not self.recovered:
            asked = {"session_id": self.session, "limit": _LIMIT, **self._has()}
            reply = await socket.emit("join", asked, timeout=10)
            if not reply["ok"]:
                raise ConnectionError(str(reply))
            self._place = socket.answered
            self._take(reply)

    async def _by_websocket(self) -> None:
        assert self.node is not None
        self._client = client = RawClient(self.node.ws_url, self.session, self.token)
        client.url += "?" + urlencode({"limit": _LIMIT, "after": self._position or "-", **self._has()})
        await client.open()
        self._inbox = client
        self._welcomed(await client.welcome())

    async def _by_sse(self) -> None:
        assert self.node is not None
        url = f"{self.node.url}/api/chat/sessions/{self.session}/events"
        url += "?" + urlencode({"limit": _LIMIT, **self._has()})
        self._client = client = SseClient(url, self.token, last_event_id=self._position)
        await client.open()
        self._inbox = client
        if client.status != 200:
            raise ConnectionError(str(client.json()))
        self._welcomed(await client.wait_event("welcome"))

    def _has(self) -> dict[str, Any]:
        if self.lineage is None:
            return {}
        return {"after_revision": self.revision, "lineage": self.lineage}

    def _welcomed(self, welcome: dict[str, Any]) -> None:
        self.recovered = welcome["recovered"]
        if self.recovered:
            self.online = {each["user_id"]: each["status"] for each in welcome["online"]}
        else:
            self._take(welcome)

    def _take(self, reply: dict[str, Any]) -> None:
        assert not reply["has_more"]
        if reply.get("reset"):
            self.messages, self._made = {}, {}
        for message in reply["messages"]:
            self._made[message["message_id"]] = 0  # it may be older than its newest change
            self._hold(message["message_id"], message["revision"], message["content"])
        self.texts = {s["message_id"]: [s["content"], s["next_index"]] for s in reply["streams"]}
        self.marks = dict(reply["read_marks"])
        self.online = {each["user_id"]: each["status"] for each in reply["online"]}
        self.revision, self.lineage = reply["last_revision"], reply["lineage"]
        self._position, self._stale = reply["position"], False

    async def again(self) -> None:
        """Come back after the connection broke, or for the whole session where it went back. Several may find
        so at once.
        """
        client = self._client
        async with self._coming:
            if self._client is not client:
                return
            assert self.node is not None
            returned = self.returned or not self._stale
            await self.leave()
            if self._stale:  # as docs/protocol.md says: join again, as one that has nothing
                self.messages, self._made, self.lineage = {}, {}, None
                self._pid = self._position = None
            await self.come(self.refuge(self.node))
            self.returned = returned

    async def cut(self) -> None:
        """The network is gone: nobody says goodbye."""
        if isinstance(self._client, SioWebSocket | RawClient):
            self._client.abort()
        await self.leave()

    async def leave(self) -> None:
        self.look()
        client, self._client = self._client, None
        if isinstance(client, SioWebSocket) and client.connection is not None:
            await client.__aexit__()
        elif isinstance(client, RawClient | SseClient):
            await client.close()

    async def call(self, command: str, /, **payload: Any) -> dict[str, Any]:
        if isinstance(self._client, SioWebSocket):
            reply: dict[str, Any] = await self._client.emit(command, {"session_id": self.session, **payload})
            return reply
        assert isinstance(self._client, RawClient)
        return await self._client.send(command, timeout=30, **payload)

    # --- what it is told

    async def until(self, right: Callable[[], bool], timeout: float) -> float:
        """When `right` held, by the monotonic clock."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self.look()
                    if self._stale:
                        await self.again()
                        continue
                    if right():
                        return time.monotonic()
                    try:
                        await self._inbox.wait_more()
                    except ConnectionError:
                        await self.again()
        except TimeoutError:
            raise TimeoutError(f"{self}: {self.messages} {self.texts} {self.marks} {self.online}") from None

    def look(self) -> None:
        """Take in what has come."""
        events, self._place = self._inbox.events[self._place :], len(self._inbox.events)
        for event in events:
            self._position = event.position or self._position
            self._told(event)

    def _told(self, event: Received) -> None:
        data = event.data
        if event.name in _DURABLE:
            self._durable(event.name, data)
        elif event.name == "stream_chunk" and data["message_id"] not in self.own:
            self._chunk(data)
        elif event.name == "read":
            self.marks[data["user_id"]] = data["seq"]
        elif event.name == "session" and data["event"] == "reset":
            self._reset(data["last_revision"])
        elif event.name == "presence" and "user_id" in data:
            self.online[data["user_id"]] = data["status"]
            if data["status"] == "offline":
                self.gone.add(data["user_id"])

    def _durable(self, name: str, data: dict[str, Any]) -> None:
        message, revision = data["message_id"], data["revision"]
        if revision <= self.revision:
            if self.messages.get(message, (0, ""))[0] == revision:
                self.doubled += 1
            else:
                self.reordered += 1
        text = data.get("content")
        if name == "stream_start":
            self.texts[message] = ["", 0]
        elif name == "stream_end":
            text, _ = self.texts.pop(message, (None, 0))
            text = self.own[message]() if message in self.own else data.get("content", text)
        self._hold(message, revision, text)
        self.revision = max(self.revision, revision)

    def _hold(self, message: str, revision: int, text: str | None) -> None:
        self._made.setdefault(message, revision)
        self.messages[message] = (revision, text)

    def _chunk(self, data: dict[str, Any]) -> None:
        open_text = self.texts.get(data["message_id"])
        if open_text is None or data["index"] < open_text[1]:
            self.doubled += 1
        elif data["index"] > open_text[1]:
            self.reordered += 1
        else:
            open_text[0] += data["content"]
            open_text[1] += data["count"]

    def _reset(self, revision: int) -> None:
        """What lies above it is void, and comes anew."""
        void = {message for message, (held, _) in self.messages.items() if held > revision}
        self._stale = any(self._made[message] <= revision for message in void)
        for message in void:
            del self.messages[message], self._made[message]
            self.texts.pop(message, None)
        self.revision = revision
