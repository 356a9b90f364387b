"""A client of the SSE doors over httpx: `GET …/events`, and POSTs that answer with a stream."""

import asyncio
import json
from typing import Any, Self

import httpx

from tests.support.inbox import Inbox, Received
from tests.support.web import web_client


class SseClient(Inbox):
    """One event stream. Use it in `async with`, or `open` and `close`.

    Events without an `event:` line are named by the `type` of their data, as in the answer
    of `messages/stream`.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        method: str = "GET",
        body: dict[str, Any] | None = None,
        last_event_id: str | None = None,
        headers: dict[str, str] | None = None,
        name: str = "SSE client",
    ) -> None:
        super().__init__(name)
        self.url = url
        self._method = method
        self._body = body
        self._headers = {"Accept": "text/event-stream", **(headers or {})}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        if last_event_id is not None:
            self._headers["Last-Event-ID"] = last_event_id
        self.response: httpx.Response | None = None
        self.last_event_id: str | None = last_event_id
        self.comments = 0
        self.retry: int | None = None
        self._client = web_client(timeout=httpx.Timeout(15, read=None))
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> Self:
        """Returns when the head of the response is there; look at `status`."""
        request = self._client.build_request(self._method, self.url, headers=self._headers, json=self._body)
        self.response = await asyncio.wait_for(self._client.send(request, stream=True), 15)
        if self.response.headers.get("content-type", "").startswith("text/event-stream"):
            self._reader = asyncio.create_task(self._read(self.response))
        else:
            await self.response.aread()
        return self

    @property
    def status(self) -> int:
        assert self.response is not None
        return self.response.status_code

    async def content(self) -> bytes:
        assert self.response is not None
        return await self.response.aread()

    def json(self) -> dict[str, Any]:
        """The body of an answer that is not a stream: an error, as a rule."""
        assert self.response is not None
        body: dict[str, Any] = self.response.json()
        return body

    async def ended(self, timeout: float = 10) -> None:
        """Wait until the server ends the stream."""
        assert self._reader is not None
        await asyncio.wait_for(asyncio.shield(self._reader), timeout)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self.response is not None:
            await self.response.aclose()
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self, response: httpx.Response) -> None:
        data: list[str] = []
        name, position = "", None
        try:
            async for line in response.aiter_lines():
                if not line:
                    if data:
                        self._dispatch(name, "\n".join(data), position)
                    name, data, position = "", [], None
                elif line.startswith(":"):
                    self.comments += 1
                else:
                    field, _, value = line.partition(":")
                    value = value.removeprefix(" ")
                    if field == "event":
                        name = value
                    elif field == "data":
                        data.append(value)
                    elif field == "id":
                        position = self.last_event_id = value
                    elif field == "retry":
                        self.retry = int(value)
        except httpx.HTTPError as error:
            self.end(f"the stream broke: {error!r}")
        else:
            self.end("the server ended the stream")

    def _dispatch(self, name: str, text: str, position: str | None) -> None:
        data = json.loads(text)
        self.add(Received(name or data.get("type", "message"), data, position))
