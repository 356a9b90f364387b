"""How your installation bears a load: users in sessions who send, read and answer, over raw WebSockets.

    python examples/load_test.py http://127.0.0.1:8003 --users 200 --rate 0.5 --seconds 20

Needs nothing but `pip install websockets PyJWT`. Tokens come from POST /api/dev/token of a server with DEBUG,
or are signed with JWT_SECRET_KEY where that is set (as your backend would). The server's rate limit is 60
messages a minute per user: stay below it, or set RATE_LIMIT_ENABLED=false. Load only what is yours.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import jwt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


@dataclass
class Measured:
    """Milliseconds, and what went wrong."""

    acked: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    connects: int = 0

    def wrong(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1


def token_for(url: str, sub: str) -> str:
    if secret := os.environ.get("JWT_SECRET_KEY"):
        return jwt.encode({"sub": sub, "exp": time.time() + 3600}, secret, algorithm="HS256")
    return str(call(f"{url}/api/dev/token", {"sub": sub})["token"])


def call(url: str, body: dict[str, Any], token: str | None = None, method: str = "POST") -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def rooms(url: str, users: int, size: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """Sessions with their members' names and tokens."""
    found = []
    for first in range(0, users, size):
        people = [f"load-{number}" for number in range(first, min(first + size, users))]
        tokens = [(name, token_for(url, name)) for name in people]
        owner = tokens[0][1]
        session_id = call(f"{url}/api/chat/sessions", {"title": "Load"}, owner)["session_id"]
        for name in people[1:]:
            path = f"{url}/api/chat/sessions/{session_id}/participants/{name}"
            call(path, {"role": "member"}, owner, "PUT")
        found.append((session_id, tokens))
    return found


async def listen(ws: ClientConnection, name: str, sent: dict[str, float], measured: Measured) -> None:
    async for text in ws:
        frame = json.loads(text)
        now = time.perf_counter()
        if frame["type"] == "ack":
            if frame["ok"]:
                measured.acked.append((now - sent[frame["ref"]]) * 1000)
            else:
                measured.wrong(frame["error"]["code"])
        elif frame["type"] == "message" and frame["sender_id"] != name:
            at = sent.get(frame["client_message_id"])
            if at is not None:
                measured.delivered.append((now - at) * 1000)
        elif frame["type"] == "error":
            measured.wrong(frame["code"])


async def person(
    url: str, session_id: str, name: str, token: str, given: argparse.Namespace, measured: Measured,
    sent: dict[str, float], ready: asyncio.Future[None], begin: asyncio.Event,
) -> None:  # fmt: skip
    address = f"{url.replace('http', 'ws', 1)}/ws/{session_id}?limit=1"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with connect(address, additional_headers=headers, max_size=None, open_timeout=30) as ws:
            await ws.recv()
            measured.connects += 1
            ready.set_result(None)
            listening = asyncio.create_task(listen(ws, name, sent, measured))
            await begin.wait()
            gap = 1 / given.rate
            # Everyone has a beat of their own, so that they do not all send at once.
            await asyncio.sleep(gap * (hash(name) % 1000) / 1000)
            ends = time.perf_counter() + given.seconds
            number = 0
            while time.perf_counter() < ends:
                number += 1
                key = f"{name}-{time.time_ns()}"
                sent[key] = time.perf_counter()
                frame = {"type": "message", "ref": key, "content": "x" * given.size, "client_message_id": key}
                await ws.send(json.dumps(frame))
                await asyncio.sleep(gap)
            await asyncio.sleep(1)
            listening.cancel()
    except (OSError, ConnectionClosed, TimeoutError) as error:
        measured.wrong(type(error).__name__)
    finally:
        if not ready.done():
            ready.set_result(None)


def shown(name: str, values: list[float]) -> str:
    if len(values) < 2:
        return f"{name}: none"
    cuts = statistics.quantiles(values, n=100)
    return f"{name}: {len(values)}, median {cuts[49]:.1f} ms, p95 {cuts[94]:.1f} ms, p99 {cuts[98]:.1f} ms"


async def run(given: argparse.Namespace) -> Measured:
    measured = Measured()
    begin = asyncio.Event()
    prepared = await asyncio.to_thread(rooms, given.url, given.users, given.room)
    people, all_ready = [], []
    for session_id, tokens in prepared:
        sent: dict[str, float] = {}
        for name, token in tokens:
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            doing = person(given.url, session_id, name, token, given, measured, sent, ready, begin)
            people.append(asyncio.create_task(doing))
            all_ready.append(ready)
    began = time.perf_counter()
    await asyncio.gather(*all_ready)
    print(f"{measured.connects} connected and joined in {time.perf_counter() - began:.1f} s")
    begin.set()
    await asyncio.gather(*people)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", help="where Parley is, such as http://127.0.0.1:8003")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--room", type=int, default=10, help="users in one session (10)")
    parser.add_argument("--rate", type=float, default=0.5, help="messages a second per user (0.5)")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--size", type=int, default=100, help="characters of a message (100)")
    measured = asyncio.run(run(parser.parse_args()))
    print(shown("acknowledged", measured.acked))
    print(shown("delivered to others", measured.delivered))
    for what, count in sorted(measured.errors.items()):
        print(f"{what}: {count}")
    sys.exit(1 if measured.errors else 0)


if __name__ == "__main__":
    main()
