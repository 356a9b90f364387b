"""Room logs in Redis: one clock, one bounded log per room; append and publish in one script.

`tests/model/` runs the scripts over random schedules; `storage.memory` is the one-node side of the same.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from storage.interfaces import (
    NOT_GIVEN,
    UNBOUNDED,
    AppendAnswer,
    Appended,
    Cut,
    Event,
    Given,
    Kind,
    Mark,
    RoomState,
    StreamText,
    log_began,
)
from storage.redis import wire
from storage.redis.client import EPOCH, RedisClient
from storage.redis.texts import text_of

_ANSWERS: Mapping[bytes, AppendAnswer] = {b"ok": "ok", b"gap": "gap", b"nobody": "nobody"}
#: Rooms in one call of a script: it must not keep Redis from the others for long.
AT_ONCE = 200
#: The same where all of each log is read.
PAST_AT_ONCE = 10


class RedisLog:
    """`storage.interfaces.RoomLog`. `window` in seconds; `log_bytes` per room, `log_size` in entries."""

    def __init__(self, client: RedisClient, *, window: float, log_size: int, log_bytes: int) -> None:
        self._client = client
        self._prefix = client.prefix
        # Keys outlive the window a little: what is refused then is refused for its age.
        self.window = max(1, round(window)) + 1
        self.bounds = (log_size, log_bytes)
        self._append = client.script("append", "log", "stream")
        self._read = client.script("read", "log", "stream")
        self._last = client.script("last", "log")
        self._base = client.script("base", "log")
        self._forget = client.script("forget")
        self._renew, self._past = client.script("renew"), client.script("past")

    def keys(self, room: str) -> tuple[str, str, str]:
        """(marks, entries, names of its open streams)."""
        prefix = self._prefix
        return f"{prefix}:log:{room}", f"{prefix}:entries:{room}", f"{prefix}:streams:{room}"

    def channel(self, room: str) -> str:
        return f"{self._prefix}:session:{room}"

    def append(self, room: str, events: Sequence[Event], fresh: bool = False) -> "asyncio.Future[Appended]":
        arguments: list[bytes | str | int] = []
        for event in events:
            durable = event.kind == Kind.DURABLE
            arguments += (
                event.rev if durable else 0,
                event.first_rev,
                event.seq,
                event.stream if durable else "",
                "1" if event.closed else "0",
                event.id,
                wire.body(event),
            )
        prefix = self._prefix
        return self._client.run_script(
            self._append, self.keys(room), self.channel(room), f"{prefix}:stream:", room, self.window,
            *self.bounds, f"{prefix}:id:{room}:", *arguments,
            convert=self._announced if fresh else self._appended,
        )  # fmt: skip

    def _appended(self, reply: Sequence[Any]) -> Appended:
        answer, rev, seq, _, stamp, pos = reply
        self._client.saw(stamp, pos)
        return Appended(_ANSWERS[answer], None if answer == b"nobody" else Mark(rev, seq))

    def _announced(self, reply: Sequence[Any]) -> Appended:
        found = self._appended(reply)
        return Appended(found.answer, found.last, reply[3]) if reply[3] else found

    async def read(
        self,
        asks: Mapping[str, int],
        own_cut: bool = False,
        given: Given = NOT_GIVEN,
        limit: int = UNBOUNDED,
    ) -> Cut:
        """Raises StorageUnavailable."""
        words: list[str | int] = []
        for room, after in asks.items():
            words += (room, after)
        # One script, however many the rooms: a cut is a moment.
        found = await self._client.run_script(
            self._read, (), self._prefix, self.window, 1 if own_cut else 0, *given, limit, *words
        )
        stamp, pos, genuine, states = found
        self._client.saw(stamp, pos)
        rooms = {room: _state(state) for room, state in zip(asks, states, strict=True)}
        return Cut(stamp[:EPOCH].decode(), pos, rooms, stamp[EPOCH:].decode(), bool(genuine))

    async def past(self, rooms: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """Raises StorageUnavailable."""
        found: dict[str, Sequence[Event]] = {}
        for start in range(0, len(rooms), PAST_AT_ONCE):
            some = rooms[start : start + PAST_AT_ONCE]
            entries = await self._client.run_script(self._past, (), self._prefix, *some)
            for room, each in zip(some, entries, strict=True):
                found[room] = [wire.stamped(entry) for entry in each]
        return found

    async def renew(self, lineage: str) -> None:
        """Raises StorageUnavailable."""
        self._client.saw(*await self._client.run_script(self._renew, (), lineage))

    def at_hand(self, room: str) -> None:
        """The log is in Redis."""

    async def last(self, rooms: Sequence[str]) -> Mapping[str, Mark | None]:
        """Raises StorageUnavailable."""
        found: dict[str, Mark | None] = {}
        for start in range(0, len(rooms), AT_ONCE):
            some = rooms[start : start + AT_ONCE]
            marks = await self._client.run_script(self._last, (), self._prefix, self.window, *some)
            for at, room in enumerate(some):
                rev, seq = marks[2 * at : 2 * at + 2]
                found[room] = Mark(rev, seq) if rev >= 0 else None
        return found

    async def open(self, room: str, base: Mark) -> None:
        """Raises StorageUnavailable."""
        await self._begin(room, base, "open")

    async def reset(self, room: str, last: Mark) -> None:
        """Raises StorageUnavailable."""
        await self._begin(room, last, "reset")

    async def _begin(self, room: str, mark: Mark, how: str) -> None:
        told = wire.body(log_began(room, mark))
        marks, entries, _ = self.keys(room)
        self._client.saw(
            *await self._client.run_script(
                self._base, (marks, entries), self.channel(room), self.window, mark.rev, mark.seq, told, how
            )
        )

    def forget(self, room: str) -> None:
        self._client.run_script(self._forget, self.keys(room), f"{self._prefix}:stream:")


def _text(text: StreamText, status: Sequence[bytes]) -> StreamText:
    return msgspec.structs.replace(text, status=status[0].decode()) if status else text


def _state(found: Sequence[Any]) -> RoomState | None:
    if not found:
        return None
    rev, seq, pos, complete, entries, streams = found
    texts = {
        name.decode(): _text(text_of(text, index, start, closed=bool(closed), ended=False), status)
        for name, index, start, closed, text, *status in streams
    }
    return RoomState(Mark(rev, seq), pos, bool(complete), [wire.stamped(entry) for entry in entries], texts)
