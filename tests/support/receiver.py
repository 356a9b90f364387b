"""An address that webhooks are sent to: it answers as it is told to, and keeps what came."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from standardwebhooks import Webhook

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Told", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Post:
    """One request. `taken`: it was answered with 2xx."""

    path: str
    headers: dict[str, str]
    body: bytes
    taken: bool = False

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.event["data"]
        return data

    def verified(self, secret: str) -> dict[str, Any]:
        """By the standard's own library. Raises WebhookVerificationError."""
        told: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return told


#: What is answered to a request; b"" closes the connection.
Answering = Callable[[Post], Awaitable[bytes]]


async def take(post: Post) -> bytes:
    return OK


@dataclass
class Receiver:
    """`answering` may be changed at any time. `port`: 0 until it listens; it is kept when it stops."""

    answering: Answering = take
    posts: list[Post] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._came = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Nobody is there any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for writer in self._writers.values():
                writer.transport.abort()
            if self._writers:
                await asyncio.wait(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writers[task] = writer
        try:
            while line := await reader.readline():
                post = await self._read(line, reader)
                self.posts.append(post)
                said = await self.answering(post)
                post.taken = said[9:10] == b"2"
                async with self._came:
                    self._came.notify_all()
                if not said:
                    break
                writer.write(said)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            del self._writers[task]
            writer.close()

    @staticmethod
    async def _read(line: bytes, reader: asyncio.StreamReader) -> Post:
        headers: dict[str, str] = {}
        while (field := await reader.readline()).strip():
            name, _, value = field.decode().partition(":")
            headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers["content-length"]))
        return Post(line.split()[1].decode(), headers, body)

    def taken(self, *events: str) -> list[Post]:
        """Those that were taken, each once, in the order in which they were; of these kinds."""
        found: dict[str, Post] = {}
        for post in self.posts:
            if post.taken and (not events or post.event["type"] in events):
                found.setdefault(post.id, post)
        return list(found.values())

    async def until(self, fits: Callable[[Self], bool], seconds: float = 20.0) -> None:
        """Until what came fits."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: fits(self))
