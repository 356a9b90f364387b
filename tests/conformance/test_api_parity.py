"""python-socketio's documented server API over our engine, driven by the official JavaScript client, prints
line for line what it prints on the stock server."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.processes import end, free_port, listening, spawn, wait_until
from tests.support.server import ROOT, environment

HERE = Path(__file__).parent
MODULES = ROOT / "tests" / "js" / "node_modules"


async def lines(which: str, log: Path) -> list[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.conformance.parity_app", which, str(port)]
    server = spawn(command, log=log, env=environment())
    try:
        await asyncio.to_thread(wait_until, lambda: listening(port), server, log)
        node = await asyncio.create_subprocess_exec(
            "node", str(HERE / "js" / "parity.cjs"), str(port),
            env={**environment(), "NODE_PATH": str(MODULES)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await node.communicate()
    finally:
        end(server)
    return output.decode().splitlines()


@pytest.mark.timeout(150)
async def test_same_lines(tmp_path: Path) -> None:
    stock, ours = await asyncio.gather(
        lines("stock", tmp_path / "stock.log"), lines("ours", tmp_path / "ours.log")
    )
    assert "TIMEOUT" not in stock
    assert len(stock) >= 90, stock
    assert ours == stock
