"""`serve --workers N`: one process for each core on one port, each a node; started, watched, ended together.

Knows nothing of what a node does. The kernel shares new connections out (SO_REUSEPORT).
"""

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import NoReturn
from urllib.parse import urlsplit

from server import serving, starting
from server.config import Settings
from server.services import Services
from server.serving import CANNOT_SERVE, Own

log = logging.getLogger("parley.workers")

_STOP = (signal.SIGTERM, signal.SIGINT)
#: Seconds before a worker that has ended is started again: at first, and at most, doubled with each end.
PAUSE, LONGEST = 0.5, 30.0
#: Seconds after which a worker has shown that it can run: its next end counts as the first.
LASTED = 60.0
#: Seconds that a worker has to end beyond SHUTDOWN_GRACE.
BEYOND_GRACE = 10.0


def missing(settings: Settings, count: int, first_port: int) -> Iterator[str]:
    """What `count` workers need and these settings do not have."""
    if settings.redis_url is None:
        yield f"--workers {count} needs REDIS_URL: each worker is a node, and they talk through Redis"
    if not settings.database_url.startswith("postgresql"):
        yield f"--workers {count} needs PostgreSQL in DATABASE_URL: SQLite is for one process"
    if first_port and first_port + count - 1 > 65535:
        yield f"--worker-ports {first_port}: {count} workers need as many ports from there on"


def own_host(settings: Settings) -> str:
    """Where a worker's own port listens: as the common one where that has one address; else, and where the
    common one has TLS, on loopback, unless NODE_URL says that nodes of other machines come, too."""
    if settings.node_url is None and (settings.host in ("0.0.0.0", "::") or settings.ws_use_ssl):
        return "127.0.0.1"
    return "127.0.0.1" if settings.host == "localhost" else settings.host


def own_url(settings: Settings, port: int) -> str:
    """NODE_URL's host with a worker's own port; where it is silent, the address on which that listens."""
    host = urlsplit(settings.node_url).hostname if settings.node_url else own_host(settings)
    assert host is not None
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@dataclass
class Worker:
    number: int
    port: int
    process: ForkProcess | None = None
    news: Connection | None = None
    node: str = ""
    url: str = ""
    began: float = 0.0
    ends: int = 0
    #: When it is to be started again.
    due: float | None = None
    ready: bool = False


class Supervisor:
    """`told(address, workers)` is called once, when all of them serve."""

    def __init__(
        self, settings: Settings, count: int, first_port: int, told: Callable[[str, int, list[Worker]], None]
    ) -> None:
        self._settings, self._told = settings, told
        self._workers = [Worker(n + 1, first_port + n if first_port else 0) for n in range(count)]
        self._context = multiprocessing.get_context("fork")
        self._stopping = self._serving = False
        self._status = 0
        self._wake, self._waker = os.pipe()
        self._lifeline, self._life = os.pipe()  # the second is open in this process alone

    def run(self) -> int:
        """Until told to stop, or until a first start fails. Returns the status."""
        host, port = self._settings.host, self._settings.service_port
        try:
            for each in starting.listen_at(host, port):  # would say if another program has it, on any terms
                each.close()
            # Nobody else takes the port while a worker is away. A socket that does not listen gets no
            # connection.
            held = starting.listen_at(host, port, shared=True)
        except starting.CannotListen as error:
            log.error("%s", error)
            return CANNOT_SERVE
        self._settings = self._settings.model_copy(update={"service_port": held[0].getsockname()[1]})
        os.set_blocking(self._waker, False)
        for number in _STOP:
            signal.signal(number, self._stop)
        gc.collect()
        gc.freeze()  # what is imported by now stays common memory
        self._start(self._workers[0])  # the reason is the same for all workers, and is logged once
        while not self._stopping:
            self._look(wait(self._waited(), self._patience()))
        self._end()
        for each in held:
            each.close()
        return self._status

    # --- one turn

    def _waited(self) -> list[Connection | int]:
        found: list[Connection | int] = [self._wake]
        for worker in self._workers:
            if worker.process is not None:
                found.append(worker.process.sentinel)
            if worker.news is not None:
                found.append(worker.news)
        return found

    def _patience(self) -> float | None:
        due = [worker.due for worker in self._workers if worker.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _look(self, happened: Sequence[object]) -> None:
        if self._wake in happened:
            os.read(self._wake, 4096)
        for worker in self._workers:
            if worker.news in happened:
                self._heard(worker)
        for worker in self._workers:
            if worker.process is not None and worker.process.sentinel in happened:
                self._ended(worker)
        now = time.monotonic()
        for worker in self._workers:
            if worker.due is not None and worker.due <= now and not self._stopping:
                self._start(worker)

    def _heard(self, worker: Worker) -> None:
        assert worker.news is not None
        try:
            worker.node, worker.url = worker.news.recv()
        except EOFError:
            worker.news.close()
            worker.news = None
            return
        worker.ready = True
        if self._serving:
            assert worker.process is not None
            extra = {"node": worker.node, "address": worker.url}
            log.warning(
                "worker %d serves again as process %d", worker.number, worker.process.pid, extra=extra
            )
            return
        if worker is self._workers[0]:
            for other in self._workers[1:]:
                self._start(other)
        if all(each.ready for each in self._workers):
            self._serving = True
            address = starting.url(self._settings, self._settings.host, self._settings.service_port)
            self._told(address, self._settings.service_port, self._workers)

    def _ended(self, worker: Worker) -> None:
        assert worker.process is not None
        worker.process.join()
        code, pid = worker.process.exitcode or 0, worker.process.pid
        worker.process, worker.ready = None, False
        if self._stopping:
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        if not self._serving:  # a start that fails; its reason stands above, if it could say one
            log.error("worker %d %s before it served: all stop", worker.number, how)
            self._status = code if code > 0 else CANNOT_SERVE
            self._stopping = True
            return
        now = time.monotonic()
        worker.ends = 1 if now - worker.began > LASTED else worker.ends + 1
        pause = min(LONGEST, PAUSE * 2.0 ** (worker.ends - 1))
        worker.due = now + pause
        extra = {"node": worker.node}
        text = "worker %d (process %d) %s: started again in %g s"
        log.error(text, worker.number, pid, how, pause, extra=extra)

    # --- processes

    def _start(self, worker: Worker) -> None:
        worker.due, worker.began = None, time.monotonic()
        if worker.news is not None:
            worker.news.close()
        worker.news, told = self._context.Pipe(duplex=False)
        worker.process = self._context.Process(
            target=self._work, args=(worker, told), name=f"parley-{worker.number}"
        )
        # A signal that comes in between finds the child's own handlers, or waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        try:
            worker.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        told.close()

    def _work(self, worker: Worker, told: Connection) -> NoReturn:
        """In the child."""
        os.close(self._life)
        settings = self._settings
        try:
            sockets = starting.listen_at(settings.host, settings.service_port, shared=True)
            own = starting.listen_at(own_host(settings), worker.port)[0]
        except starting.CannotListen as error:
            log.error("worker %d: %s", worker.number, error)
            sys.exit(CANNOT_SERVE)
        url = own_url(settings, own.getsockname()[1])
        settings = settings.model_copy(update={"node_url": url})

        def ready(services: Services) -> None:
            told.send((services.node_id, url))
            told.close()

        sys.exit(serving.serve(settings, sockets, ready, Own(own, self._lifeline, len(self._workers))))

    def _stop(self, *_: object) -> None:
        self._stopping = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b".")

    def _end(self) -> None:
        """All at the same time, each with its own drain."""
        living = [worker.process for worker in self._workers if worker.process is not None]
        for process in living:
            process.terminate()
        deadline = time.monotonic() + self._settings.shutdown_grace + BEYOND_GRACE
        for process in living:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                log.error("process %d did not end in time: killed", process.pid)
                process.kill()
                process.join()
            self._status = self._status or abs(process.exitcode or 0)
