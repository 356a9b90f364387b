"""An answer's lines as `server.transports.sse` sends them, and the response that tells them in other frames.

Reading them where they leave, in order and merged for slow readers, is what a client of ours does too: a
dialect sees each answer as everybody else does. Knows no dialect.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from starlette.types import Message, Send

from server.transports.eventstream import COMMENT
from server.transports.growing import Growing, Telling
from storage.turns import LONG


class AnswerLine(Struct):
    """One event of an answer, by its `type`: `stream_start`, `stream_chunk`, `stream_delta`, `stream_part`,
    `stream_end`. One without a type is an error."""

    type: str = ""
    message_id: str = ""
    content: str | None = None
    #: A part's id, or in a `stream_part` the part.
    part: Any = None
    parts: list[dict[str, Any]] | None = None
    status: str = ""
    error: dict[str, Any] | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    tokens_used: int | None = None
    latency_ms: int | None = None
    model: str | None = None
    metadata: dict[str, Any] | None = None
    #: Of an answer that waits, or has waited (`events.schema.AskedInterrupt`).
    interrupts: list[dict[str, Any]] | None = None
    #: Of a `stream_start`: the question's `message_id` and `seq`.
    request: dict[str, Any] | None = None
    #: Of an error.
    code: str = ""
    message: str = ""
    retryable: bool = False


class Frames(ABC):
    """What one reader is told of one answer. `ended`: its last frame was given out. `comments`: its wire has
    them."""

    comments = True

    def __init__(self) -> None:
        self.ended = False

    def opening(self) -> bytes:
        """What the response begins with, before the answer does."""
        return b""

    @abstractmethod
    def tell(self, line: AnswerLine) -> Iterator[bytes]:
        """The frames of the next line."""

    def grows(self) -> Growing | None:
        """How the text goes on that was told of last, where each piece of it is a frame that is like all
        others but for its text, and changes nothing else."""
        return None


CUT_OFF = AnswerLine(code="CUT_OFF", message="the response ended before the answer did; the answer goes on")

_decode = msgspec.json.Decoder(AnswerLine).decode


class ToldInFrames(Telling):
    """The `send` of a response whose body is lines; its client gets frames. Comments go through: they keep
    proxies awake. What else is no event is left out: to the libraries of most products a `retry:` or an `id:`
    that is followed by nothing is a broken event."""

    def __init__(self, send: Send, frames: Frames, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """`headers`: besides those of the lines."""
        self._send, self._frames, self._headers = send, frames, headers

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send({**message, "headers": [*message["headers"], *self._headers]})
            opening = self._frames.opening()
            if opening:
                await self._send({"type": "http.response.body", "body": opening, "more_body": True})
            return
        if message["type"] == "http.response.body":
            body, last = b"", not message.get("more_body", False)
            for frame in self._told(message.get("body", b""), last):
                body += frame
                if len(body) >= LONG:  # others have their turn of the loop
                    await self._send({"type": "http.response.body", "body": body, "more_body": True})
                    await asyncio.sleep(0)
                    body = b""
            if not body and not last:
                return
            message = {**message, "body": body}
        await self._send(message)

    def grows(self) -> Growing | None:
        return None if self._frames.ended else self._frames.grows()

    def _told(self, body: bytes, last: bool) -> Iterator[bytes]:
        if body == COMMENT:
            if self._frames.comments:
                yield body
            return
        for event in body.split(b"\n\n"):
            for line in event.split(b"\n"):
                if line.startswith(b"data: ") and not self._frames.ended:
                    yield from self._frames.tell(_decode(line[6:]))
        if last and not self._frames.ended:
            yield from self._frames.tell(CUT_OFF)
