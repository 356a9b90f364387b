"""The product under load: its database, its sessions and the tokens of those who connect."""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jwt

from bench.build import ROOT
from bench.contenders import SECRET, Contender
from bench.process import BenchError
from bench.scenarios import Scenario

# The tests' private servers do here, too: fsync on, ports and folders of their own.
from tests.support.services import Postgres, Redis


def settings(port: int, database_url: str, folder: Path) -> dict[str, str]:
    """A production process but for the rate limits: a load generator is over all of them."""
    return {
        "PYTHONPATH": str(ROOT),
        "HOST": "127.0.0.1",
        "SERVICE_PORT": str(port),
        "PORT": str(port),
        "NODE_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": database_url,
        "JWT_SECRET_KEY": SECRET,
        "RATE_LIMIT_ENABLED": "false",
        "WS_MAX_CONNECTIONS": "20000",
        "LOG_LEVEL": "WARNING",
        "FILE_STORAGE_PATH": str(folder / "files"),
    }


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database that is gone afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/bench.db"
        return
    with Postgres() as postgres:
        yield postgres.url()


@contextmanager
def redis(nodes: int) -> Iterator[dict[str, str]]:
    """The setting that makes several nodes one cluster; nothing for a single one."""
    if nodes == 1:
        yield {}
        return
    with Redis() as server:
        yield {"REDIS_URL": server.url}


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


def create_sessions(port: int, number: int) -> list[str]:
    """New sessions through REST, one connection; returns their ids.

    Raises: BenchError where one is refused.
    """
    headers = {
        "Authorization": f"Bearer {token('bench', role='service')}",
        "Content-Type": "application/json",
    }
    made = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for _ in range(number):
            connection.request("POST", "/api/chat/sessions", body="{}", headers=headers)
            response = connection.getresponse()
            body = response.read()
            if response.status != 201:
                raise BenchError(f"POST /api/chat/sessions: {response.status} {body[:200]!r}")
            made.append(json.loads(body)["session_id"])
    finally:
        connection.close()
    return made


def people(scenario: Scenario, sessions: list[str], folder: Path) -> list[str]:
    """The load generator's options for a user per connection, each a member of its session alone."""
    tokens = [
        token(f"user{i}", sessions=[sessions[i % scenario.rooms]], session_role="member")
        for i in range(scenario.people)
    ]
    (folder / "sessions").write_text("\n".join(sessions) + "\n")
    (folder / "tokens").write_text("\n".join(tokens) + "\n")
    return ["--sessions", str(folder / "sessions"), "--tokens", str(folder / "tokens")]
