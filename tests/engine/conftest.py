import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.support.certificate import self_signed


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A server's certificate and key, in one file."""
    file = tmp_path / "both.pem"
    file.write_bytes(b"".join(self_signed()))
    return file
