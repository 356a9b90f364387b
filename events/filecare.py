"""Removes contents that nobody has any more: of deleted messages, erased sessions and users, uploads never
posted.

Each goes at once if possible; `collect` (rows) and `sweep` (contents without a row) find what a failure or a
crash left behind.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from events.clock import Clock, when
from events.tasks import Tasks
from storage import errors as storage_errors
from storage.files import Files
from storage.interfaces import BlobStore
from storage.ops import Committed, DeleteMessage
from storage.records import FileRecord

log = logging.getLogger("parley.files")

#: Seconds after which an upload that was never posted is an orphan. A day: someone may be writing a long
#: message beside it.
ORPHAN_AGE = 86_400.0
#: Rows cleared away in one step.
BATCH = 200


def thumbnail_key(file_id: str) -> str:
    return f"{file_id}.thumb"


class FileCare:
    """Contents go before rows: a row without contents is found again, contents alone only by a sweep."""

    def __init__(self, files: Files, blobs: BlobStore, clock: Clock) -> None:
        self._files, self._blobs, self._clock = files, blobs, clock
        self._tasks = Tasks("files")

    async def stop(self) -> None:
        """Waits for what is under way."""
        await self._tasks.drain()

    # --- at once

    def on_committed(self, batch: Sequence[Committed]) -> None:
        """After a commit: files of deleted messages. Does not raise and does not block."""
        gone = [
            done.record.message_id
            for done in batch
            if isinstance(done.op, DeleteMessage) and done.record.message_type != "text"
        ]
        if gone:
            self._later(gone, (), ())

    def erase_later(self, records: Sequence[FileRecord]) -> None:
        self._later((), records, ())

    def drop_later(self, keys: Sequence[str]) -> None:
        self._later((), (), keys)

    def _later(self, messages: Sequence[str], records: Sequence[FileRecord], keys: Sequence[str]) -> None:
        self._tasks.spawn(self._clear(messages, records, keys))

    async def _clear(
        self, messages: Sequence[str], records: Sequence[FileRecord], keys: Sequence[str]
    ) -> None:
        try:
            if keys:
                await self._blobs.delete(keys)
            await self._erase(records)
            for message_id in messages:
                await self._erase(await self._files.of_message(message_id))
        except storage_errors.StorageError as error:
            log.info("some contents stay for the next round: %s", error)

    async def on_purged(self, records: Sequence[FileRecord]) -> None:
        """Their rows went with their sessions (`SessionManager`)."""
        await self._clear((), (), [key for record in records for key in _keys(record)])
        if records:
            log.info("removed %d files of erased sessions", len(records))

    async def erase_user(self, key: str) -> int:
        """All that a user uploaded, posted or not; how many. Raises Unavailable."""
        count = 0
        while records := await self._files.of_user(key, BATCH):
            await self._erase(records)
            count += len(records)
        return count

    async def _erase(self, records: Sequence[FileRecord]) -> None:
        if records:
            await self._blobs.delete([key for record in records for key in _keys(record)])
            await self._files.delete([record.file_id for record in records])

    # --- from time to time

    async def collect(self) -> int:
        """Files of deleted messages, and uploads that were never posted; how many. Raises Unavailable."""
        count = 0
        cutoff = when(self._clock()) - timedelta(seconds=ORPHAN_AGE)
        while records := await self._files.orphans(cutoff, BATCH):
            await self._erase(records)
            count += len(records)
        if count:
            log.info("collected %d files that nobody has", count)
        return count

    async def sweep(self) -> int:
        """Contents without a row; how many. Only old ones: the row of a new upload may be on its way.

        Raises Unavailable.
        """
        count = 0
        async for keys in self._blobs.keys(self._clock() - ORPHAN_AGE):
            ours = [key for key in keys if key.startswith("file_")]
            known = await self._files.known({key.partition(".")[0] for key in ours})
            lost = [key for key in ours if key.partition(".")[0] not in known]
            if lost:
                await self._blobs.delete(lost)
                count += len(lost)
        if count:
            log.info("removed %d contents without a file", count)
        return count


def _keys(record: FileRecord) -> list[str]:
    return [record.file_id, *([thumbnail_key(record.file_id)] if record.thumbnail_url else [])]
