"""Memory: how much there is for this process and its children, and giving back what the C library keeps."""

import asyncio
import ctypes
from pathlib import Path

#: Seconds between two times.
INTERVAL = 10.0

#: glibc's; another C library has none, or needs none.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


async def give_back() -> None:
    """glibc returns only memory at the heap's end: memory of an answer in between would stay for good."""
    if _trim is not None:
        await asyncio.to_thread(_trim, 0)


def available(root: Path = Path("/")) -> int:
    """Bytes that the container may have, or the machine has: the least of what the control groups of this
    process say (version 2 or 1), those above them, and the machine's memory."""
    limits = [_machine(root)]
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # Inside of a container the path may be the host's: its own group is then the topmost folder.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            limits += [
                int(text) for text in _lines(folder.joinpath(*parts[:depth], name)) if text.isdecimal()
            ]
    return min(limits)


def _machine(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        name, _, size = line.partition(":")
        if name == "MemTotal":
            return int(size.split()[0]) * 1024
    return 1 << 30  # of a system that does not say


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
