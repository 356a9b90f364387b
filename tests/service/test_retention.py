"""Retention: what ended long ago goes with messages and files, by a node and by the command."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest

from tests.support.server import Server, environment


async def ended_session(api: httpx.AsyncClient) -> tuple[str, str]:
    """(session, key of its file): archived just now."""
    room = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
    done = await api.post(f"/api/chat/sessions/{room}/files", files={"file": ("a.txt", b"content")})
    await api.post(f"/api/chat/sessions/{room}/messages", json={"content": "text"})
    await api.delete(f"/api/chat/sessions/{room}")
    return room, done.json()["file_id"]


def contents(server: Server) -> set[str]:
    return {path.name for path in (server.folder / "data" / "files").rglob("*") if path.is_file()}


async def test_a_node_erases_what_is_past(database_url: str, new_server: Callable[..., Server]) -> None:
    # Half a second, in days; looked at several times a second.
    settings = {"SESSION_RETENTION_DAYS": "0.000006", "SESSION_CLEANUP_INTERVAL": "0.2"}
    server = new_server(database_url, **settings)
    async with server.api("alice") as api:
        kept = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
        rooms = [await ended_session(api) for _ in range(3)]
        async with asyncio.timeout(20):
            for room, _ in rooms:
                while (await api.get(f"/api/chat/sessions/{room}")).status_code != 404:
                    await asyncio.sleep(0.05)
            while contents(server):
                await asyncio.sleep(0.05)
        assert (await api.get(f"/api/chat/sessions/{kept}")).status_code == 200
    assert "sessions that ended more than" in server.log_text()


@pytest.mark.parametrize("days", ["0", "0.000001"])
async def test_the_command(sqlite_url: str, days: str, new_server: Callable[..., Server]) -> None:
    server = new_server(sqlite_url)
    async with server.api("alice") as api:
        room, file_id = await ended_session(api)
        assert contents(server) == {file_id}

        def cleanup(*more: str) -> str:
            env = environment(DATABASE_URL=sqlite_url, SESSION_RETENTION_DAYS=days)
            command = [sys.executable, "-m", "server", "cleanup", *more]
            done = subprocess.run(
                command, env=env, cwd=server.folder, capture_output=True, text=True, timeout=30, check=True
            )
            return done.stdout.strip()

        counted = await asyncio.to_thread(cleanup, "--dry-run")
        told = await asyncio.to_thread(cleanup)
        status = (await api.get(f"/api/chat/sessions/{room}")).status_code
        if days == "0":
            assert (counted, status) == ("0 to erase", 200)
            assert told == "0 ended, 0 erased"
            assert contents(server) == {file_id}
        else:
            assert (counted, status) == ("1 to erase", 404)
            assert told == "0 ended, 1 erased, 1 files removed"
            assert contents(server) == set()
