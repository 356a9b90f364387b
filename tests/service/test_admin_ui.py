"""The Admin UI's namespace: off without a password, attempts limited, to look at only."""

import asyncio
import json
from collections.abc import Callable

from server.admin import IN_ALL, PER_NETWORK, Attempts
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket

PASSWORD = "a-password-of-16+"


async def knock(server: Server, password: str) -> tuple[SioWebSocket, str]:
    """A new connection's CONNECT to the namespace, and the answer's packet."""
    client = await SioWebSocket(server.ws_url).__aenter__()
    await client.write("40/admin," + json.dumps({"username": "admin", "password": password}))
    async with asyncio.timeout(10):
        while not (
            found := [p for p in client.packets if p.startswith("44/admin,") or p.startswith("40/admin,")]
        ):
            await client.wait_more()
    return client, found[0]


async def test_off_without_a_password(server: Server) -> None:
    client, answer = await knock(server, "")
    assert "Invalid namespace" in answer
    await client.__aexit__()


async def test_to_look_at_with_few_attempts(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    server = new_server(sqlite_url, ADMIN_PASSWORD=PASSWORD)
    async with SioWebSocket(server.ws_url) as user:
        await user.connect(server.token("alice"))
        admin, answer = await knock(server, PASSWORD)
        assert answer.startswith("40/admin,")
        async with asyncio.timeout(15):
            while not any('"server_stats"' in p for p in admin.packets):
                await admin.wait_more()
            config = next(json.loads(p[9:]) for p in admin.packets if '"config"' in p)
        assert config[1]["supportedFeatures"] == ["AGGREGATED_EVENTS"]
        # Nothing can be done from there.
        await admin.write('42/admin,["_disconnect", "/", true]')
        await admin.write('42/admin,["emit", "/", null, "x", {}]')
        assert (await user.emit("presence", {"status": "away"}))["ok"] is True
        await admin.__aexit__()
    for number in range(PER_NETWORK + 2):
        client, answer = await knock(server, f"wrong {number}")
        assert answer.startswith("44/admin,")
        await client.__aexit__()
    # Now even the right one waits: there is nothing to guess against.
    client, answer = await knock(server, PASSWORD)
    assert "too many attempts" in answer
    await client.__aexit__()


def test_attempts_are_forgotten_after_a_minute() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for _ in range(PER_NETWORK):
        assert attempts.allowed("a")
        attempts.wrong("a")
    assert not attempts.allowed("a")
    assert attempts.allowed("b")
    now = 61.0
    assert attempts.allowed("a")


def test_others_cannot_keep_the_right_password_out() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for number in range(2 * IN_ALL):
        assert attempts.allowed(f"192.0.2.{number}")
        attempts.wrong(f"192.0.2.{number}")
        assert not attempts.allowed(f"192.0.2.{number}") or number < IN_ALL - 1
    # Each network has its one try; a second one, after so many wrong ones, nobody has.
    assert attempts.allowed("198.51.100.1")
    attempts.wrong("198.51.100.1")
    assert not attempts.allowed("198.51.100.1")
    now = 61.0
    assert attempts.allowed("198.51.100.1")
    assert attempts.allowed("192.0.2.1")


def test_an_ipv6_subscriber_has_one_share_of_attempts() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(PER_NETWORK):
        attempts.wrong(f"2001:db8:1:2::{number + 1:x}")
    assert not attempts.allowed("2001:db8:1:2:aaaa::1")
    assert attempts.allowed("2001:db8:1:3::1")
