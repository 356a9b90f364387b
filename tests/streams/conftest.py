"""One server for the rules of streams, with times and sizes that a test can wait for or fill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Server

QUICK = {
    "STREAM_LEASE": "3",
    "STREAM_CHECKPOINT": "0.3",
    "STREAM_MAX_SIZE": "4096",
    "STREAM_CHUNK_SIZE": "5",
    "STREAM_DELAY_MS": "20",
}


@pytest.fixture(scope="session")
def node(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("streams")
    with Server.on_sqlite(sqlite_template, folder, **QUICK) as running:
        yield running
