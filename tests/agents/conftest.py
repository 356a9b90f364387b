"""The kind of agent that asks an OpenAI-compatible upstream."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events.agents.openai import OpenAI


@pytest.fixture
async def kind() -> AsyncIterator[OpenAI]:
    """Nothing may be left behind by any of the tests."""
    made = OpenAI({"TEST_API_KEY": "sk-1"}.get, first_wait=0.01)
    yield made
    await made.close()
    async with asyncio.timeout(5):
        # The library leaves its generators to the collector: their closing takes a turn of the loop.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
