"""The tests' files are in memory where the machine has room for them: a run makes hundreds of databases, and
commits to them many thousand times. What a process leaves when it is killed is the same there."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil

PLACE = Path("/dev/shm")
#: Bytes free in it, three times what a run has at once, and bytes of memory for processes beside it.
ROOM, BESIDE = 3 << 30, 4 << 30


def use_memory() -> None:
    """For this process and those it starts, unless somebody has said where with TMPDIR."""
    if "TMPDIR" not in os.environ and _roomy():
        os.environ["TMPDIR"] = tempfile.tempdir = str(PLACE)


def _roomy() -> bool:
    if not os.access(PLACE, os.W_OK) or shutil.disk_usage(PLACE).free < ROOM:
        return False
    return psutil.virtual_memory().available >= ROOM + BESIDE
