"""How long the way stays open when nobody speaks: WebSocket, event stream and long poll, side by side."""

import asyncio
import json
import time

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from server.doctor.wire import Polling, Target, websocket

Cut = tuple[str, float]
"""What was cut, and after how many seconds."""


async def silence(
    target: Target,
    client: httpx.AsyncClient,
    session_id: str,
    wait: float,
    *,
    polling: bool,
    sockets: bool,
    events: bool,
) -> Cut | None:
    """Waits up to `wait` seconds on each chosen kind of connection; the first cut by the proxy, or None."""
    tasks = []
    if sockets:
        tasks.append(asyncio.create_task(_socket(target, session_id, wait)))
    if events:
        tasks.append(asyncio.create_task(_events(target, client, session_id, wait)))
    if polling:
        tasks.append(asyncio.create_task(_poll(target, client, wait)))
    try:
        for done in asyncio.as_completed(tasks):
            cut = await done
            if cut is not None:
                return cut
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return None


async def _socket(target: Target, session_id: str, wait: float) -> Cut | None:
    """A raw WebSocket in a session, which nothing but the protocol's pings keeps busy."""
    heard = time.monotonic()
    try:
        async with websocket(target, f"/ws/{session_id}", headers=target.bearer) as connection:
            heard = time.monotonic()
            async with asyncio.timeout(wait):
                while True:
                    await connection.recv()
                    heard = time.monotonic()
    except TimeoutError:
        return None
    except (ConnectionClosed, InvalidHandshake, OSError):
        return "a WebSocket", time.monotonic() - heard


async def _events(target: Target, client: httpx.AsyncClient, session_id: str, wait: float) -> Cut | None:
    """An event stream: the server writes a comment every 15 s."""
    url = target.http(f"/api/chat/sessions/{session_id}/events")
    heard = time.monotonic()
    try:
        async with (
            asyncio.timeout(wait),
            client.stream("GET", url, headers=target.bearer, timeout=None) as answer,
        ):
            async for _ in answer.aiter_bytes():
                heard = time.monotonic()
    except TimeoutError:
        return None
    except httpx.HTTPError:
        pass
    return "an event stream", time.monotonic() - heard


async def _poll(target: Target, client: httpx.AsyncClient, wait: float) -> Cut | None:
    """A long poll: answered with the server's ping at the latest."""
    connection = Polling(target, client)
    await connection.open()
    if not connection.sid:
        return None
    auth = json.dumps({"token": target.token}) if target.token else ""
    await connection.send(f"40{auth}")
    await connection.receive()
    asked = time.monotonic()
    try:
        async with asyncio.timeout(wait):
            answer = await connection.receive(wait + 5)
    except TimeoutError:
        return None
    except httpx.HTTPError:
        return "a long poll", time.monotonic() - asked
    if answer.status_code in (408, 499, 502, 504) or (answer.status_code == 200 and not answer.text):
        return "a long poll", time.monotonic() - asked
    return None
