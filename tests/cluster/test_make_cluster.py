"""`make cluster` as a developer meets it: it comes up, says how to use it, and goes without a trace."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from tests.support.processes import free_port
from tests.support.server import ROOT


def test_three_nodes_come_up_and_go(tmp_path: Path) -> None:
    port = free_port()
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "TMPDIR": tempfile.gettempdir()}
    with subprocess.Popen(
        [sys.executable, "scripts/cluster.py"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
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
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(60) == 0
