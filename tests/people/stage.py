"""A reader's folder: a copy of this one in which documents' commands run, with real servers beside it."""

import os
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from tests.people.documents import all_blocks
from tests.support.processes import free_port, kill_tree, spawn, tail
from tests.support.server import ROOT, SECRET
from tests.support.services import program

#: Not part of what a clone has.
_OURS = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".work",
    ".env",
    ".hypothesis",
    ".*_cache",
    "__pycache__",
    "data",
    "node_modules",
    "*.egg-info",
)
#: `stays <what shows that it works> <command>`: for commands that serve until they are told to stop.
_PRELUDE = r"""
set -euo pipefail
stays() {
    local sign=$1; shift
    setsid "$@" & local pid=$!
    trap "kill -TERM -- -$pid" EXIT  # also if it does not get that far
    until eval "$sign"; do kill -0 $pid; sleep 0.1; done
    trap - EXIT
    kill -TERM -- -$pid
    wait $pid || true
}
up() { curl -sf -o /dev/null "$1"; }
"""

Rules = list[tuple[str, str, str]]


class Stage:
    """`settings` are what the reader has set; addresses and ports are made the test's own by `rules`."""

    def __init__(self, folder: Path, template: Path, settings: dict[str, str]) -> None:
        self.root = folder / "parley"
        shutil.copytree(ROOT, self.root, ignore=_OURS)
        self._environment_made()
        (self.root / "data").mkdir()
        shutil.copyfile(template, self.root / "data" / "parley.db")
        old_store(self.root / "old.db")
        for block in all_blocks():
            if re.fullmatch(r"[\w/-]+\.(?:py|mjs|js|html)", block.title):
                file = self.root / block.title
                file.parent.mkdir(exist_ok=True)
                file.write_text(block.text)
        self.log = folder / "said"
        postgres = Path(program("postgres", "/usr/lib/postgresql/*/bin")).resolve().parent
        self.env = {
            "PATH": os.pathsep.join([f"{self.root}/.venv/bin", str(postgres), os.environ["PATH"]]),
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": f"{self.root}:{self.root}/clients/python",
            "JWT_SECRET_KEY": SECRET,
            "NO_PROXY": "127.0.0.1",
            # `make test` has installed everything: pip and npm find it, and need no registry.
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "npm_config_offline": "true",
            **settings,
        }

    def _environment_made(self) -> None:
        """This environment and these packages under the folder's own names, up to date for make."""
        venv = self.root / ".venv"
        venv.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (venv / name).symlink_to(Path(sys.prefix) / name)
        packages = self.root / "tests" / "js" / "node_modules"
        packages.mkdir()
        for package in (ROOT / "tests" / "js" / "node_modules").iterdir():
            (packages / package.name).symlink_to(package)
        (packages / ".stamp").unlink(missing_ok=True)
        for stamp in (venv / ".dev", venv / ".runtime", packages / ".stamp"):
            stamp.touch()
        (self.root / "node_modules").symlink_to(packages)

    def run(self, command: str, rules: Rules) -> str:
        """What it prints; it has to end well."""
        command = instead(command, rules)
        self.log.unlink(missing_ok=True)
        port = free_port()
        env = self.env | {"OWN": str(port), "HERE": f"http://127.0.0.1:{port}"}
        shell = spawn(["bash", "-c", _PRELUDE + command], log=self.log, env=env, cwd=self.root)
        try:
            code = shell.wait(50)
        finally:
            kill_tree(shell)
        assert code == 0, f"{command}\nended with {code}:\n{tail(self.log)}"
        return self.log.read_text()


def instead(command: str, rules: Rules) -> str:
    """What is run for it."""
    for pattern, other, _ in rules:
        command = re.sub(pattern, other, command, flags=re.MULTILINE)
    return command


def old_store(file: Path) -> None:
    """An older session store, as docs/data.md describes it: two sessions, one of nobody."""
    with closing(sqlite3.connect(file)) as base, base:
        base.execute(
            "CREATE TABLE sessions (session_id TEXT PRIMARY KEY, user_id TEXT, metadata TEXT,"
            " created_at TEXT, expires_at TEXT, last_activity TEXT, request_count INTEGER)"
        )
        times = ("2026-11-01T00:00:00", "2099-01-01T00:00:00", "2026-11-02T00:00:00", 3)
        base.execute("INSERT INTO sessions VALUES ('old-1', 'alice', '{}', ?, ?, ?, ?)", times)
        base.execute("INSERT INTO sessions VALUES ('old-2', NULL, '{}', ?, ?, ?, ?)", times)
    base.close()
