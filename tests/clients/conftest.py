"""One node with the default settings for clients that get along with them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.jsclient import JsClients
from tests.support.server import Server


@pytest.fixture(scope="session")
def parley(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    node = Server.on_sqlite(sqlite_template, folder)
    node.env["PUBLIC_URL"] = node.url  # of a page, and of who sends his own address as Origin
    with node:
        yield node


@pytest.fixture
async def js() -> AsyncIterator[JsClients]:
    async with JsClients() as clients:
        yield clients
