"""A real Parley: `python -m server serve` in a process of its own, and tokens for it."""

import asyncio
import http.client
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Self

import httpx
import jwt

from tests.support.nursery import start_server
from tests.support.processes import Process, end, free_port, kill_tree, tail, wait_until
from tests.support.web import web_client

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "a-secret-of-the-tests-of-more-than-32-bytes"


def mint(
    sub: str = "alice", role: str | None = None, *, ttl: float = 3600, secret: str = SECRET, **claims: Any
) -> str:
    """A token as an application's backend would sign it; `ttl` in seconds, may be negative."""
    body: dict[str, Any] = {"sub": sub, "exp": time.time() + ttl, **claims}
    if role is not None:
        body["role"] = role
    return jwt.encode(body, secret, algorithm="HS256")


def environment(**settings: str) -> dict[str, str]:
    """The environment of a Parley process: nothing of this one's settings leaks into it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "JWT_SECRET_KEY": SECRET,
        "RATE_LIMIT_ENABLED": "false",
        **settings,
    }


class Server:
    """One node. Keeps its port over restarts; its files live in `folder`."""

    #: Started as a user starts it, with nothing imported.
    fresh = False

    #: Of `serve`.
    arguments: tuple[str, ...] = ()

    def __init__(self, folder: Path, database_url: str, **settings: str) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        self.port = free_port()
        self.database_url = database_url
        self.env = environment(
            **{"DATABASE_URL": database_url, "SERVICE_PORT": str(self.port), "HOST": "127.0.0.1", **settings}
        )
        self.process: Process | None = None

    @classmethod
    def on_sqlite(cls, template: Path, folder: Path, **settings: str) -> Self:
        """With a database of its own in `folder`: a copy of one that is migrated."""
        shutil.copyfile(template, folder / "parley.db")
        return cls(folder, f"sqlite:///{folder}/parley.db", **settings)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def token(self, sub: str = "alice", role: str | None = None, **claims: Any) -> str:
        return mint(sub, role, secret=self.env["JWT_SECRET_KEY"], **claims)

    def api(self, sub: str | None = "alice", role: str | None = None, **claims: Any) -> httpx.AsyncClient:
        """A REST client of this user; `sub=None`: without a token. Use it in `async with`."""
        headers = {"Authorization": f"Bearer {self.token(sub, role, **claims)}"} if sub is not None else {}
        return web_client(base_url=self.url, headers=headers, timeout=15)

    # Starting, with the caller waiting or with the caller's event loop going on.

    def start(self) -> Self:
        self._spawn()
        assert self.process is not None
        wait_until(self.healthy, self.process, self.log)
        return self

    async def start_async(self) -> Self:
        self._spawn()
        deadline = time.monotonic() + 20
        while not await asyncio.to_thread(self.healthy):
            if not self.running or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{tail(self.log)}")
            await asyncio.sleep(0.02)
        return self

    def _spawn(self) -> None:
        assert not self.running, "already running"
        self.process = start_server(self.arguments, self.log, self.env, self.folder, fresh=self.fresh)

    def healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> int:
        """An orderly end (SIGTERM); returns the exit code."""
        return end(self.process)

    async def stop_async(self) -> int:
        """The same, with the event loop of the test's clients going on."""
        return await asyncio.to_thread(self.stop)

    def kill9(self) -> None:
        if self.running:
            assert self.process is not None
            kill_tree(self.process)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> Self:
        self.stop()
        return self.start()

    async def restart_async(self) -> Self:
        await self.stop_async()
        return await self.start_async()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        end(self.process, wait=10)
