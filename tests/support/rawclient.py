"""A client of the raw WebSocket door, as a browser or a script would be."""

import asyncio
import json
from typing import Any, Self
from urllib.parse import quote, urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidState

from tests.support.inbox import Inbox, Received


class RawClient(Inbox):
    """One connection to `/ws/{session_id}`. Use it in `async with`, or `open` and `close`.

    `token` travels in `Authorization`; with `token_in="query"` or `"subprotocol"` there.
    """

    def __init__(
        self,
        ws_url: str,
        session_id: str,
        token: str | None,
        *,
        token_in: str = "header",
        after: str | None = None,
        origin: str | None = None,
        headers: dict[str, str] | None = None,
        name: str = "raw client",
    ) -> None:
        super().__init__(name)
        query = {}
        self._headers = dict(headers or {})
        self._subprotocols: list[Any] | None = None
        if token is not None and token_in == "query":
            query["token"] = token
        elif token is not None and token_in == "subprotocol":
            self._subprotocols = ["bearer", token]
        elif token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        if after is not None:
            query["after"] = after
        self._origin: Any = origin
        self.url = f"{ws_url}/ws/{quote(session_id, safe='')}" + (f"?{urlencode(query)}" if query else "")
        self.acks: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._refs = 0
        self.connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    async def open(self) -> Self:
        self.connection = await connect(
            self.url,
            additional_headers=self._headers,
            subprotocols=self._subprotocols,
            origin=self._origin,
            compression=None,
            proxy=None,
            max_size=None,
            ping_interval=None,
            open_timeout=10,
            close_timeout=5,
        )
        self._reader = asyncio.create_task(self._read(self.connection))
        return self

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()
        if self._reader is not None:
            await self._reader

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def welcome(self, timeout: float = 10) -> dict[str, Any]:
        """The reply to connecting, or ConnectionError with the close code."""
        return await self.wait_event("welcome", timeout=timeout)

    async def send(self, command: str, /, *, timeout: float = 10, **payload: Any) -> dict[str, Any]:
        """One command; returns its ack."""
        answer = self.send_nowait(command, **payload)
        # not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with the answer
        async with asyncio.timeout(timeout):
            return await answer

    def send_nowait(self, command: str, /, **payload: Any) -> asyncio.Future[dict[str, Any]]:
        """Write a command without waiting; the future is its ack. Written in call order."""
        self._refs += 1
        ref = self._refs
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._write({"type": command, "ref": ref, **payload})
        self.acks[ref] = answer
        return answer

    async def send_object(self, frame: Any) -> None:
        """Any JSON value as a text frame, nothing added."""
        await self.send_text(json.dumps(frame))

    async def send_text(self, text: str | bytes) -> None:
        assert self.connection is not None
        await self.connection.send(text)

    async def closed(self, timeout: float = 10) -> int:
        """Wait for the end; returns the close code."""
        await asyncio.wait_for(self._closed.wait(), timeout)
        return self.close_code

    @property
    def close_code(self) -> int:
        assert self.connection is not None
        return self.connection.close_code or 0

    def abort(self) -> None:
        """Reset the TCP connection without a close frame."""
        assert self.connection is not None
        self.connection.transport.abort()

    def _write(self, frame: dict[str, Any]) -> None:
        # The library's `send` is a coroutine that may yield: bytes of commands that do not
        # wait for each other are written here in call order, through its sans-I/O core.
        assert self.connection is not None
        try:
            self.connection.protocol.send_text(json.dumps(frame).encode())
        except InvalidState as error:
            raise ConnectionError(str(error)) from error
        for data in self.connection.protocol.data_to_send():
            self.connection.transport.write(data)

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for text in connection:
                frame = json.loads(text, parse_constant=_no_constants)
                kind = frame.pop("type")
                if kind == "ack":
                    answer = self.acks.pop(frame.get("ref"), None)
                    if answer is not None and not answer.done():
                        answer.set_result(frame)
                        continue
                self.add(Received(kind, frame, frame.get("position")))
        except ConnectionClosed:
            pass
        finally:
            reason = f"closed with {connection.close_code} {connection.close_reason or ''}".rstrip()
            for answer in self.acks.values():
                if not answer.done():
                    answer.set_exception(ConnectionError(reason))
                    # Retrieved here: a test that does not await this ack is not at fault.
                    answer.exception()
            self._closed.set()
            self.end(reason)


def _no_constants(value: str) -> None:
    raise AssertionError(f"{value} is not JSON")
