"""The echo agent: the user's text back, a few characters at a time."""

import asyncio
from collections.abc import AsyncIterator

from events.agents.base import Agent, Request
from events.agents.deltas import Delta


class Echo(Agent):
    """`chunk_size` in characters, `delay` in seconds between chunks."""

    def __init__(self, *, chunk_size: int, delay: float) -> None:
        self._chunk_size, self._delay = chunk_size, delay

    async def answer(self, request: Request) -> AsyncIterator[Delta]:
        text = request.message.content or ""
        for at in range(0, len(text), self._chunk_size):
            if at:
                await asyncio.sleep(self._delay)
            yield text[at : at + self._chunk_size]
