"""Real model servers as processes, installed by scripts/fetch_models. Fixtures of this folder's conftest."""

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.agents.upstream import Upstream, answer, upstream
from tests.support.processes import end, free_port, spawn, wait_until

PROGRAMS = Path(sys.prefix) / "models" / "bin"
KEY = "sk-a-key-of-these-tests"


@contextmanager
def serving(address: str, log: Path, *command: str, **settings: str) -> Iterator[None]:
    """A server that answers `address` with 200."""

    def ready() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(address).status_code == 200
        return False

    process = spawn(list(command), log=log, env={**os.environ, **settings})
    try:
        wait_until(ready, process, log, timeout=120)
        yield
    finally:
        end(process)


@pytest.fixture
async def scripted() -> AsyncIterator[Upstream]:
    async with upstream(answer("hello")) as served:
        yield served


@pytest.fixture
async def litellm(tmp_path: Path, scripted: Upstream) -> AsyncIterator[str]:
    place = {"api_base": scripted.url, "api_key": "sk-up", "max_retries": 0}
    # A provider that has chat completions alone: the proxy makes responses of them.
    models = {"tiny": "openai/tiny", "bridged": "deepseek/tiny"}
    config = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": model, **place}}
            for name, model in models.items()
        ],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        # A deployment that failed is asked again at once: what the scripted upstream says is what comes.
        "router_settings": {"disable_cooldowns": True},
        "general_settings": {"master_key": KEY},
    }
    file, port = tmp_path / "litellm.yaml", free_port()
    file.write_text(json.dumps(config))
    arguments = ["--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    address, program = f"http://127.0.0.1:{port}", str(PROGRAMS / "litellm")
    with serving(f"{address}/health/liveliness", tmp_path / "litellm.log", program, *arguments, **settings):
        yield f"{address}/v1"
