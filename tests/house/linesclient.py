"""A client of the transport in `tests/house/lines.py`, alone and as one of the doors."""

import asyncio
import json
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.doors import Door, Reply
from tests.support.inbox import Inbox, Received


class Lines(Inbox):
    def __init__(self, ws_url: str, token: str) -> None:
        super().__init__("lines")
        self._url, self._token = f"{ws_url}/lines", token
        self._acks: dict[str, asyncio.Future[Reply]] = {}
        self._refs = 0

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"}
        self._socket: ClientConnection = await connect(self._url, additional_headers=headers, proxy=None)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._reader

    async def send(self, command: str, /, **payload: Any) -> Reply:
        self._refs += 1
        answer = self._acks[str(self._refs)] = asyncio.get_running_loop().create_future()
        await self._socket.send(f"{command} {self._refs} {json.dumps(payload)}")
        async with asyncio.timeout(30):
            return await answer

    async def closed(self) -> int | None:
        async with asyncio.timeout(10):
            await self._socket.wait_closed()
        return self._socket.close_code

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                assert isinstance(message, str)
                for line in message.splitlines():
                    name, rest = line.split(" ", 1)
                    if name == "ack":
                        ref, reply = rest.split(" ", 1)
                        self._acks.pop(ref).set_result(json.loads(reply))
                    else:
                        self.add(Received(name, json.loads(rest)))
        except ConnectionClosed:
            pass
        finally:
            self.end("closed")


class LinesDoor(Door):
    kind = "lines"

    async def open(self, **join: Any) -> None:
        client = Lines(self.server.ws_url, self.token)
        self.client = await self._stack.enter_async_context(client)
        self.inbox = client
        self.joined = await self.call("join", **join)

    async def call(self, command: str, /, **payload: Any) -> Reply:
        if command not in ("presence", "auth_refresh"):
            payload.setdefault("session_id", self.session_id)
        return await self.client.send(command, **payload)
