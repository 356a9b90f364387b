"""Watches the turns of a server's event loop from outside (`probe.c`). Knows no call."""

import asyncio
import mmap
import struct
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.build import need, run
from bench.process import cpu_seconds

T = TypeVar("T")

SOURCE = Path(__file__).parent / "probe.c"
#: `struct turns`: the longest, all together (nanoseconds), how many.
_TURNS = struct.Struct("=qqq")
#: A server is done with a call when it used less than so much of a core (seconds) for `REST` seconds.
IDLE, REST = 0.001, 0.02
#: Seconds after which it is not waited for any longer.
PATIENCE = 20.0


@dataclass(frozen=True)
class Cost:
    """Of one call, in milliseconds of a core: its longest turn of the loop, and all that the process did."""

    longest: float
    whole: float


class Probe:
    """`settings` are for the environment of the server to be watched; then `watch` its pid."""

    def __init__(self, folder: Path) -> None:
        library = folder / "turns.so"
        run([need("cc"), "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"])
        file = folder / "turns"
        file.write_bytes(bytes(_TURNS.size))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _TURNS.size)
        self.settings = {"LD_PRELOAD": str(library), "TURNS": str(file)}
        self._pid = 0

    def watch(self, pid: int) -> None:
        self._pid = pid

    @property
    def turns(self) -> int:
        """How many there were."""
        return int(_TURNS.unpack_from(self._memory)[2])

    async def cost(self, call: Awaitable[object], lingers: float = 0.0) -> Cost:
        """What a call costs, to the end of what it leaves behind; `lingers`: what it begins so many seconds
        later counts, too."""
        await self.rest()
        struct.pack_into("=q", self._memory, 0, 0)
        before = cpu_seconds(self._pid)
        await call
        await asyncio.sleep(lingers)
        await self.rest()
        return Cost(_TURNS.unpack_from(self._memory)[0] / 1e6, (cpu_seconds(self._pid) - before) * 1e3)

    async def rest(self) -> None:
        """Return when the server has nothing to do. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while True:
                before = cpu_seconds(self._pid)
                await asyncio.sleep(REST)
                if cpu_seconds(self._pid) - before < IDLE:
                    return
