"""One server for the suite over all doors: every test works in sessions of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Server

QUICK = {"PRESENCE_GRACE": "0.3", "TYPING_TTL": "1"}
"""Times that tests wait for; the product's own defaults are longer."""


@pytest.fixture(scope="session")
def parley(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doors")
    shutil.copyfile(sqlite_template, folder / "parley.db")
    with Server(folder, f"sqlite:///{folder}/parley.db", **QUICK) as node:
        yield node
