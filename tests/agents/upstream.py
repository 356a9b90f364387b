"""A small OpenAI-compatible upstream with every fault that one can have."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

#: Answers one request: what is written here goes to the client as it stands.
Plan = Callable[[asyncio.StreamWriter], Awaitable[None]]

# A connection serves one request, and says so: else the next one may go into its closing.
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n"
)


def piece(content: str | None = None, *, finish: str | None = None, tokens: int | None = None) -> bytes:
    """A `data:` line as chat completions send it."""
    event: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {} if content is None else {"content": content}
    event["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
    if tokens is not None:
        event["choices"] = []
        event["usage"] = {"prompt_tokens": 1, "completion_tokens": tokens - 1, "total_tokens": tokens}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112, section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def lines(*data: bytes, ends: bool = True) -> Plan:
    """Some lines of an answer, then the end of the body, or of the connection."""

    async def plan(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for line in data:
            writer.write(framed(line))
            await writer.drain()
        if ends:
            writer.write(b"0\r\n\r\n")

    return plan


def answer(*pieces: str, tokens: int = 7) -> Plan:
    """A good one."""
    return lines(*map(piece, pieces), piece(finish="stop"), piece(tokens=tokens), DONE)


SECRET = b'{"error": {"message": "no, and your key is sk-secret", "type": "x", "code": "x"}}'


def refusal(status: int, *headers: str, body: bytes = SECRET) -> Plan:
    async def plan(writer: asyncio.StreamWriter) -> None:
        head = "\r\n".join(
            [
                f"HTTP/1.1 {status} No",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                "Connection: close",
                *headers,
            ]
        )
        writer.write(head.encode() + b"\r\n\r\n" + body)

    return plan


def whole(body: str) -> Plan:
    """JSON that is no stream, with its length."""

    async def plan(writer: asyncio.StreamWriter) -> None:
        data = body.encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        writer.write(head % len(data) + b"Connection: close\r\n\r\n" + data)

    return plan


def silence(*data: bytes) -> Plan:
    """Some lines (or not even a head), then nothing: until the client goes."""

    async def plan(writer: asyncio.StreamWriter) -> None:
        if data:
            writer.write(STREAM_HEAD)
        for line in data:
            writer.write(framed(line))
        await asyncio.Event().wait()

    return plan


class Upstream:
    """Answers by its plans, one a request; the last one again and again. With `choose`: by what is asked."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.choose: Callable[[dict[str, Any]], Plan] | None = None
        self.asked: list[dict[str, Any]] = []
        self.heads: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.paths: list[str] = []
        self.url = ""
        self.open = 0
        self._changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._count(1)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            self.paths.append(head.split(" ")[1])
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append(json.loads(body or b"{}"))
            self.heads.append(headers)
            self.keys.append(headers.get("authorization", ""))
            await self._count(0)
            if self.choose is not None:
                plan = self.choose(self.asked[-1])
            else:
                plan = self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]
            answering = asyncio.create_task(self._answer(plan, writer))
            gone = asyncio.create_task(reader.read())
            await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
            for task in (answering, gone):
                task.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            await self._count(-1)

    async def _answer(self, plan: Plan, writer: asyncio.StreamWriter) -> None:
        await plan(writer)
        await writer.drain()

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.open += change
            self._changed.notify_all()

    async def until(self, connections: int) -> None:
        """Wait until so many are open."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.open == connections)

    async def asked_for(self, path: str) -> None:
        """Wait until it was."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: path in self.paths)


@asynccontextmanager
async def upstream(*plans: Plan) -> AsyncIterator[Upstream]:
    served = Upstream()
    served.plans = list(plans)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield served
        await served.until(0)
