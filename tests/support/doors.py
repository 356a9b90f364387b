"""One user in one session, through any of the doors, with the same methods at each.

    async with enter("websocket", server, "alice", session_id) as alice:
        reply = await alice.call("message", content="hello")
        await bob.wait_event("message", lambda m: m["seq"] == reply["seq"])

A reply has the contract's form at every door: `{"ok": True, …}` or `{"ok": False, "error"}`.
REST has no call for what only a connection can do: see `Door.commands`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx

from tests.support.inbox import Inbox, Received
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import SioPolling, SioWebSocket
from tests.support.sseclient import SseClient
from tests.support.web import web_client

Reply = dict[str, Any]

KINDS = ("socketio", "polling", "websocket", "rest")
LIVE = ("socketio", "polling", "websocket")
"""Those over which every command goes."""


class Door(ABC):
    """`joined` is the reply to `join`, or what came first where connecting is joining."""

    kind: str
    inbox: Inbox

    def __init__(self, server: Server, token: str, session_id: str) -> None:
        self.server = server
        self.token = token
        self.session_id = session_id
        self.joined: Reply = {}
        self._stack = AsyncExitStack()

    @abstractmethod
    async def open(self, **join: Any) -> None:
        """Connect and join."""

    @abstractmethod
    async def call(self, command: str, /, **payload: Any) -> Reply:
        """One command in this door's session, unless the payload names another."""

    def speaks(self, command: str) -> bool:
        return True

    async def close(self) -> None:
        await self._stack.aclose()

    # What came.

    @property
    def events(self) -> list[Received]:
        return self.inbox.events

    def mark(self) -> int:
        return self.inbox.mark()

    def named(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        return self.inbox.named(name, since)

    async def wait_event(
        self,
        name: str,
        where: Callable[[dict[str, Any]], bool] | None = None,
        *,
        since: int = 0,
        timeout: float = 10,
    ) -> dict[str, Any]:
        return await self.inbox.wait_event(name, where, since=since, timeout=timeout)

    async def message(self, content: str, **fields: Any) -> Reply:
        """Send a message that has to succeed."""
        reply = await self.call("message", content=content, **fields)
        assert reply["ok"], reply
        return reply

    async def history(self, **query: Any) -> list[dict[str, Any]]:
        reply = await self.call("history", **{"limit": 500, **query})
        assert reply["ok"], reply
        messages: list[dict[str, Any]] = reply["messages"]
        return messages


class SocketIoDoor(Door):
    kind = "socketio"

    async def open(self, **join: Any) -> None:
        if self.kind == "polling":
            client: Any = SioPolling(self.server.url)
        else:
            client = SioWebSocket(self.server.ws_url)
        self.client: SioWebSocket | SioPolling = await self._stack.enter_async_context(client)
        self.inbox = client
        answer = await client.connect(self.token)
        assert "sid" in answer, answer
        self.joined = await self.call("join", **join)

    async def call(self, command: str, /, **payload: Any) -> Reply:
        if command not in ("presence", "auth_refresh"):
            payload.setdefault("session_id", self.session_id)
        reply: Reply = await self.client.emit(command, payload)
        return reply


class PollingDoor(SocketIoDoor):
    kind = "polling"


class WebSocketDoor(Door):
    kind = "websocket"

    async def open(self, **join: Any) -> None:
        client = RawClient(self.server.ws_url, self.session_id, self.token)
        self.client = await self._stack.enter_async_context(client)
        self.inbox = client
        self.joined = await client.welcome()
        if join:
            self.joined = await self.call("join", **join)

    async def call(self, command: str, /, **payload: Any) -> Reply:
        # What waits for a database may take ten seconds.
        reply = await self.client.send(command, timeout=30, **payload)
        reply.pop("ref")
        return reply


class RestDoor(Door):
    """REST for commands, the session's event stream for events."""

    kind = "rest"
    _SOCKETS_ONLY = ("join", "leave", "presence", "auth_refresh")

    async def open(self, **join: Any) -> None:
        url = f"{self.server.url}{self._path()}/events"
        self.http = web_client(
            base_url=self.server.url,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
        )
        await self._stack.enter_async_context(self.http)
        client = SseClient(url, self.token)
        self.client = await self._stack.enter_async_context(client)
        self.inbox = client
        assert client.status == 200, client.json()
        self.joined = await client.wait_event("welcome")

    def speaks(self, command: str) -> bool:
        return command not in self._SOCKETS_ONLY

    def _path(self, session_id: str | None = None) -> str:
        return f"/api/chat/sessions/{quote(session_id or self.session_id, safe='')}"

    async def call(self, command: str, /, **payload: Any) -> Reply:
        path = self._path(payload.pop("session_id", None))
        match command:
            case "message":
                answer = await self.http.post(f"{path}/messages", json=payload)
            case "edit":
                target = quote(str(payload.pop("message_id", "")), safe="")
                answer = await self.http.patch(f"{path}/messages/{target}", json=payload)
            case "delete":
                target = quote(str(payload.pop("message_id", "")), safe="")
                answer = await self.http.delete(f"{path}/messages/{target}")
            case "history":
                answer = await self.http.get(f"{path}/messages", params=payload)
            case _:
                answer = await self.http.post(f"{path}/{quote(command, safe='')}", json=payload)
        return as_reply(answer)


def as_reply(answer: httpx.Response) -> Reply:
    """A REST answer in the form of the other doors; its status is `http`."""
    body = answer.json()
    return {"ok": answer.is_success, "http": answer.status_code, **body}


DOORS: dict[str, type[Door]] = {
    door.kind: door for door in (SocketIoDoor, PollingDoor, WebSocketDoor, RestDoor)
}


@asynccontextmanager
async def enter(
    kind: str,
    server: Server,
    sub: str,
    session_id: str,
    *,
    role: str | None = None,
    claims: dict[str, Any] | None = None,
    **join: Any,
) -> AsyncIterator[Door]:
    """This user, connected and joined."""
    door = DOORS[kind](server, server.token(sub, role, **(claims or {})), session_id)
    try:
        await door.open(**join)
        yield door
    finally:
        await door.close()


async def new_session(
    server: Server,
    owner: str = "alice",
    *,
    members: tuple[str, ...] = (),
    viewers: tuple[str, ...] = (),
    **body: Any,
) -> str:
    """A session made over REST; returns its id."""
    async with server.api(owner) as api:
        answer = await api.post("/api/chat/sessions", json=body)
        assert answer.status_code == 201, answer.text
        session_id: str = answer.json()["session_id"]
        for role, users in (("member", members), ("viewer", viewers)):
            for user in users:
                path = f"/api/chat/sessions/{session_id}/participants/{user}"
                added = await api.put(path, json={"role": role})
                assert added.status_code == 200, added.text
    return session_id
