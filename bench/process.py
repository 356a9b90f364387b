"""Processes on a core of their own: their CPU time, their memory, their end."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class BenchError(Exception):
    """What makes a run impossible: a server that does not start, a tool that is missing."""


@dataclass(frozen=True)
class Sample:
    """One look at a process: CPU seconds since its start, resident KiB now and at most, open files."""

    cpu_s: float
    rss_kib: int
    peak_kib: int
    files: int


class Watched:
    """A running process that is looked at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def forget_peak(self) -> None:
        """Let the greatest resident size count from now (man 5 proc, clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def sample(self) -> Sample:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
        )
        return Sample(
            cpu_s=cpu_seconds(self.pid),
            rss_kib=int(status["VmRSS"].split()[0]),
            peak_kib=int(status["VmHWM"].split()[0]),
            files=sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir()),
        )


class Process(Watched):
    """A child, pinned to `core` if there is one, that writes into `log`; stopped at the end of `with`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | None,
        log: IO[bytes],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
        super().__init__(self._child.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask, wait three seconds, kill."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(3)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def kill(self) -> None:
        """Without a word."""
        self._child.kill()
        self._child.wait()

    def wait_for_port(self, port: int, limit: float = 30) -> None:
        """Return when something listens there.

        Raises: BenchError where the process ends or the limit (seconds) passes first.
        """
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self._child.poll() is not None:
                raise BenchError(f"the server ended with status {self._child.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise BenchError("the server does not listen")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads, to the nanosecond.

    Linux lets a process read another's CPU clock: its id is made of the inverted
    pid and 2, the scheduler's clock (man 3 clock_getcpuclockid).
    """
    return time.clock_gettime((~pid << 3) | 2)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def raise_file_limit() -> int:
    """Ten thousand connections need as many descriptors; children inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
