"""Thumbnails by a process of their own (`server/thumbnail.py`): off the event loop, in bounded memory."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from events.errors import PayloadTooLarge, UnsupportedFileType

PROGRAM = Path(__file__).with_name("thumbnail.py")
#: Pictures at the same time; each may take a core.
AT_ONCE = 2
#: Seconds for one of them.
LIMIT = 15.0
NO_PICTURE, TOO_MANY_PIXELS = 3, 4


class Thumbnailer:
    """`events.files.Thumbnails`."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def make(self, content: AsyncIterator[bytes], media_type: str) -> bytes | None:
        """See `events.files.Thumbnails`. Raises what `content` raises, too."""
        async with self._places:
            # -I: nothing of the environment or of the working folder decides what is imported.
            command = (sys.executable, "-I", str(PROGRAM), media_type)
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}
            )
            try:
                async with asyncio.timeout(LIMIT):
                    picture, code = await _converse(process, content)
            except TimeoutError:
                return None
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if code == NO_PICTURE:
            raise UnsupportedFileType(f"no {media_type}, whatever it begins like")
        if code == TOO_MANY_PIXELS:
            raise PayloadTooLarge("too many pixels")
        return picture if code == 0 else None


async def _converse(process: Process, content: AsyncIterator[bytes]) -> tuple[bytes, int]:
    assert process.stdin is not None
    assert process.stdout is not None
    # It may end before it has read all.
    with suppress(ConnectionError):
        async for piece in content:
            process.stdin.write(piece)
            await process.stdin.drain()
    process.stdin.close()
    picture = await process.stdout.read()
    return picture, await process.wait()
