"""The product under load: its database, its sessions and the tokens of those who connect."""

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt

from bench.contenders import SECRET, Contender
from bench.process import BenchError
from bench.scenarios import Scenario

# The tests' private servers do here, too: fsync on, ports and folders of their own.
from tests.support.services import Postgres, Redis


def settings(root: Path, port: int, database_url: str, folder: Path) -> dict[str, str]:
    """A production process of the tree `root`, but no rate limits: a load generator is over all of them."""
    return {
        "PYTHONPATH": str(root),
        "HOST": "127.0.0.1",
        "SERVICE_PORT": str(port),
        "PORT": str(port),
        "NODE_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": database_url,
        "JWT_SECRET_KEY": SECRET,
        "RATE_LIMIT_ENABLED": "false",
        "WS_MAX_CONNECTIONS": "20000",
        "MAX_PARTICIPANTS_PER_SESSION": "2000",
        "LOG_LEVEL": "WARNING",
        "FILE_STORAGE_PATH": str(folder / "files"),
    }


@contextmanager
def database(kind: str, folder: Path, core: int) -> Iterator[str]:
    """The URL of an empty database that is gone afterwards. PostgreSQL runs on `core`: left to itself the
    kernel wakes it where the server runs, which is pinned and cannot give way."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/bench.db"
        return
    with Postgres() as postgres:
        assert postgres.process is not None
        os.sched_setaffinity(postgres.process.pid, {core})
        yield postgres.url()


@contextmanager
def redis(nodes: int) -> Iterator[Redis | None]:
    """What makes several nodes one cluster; nothing for a single one."""
    if nodes == 1:
        yield None
        return
    with Redis() as server:
        yield server


def migrate(contender: Contender, env: Mapping[str, str], folder: Path) -> None:
    done = subprocess.run(
        [contender.command[0], "-m", "server", "migrate"],
        env={"PATH": "/usr/bin:/bin", **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise BenchError(f"the migrations failed: {(done.stderr or done.stdout).strip()[-400:]}")


def token(sub: str, **claims: object) -> str:
    return jwt.encode({"sub": sub, "exp": time.time() + 3600, **claims}, SECRET, algorithm="HS256")


def create_sessions(port: int, scenario: Scenario) -> list[str]:
    """A session for each room, and every user a participant of one; returns the sessions' ids.

    Raises: BenchError where the server refuses.
    """
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: rest(port, "POST", "/api/chat/sessions", {}), range(scenario.rooms)))
        sessions = [session["session_id"] for session in made]

        def admit(number: int) -> None:
            path = f"/api/chat/sessions/{sessions[number % scenario.rooms]}/participants/user{number}"
            rest(port, "PUT", path, {"role": "member"})

        list(pool.map(admit, range(scenario.people)))
    return sessions


_local = threading.local()


def rest(port: int, method: str, path: str, body: dict[str, Any]) -> Any:
    """One request as the backend service that sets the chat up; a connection for each thread."""
    connection = getattr(_local, "connection", None)
    if connection is None or connection.port != port:
        connection = _local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {
        "Authorization": f"Bearer {token('bench', role='service')}",
        "Content-Type": "application/json",
    }
    connection.request(method, path, body=json.dumps(body), headers=headers)
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 400:
        raise BenchError(f"{method} {path}: {response.status} {answer[:200]!r}")
    return json.loads(answer)


def people(scenario: Scenario, sessions: list[str], folder: Path) -> list[str]:
    """The load generator's options for a user per connection."""
    (folder / "sessions").write_text("".join(f"{session}\n" for session in sessions))
    (folder / "tokens").write_text("".join(f"{token(f'user{i}')}\n" for i in range(scenario.people)))
    return ["--sessions", str(folder / "sessions"), "--tokens", str(folder / "tokens")]
