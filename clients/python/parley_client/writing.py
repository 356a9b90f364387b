"""One answer's stream at the server: written in order, again where the server lacks something, over
reconnects and other nodes, until its end is acknowledged. Knows no handler."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from parley_client.errors import Json, ParleyError
from parley_client.link import Link

log = logging.getLogger("parley_client.worker")

#: Seconds until a command is repeated, where the server has not said when: doubled, up to the second.
AGAIN = (0.25, 5.0)
#: Characters of one chunk, and of what waits to be sent: beyond that who writes waits.
CHUNK, BEHIND = 8192, 65_536
#: Each of them ends what this worker may write: it was stopped, or another one has it.
OVER = ("STREAM_CLOSED", "CONFLICT")


@dataclass(slots=True)
class Piece:
    command: str
    said: Json
    shown: "asyncio.Future[Json] | None" = None  # who waits until the server has it


class Writing:
    """`where`: the `session_id` and the `message_id`; `claim`: what `stream_start` says besides. `silence`:
    seconds after which an empty chunk says that it lives.

    `ends(error)` is called where what was written is refused, and when nothing more can be (`over`).
    """

    def __init__(
        self, link: Link, where: Json, claim: Json, silence: float, ends: Callable[[ParleyError], None]
    ) -> None:
        self._link, self._where, self._claim = link, where, claim
        self._silence, self._ends = silence, ends
        self.over: ParleyError | None = None
        self._pieces: list[Piece] = []
        self._base = 0  # the index of the first one
        self._at = 0  # how many the server has
        self._sealed = 0  # how many were said: they stay as they are
        self._waiting = 0  # characters that were not said yet
        self._life = -1  # of the connection that has claimed it
        self._more, self._less = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_written(self) -> bool:
        return bool(self._pieces)

    async def begin(self) -> None:
        """Raises ParleyError: `CONFLICT`: another worker has it; `STREAM_CLOSED`: it was stopped."""
        self._base = -1
        await self._patiently(self._claimed)
        self._task = asyncio.get_running_loop().create_task(self._write())

    # --- what is written

    async def text(self, command: str, content: str, **more: str) -> None:
        """Text of a part: sent with what comes soon, in order. Waits while much waits to be sent."""
        content.encode()  # raises UnicodeEncodeError here, and not on its way
        while self._waiting >= BEHIND and self.over is None:
            self._less.clear()
            await self._less.wait()
        for at in range(0, len(content), CHUNK):
            self._add_text(command, content[at : at + CHUNK], more)
        self._more.set()

    def _add_text(self, command: str, content: str, more: Json) -> None:
        last = self._pieces[-1] if len(self._pieces) > self._sealed else None
        if last and last.command == command and last.shown is None:
            text = last.said["content"]
            if last.said == {"content": text, **more} and len(text) + len(content) <= CHUNK:
                last.said["content"] = text + content
                self._waiting += len(content)
                return
        self._pieces.append(Piece(command, {"content": content, **more}))
        self._waiting += len(content)

    async def piece(self, command: str, said: Json) -> Json:
        """A whole piece: the reply; the server has it, and all before it. Raises ParleyError, TypeError."""
        json.dumps(said)
        if self.over is not None:
            raise self.over
        shown = asyncio.get_running_loop().create_future()
        self._pieces.append(Piece(command, said, shown))
        self._more.set()
        reply: Json = await shown
        return reply

    def beside(self, command: str, said: Json) -> None:
        """What is no piece, and is lost where there is no connection."""
        self._link.tell(command, {**self._where, **said})

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- inside

    async def _write(self) -> None:
        try:
            while True:
                if self._at < len(self._pieces):
                    await self._say(self._pieces[self._at])
                    continue
                self._more.clear()
                try:
                    async with asyncio.timeout(self._silence):
                        await self._more.wait()
                except TimeoutError:
                    await self._patiently(self._still_there)
        except ParleyError as error:
            self._is_over(error)
        except Exception as failure:
            log.exception("%s cannot be written", self._where["message_id"])
            self._is_over(ParleyError("INTERNAL", str(failure)))

    async def _say(self, piece: Piece) -> None:
        if self._at >= self._sealed:
            self._sealed = self._at + 1
            self._waiting -= len(piece.said.get("content", ""))
            self._less.set()
        at = self._at
        try:
            reply = await self._patiently(lambda: self._said(piece, at))
        except ParleyError as error:
            if error.code != "VALIDATION_ERROR":
                raise
            del self._pieces[at]  # it does not count
            self._sealed -= 1
            if piece.shown is None:
                self._ends(error)
            else:
                _fail(piece, error)
            return
        if reply is not None:
            self._at = at + 1
            if piece.shown is not None and not piece.shown.done():
                piece.shown.set_result(reply)

    async def _said(self, piece: Piece, at: int) -> Json | None:
        """The reply; None where something else is to be said first."""
        if self._life != self._link.life:
            await self._claimed()
            return None
        try:
            return await self._tell(piece.command, {**piece.said, "index": self._base + at})
        except ParleyError as error:
            if error.code == "INDEX_CONFLICT" and error.next_index is not None:
                self._goes_on_at(error.next_index)
                return None
            if self._life != self._link.life:
                return None  # it went by a connection that has not claimed it
            raise

    async def _still_there(self) -> None:
        try:
            if self._life == self._link.life:
                await self._tell("stream_chunk", {"content": ""})
        except ParleyError:
            if self._life == self._link.life:
                raise
        if self._life != self._link.life:
            await self._claimed()

    async def _claimed(self) -> None:
        """Ours, at the node that we are connected to now. Raises ParleyError."""
        life = self._link.life
        reply = await self._tell("stream_start", self._claim)
        if reply["message_id"] != self._where["message_id"]:
            raise ParleyError("CONFLICT", "another worker answers")
        if reply.get("status", "streaming") != "streaming":
            raise ParleyError("STREAM_CLOSED", f"it is {reply['status']}")
        self._life = life
        if self._base < 0:
            self._base = reply["next_index"]
        self._goes_on_at(reply["next_index"])

    def _goes_on_at(self, index: int) -> None:
        self._at = min(max(index - self._base, 0), len(self._pieces))
        for piece in self._pieces[: self._at]:  # said, and its reply was lost
            if piece.shown is not None and not piece.shown.done():
                piece.shown.set_result({"ok": True})

    async def _tell(self, command: str, said: Json) -> Json:
        return await self._link.call(command, {**self._where, **said})

    async def _patiently(self, act: Callable[[], Any]) -> Any:
        """What passes by itself is done again. Raises ParleyError for anything else."""
        pause = AGAIN[0]
        while True:
            try:
                return await act()
            except ParleyError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(error.pause(pause))
                pause = min(AGAIN[1], pause * 2)

    def _is_over(self, error: ParleyError) -> None:
        self.over = error
        self._less.set()
        for piece in self._pieces:
            _fail(piece, error)
        self._ends(error)


def _fail(piece: Piece, error: ParleyError) -> None:
    if piece.shown is not None and not piece.shown.done():
        piece.shown.set_exception(error)
