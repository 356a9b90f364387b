"""clients/python as a package: built and installed without a network; its README's programs run on it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.people.documents import blocks
from tests.support.server import ROOT, Server

PACKAGE = ROOT / "clients" / "python"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment's, with the wheel in it, and the packages that it needs beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    offline = ["--no-index", "--no-deps"]
    run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(folder), str(source)])
    (wheel,) = folder.glob("parley_client-*.whl")
    run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")])
    made = folder / "venv" / "bin" / "python"
    run([*pip, "--python", str(made), "install", *offline, str(wheel)])
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return made


def run(command: list[str], folder: Path | None = None, **environment: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    for block in blocks(PACKAGE / "README.md"):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    yield tmp_path


def test_its_readmes_programs_run_where_it_was_installed(
    parley: Server, python: Path, programs: Path
) -> None:
    """One answers, the other one asks it."""
    where = Path(run([str(python), "-c", "import parley_client; print(parley_client.__file__)"]).strip())
    assert where.is_relative_to(python.parent.parent) and (where.parent / "py.typed").exists()
    headers = {"Authorization": f"Bearer {parley.token('backend', 'service')}"}
    with httpx.Client(base_url=parley.url, headers=headers, trust_env=False) as api:
        agent = api.post("/api/chat/agents", json={"name": "Mine", "kind": "remote"}).json()["id"]
    worker = subprocess.Popen(
        [str(python), "agent.py", parley.url], cwd=programs,
        env={"AGENT_TOKEN": parley.token(str(agent), "agent")}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    try:
        assert worker.stdout.readline() == "at work\n"
        asked = [str(python), "talk.py", parley.url, str(agent)]
        said = run(asked, programs, PARLEY_TOKEN=parley.token("packed"))
    finally:
        worker.terminate()
        worker.stdout.close()
    assert said == "Tell me this again \n"
    assert worker.wait(10) == 0
    assert (programs / "pending.db").exists()
