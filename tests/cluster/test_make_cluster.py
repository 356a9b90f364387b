"""`make cluster` as a developer meets it: it comes up, says how to use it, outlives its parts, and goes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import free_port, kill_tree
from tests.support.server import ROOT
from tests.support.services import program


@pytest.mark.timeout(200)
def test_three_nodes_come_up_and_go(tmp_path: Path) -> None:
    port = free_port()
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "TMPDIR": tempfile.gettempdir()}
    with subprocess.Popen(
        [sys.executable, "scripts/cluster.py"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        stack = contextlib.ExitStack()
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if "Content-Type" in line:
                    break
            found = re.search(r"Bearer ([\w.-]+)", said)
            assert found is not None, said
            headers = {"Authorization": f"Bearer {found[1]}"}
            url = f"http://127.0.0.1:{port}/api/chat/sessions"
            for _ in range(3):  # each node in turn
                assert httpx.post(url, json={}, headers=headers, trust_env=False).status_code == 201
            assert httpx.get(url, headers=headers, trust_env=False).json()["total"] == 3
            playground = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
            assert "text/html" in playground.headers["content-type"]
            assert len(re.findall(rf"http://127\.0\.0\.1:{port}/#token=[\w.-]+", said)) == 2

            address = re.findall(rf"http://127\.0\.0\.1:{port}/#token=[\w.-]+", said)[0]
            page = stack.enter_context(watching(address))
            newest = httpx.get(url, headers=headers, trust_env=False).json()["sessions"][0]
            session = f"{url}/{newest['session_id']}"
            pids = dict(re.findall(r"^ +(\w+) +pid (\d+)", said, re.MULTILINE))
            parts = ["postgres", "redis", "node1", "node2", "node3", "nginx"]
            assert list(pids) == [*parts, "worker"]
            for at, name in enumerate(parts):
                content = f"{name} is killed while this is being written, and a good deal more of it. " * 2
                content = content.strip()
                tell(page, content)
                assert heard(page) == "writing"
                os.kill(int(pids[name]), signal.SIGKILL)
                told = f"{name} (pid {pids[name]}) was killed by signal 9: started again as pid"
                assert next(line for line in process.stdout if line.startswith(told))
                seen = json.loads(heard(page))
                history = settled(session, headers, 2 * (at + 1))
                assert [each["content"] for each in history][-2] == content
                whole = f"You said “{content}”, and {2 * at} messages came before. "
                assert (history[-1]["content"], history[-1]["status"]) == (whole, "complete")
                # The page shows what is stored.
                assert seen == {"text": whole, "interrupted": False}
        finally:
            stack.close()
            process.send_signal(signal.SIGINT)
            left = process.communicate(timeout=60)
        assert process.returncode == 0, left


@contextlib.contextmanager
def watching(address: str) -> Iterator[subprocess.Popen[str]]:
    """Somebody in front of Chromium (watch.mjs), in a new session with Worker."""
    command = [program("node"), str(ROOT / "tests" / "cluster" / "watch.mjs"), address]
    env = {**os.environ, "CHROMIUM": program("chromium")}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert heard(page) == "ready"
            yield page
        finally:
            kill_tree(page)


def tell(page: subprocess.Popen[str], text: str) -> None:
    assert page.stdin is not None
    page.stdin.write(text + "\n")
    page.stdin.flush()


def heard(page: subprocess.Popen[str]) -> str:
    assert page.stdout is not None
    return page.stdout.readline().strip()


def settled(session: str, headers: dict[str, str], count: int) -> list[dict[str, Any]]:
    """So many messages, none of which is being written, as soon as the cluster says so."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            found = httpx.get(f"{session}/messages", headers=headers, trust_env=False, timeout=10)
            messages: list[dict[str, Any]] = found.json()["messages"] if found.status_code == 200 else []
        except (httpx.HTTPError, ValueError):  # nginx is away, or says so in a page of its own
            messages = []
        if len(messages) >= count and all(each["status"] != "streaming" for each in messages):
            return messages
        time.sleep(0.2)
    raise AssertionError(f"not settled: {messages}")
