"""For tests of applications that talk to Parley: a server in this process, and the faults of a bad day.

    pytest_plugins = ["server.testing"]

    def test_my_client_comes_back(parley):
        client = MyClient(parley.url, parley.token("alice"))
        parley.half_open()
        ...

Real sockets, a real SQLite file, the real server; nothing is mocked. Needs pytest.
"""

import asyncio
import json
import secrets
import tempfile
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import uvicorn

from migrations.run import upgrade
from server.app import create_app
from server.closing import drain
from server.config import Settings
from server.engine.run import uvicorn_config
from server.testing_network import Network
from server.tokens import mint

T = TypeVar("T")
START_WITHIN = 20.0


class _Server(uvicorn.Server):
    """Drains before it stops, as `serve` does."""

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        services = self.config.app.state.services  # type: ignore[union-attr]
        services.draining = True
        await drain(services)
        await services.extras["sio"].eio.close_all()
        await super().shutdown(sockets)


class Parley:
    """One server, in a thread with an event loop of its own, behind a network that can fail.

    `settings` are Parley's own, by their upper-case names. Use it in `with`, or the fixture. Its methods may
    be called from tests of any kind; those that change the network return when it has changed.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self._environment = {
            "DATABASE_URL": f"sqlite:///{folder}/parley.db",
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
            "FILE_STORAGE_PATH": str(folder / "files"),
            "RATE_LIMIT_ENABLED": "false",
            "DEBUG": "true",
            "SERVICE_PORT": "0",
            **settings,
        }
        self.settings = Settings.load(self._environment, None, data_dir=folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="parley", daemon=True)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
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
        """A token as your backend would sign it; `ttl` in seconds."""
        return mint(self.settings, sub, role=role, ttl=ttl, **claims)[0]  # type: ignore[arg-type]

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
        self._wait(self._stop())

    def come_back(self) -> None:
        """Another node takes its place, at the same address."""
        self._wait(self._start())
        self._now(self._network.flow)

    # --- starting and stopping

    def start(self) -> Self:
        upgrade(self._environment["DATABASE_URL"])
        self._thread.start()
        self._wait(self._network.open())
        self._wait(self._start())
        return self

    def stop(self) -> None:
        self._wait(self._stop())
        self._wait(self._network.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _start(self) -> None:
        config = uvicorn_config(
            create_app(self.settings),
            host="127.0.0.1",
            port=0,
            lifespan="on",
            log_config=None,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server._serve())  # `serve` would take the signals
        deadline = time.monotonic() + START_WITHIN
        while not self._server.started:
            if self._serving.done() or time.monotonic() > deadline:
                raise RuntimeError("Parley did not start; its log says why")
            await asyncio.sleep(0.01)
        self._network.target = self._server.servers[0].sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            self._server = self._serving = None

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
