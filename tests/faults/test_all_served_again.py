"""Five hundred official clients after a refusal that passes: all are served again without a reload, spread
over time, and nobody is told anything final."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.proxies import nginx
from tests.faults.test_cluster import Everything, parts
from tests.server.test_jwks import FIRST, Issuer, issuer, jwk, keys_of, token
from tests.support.server import ROOT, Server, mint
from tests.support.services import program

__all__ = ["issuer", "parts"]  # fixtures

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

CLIENTS = 500
#: A node's: two of three nodes have fewer than there are clients.
PLACES = 200
#: As long as it may take on a busy machine.
SOON = 90.0


class Crowd:
    """The clients, as they told it. Times are theirs, as of the epoch."""

    def __init__(self) -> None:
        self.connected: set[int] = set()
        self.put_off: set[int] = set()
        self.final: list[object] = []
        self.connects: list[float] = []
        self.attempts: list[float] = []
        self._news = asyncio.Event()

    async def listen(self, said: asyncio.StreamReader) -> None:
        async for line in said:
            self._heard(json.loads(line))
            self._news.set()

    def _heard(self, told: dict[str, object]) -> None:
        client, at = told["client"], told["at"]
        assert isinstance(client, int) and isinstance(at, float | int)
        match told["event"]:
            case "connect":
                self.connected.add(client)
                self.put_off.discard(client)
                self.connects.append(at)
            case "disconnect":
                self.connected.discard(client)
            case "put off":
                if client not in self.connected:
                    self.put_off.add(client)
            case "attempt":
                self.attempts.append(at)
            case _:
                self.final.append(told)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not holds():
                assert not self.final
                self._news.clear()
                await self._news.wait()

    def all_answered(self) -> bool:
        """With a place, or with a refusal since they were disconnected."""
        return len(self.connected | self.put_off) == CLIENTS

    async def all_in(self) -> None:
        await self.until(lambda: len(self.connected) == CLIENTS)
        assert not self.final


@asynccontextmanager
async def crowd(url: str, tokens: list[str]) -> AsyncIterator[Crowd]:
    """All connected."""
    process = await asyncio.create_subprocess_exec(
        program("node"), "crowd.mjs", url, cwd=ROOT / "tests" / "js",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    clients = Crowd()
    listening = asyncio.create_task(clients.listen(process.stdout))
    try:
        process.stdin.write(json.dumps(tokens).encode())
        process.stdin.close()
        await clients.all_in()
        yield clients
    finally:
        process.kill()
        await process.wait()
        await listening


def busiest_second(times: list[float]) -> int:
    """The most in any second of the clock's."""
    return max(Counter(int(at) for at in times).values())


def spread(times: list[float]) -> float:
    """Seconds in which the middle nine tenths came."""
    ordered = sorted(times)
    edge = len(ordered) // 20
    return ordered[-1 - edge] - ordered[edge]


async def test_a_node_dies_and_the_others_are_full(parts: Everything, row: Callable[[str], None]) -> None:
    """Until it is back some have no place; they ask on, at times of their own."""
    nodes = parts.start(3, WS_MAX_CONNECTIONS=str(PLACES))
    with nginx(list(nodes)) as front:
        async with crowd(front.url, [mint(f"user-{n}") for n in range(CLIENTS)]) as clients:
            began = time.time()
            nodes[0].kill9()
            await clients.until(lambda: len(clients.connected) < CLIENTS)
            # The survivors fill up; whoever has no place has been told so, and asks on.
            await clients.until(lambda: len(clients.connected) > 350 and clients.all_answered())
            without = len(clients.put_off)
            clients.attempts.clear()
            await clients.until(lambda: len(clients.attempts) >= 3 * without)
            tried, full = clients.attempts[: 3 * without], time.time() - began
            clients.connects.clear()
            await nodes[0].start_async()
            back = time.time()
            await clients.all_in()
            served = [at - back for at in clients.connects]
            # Each of them asks every five seconds, more or less; a busy machine gathers some.
            assert CLIENTS - 2 * PLACES <= without < 150
            assert busiest_second(tried) < without * 3 // 4
            assert spread(served) > 1.0
            row(
                f"{CLIENTS} official clients, {len(served)} without a place for {full:.0f} s and more: "
                f"{busiest_second(tried)} attempts in the busiest second, all served {max(served):.1f} s "
                f"after the node was back, nine tenths of them within {spread(served):.1f} s"
            )


async def test_the_issuer_is_away_while_a_node_starts(
    sqlite_template: Path, tmp_path: Path, issuer: Issuer, row: Callable[[str], None]
) -> None:
    """Nobody can be told from anybody else until its keys are there."""
    settings = keys_of(issuer.url, WS_MAX_CONNECTIONS="2000")
    tokens = [token(sub=f"user-{n}", exp=time.time() + 3600) for n in range(CLIENTS)]
    with Server.on_sqlite(sqlite_template, tmp_path, **settings) as node:
        async with crowd(node.url, tokens) as clients:
            issuer.answer = (503, b"")
            node.kill9()
            await clients.until(lambda: not clients.connected)
            await node.start_async()
            clients.put_off.clear()
            await clients.until(lambda: len(clients.put_off) == CLIENTS)
            clients.connects.clear()
            issuer.answer = [jwk(FIRST, "first")]
            back = time.time()
            await clients.all_in()
            served = [at - back for at in clients.connects]
            assert busiest_second(clients.connects) < CLIENTS * 3 // 5
            assert spread(served) > 2.0
            row(
                f"{CLIENTS} official clients refused until the issuer was back: all served "
                f"{max(served):.1f} s later, nine tenths of them within {spread(served):.1f} s, "
                f"{busiest_second(clients.connects)} in the busiest second"
            )
