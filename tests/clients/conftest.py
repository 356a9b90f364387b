"""One node with the default settings for clients that get along with them."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.jsclient import JsClients
from tests.support.server import Server


@pytest.fixture(scope="session")
def parley(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    shutil.copyfile(sqlite_template, folder / "parley.db")
    node = Server(folder, f"sqlite:///{folder}/parley.db")
    node.env["PUBLIC_URL"] = node.url  # of a page, and of who sends his own address as Origin
    with node:
        yield node


@pytest.fixture
async def js() -> AsyncIterator[JsClients]:
    async with JsClients() as clients:
        yield clients
