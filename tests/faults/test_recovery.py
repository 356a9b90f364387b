"""Two hundred cuts, a herd of five thousand, and Node's own recovery under the same cuts."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.recovery.cuts import KINDS, break_it, cut_again_and_again
from tests.recovery.test_recovery import herd, read_in_pieces
from tests.support.jsclient import JsClients, JsSocket
from tests.support.processes import free_port
from tests.support.proxy import Proxy
from tests.support.server import ROOT, Server
from tests.support.services import program

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]


async def test_two_hundred_cuts(server: Server, js: JsClients, row: Callable[[str], None]) -> None:
    counts = await cut_again_and_again(server, js, 200, transports=["websocket"], seed=11)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    row(f"websocket: {counts.total()} cuts ({kinds}), all recovered; 0 lost, 0 twice, 0 disordered")


async def test_cuts_while_starting_on_polling(
    server: Server, js: JsClients, row: Callable[[str], None]
) -> None:
    counts = await cut_again_and_again(server, js, 50, seed=12)
    row(f"polling, then upgrade: {counts.total()} cuts, all recovered; 0 lost, 0 twice, 0 disordered")


@pytest.mark.parametrize("door", ["raw", "sse"])
async def test_fifty_cuts_of_a_reader_by_position(
    server: Server, row: Callable[[str], None], door: str
) -> None:
    await read_in_pieces(server, 50, door)
    row("50 cuts, all recovered; 0 lost, 0 twice, 0 disordered")


async def test_a_herd_of_five_thousand(server: Server, row: Callable[[str], None]) -> None:
    await herd(server, 5000)
    row("5000 clients came back, all recovered")


async def test_node_for_comparison(js: JsClients, row: Callable[[str], None]) -> None:
    """What Node's in-memory adapter makes of the same kinds of cuts. Reported, not asserted."""
    port = free_port()
    node = await asyncio.create_subprocess_exec(
        program("node"),
        "recovery_peer.mjs",
        str(port),
        cwd=ROOT / "tests/js",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert node.stdin is not None
    assert node.stdout is not None
    assert json.loads(await node.stdout.readline())["ready"]
    dice = random.Random(11)
    recovered: Counter[str] = Counter()
    cuts: Counter[str] = Counter()
    silent = 0
    rooms = ["room-0", "room-1", "room-2"]
    async with Proxy(port) as proxy:
        reader = await js.open(proxy.url, transports=["websocket"])
        for room in rooms:
            await reader.emit("join", room)
        node.stdin.write(b"start\n")
        for number in range(100):
            kind = "at once" if number == 0 else dice.choice(KINDS)
            mark = reader.mark()
            if kind != "at once":
                try:
                    await reader.wait_count("message", dice.randint(1, 4), since=mark, timeout=3)
                except TimeoutError:
                    silent += 1  # connected, and yet no room's member any more
                    for room in rooms:
                        await reader.emit("join", room)
                    await reader.wait_count("message", 1, since=mark)
                mark = reader.mark()
            await break_it(proxy, reader, kind, dice)
            connected = await reader.connected(since=mark, timeout=60)
            cuts[kind] += 1
            recovered[kind] += connected["recovered"]
            if not connected["recovered"]:
                for room in rooms:
                    await reader.emit("join", room)
        node.stdin.write(b"stop\n")
        sent = json.loads(await node.stdout.readline())
        await asyncio.wait_for(_quiet(reader), 30)
    node.stdin.close()
    await node.wait()
    lost = twice = disordered = 0
    for room, total in sent.items():
        seen = [m["number"] for m in reader.named("message") if m["room"] == room]
        lost += total - len(set(seen))
        twice += len(seen) - len(set(seen))
        disordered += sum(1 for a, b in pairwise(seen) if b < a)
    kinds = ", ".join(f"{kind} {recovered[kind]}/{cuts[kind]}" for kind in sorted(cuts))
    row(
        f"Node socket.io, in-memory: {recovered.total()} of {cuts.total()} cuts recovered ({kinds}); "
        f"{silent} times in no room afterwards; "
        f"{lost} of {sum(sent.values())} lost, {twice} twice, {disordered} disordered"
    )


async def _quiet(reader: JsSocket) -> None:
    """Until nothing more comes for a second."""
    while True:
        try:
            await asyncio.wait_for(reader.wait_more(), 1.0)
        except TimeoutError:
            return
