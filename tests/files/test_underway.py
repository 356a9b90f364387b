"""What is being uploaded counts before it is there: for its user, for the node, and by how fast it comes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import pytest
from starlette.requests import Request

from events.bounds import LINK, UPLOADING, UPLOADING_EACH, UPLOADING_LAST
from events.errors import ValidationFailed
from server import uploads
from server.uploads import Multipart
from tests.support.doors import new_session
from tests.support.server import Server

SIZE = 1000
BOUNDARY = "b0undary"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    "Content-Type: text/plain\r\n\r\n"
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


class Slow:
    """An upload that can stand still before its last byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def finish(self) -> int:
        """The last byte; the answer's status."""
        self._writer.write(b"x" + TAIL)
        return await self.answer()

    async def answer(self) -> int:
        async with asyncio.timeout(30):
            return int((await self._reader.readline()).split()[1])

    async def refused(self, text: str) -> bool:
        """Whether a refusal says so."""
        async with asyncio.timeout(30):
            await self._reader.readuntil(text.encode())
        return True


@asynccontextmanager
async def begun(
    node: Server,
    user: str,
    room: str,
    size: int = SIZE,
    before: bytes = b"",
    token: str = "",
    address: str = "203.0.113.1",
) -> AsyncIterator[Slow]:
    """`before`: parts that come before the file. `address`: from where, to a server behind a proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    length = len(before) + len(HEAD) + size + len(TAIL)
    with closing(writer):
        writer.write(
            f"POST /api/chat/sessions/{room}/files HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
            f"Authorization: Bearer {token or node.token(user)}\r\nX-Forwarded-For: {address}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()
        )
        writer.write(before + HEAD + b"x" * (size - 1))
        await writer.drain()
        yield Slow(reader, writer)


def field(name: str, value: bytes) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


async def underway(node: Server, files: int, beside: int = 0) -> None:
    """Until the bytes of so many have come, and so many bytes of fields."""
    async with asyncio.timeout(30):
        while await _gauge(node) < files * (SIZE - 1) + beside:
            await asyncio.sleep(0.02)


async def _gauge(node: Server) -> float:
    """Asked often, while uploads have half a minute: a client for each time would take most of that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    with closing(writer):
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        lines = (await reader.read()).decode().splitlines()
    return float(next(line for line in lines if line.startswith("parley_uploading_bytes ")).split()[1])


async def test_files_that_come_together_keep_within_the_quota(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, MAX_STORED_BYTES_PER_USER=str(2 * SIZE))
    room = await new_session(node, "alice", members=("bob",))
    async with begun(node, "alice", room) as one, begun(node, "alice", room) as other:
        await underway(node, 2)
        async with begun(node, "alice", room) as third, begun(node, "bob", room) as bob:
            assert await third.answer() == 413, "told before its body has ended"
            assert await bob.finish() == 201
        assert [await one.finish(), await other.finish()] == [201, 201]
    async with begun(node, "alice", room) as full:
        assert await full.answer() == 413
    assert await _gauge(node) == 0


async def fill(
    node: Server, room: str, user: str, stack: AsyncExitStack, before: int, **more: Any
) -> list[Slow]:
    """As many files at once as one may have, when so many are under way."""
    held: list[Slow] = []
    while True:
        slow = await stack.enter_async_context(begun(node, user, room, **more))
        answer = asyncio.create_task(slow.answer())
        coming = asyncio.create_task(underway(node, before + len(held) + 1))
        done, _ = await asyncio.wait((answer, coming), return_when=asyncio.FIRST_COMPLETED)
        if answer in done:
            coming.cancel()
            assert answer.result() == 429
            return held
        answer.cancel()
        await asyncio.wait((answer,))
        held.append(slow)


async def test_users_share_what_a_node_uploads_at_once(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, MAX_FILE_SIZE=str(SIZE))
    users = [f"user-{n}" for n in range(UPLOADING // UPLOADING_EACH)]
    small = [f"small-{n}" for n in range(UPLOADING_LAST)]
    room = await new_session(node, "alice", members=(*users, *small, "late"))
    async with AsyncExitStack() as stack:
        count = 0
        for user in users:
            held = await fill(node, room, user, stack, count)
            assert 0 < len(held) <= UPLOADING_EACH
            count += len(held)
        assert count == UPLOADING - UPLOADING_LAST, "those with many leave the last"
        for user in small:
            async with begun(node, "late", room) as late:
                assert await late.finish() == 201, "others have their share"
            one = await stack.enter_async_context(begun(node, user, room))
            count += 1
            await underway(node, count)
        async with begun(node, "late", room) as late:
            assert await late.answer() == 429
        assert await one.finish() == 201, "what has begun goes on"
        async with begun(node, "late", room) as late:
            assert await late.finish() == 201


async def test_those_who_hold_a_share_link_upload_as_one(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, MAX_FILE_SIZE=str(SIZE), TRUSTED_PROXIES="127.0.0.1")
    room = await new_session(node, "alice")
    link = node.token("alice", sessions=[room], session_role="member")
    async with AsyncExitStack() as stack:
        count = 0
        for number in range(1, 5):
            more = {"token": link, "address": f"203.0.{number}.1"}
            held = await fill(node, room, "alice", stack, count, **more)
            assert len(held) <= UPLOADING // LINK
            count += len(held)
        assert count == UPLOADING_EACH
        async with begun(node, "alice", room) as own:
            assert await own.finish() == 201, "who has the link keeps nobody from uploading"


async def test_fields_beside_a_file_are_bounded_together_and_count(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    limit = 4000
    node = new_server(sqlite_url, WS_MESSAGE_SIZE_LIMIT=str(limit))
    room = await new_session(node, "alice", members=("bob",))
    unknown = b"".join(field(f"field-{n}", b"u" * 2 * limit) for n in range(10))
    words = field("post", b"true") + field("message", b"m" * (limit - 4))
    async with begun(node, "alice", room, before=unknown + words) as one:
        await underway(node, 1, limit)
        assert await _gauge(node) == SIZE - 1 + limit, "what nobody asks for was kept"
        async with begun(node, "alice", room, before=field("message", b"m" * limit) * 2) as more:
            assert await more.answer() == 413
        held = field("message", b"m" * limit)
        async with AsyncExitStack() as stack:
            for _ in range(UPLOADING_EACH - 1):
                await stack.enter_async_context(begun(node, "alice", room, before=held))
            await underway(node, UPLOADING_EACH, UPLOADING_EACH * limit)
            async with begun(node, "alice", room, before=held) as beyond:
                assert await beyond.answer() == 429
                assert await beyond.refused("too much is being uploaded")
        assert await one.finish() == 201
    async with asyncio.timeout(30):
        while await _gauge(node):
            await asyncio.sleep(0.02)
    async with node.api("bob") as api:
        (message,) = (await api.get(f"/api/chat/sessions/{room}/messages")).json()["messages"]
    assert message["content"] == "m" * (limit - 4)


async def test_a_body_has_a_least_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that come now and then do not keep an upload under way."""
    monkeypatch.setattr(uploads, "SPAN", 0.5)
    slow, fast = [HEAD, *[b"x"] * 10_000], [HEAD, *[b"x" * uploads.LEAST] * 10, TAIL]

    async def size(pieces: list[bytes]) -> int:
        sent = iter(pieces)

        async def receive() -> dict[str, object]:
            await asyncio.sleep(0.1)
            piece = next(sent, None)
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

        headers = [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]
        request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
        body = Multipart(request, 1 << 20).parts()
        return sum([len(chunk) async for part in body async for chunk in part.chunks])

    began = time.monotonic()
    with pytest.raises(ValidationFailed, match="too slowly"):
        await size(slow)
    assert time.monotonic() - began < 30, "each byte gained all of the time again"
    assert await size(fast) == 10 * uploads.LEAST
