"""For tests of applications that talk to Parley: a server as a process, and the faults of a bad day.

    pytest_plugins = ["parley_testing"]

    def test_my_client_comes_back(parley):
        client = MyClient(parley.url, parley.token("alice"))
        parley.half_open()
        ...

Real sockets, a real SQLite file, the real server; nothing is mocked. Imports none of Parley's packages: an
application may have a `server`, `events` or `storage` of its own. Needs pytest.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

import jwt
import pytest

from parley_testing.network import Network

T = TypeVar("T")
#: Seconds; a busy machine needs some for its imports.
START_WITHIN = 40.0
STOP_WITHIN = 20.0
#: Where Parley's packages lie: beside this one.
HOME = Path(__file__).resolve().parent.parent
#: What the server's process has of this one's environment: none of an application's settings.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "TZ")


class Parley:
    """One server, in a process of its own, behind a network that can fail.

    `settings` are Parley's own, by their upper-case names. Use it in `with`, or the fixture. Its methods may
    be called from tests of any kind; those that change the network return when it has changed.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self._key = settings.get("JWT_SECRET_KEY") or secrets.token_urlsafe(48)
        self._environment = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "PYTHONPATH": str(HOME),
            "DATABASE_URL": f"sqlite:///{folder}/parley.db",
            "JWT_SECRET_KEY": self._key,
            "FILE_STORAGE_PATH": str(folder / "files"),
            "RATE_LIMIT_ENABLED": "false",
            "DEBUG": "true",
            "SERVICE_PORT": "0",
            "SHUTDOWN_GRACE": "2",
            **settings,
            "LOG_LEVEL": "INFO",  # its line "ready" has the address
            "LOG_FORMAT": "json",
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="parley", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._network = Network()

    # --- where it is, and who may come in

    @property
    def url(self) -> str:
        """Through the network that can fail. The same over all faults."""
        return f"http://127.0.0.1:{self._network.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self._network.port}"

    def token(self, sub: str = "alice", role: str = "user", *, ttl: float = 3600, **claims: Any) -> str:
        """A token as your backend would sign it; `ttl` in seconds. Further `claims` are `name`, `sessions`
        and `session_role`."""
        issued = time.time()
        body = {"sub": sub, "role": role, "iat": round(issued, 3), "exp": round(issued + ttl, 3), **claims}
        return jwt.encode(body, self._key, algorithm="HS256")

    def session(self, owner: str = "alice", *members: str, **body: Any) -> str:
        """A new session's id. `body` is that of `POST /api/chat/sessions`, such as `agent_id=1` for Echo."""
        made = self.call(owner, "POST", "/api/chat/sessions", body)
        session_id: str = made["session_id"]
        for member in members:
            self.call(owner, "PUT", f"/api/chat/sessions/{session_id}/participants/{member}", {})
        return session_id

    def call(self, sub: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A REST call as this user, past the network's faults. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._network.target}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token(sub)}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=15) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    # --- faults

    def cut(self) -> None:
        """Every connection is reset. New ones work."""
        self._now(self._network.cut)

    def half_open(self) -> None:
        """Clients' sides are reset; the server notices nothing, as when a phone leaves its network."""
        self._now(self._network.half_open)

    def slow_reader(self) -> None:
        """Nothing more reaches the clients that are connected now: to the server they read no more. It cuts
        them off once OUTBOX_LIMIT bytes (and what the kernel holds) wait for them."""
        self._now(self._network.stall)

    def flow(self) -> None:
        """The end of `slow_reader` and of `unreachable`."""
        self._now(self._network.flow)

    def unreachable(self) -> None:
        """Every connection is reset, and new ones are too, until `flow`."""
        self._now(self._network.refuse)

    def dead_node(self) -> None:
        """The node is gone, without a goodbye to anybody; what it acknowledged is in the database."""
        self._now(self._network.refuse)
        self._end(signal.SIGKILL)

    def come_back(self) -> None:
        """Another node takes its place, at the same address."""
        self._serve()
        self._now(self._network.flow)

    # --- starting and stopping

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        migrated = subprocess.run(self._command("migrate"), **self._inside(), capture_output=True, text=True)
        if migrated.returncode:
            raise RuntimeError(f"Parley cannot migrate: {migrated.stderr}")
        self._thread.start()
        self._wait(self._network.open())
        self._serve()
        return self

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        self._wait(self._network.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _command(self, name: str) -> list[str]:
        # -P: Python would look for packages in the working folder first.
        return [sys.executable, "-P", "-m", "server", name]

    def _inside(self) -> dict[str, Any]:
        return {"cwd": self.folder, "env": self._environment}

    def _serve(self) -> None:
        said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("serve"), **self._inside(), stdout=subprocess.DEVNULL, stderr=log
            )
        deadline = time.monotonic() + START_WITHIN
        while (port := self._ready_at(said)) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Parley did not start: {self.log.read_text()[said:]}")
            time.sleep(0.02)
        self._network.target = port

    def _ready_at(self, said: int) -> int | None:
        """The port that the log tells of, past its first `said` bytes."""
        with self.log.open("rb") as log:
            log.seek(said)
            for line in log:
                if b'"ready"' in line and line.endswith(b"\n"):
                    return int(json.loads(line)["address"].rpartition(":")[2])
        return None

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _now(self, change: Callable[[], None]) -> None:
        async def changing() -> None:
            change()

        self._wait(changing())

    def _wait(self, work: Awaitable[T]) -> T:
        async def working() -> T:
            return await work

        future: Future[T] = asyncio.run_coroutine_threadsafe(working(), self._loop)
        return future.result(30)


@pytest.fixture
def parley() -> Iterator[Parley]:
    """A fresh server with an empty database; it ends with the test."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder, Parley(Path(folder)) as server:
        yield server
