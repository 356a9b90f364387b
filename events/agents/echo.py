"""The echo agent: the user's text back, a few characters at a time."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec

from events.agents.attachments import files_of
from events.agents.base import Agent, Request
from events.agents.deltas import Delta, ReasoningDelta, ToolInput
from events.agents.specimen import ASKED, SPECIMEN
from events.schema import Message


class Echo(Agent):
    """`chunk_size` in characters, `delay` in seconds between chunks. Asked for it, a specimen instead."""

    def __init__(self, *, chunk_size: int, delay: float) -> None:
        self._chunk_size, self._delay = chunk_size, delay

    async def answer(self, request: Request) -> AsyncIterator[Delta]:
        text = request.message.content or _names(request.message)
        answer: Sequence[Delta] = SPECIMEN if text.strip() == ASKED else [text]
        for at, piece in enumerate(self._pieces(answer)):
            if at:
                await asyncio.sleep(self._delay)
            yield piece

    def _pieces(self, answer: Sequence[Delta]) -> Iterator[Delta]:
        for delta in answer:
            if isinstance(delta, str):
                yield from self._cut(delta)
            elif isinstance(delta, ReasoningDelta | ToolInput):
                for content in self._cut(delta.content):
                    yield msgspec.structs.replace(delta, content=content)
            else:
                yield delta

    def _cut(self, text: str) -> Iterator[str]:
        for at in range(0, len(text), self._chunk_size):
            yield text[at : at + self._chunk_size]


def _names(message: Message) -> str:
    return ", ".join(file.get("name") or file.get("url") or "a file" for file in files_of(message))
