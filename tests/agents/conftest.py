"""The kind of agent that asks an OpenAI-compatible upstream, and one whose workers answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from events.agents.openai import OpenAI
from tests.support.server import Server


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


@pytest.fixture(scope="module")
def node(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Leases that end while a test waits for it."""
    with Server.on_sqlite(sqlite_template, tmp_path_factory.mktemp("workers"), STREAM_LEASE="2") as running:
        yield running


@pytest.fixture
async def agent(node: Server) -> int:
    async with node.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
        agent_id: int = made.json()["id"]
        return agent_id
