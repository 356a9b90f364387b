"""A newcomer's first minute: a clean clone, README's first command, a model's answer in a browser. What pip
and npm would load is kept by them already."""

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.people.conftest import model
from tests.people.telling import tell
from tests.support.processes import free_port, kill_tree, spawn, tail
from tests.support.server import ROOT

__all__ = ["model"]

pytestmark = pytest.mark.faults
#: Seconds.
MOST = 60.0
#: What a login has.
NEWCOMERS = ("PATH", "HOME", "LANG")


def newcomers() -> dict[str, str]:
    """How packages are reached here besides, which is no part of the project."""
    reach = ("pip_", "npm_", "ssl_", "node_extra", "no_proxy", "https_proxy", "http_proxy")
    return {
        name: value
        for name, value in os.environ.items()
        if name in NEWCOMERS or name.lower().startswith(reach)
    }


def playground(log: Path) -> str:
    """The URL that `make run` prints, once it has."""
    found = re.search(r"http://\S+#token=\S+", log.read_text())
    return found[0] if found else ""


async def served(process: subprocess.Popen[bytes], log: Path, until: float) -> str:
    while not (url := playground(log)):
        assert process.poll() is None and time.monotonic() < until, tail(log)
        await asyncio.sleep(0.05)
    return url


@pytest.mark.browser
@pytest.mark.timeout(300)
async def test_a_models_answer_within_a_minute(
    model: str, row: Callable[[str], None], tmp_path: Path
) -> None:
    clone, log = tmp_path / "parley", tmp_path / "said"
    begun = time.monotonic()
    git = await asyncio.create_subprocess_exec("git", "clone", "--quiet", str(ROOT), str(clone))
    assert await git.wait() == 0
    cloned = time.monotonic()
    env = {**newcomers(), "OPENAI_BASE_URL": model, "SERVICE_PORT": str(free_port())}
    running = spawn(["make", "run"], log=log, env=env, cwd=clone)
    try:
        url = await served(running, log, begun + 4 * MOST)
        serves = time.monotonic()
        await tell("site.mjs", "first", url)
        answered = time.monotonic()
    finally:
        kill_tree(running)
    assert "Built the documentation" in tail(log, 100_000)
    steps = {"clone": cloned - begun, "make run": serves - cloned, "browser": answered - serves}
    row(", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps.items()))
    assert answered - begun < MOST, steps
