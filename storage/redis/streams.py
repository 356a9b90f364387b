"""Open streams' texts and their producers' leases in Redis. Knows no stream's meaning."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import msgspec

from storage.interfaces import ChunkAnswer, Event, StreamAnswer, StreamText
from storage.redis import wire
from storage.redis.client import RedisClient
from storage.redis.log import RedisLog
from storage.redis.texts import runs_of, stored, text_of

_ANSWERS: Mapping[bytes, StreamAnswer] = {
    b"next": "next", b"gap": "gap", b"closed": "closed", b"nobody": "nobody"
}  # fmt: skip


class RedisStreams:
    """`storage.interfaces.StreamLog` beside a `RedisLog`."""

    def __init__(self, client: RedisClient, log: RedisLog) -> None:
        self._client, self._log = client, log
        self._prefix = client.prefix
        self._chunk = client.script("chunk", "log", "stream")
        self._close = client.script("close", "stream")
        self._text, self._note = client.script("text", "stream"), client.script("note", "stream")

    def _key(self, stream: str) -> str:
        return f"{self._prefix}:stream:{stream}"

    def append(self, event: Event, start: int, pieces: Sequence[str]) -> "asyncio.Future[ChunkAnswer]":
        marks, entries, names = self._log.keys(event.room)
        return self._client.run_script(
            self._chunk, (marks, entries, self._key(event.stream), names), self._log.channel(event.room),
            event.room, self._log.window, *self._log.bounds, event.stream, start, event.index,
            wire.body(event), *stored(event.part, pieces), convert=self._answer,
        )  # fmt: skip

    def _answer(self, reply: Sequence[Any]) -> ChunkAnswer:
        answer, number, stamp, pos = reply
        self._client.saw(stamp, pos)
        return ChunkAnswer(_ANSWERS[answer], number)

    def note(self, stream: str, status: str) -> None:
        self._client.run_script(self._note, (self._key(stream),), status, self._log.window)

    async def close(self, room: str, stream: str) -> StreamText:
        """Raises StorageUnavailable."""
        names = self._log.keys(room)[2]
        self._client.call("DEL", f"{self._prefix}:lease:{stream}")
        index, start, ended, text = await self._client.run_script(
            self._close, (self._key(stream), names), stream, room, self._log.window
        )
        return text_of(text, index, start, closed=True, ended=bool(ended))

    async def read(self, room: str, stream: str, from_index: int = 0) -> StreamText | None:
        """Raises StorageUnavailable."""
        found = await self._client.run_script(self._text, (self._key(stream),), from_index)
        if found is None:
            return None
        index, start, closed, ended, text, *whole = found
        answer = text_of(text, index, start, closed=bool(closed), ended=bool(ended))
        return msgspec.structs.replace(answer, whole=runs_of(whole[0])) if whole else answer

    async def renew(self, leases: Mapping[str, float]) -> None:
        """Raises StorageUnavailable."""
        last: Awaitable[Any] | None = None
        for stream, seconds in leases.items():
            self._client.call(
                "SET", f"{self._prefix}:lease:{stream}", "1", "PX", max(1, round(seconds * 1000))
            )
            # The text of one who thinks for longer than the window stays.
            last = self._client.call("EXPIRE", self._key(stream), self._log.window)
        if last is not None:
            await last

    async def lapsed(self, streams: Sequence[str]) -> Sequence[str]:
        """Raises StorageUnavailable."""
        if not streams:
            return ()
        found = await self._client.call("MGET", *[f"{self._prefix}:lease:{stream}" for stream in streams])
        return [stream for stream, lease in zip(streams, found, strict=True) if lease is None]
