"""Child processes of the tests: free ports, readiness, and an end that is certain."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil

#: The niceness of a session with a third of another one's share: on a busy machine the least share is none.
SLIGHT = "5"

#: Workers of the tests, each with so many ports of its own.
WORKERS, PORTS = 8, 1500
_given: deque[int] = deque(maxlen=200)

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    args: Any
    pid: int
    returncode: Any

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, how: int, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


def give_way() -> None:
    """This process goes on with a smaller share of the processors.

    Linux shares these out among sessions first (sched(7), autogroup), and by niceness only within one: by
    that alone a process in a session of its own would still have as much as a whole PostgreSQL.
    """
    os.nice(19)
    with contextlib.suppress(OSError):  # a kernel without autogroups goes by niceness
        Path("/proc/self/autogroup").write_text(SLIGHT)


def free_port() -> int:
    """A port nobody listens on, below the range from which the kernel takes ports for
    outgoing connections (32768 and up): one of those could otherwise sit on it when a
    server comes back to the very same port. Tests that run beside these take others, and these take none of
    the last again: a server that was killed finds its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    first = 20000 + worker * PORTS
    for _ in range(200):
        port = random.randrange(first, first + PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.append(port)
            return port
    raise RuntimeError(f"no free port between {first} and {first + PORTS}")


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL) -> None:
    """For a new process: the kernel sends it a signal when the thread that made it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))


def spawn(
    command: list[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `command` with its output appended to `log`.

    The kernel sends it `death_signal` should the tests die without cleaning up. That is
    tied to the calling thread: call from the main thread only.
    """

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            user=user,
            group=user,
            extra_groups=[] if user is not None else None,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(death_signal),
        )


def wait_until(ready: Callable[[], bool], process: Process, log: Path, timeout: float = 20) -> None:
    """Return once `ready()` says so; show the log if the process ends or the time is up."""
    deadline = time.monotonic() + timeout
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{process.args!r} was not ready in {timeout} s:\n{tail(log)}")
        time.sleep(0.01)


def end(process: Process | None, how: signal.Signals = signal.SIGTERM, wait: float = 15) -> int:
    """Send a signal, wait, and fall back to SIGKILL. Returns the exit code."""
    if process is None:
        return 0
    if process.poll() is None:
        os.kill(process.pid, how)
        # A stopped process takes no signal but SIGKILL before it goes on.
        os.kill(process.pid, signal.SIGCONT)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            kill_tree(process)
    return int(process.returncode)


def kill_tree(process: Process) -> None:
    """SIGKILL for the process and everything it started; returns when all are gone."""
    try:
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(family[1:], timeout=10)


def tail(log: Path, size: int = 6000) -> str:
    return log.read_text(errors="replace")[-size:] if log.exists() else "(no log)"


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
