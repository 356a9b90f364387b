"""The end of a stream is stored, whatever it was to carry."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from events.access import Caller
from events.schema import StreamStart
from events.sessions import Origin
from migrations.run import upgrade
from server.config import Settings
from server.metrics import Metrics
from server.node.build import build
from server.node.running import running
from server.services import Services

ALICE = Caller("user", "alice")


@pytest.fixture
async def services(database_url: str, tmp_path: Path) -> AsyncIterator[Services]:
    environ = {"DATABASE_URL": database_url, "JWT_SECRET_KEY": "x" * 40, "DEBUG": "true"}
    settings = Settings.load(environ, None, data_dir=tmp_path)
    await asyncio.to_thread(upgrade, settings.database_url)
    node = build(settings, Metrics())
    async with running(node):
        yield node.services


@pytest.mark.parametrize(
    ("status", "what"),
    [("complete", {"tokens_used": 2**70}), ("failed", {"latency_ms": 2**70}),
     ("complete", {"tokens_used": -(2**70)})],
    ids=["count", "failed", "negative"],
)  # fmt: skip
async def test_an_end_that_no_database_holds_is_a_failed_one(
    services: Services, status: str, what: dict[str, Any]
) -> None:
    session = await services.sessions.create_session(ALICE, Origin("test"))
    command = StreamStart(session_id=session.session_id)
    stream, begun = await services.streams.start(("agent", "1"), command, adopt=False)
    assert stream is not None
    services.streams.chunk(stream, "what it said", None)
    async with asyncio.timeout(10):
        await services.streams.end(stream, status, **what)
    stored = await services.store.get(begun.record.message_id)
    assert stored is not None
    assert (stored.status, stored.content) == ("failed", "what it said")
    assert stored.error is not None
    assert stored.error["code"] == "INTERNAL"
