"""Whether the database takes writes, by what writes last met; recovery is noticed without anybody asking.

Knows drivers' errors, and no statement: how to try a write is an argument.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable

import asyncpg  # type: ignore[import-untyped]

from storage.errors import Away, StorageError, StorageUnavailable

LOG = logging.getLogger("parley.database")

#: Seconds between two tries of a database that takes no writes.
PROBE = 2.0

_BY_STATE = {"53100": "full", "25006": "read-only", "58030": "failing"}
_BY_SQLITE = {
    "FULL": "full",
    "READONLY": "read-only",
    "IOERR": "failing",
    "CORRUPT": "failing",
    "NOTADB": "failing",
}
_TOLD = {
    "full": "its disk is full",
    "read-only": "it is read-only",
    "failing": "its disk fails",
}


class ReadOnly(Away):
    """A server that says of itself that it takes no writes."""


def trouble_of(error: BaseException) -> str:
    """What an error says of the database itself: "full", "read-only", "failing", or ""."""
    if isinstance(error, ReadOnly):
        return "read-only"
    if isinstance(error, asyncpg.PostgresError):
        return _BY_STATE.get(str(error.sqlstate), "")
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "") or ""
        return _BY_SQLITE.get(name.removeprefix("SQLITE_").split("_")[0], "")
    return ""


class Health:
    """`probe` tries a write that leaves nothing behind, and raises StorageError."""

    def __init__(self, probe: Callable[[], Awaitable[None]]) -> None:
        self._probe = probe
        self._task: asyncio.Task[None] | None = None
        #: "" while writes are taken, as far as is known.
        self.trouble = ""

    def met(self, error: BaseException) -> None:
        """A call failed with this."""
        found = trouble_of(error)
        if found and found != self.trouble:
            LOG.error("the database takes no writes: %s (%s)", _TOLD[found], error)
            self.trouble = found
        if found and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch(), name="database health")

    async def _watch(self) -> None:
        try:
            while self.trouble:
                await asyncio.sleep(PROBE)
                await self._try()
        finally:
            self._task = None

    async def _try(self) -> None:
        try:
            await self._probe()
        except StorageUnavailable as error:
            self.met(error.__cause__ or error)
            return
        except StorageError:
            LOG.info("whether the database takes writes again cannot be tried; the next write tells")
        else:
            LOG.warning("the database takes writes again")
        self.trouble = ""

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.trouble = ""
