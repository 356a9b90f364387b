"""Ten readers that stop reading beside twenty that do not: memory stays bounded, and nobody else notices."""

import asyncio
import json
import sys
from pathlib import Path

import psutil

from tests.engine.kit import LIMIT, Raw, socketio
from tests.support.processes import end, free_port, listening, spawn, wait_until
from tests.support.server import environment

ROOM = '42["say",{"room":"r","t":%d,"p":"%s"}]'
PAYLOAD = "x" * 40_000
ROUNDS = 400  # of 40 KB to each: far more than the kernel's buffers and the outbox hold


async def member(port: int, buffer: int = 0) -> Raw:
    raw, _ = await socketio(port, {"token": "secret"}, buffer=buffer)
    raw.text('420["join","r"]')
    assert await raw.next_text() == '430["ok"]'
    return raw


async def test_stalled_readers(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "echo.log"
    server = spawn([sys.executable, "-m", "bench.echo", "--port", str(port)], log=log, env=environment())
    try:
        await asyncio.to_thread(wait_until, lambda: listening(port), server, log)
        healthy = [await member(port) for _ in range(20)]
        stalled = [await member(port, buffer=4096) for _ in range(10)]
        process = psutil.Process(server.pid)
        before = process.memory_info().rss
        most = 0
        for i in range(ROUNDS):
            healthy[0].text(ROOM % (i, PAYLOAD))
            for raw in healthy:
                async with asyncio.timeout(LIMIT):
                    assert json.loads((await raw.next_text())[2:])[1]["t"] == i
            if i % 20 == 0:
                most = max(most, process.memory_info().rss - before)
        assert most < 16 << 20
        for raw in stalled:  # they were cut off, not served late
            await raw.ended()
            await raw.close()
        for raw in healthy:
            await raw.close()
    finally:
        end(server)
