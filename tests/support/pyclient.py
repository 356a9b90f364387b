"""python-socketio's own client with the methods of `jsclient`, for what every client goes through."""

import asyncio
from itertools import count
from typing import Any, Self

import socketio

from tests.support.inbox import Inbox, Received


class PythonSocket(Inbox):
    """One `AsyncClient`. Its doings are events too: `connect`, `disconnect` (`reason`), `connect_error`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._coming_in = False
        # Its library draws the delay around these, in seconds.
        self._client = socketio.AsyncClient(
            reconnection_delay=0.1, reconnection_delay_max=0.2, randomization_factor=0.05
        )
        self._client.on("connect", lambda: self.add(Received("connect", {"recovered": False})))
        self._client.on("disconnect", lambda reason: self.add(Received("disconnect", {"reason": reason})))
        self._client.on("connect_error", self._refused)
        self._client.on("*", lambda name, data: self.add(Received(name, data)))

    def _refused(self, answer: Any) -> None:
        """CONNECT_ERROR, or why a request failed: a text, or the object in the body of its answer."""
        told = answer if isinstance(answer, dict) else {"message": answer}
        self.add(Received("connect_error", told))

    async def come_in(self, url: str, token: str | None, transports: list[str] | None) -> None:
        """Connect, as an application does that goes on trying: by itself the library does so after its first
        connection only.
        """
        self._coming_in = True
        while not self._client.connected:
            try:
                await self._client.connect(url, auth={"token": token}, transports=transports)
            except socketio.exceptions.ConnectionError as error:
                self.add(Received("connect_error", {"message": str(error)}))
                await asyncio.sleep(0.1)
        self._coming_in = False
        if self._client.transport() == "websocket":
            self.add(Received("upgrade", {"transport": "websocket"}))

    async def emit(self, name: str, payload: Any = None, *, timeout: float = 10) -> dict[str, Any]:
        reply: dict[str, Any] = await self._client.call(name, payload, timeout=timeout)
        return reply

    async def state(self) -> dict[str, Any]:
        """`active`: whether it is connected or trying to be."""
        trying = self._coming_in or self._client in socketio.base_client.reconnecting_clients
        return {"active": self._client.connected or trying, "connected": self._client.connected}

    async def connected(self, *, since: int = 0, timeout: float = 10) -> dict[str, Any]:
        return await self.wait_event("connect", since=since, timeout=timeout)

    async def close(self) -> None:
        await self._client.shutdown()


class PythonClients:
    """Opens them, and closes them all. Use it in `async with`."""

    def __init__(self) -> None:
        self._names = count(1)
        self._sockets: list[PythonSocket] = []
        self._coming: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._coming:
            task.cancel()
        await asyncio.gather(*self._coming, return_exceptions=True)
        for socket in self._sockets:
            await socket.close()

    async def open(
        self,
        url: str,
        token: str | None = None,
        *,
        transports: list[str] | None = None,
        wait: bool = True,
    ) -> PythonSocket:
        socket = PythonSocket(f"python-{next(self._names)}")
        self._sockets.append(socket)
        coming = asyncio.create_task(socket.come_in(url, token, transports))
        self._coming.append(coming)
        if wait:
            await asyncio.wait_for(asyncio.shield(coming), 10)
        return socket
