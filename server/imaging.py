"""Small pictures by a process of their own (`server/thumbnail.py`): off the event loop, in bounded memory."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from events.errors import PayloadTooLarge, UnsupportedFileType

PROGRAM = Path(__file__).with_name("thumbnail.py")
#: The part of the memory that is there which pictures may have, all together: the server needs the rest.
SHARE = 1 / 3
#: Pixels of a thumbnail's side.
SIDE = 320
#: Bytes for one picture: 25 megapixels of any format fit into the most, and the decoders into the least.
MOST, LEAST = 512 << 20, 96 << 20
#: Pictures at the same time where there is memory for them; each may take a core.
AT_ONCE = 2
#: Seconds for one of them, and for its turn: an upload is not held up for ever because others' are slow.
LIMIT, PATIENCE = 15.0, 30.0
NO_PICTURE, TOO_MANY_PIXELS = 3, 4


class DecoderSlots:
    """`count` decoders at a time. Owners take turns, so that one owner's many images do not hold up the
    others'."""

    def __init__(self, count: int) -> None:
        self._free = count
        #: The owner whose turn it is next comes first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, owner: str) -> AsyncIterator[None]:
        await self._take(owner)
        try:
            yield
        finally:
            self._free += 1
            self._next()

    async def _take(self, owner: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._next()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had just been given
                self._free += 1
                self._next()
            raise

    def _next(self) -> None:
        while self._free and self._waiting:
            owner = next(iter(self._waiting))
            turns = self._waiting.pop(owner)
            turn = turns.popleft()
            if turns:
                self._waiting[owner] = turns  # behind the others
            if not turn.done():
                self._free -= 1
                turn.set_result(None)


class Thumbnailer:
    """`events.files.Thumbnails`, `events.agents.attachments.Pictures`."""

    def __init__(self, memory: int) -> None:
        """`memory`: bytes that there are for this node and its pictures."""
        share = int(memory * SHARE)
        self.memory = min(MOST, max(LEAST, share))
        self._places = DecoderSlots(max(1, min(AT_ONCE, share // self.memory)))

    async def make(self, content: AsyncIterator[bytes], media_type: str, owner: str) -> bytes | None:
        """See `events.files.Thumbnails`. Raises what `content` raises, too."""
        return await self._in_turn(content, media_type, owner, SIDE, "WEBP")

    async def shown_to_models(
        self, content: AsyncIterator[bytes], media_type: str, owner: str, side: int
    ) -> bytes | None:
        """See `events.agents.attachments.Pictures`. Some servers know no WebP."""
        return await self._in_turn(content, media_type, owner, side, "JPEG")

    async def _in_turn(
        self, content: AsyncIterator[bytes], media_type: str, owner: str, side: int, made: str
    ) -> bytes | None:
        try:
            async with asyncio.timeout(PATIENCE) as patience, self._places.place(owner):
                patience.reschedule(asyncio.get_running_loop().time() + LIMIT)
                return await self._make(content, media_type, side, made)
        except TimeoutError:
            return None

    async def _make(
        self, content: AsyncIterator[bytes], media_type: str, side: int, made: str
    ) -> bytes | None:
        # -I: nothing of the environment or of the working folder decides what is imported. A heap for each
        # thread would be taken from the address space that the picture may have.
        command = (sys.executable, "-I", str(PROGRAM), media_type, str(self.memory), str(side), made)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={"MALLOC_ARENA_MAX": "1"}
        )
        try:
            picture, code = await _converse(process, content)
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
