"""Asks from time to time, for all producers on this node at once, whether they may still write: chunks do not
wait for the database. Chunks since the last time count as activity."""

from collections.abc import Iterable

from events.errors import ChatError
from events.sessions import SessionManager
from events.stream import Stream


class Producers:
    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions

    async def look(self, streams: Iterable[Stream]) -> None:
        """Sets `refusal`. Raises Unavailable; then all is as it was."""
        asked = [(stream, stream.writer) for stream in streams if stream.writer is not None]
        if not asked:
            return
        answers = await self._sessions.still_writable([(writer, stream.room) for stream, writer in asked])
        for (stream, writer), answer in zip(asked, answers, strict=True):
            if isinstance(answer, ChatError):
                if stream.writer is writer:
                    stream.refusal = answer
                continue
            stream.refusal = None
            if stream.uncounted:
                count, stream.uncounted = stream.uncounted, 0
                written = answer.last_activity.timestamp()
                self._sessions.touches.touch(stream.room, answer.ttl_hours, written, count)
