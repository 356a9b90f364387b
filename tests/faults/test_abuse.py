"""Fifty hostile users beside fifty good ones: what these notice of it.

Attackers are on machines of their own in earnest, and all are on one here: the hostile run at the lowest
priority. What nodes, PostgreSQL and Redis do for them has the same one as what these do for the good.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.test_cluster import Everything
from tests.support.doors import new_session
from tests.support.processes import end, spawn
from tests.support.server import ROOT, Server, environment
from tests.support.sioclient import SioWebSocket

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

GOOD, ROOMS = 50, 10
#: Seconds between two messages of a good user: below its limit.
PACE = 1.5
CALM, ABUSED = 15.0, 40.0
#: Bytes that a node may grow by.
GROWTH = 64 << 20


class Good:
    """Says something now and then, and remembers how long each acknowledgement took."""

    def __init__(self, number: int, node: Server, room: str) -> None:
        self.name, self.node, self.room = f"good-{number}", node, room
        self.took: list[float] = []
        self.refused: list[object] = []

    async def talk(self, number: int) -> None:
        async with SioWebSocket(self.node.ws_url) as socket:
            assert "sid" in await socket.connect(self.node.token(self.name))
            assert (await socket.emit("join", {"session_id": self.room}))["ok"]
            await asyncio.sleep(PACE * number / GOOD)
            while True:
                began = time.perf_counter()
                payload = {"session_id": self.room, "content": "hello", "reply": False}
                reply = await socket.emit("message", payload, timeout=30)
                self.took.append(time.perf_counter() - began)
                if not reply["ok"]:
                    self.refused.append(reply)
                await asyncio.sleep(PACE)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Everything]:
    everything = Everything(tmp_path)
    yield everything
    everything.close()


def _p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


async def test_abuse(parts: Everything, row: Callable[[str], None], tmp_path: Path) -> None:
    nodes = parts.start(2, RATE_LIMIT_ENABLED="true")
    members = {n: tuple(f"good-{m}" for m in range(GOOD) if m % ROOMS == n) for n in range(ROOMS)}
    rooms = [await new_session(nodes[0], "owner", members=members[n]) for n in range(ROOMS)]
    good = [Good(number, nodes[number % 2], rooms[number % ROOMS]) for number in range(GOOD)]
    tasks = [asyncio.create_task(each.talk(number)) for number, each in enumerate(good)]

    async def phase(seconds: float) -> list[float]:
        for each in good:
            each.took.clear()
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return [took for each in good for took in each.took]

    processes = [psutil.Process(node.pid) for node in nodes]
    await phase(3.0)  # everybody is in
    calm = await phase(CALM)
    before = [process.memory_info().rss for process in processes]
    log = tmp_path / "hostility.log"
    urls = [node.url for node in nodes]
    command = [sys.executable, "-m", "tests.faults.hostility", *urls]
    hostile = spawn(command, log=log, env=environment(), cwd=ROOT)
    try:
        async with asyncio.timeout(60):
            while "ready" not in log.read_text():
                assert hostile.poll() is None, log.read_text()
                await asyncio.sleep(0.1)
        abused: list[float] = []
        most = before
        for _ in range(int(ABUSED / 2)):
            abused += await phase(2.0)
            most = [max(m, p.memory_info().rss) for m, p in zip(most, processes, strict=True)]
    finally:
        end(hostile)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    told = json.loads(log.read_text().splitlines()[-1])
    told.pop("at")
    grown = [(m - b) >> 20 for m, b in zip(most, before, strict=True)]
    row(
        f"50 hostile beside 50 good: acks p99 {_p99(calm) * 1000:.0f} ms undisturbed, "
        f"{_p99(abused) * 1000:.0f} ms abused; nodes grew by {grown} MiB; the hostile were told {told}"
    )
    assert not [each.refused for each in good if each.refused]
    assert told.get("429", 0) + told.get("RATE_LIMIT", 0) > 100
    assert all((m - b) < GROWTH for m, b in zip(most, before, strict=True)), grown
    assert _p99(abused) <= 2 * _p99(calm)
