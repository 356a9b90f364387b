"""`make cluster` as a developer meets it: it comes up, says how to use it, outlives its parts, and goes."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import free_port
from tests.support.server import ROOT


@pytest.mark.timeout(150)
def test_three_nodes_come_up_and_go(tmp_path: Path) -> None:
    port = free_port()
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "TMPDIR": tempfile.gettempdir()}
    with subprocess.Popen(
        [sys.executable, "scripts/cluster.py"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
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

            made = httpx.post(url, json={"agent_id": 1}, headers=headers, trust_env=False)
            session = f"{url}/{made.json()['session_id']}"
            pids = dict(re.findall(r"^ +(\w+) +pid (\d+)", said, re.MULTILINE))
            assert list(pids) == ["postgres", "redis", "node1", "node2", "node3", "nginx"]
            for at, name in enumerate(("node2", "redis", "postgres", "nginx")):
                content = f"{name} is killed while this is being written"
                answer = ask(session, headers, content)
                os.kill(int(pids[name]), signal.SIGKILL)
                told = f"{name} (pid {pids[name]}) was killed by signal 9: started again as pid"
                assert next(line for line in process.stdout if line.startswith(told))
                history = settled(session, headers, 2 * (at + 1))
                assert [each["content"] for each in history][-2] == content
                # The node that wrote it may be the one that was killed: then the text ends, marked as such.
                assert history[-1]["message_id"] == answer
                if history[-1]["status"] == "complete":
                    assert content in history[-1]["content"]
                else:
                    assert (name, history[-1]["status"]) == ("node2", "interrupted")
        finally:
            process.send_signal(signal.SIGINT)
            left = process.communicate(timeout=60)
        assert process.returncode == 0, left


def ask(session: str, headers: dict[str, str], content: str) -> str:
    """The id of an answer that is being written."""
    with httpx.stream(
        "POST", f"{session}/messages/stream", json={"content": content}, headers=headers, trust_env=False
    ) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("data: ") and '"stream_chunk"' in line:
                message: str = json.loads(line[6:])["message_id"]
                return message
    raise AssertionError("no answer began")


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
