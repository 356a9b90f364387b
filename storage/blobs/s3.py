"""Contents as objects of one bucket, at any S3-compatible endpoint."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from storage.errors import StorageUnavailable

#: Bytes read in one go.
PIECE = 256 * 1024
#: Bytes of one part of a larger upload: S3's least.
PART = 5 * 1024 * 1024
#: Uploads to S3 at the same time. Each holds two parts in memory, while the others wait on the disk.
UPLOADS = 1
#: Smaller contents wait for their upload in memory, larger ones in a temporary file.
SPOOL = 64 * 1024
#: Keys of one request that deletes.
DELETES = 1000


class S3Blobs:
    """`storage.interfaces.BlobStore`. Every method raises StorageUnavailable when S3 refuses or is silent."""

    def __init__(
        self, bucket: str, *, endpoint: str | None, access_key_id: str | None, secret_access_key: str | None
    ) -> None:
        """Without keys: those of the environment or the machine's role, as the AWS tools find them."""
        given = {
            "endpoint": endpoint,
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
        }
        options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if endpoint is not None:
            # Names no region of its own; the signature needs some.
            options.setdefault("region", "us-east-1")
        self._store = S3Store(
            bucket,
            client_options={
                "allow_http": (endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(seconds=60),
            },
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=20)},
            **options,
        )
        self._uploads = asyncio.Semaphore(UPLOADS)

    async def put(self, key: str, chunks: AsyncIterator[bytes], content_type: str) -> int:
        """Raises what `chunks` raises; then nothing has been sent.

        Collected on the disk first: a client may take its time, a connection to S3 and its buffers may not.
        """
        with tempfile.SpooledTemporaryFile(max_size=SPOOL) as spool:
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                # What stays in memory needs no thread.
                if size <= SPOOL:
                    spool.write(chunk)
                else:
                    await asyncio.to_thread(spool.write, chunk)
            spool.seek(0)
            async with self._uploads:
                with _translated():
                    await obstore.put_async(
                        self._store,
                        key,
                        _pieces(spool),
                        attributes={"Content-Type": content_type},
                        chunk_size=PART,
                        max_concurrency=1,
                    )
        return size

    async def get(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        if stop is not None and stop <= start:
            return
        options: Any = {}
        if stop is not None:
            options = {"range": (start, stop)}
        elif start:
            options = {"range": {"offset": start}}
        with _translated(key):
            found = await obstore.get_async(self._store, key, options=options)
            async for piece in found.stream(min_chunk_size=PIECE):
                yield bytes(piece)

    async def delete(self, keys: Sequence[str]) -> None:
        """A key that is not there is as good as deleted."""
        for index in range(0, len(keys), DELETES):
            with _translated():
                await obstore.delete_async(self._store, list(keys[index : index + DELETES]))

    async def keys(self, before: float) -> AsyncIterator[Sequence[str]]:
        with _translated():
            async for batch in obstore.list(self._store, chunk_size=1000):
                old = [str(one["path"]) for one in batch if one["last_modified"].timestamp() < before]
                if old:
                    yield old


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


@contextmanager
def _translated(key: str = "") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise KeyError(key) from error
    except (BaseError, OSError, ValueError) as error:
        raise StorageUnavailable(f"S3: {type(error).__name__}") from error
