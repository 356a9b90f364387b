"""Files and folders that only their owner reads: conversations and keys are in them."""

import logging
import os
import stat
from pathlib import Path
from typing import TextIO

LOG = logging.getLogger("parley.files")


def folder(path: Path) -> None:
    """Make it and what leads to it, with mode 0700. One that is there stays as it is."""
    if not path.is_dir():
        folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def opener(path: str, flags: int) -> int:
    """For `open`: a new file has mode 0600."""
    return os.open(path, flags, 0o600)


def text(path: Path) -> TextIO:
    """A new text file, to be written."""
    return open(path, "w", opener=opener)


def database(file: Path) -> None:
    """The file of an SQLite database, before SQLite opens it: what SQLite puts beside it has the same mode.

    One that is there and open to everybody is closed: nobody chose that. Rights of a group alone stay.
    """
    folder(file.parent)
    if not file.exists():
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    for each in (file, *(file.with_name(file.name + suffix) for suffix in ("-wal", "-shm", "-journal"))):
        try:
            if stat.S_IMODE(each.stat().st_mode) & 0o007:
                each.chmod(0o600)
        except FileNotFoundError:
            continue
        except OSError as error:
            LOG.warning("%s is open to every user of this machine, and cannot be closed: %s", each, error)
