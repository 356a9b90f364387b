"""Fifty hostile users beside fifty good ones: what these notice of it.

Attackers are on machines of their own in earnest, and all are on one here: the hostile have a smaller share
of its processors. What nodes, PostgreSQL and Redis do for them counts as much as what these do for the good.
Calm and abuse take turns, so that whatever else the machine does is beside both; and while the hostile hold
still, a stand-in uses as much of the processors as they did, and says nothing to the nodes: an answer takes
longer on a processor that is never idle, whoever keeps it busy.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.test_cluster import Everything
from tests.support.doors import new_session
from tests.support.processes import end, spawn
from tests.support.server import ROOT, Server, environment
from tests.support.sioclient import SioWebSocket

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

GOOD, ROOMS = 50, 10
#: Seconds between two messages of a good user: below its limit.
PACE = 1.25
#: Seconds of a turn, and what is not measured after a change: what was begun is still being worked off.
TURN, CHANGE = 5.0, 1.0
#: Turns of each kind, and refusals of the hostile without which there was no abuse to speak of: where other
#: programs leave few of the processors, there are more turns.
LEAST, MOST, REFUSALS = 6, 20, 1000
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


class Program:
    """A process of this folder, which goes on and holds still."""

    def __init__(self, log: Path, module: str, *arguments: str) -> None:
        self._log = log
        command = [sys.executable, "-m", f"tests.faults.{module}", *arguments]
        self.process = spawn(command, log=log, env=environment(), cwd=ROOT)

    async def ready(self) -> None:
        async with asyncio.timeout(120):
            while "ready" not in self._log.read_text():
                assert self.process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.1)

    def hold(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def used(self) -> float:
        """Seconds of processors so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


class Hostility(Program):
    @property
    def told(self) -> Counter[str]:
        """How often it had which answer."""
        lines = [line for line in self._log.read_text().splitlines() if line.endswith("}")]
        told: Counter[str] = Counter(json.loads(lines[-1])) if lines else Counter()
        told.pop("at", None)
        return told

    @property
    def refused(self) -> int:
        """How often it was told no: by a status of HTTP, or by a code."""
        return sum(count for kind, count in self.told.items() if kind[0] == "4" or kind.isupper())


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
    processes = [psutil.Process(node.pid) for node in nodes]

    async def turn() -> list[float]:
        took: list[float] = []
        for seconds in (CHANGE, TURN):
            for each in good:
                each.took.clear()
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            took = [each for user in good for each in user.took]
        return took

    share = tmp_path / "share"
    share.write_text("0")
    hostile = Hostility(tmp_path / "hostility.log", "hostility", *(node.url for node in nodes))
    stand_in = Program(tmp_path / "stand_in.log", "stand_in", str(share))
    calm: list[float] = []
    abused: list[float] = []
    try:
        for program in (hostile, stand_in):
            await program.ready()
            program.hold()
        before = most = [process.memory_info().rss for process in processes]
        turns = 0
        while turns < LEAST or (turns < MOST and hostile.refused < REFUSALS):
            hostile.go_on()
            used = -hostile.used()
            abused += await turn()
            used += hostile.used()
            hostile.hold()
            share.write_text(str(used / (CHANGE + TURN)))
            stand_in.go_on()
            calm += await turn()
            stand_in.hold()
            most = [max(m, p.memory_info().rss) for m, p in zip(most, processes, strict=True)]
            turns += 1
    finally:
        end(hostile.process)
        end(stand_in.process)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    told = hostile.told
    grown = [(m - b) >> 20 for m, b in zip(most, before, strict=True)]
    row(
        f"50 hostile beside 50 good, {turns} turns: acks p99 {_p99(calm) * 1000:.0f} ms undisturbed, "
        f"{_p99(abused) * 1000:.0f} ms abused; nodes grew by {grown} MiB; the hostile were told {dict(told)}"
    )
    assert not [each.refused for each in good if each.refused]
    assert hostile.refused >= REFUSALS
    assert all((m - b) < GROWTH for m, b in zip(most, before, strict=True)), grown
    assert _p99(abused) <= 2 * _p99(calm)
