"""How a node is put together, started and stopped, as far as no client can tell."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvloop

from events.janitor import Janitor, Job
from events.observer import Observer
from migrations.run import upgrade
from server.app import create_app
from server.config import Settings
from server.node.build import build
from server.node.core import Signals
from server.node.running import CannotServe, running
from tests.support.server import mint


def settings(folder: Path) -> Settings:
    environ = {"DATABASE_URL": f"sqlite:///{folder}/parley.db", "JWT_SECRET_KEY": "x" * 40, "DEBUG": "true"}
    return Settings.load(environ, None, data_dir=folder)


async def nothing() -> None: ...


def test_a_job_has_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match="activity"):
        Janitor([Job("activity", 1.0, nothing), Job("names", 1.0, nothing), Job("activity", 2.0, nothing)])


def test_a_signal_has_one_hearer_and_one_of_a_newer_release_is_passed_over() -> None:
    signals, heard = Signals(), list[tuple[str, bytes]]()
    signals.on("cancel", lambda channel, body: heard.append((channel, body)))
    with pytest.raises(ValueError, match="cancel"):
        signals.on("cancel", lambda channel, body: None)
    signals.heard("all", "cancel", b"1")
    signals.heard("all", "of a newer release", b"2")
    assert heard == [("all", b"1")]


async def test_what_runs_with_a_node_outlives_its_conversations(tmp_path: Path) -> None:
    """It starts before the first message may be written, and ends when the last has been."""
    given, happened = settings(tmp_path), list[str]()
    await asyncio.to_thread(upgrade, given.database_url)
    node = build(given, Observer())
    writing = node.writing.writer

    @asynccontextmanager
    async def beside(name: str) -> AsyncIterator[None]:
        happened.append(f"{name} begins, {'away' if not node.delivering.delivery.live else 'live'}")
        yield
        with pytest.raises(Exception, match="stopped"):
            await writing.submit(None)  # type: ignore[arg-type]
        await node.stores.database.check()
        happened.append(f"{name} ends")

    async with running(node, beside("one"), beside("two")):
        happened.append("live" if node.delivering.delivery.live else "away")
        assert not node.admission.draining
    assert happened == ["one begins, away", "two begins, away", "live", "two ends", "one ends"]
    assert node.admission.draining


async def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    given = settings(tmp_path)
    await asyncio.to_thread(upgrade, given.database_url)
    node = build(given, Observer())

    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        raise LookupError("not there")
        yield

    with pytest.raises(LookupError):
        async with running(node, failing()):
            pytest.fail("it has started")
    assert node.stores.database.usage() == build(given, Observer()).stores.database.usage()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others


async def test_a_database_without_tables_is_not_served(tmp_path: Path) -> None:
    node = build(settings(tmp_path), Observer())
    with pytest.raises(CannotServe):
        async with running(node):
            pytest.fail("it has started")


def test_a_request_that_is_done_leaves_nothing_to_the_collector(tmp_path: Path) -> None:
    """Otherwise the memory of requests grows until the collector stops the loop to find their circles."""
    given = settings(tmp_path)
    upgrade(given.database_url)
    app = create_app(given)
    headers = {"Authorization": f"Bearer {mint(secret=given.jwt_secret_key)}"}

    async def outlives_its_answer() -> bool:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://node", headers=headers
            ) as api,
        ):
            request = asyncio.create_task(api.post("/api/chat/sessions", json={}))
            assert (await request).status_code == 201
            kept = weakref.ref(request)
            del request
            await asyncio.sleep(0)  # the turn in which its answer came has it, too
            return kept() is not None

    gc.collect()
    gc.disable()
    try:
        assert not uvloop.run(outlives_its_answer())
    finally:
        gc.enable()
