"""One server with the settings of `make run`, for what people look at."""

import asyncio
import queue
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parley_testing import parley
from scripts.fetch_client import installed
from server.vendor import pins
from tests.agents.upstream import Plan, answer, upstream, whole
from tests.support.server import ROOT, Server

__all__ = ["parley"]

SETTINGS = {
    "DEBUG": "true",
    "WS_CREATE_SESSIONS": "true",
    "PRESENCE_GRACE": "0.3",
    "STREAM_DELAY_MS": "40",
}
CLIENT = ROOT / "tests/js/node_modules/socket.io-client/dist/socket.io.esm.min.js"


def with_client(folder: Path) -> None:
    """The published files for the playground, where `make run` puts them."""
    target = folder / "data" / "vendor"
    target.mkdir(parents=True)
    for name, pin in pins().items():
        (target / name).write_bytes(installed(ROOT, pin))


def _said_again(asked: dict[str, Any]) -> Plan:
    if "model" not in asked:
        return whole('{"object": "list", "data": [{"id": "small-1"}]}')
    said = str(asked["messages"][-1]["content"])
    return answer("You said: ", *re.findall(r"\S+\s*", said))


@pytest.fixture(scope="session")
def model() -> Iterator[str]:
    """The address of a model's server: it says in pieces what it is asked."""
    told: queue.Queue[str] = queue.Queue()
    loop, done = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with upstream() as served:
            served.choose = _said_again
            told.put(served.url)
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    yield told.get(timeout=10)
    loop.call_soon_threadsafe(done.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def house(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("people")
    with_client(folder)
    with Server.on_sqlite(sqlite_template, folder, **SETTINGS) as node:
        yield node
