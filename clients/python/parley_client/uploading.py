"""A file on its way, with progress."""

import asyncio
import io
import mimetypes
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import aiohttp

from parley_client.errors import Json
from parley_client.rest import answered

#: Bytes of the file that are sent at a time.
PIECE = 64 * 1024


class Luggage:
    """A file that is to be uploaded: one on the disk, or what it contains. `size` in bytes."""

    def __init__(self, file: "str | Path | bytes", name: str | None) -> None:
        self._file = file
        path = None if isinstance(file, bytes) else Path(file)
        self.name = name or (path.name if path else "file")
        self.size = len(file) if isinstance(file, bytes) else Path(file).stat().st_size

    def open(self) -> BinaryIO:
        return io.BytesIO(self._file) if isinstance(self._file, bytes) else Path(self._file).open("rb")


async def uploaded(
    http: aiohttp.ClientSession, url: str, token: str, file: Luggage, progress: Callable[[int], None]
) -> Json:
    """Posts it; `progress(sent)` in bytes of it. Raises ParleyError, and what aiohttp raises."""
    boundary = uuid.uuid4().hex
    head, tail = _around(boundary, file.name)

    async def body() -> AsyncIterator[bytes]:
        yield head
        sent = 0
        with await asyncio.to_thread(file.open) as opened:
            while piece := await asyncio.to_thread(opened.read, PIECE):
                yield piece
                sent += len(piece)
                progress(sent)
        yield tail

    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + file.size + len(tail)),
    }
    patient = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
    async with http.post(url, data=body(), headers=headers, timeout=patient) as response:
        return answered(response.status, await response.text())


def _around(boundary: str, name: str) -> tuple[bytes, bytes]:
    """What stands before and behind the file's bytes."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    shown = name.replace("\\", "%5C").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="post"\r\n\r\nfalse\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{shown}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()
