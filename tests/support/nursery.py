"""Processes of `python -m server`, forked from one that has imported all of it.

An import takes a second of a processor, and a run starts hundreds of servers. What starts them as a user does
is tested in tests/server/test_serve.py. `python -m tests.support.nursery` is the process that forks.
"""

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.processes import Process, die_with_parent, spawn

ROOT = Path(__file__).resolve().parent.parent.parent
#: What `serve` imports, some of it late.
IMPORTED = (
    "server.app", "server.closing", "server.commands.serve", "server.commands.migrate", "server.config_rules",
    "server.engine.run", "server.logs", "server.starting", "aiosqlite", "asyncpg", "uvicorn.lifespan.on",
    "databases.backends.postgres", "databases.backends.sqlite", "migrations.run",
    "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite",
)  # fmt: skip


class Forked:
    """A child of the nursery, used as a `subprocess.Popen` is."""

    def __init__(self, nursery: "Nursery", args: list[str], pid: int) -> None:
        self.args, self.pid = args, pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ask("poll", self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        end = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, how: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, how)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks, as the tests see it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        ours, theirs = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(ours[0]), str(theirs[1])],
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            pass_fds=(ours[0], theirs[1]),
            # It ends with its input, whatever thread has made it.
            start_new_session=True,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._asked, self._answers = os.fdopen(ours[1], "w", buffering=1), os.fdopen(theirs[0])

    def ask(self, what: str, *args: Any) -> Any:
        with self._lock:
            self._asked.write(json.dumps([what, *args]) + "\n")
            return json.loads(self._answers.readline())

    def start(
        self, args: Sequence[str], *, log: Path, errors: Path, env: Mapping[str, str], cwd: Path
    ) -> Forked:
        """`python -m server ARGS`, with its output appended to two files and this process's bound on file
        descriptors; it dies with the tests."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        pid = self.ask("start", list(args), (str(log), str(errors)), dict(env), str(cwd), descriptors)
        return Forked(self, ["python", "-m", "server", *args], pid)


@cache
def nursery() -> Nursery:
    """One for each process of the tests."""
    return Nursery()


def start_server(
    args: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path, *, fresh: bool
) -> Process:
    """`python -m server serve ARGS`; `fresh`: as a user starts it, with nothing imported; so is one
    that another library is loaded into."""
    if fresh or "LD_PRELOAD" in env:
        return spawn([sys.executable, "-m", "server", "serve", *args], log=log, env=env, cwd=cwd)
    return nursery().start(["serve", *args], log=log, errors=log, env=env, cwd=cwd)


def run_command(
    args: Sequence[str], env: Mapping[str, str], cwd: Path, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """`python -m server ARGS`, and what it said. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryDirectory() as folder:
        said, errors = Path(folder) / "out", Path(folder) / "err"
        process = nursery().start(args, log=said, errors=errors, env=env, cwd=cwd)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, code, said.read_text(), errors.read_text())


# --- in the nursery


def _become(
    args: list[str],
    outputs: Sequence[str],
    env: dict[str, str],
    cwd: str,
    descriptors: int,
    *,
    pipes: Sequence[int],
) -> None:
    """What a new process has, in the child."""
    os.setsid()
    die_with_parent()
    for pipe in pipes:
        os.close(pipe)
    for number, path in enumerate(outputs, start=1):
        output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(output, number)
        os.close(output)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, most))
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["python -m server", *args]


def _poll(pid: int) -> int | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def _leave(end: SystemExit) -> None:
    """As the interpreter ends, but for taking all modules apart: they would be copied first."""
    if not isinstance(end.code, int | None):
        raise end
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(end.code or 0)


def _main(asked: int, answers: int) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a child's collections would copy all of it
    with os.fdopen(asked, closefd=False) as lines:
        for line in iter(lines.readline, ""):
            what, *args = json.loads(line)
            answer = os.fork() if what == "start" else _poll(*args)
            if what == "start" and answer == 0:
                _become(*args, pipes=(asked, answers))
                break
            os.write(answers, f"{json.dumps(answer)}\n".encode())
        else:
            return
    from server.cli import main

    try:
        main()
    except SystemExit as end:
        _leave(end)


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
