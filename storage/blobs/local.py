"""Contents as files of one folder. A key never leads outside of it; a file is whole or not there."""

import asyncio
import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from storage import private
from storage.errors import StorageUnavailable

T = TypeVar("T")

#: Bytes read or written in one go.
PIECE = 256 * 1024
#: Bytes that are read for a client in one go: a slow one keeps them in memory, but no file open.
READ = 128 * 1024
#: Keys in one batch of `keys`.
KEYS = 1000
#: A file that was being written when its process died; what is older is removed.
STALE = 86_400.0

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


class LocalBlobs:
    """`storage.interfaces.BlobStore`. Every method raises StorageUnavailable when the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self._root = folder.absolute()
        self._unfinished = self._root / ".unfinished"

    def path(self, key: str) -> Path:
        """Raises ValueError for a key that is not one of ours."""
        if _KEY.fullmatch(key) is None:
            raise ValueError("not a key")
        # Spread over 256 folders: one with a million entries is slow to list and to back up.
        return self._root / hashlib.blake2s(key.encode(), digest_size=1).hexdigest() / key

    async def put(self, key: str, chunks: AsyncIterator[bytes], content_type: str) -> int:
        """The content type is not stored: the file's row has it. Raises what `chunks` raises."""
        target = self.path(key)
        file = await _thread(self._begin)
        done = False
        try:
            size, waiting = 0, bytearray()
            async for chunk in chunks:
                size += len(chunk)
                waiting += chunk
                if len(waiting) >= PIECE:
                    await _thread(file.write, waiting)
                    waiting = bytearray()
            await _thread(self._finish, file, waiting, target)
            done = True
            return size
        finally:
            if not done:
                # Not awaited: a caller that gave up may be cancelled again meanwhile.
                await asyncio.shield(asyncio.to_thread(_discard, file))

    def _begin(self) -> BinaryIO:
        private.folder(self._unfinished)
        return open(self._unfinished / secrets.token_hex(16), "xb", buffering=0, opener=private.opener)

    def _finish(self, file: BinaryIO, rest: bytearray, target: Path) -> None:
        file.write(rest)
        # The row that names it is committed after this: what the row promises is on the disk.
        os.fsync(file.fileno())
        file.close()
        private.folder(target.parent)
        Path(file.name).replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def get(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        at = start
        while True:
            size = READ if stop is None else max(0, min(READ, stop - at))
            try:
                piece = await _thread(self._read, key, at, size)
            except FileNotFoundError as error:
                if at == start:
                    raise KeyError(key) from error
                raise StorageUnavailable("file storage: deleted while it was read") from error
            if not piece:
                break
            at += len(piece)
            yield piece
            if at == stop:
                break

    def _read(self, key: str, start: int, size: int) -> bytes:
        with self.path(key).open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(size)

    async def delete(self, keys: Sequence[str]) -> None:
        """A key that is not there is as good as deleted."""
        await _thread(self._delete, keys)

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    async def keys(self, before: float) -> AsyncIterator[Sequence[str]]:
        """In batches. Removes what was never finished on its way."""
        found = self._walk(before)
        while batch := await _thread(_take, found):
            yield batch

    def _walk(self, before: float) -> Iterator[str]:
        for folder in _entries(self._root):
            for file in _entries(Path(folder.path)) if folder.is_dir(follow_symlinks=False) else ():
                try:
                    written = file.stat(follow_symlinks=False).st_mtime
                except FileNotFoundError:
                    continue
                if folder.name == self._unfinished.name:
                    if written < min(before, time.time() - STALE):
                        Path(file.path).unlink(missing_ok=True)
                elif written < before:
                    yield file.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []


def _take(found: Iterator[str]) -> list[str]:
    batch = []
    for key in found:
        batch.append(key)
        if len(batch) == KEYS:
            break
    return batch


def _discard(file: BinaryIO) -> None:
    file.close()
    Path(file.name).unlink(missing_ok=True)


async def _thread(call: Callable[..., T], *args: Any) -> T:
    try:
        return await asyncio.to_thread(call, *args)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageUnavailable(f"file storage: {errno.errorcode.get(error.errno or 0, 'error')}") from error
