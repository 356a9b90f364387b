"""A worker as anybody would write it, with the official Python client, under a test's control."""

import asyncio
from typing import Any, Self

import socketio

from tests.support.server import Server


class Worker:
    """Takes requests and keeps them; with `deaf` it never acks. Use it in `async with`."""

    def __init__(self, server: Server, agent_id: int, *, deaf: bool = False) -> None:
        self.requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()
        self.steers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._server, self._agent_id, self._deaf = server, agent_id, deaf
        self._released = asyncio.Event()
        self.client = socketio.AsyncClient(reconnection=False)
        self.client.on("agent_request", self._request)
        self.client.on("stream_cancel", self._cancel)
        self.client.on("agent_steer", self.steers.put)

    async def _request(self, request: dict[str, Any]) -> None:
        await self.requests.put(request)
        if self._deaf:
            await self._released.wait()

    async def _cancel(self, event: dict[str, Any]) -> None:
        await self.cancelled.put(event["message_id"])

    async def __aenter__(self) -> Self:
        token = self._server.token(str(self._agent_id), "agent")
        await self.client.connect(self._server.url, auth={"token": token}, transports=["websocket"])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        await self.die()

    async def die(self) -> None:
        await self.client.disconnect()

    async def request(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return await self.requests.get()

    async def steer(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return await self.steers.get()

    async def call(self, command: str, /, **payload: Any) -> dict[str, Any]:
        reply: dict[str, Any] = await self.client.call(command, payload, timeout=10)
        return reply

    async def begin(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer it: the reply to `stream_start`."""
        return await self.call(
            "stream_start", session_id=request["session_id"], reply_to=request["message"]["message_id"]
        )

    async def write(self, request: dict[str, Any], *pieces: str, end: bool = True) -> str:
        """A whole answer; its message id."""
        begun = await self.begin(request)
        assert begun["ok"], begun
        where = {"session_id": request["session_id"], "message_id": begun["message_id"]}
        for index, piece in enumerate(pieces, begun["next_index"]):
            reply = await self.call("stream_chunk", **where, index=index, content=piece)
            assert reply.get("next_index") == index + 1, reply
        if end:
            assert (await self.call("stream_end", **where))["ok"]
        message_id: str = begun["message_id"]
        return message_id
