"""One server with the settings of `make run`, for what people look at."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley_testing import parley
from server.vendor import pins
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
        source = ROOT / "tests/js/node_modules" / pin.package / pin.path.removeprefix("package/")
        shutil.copyfile(source, target / name)


@pytest.fixture(scope="session")
def house(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("people")
    shutil.copyfile(sqlite_template, folder / "parley.db")
    with_client(folder)
    with Server(folder, f"sqlite:///{folder}/parley.db", **SETTINGS) as node:
        yield node
