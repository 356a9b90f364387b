"""Activity of sessions that is not yet written: it moves a session's end, and is counted. Knows no SQL."""

from events.clock import Clock, when
from events.room import Room
from storage.errors import StorageUnavailable
from storage.sessions import Sessions


class Touches:
    """Written at most once a minute or a tenth of a session's TTL (`flush`); all of it at a clean stop."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions, self._clock = sessions, clock
        self._touched: dict[str, _Touch] = {}

    def touch(self, session_id: str, ttl_hours: float, written: float, count: int = 1) -> None:
        """An accepted command. Written at most once a minute or a tenth of the TTL (`flush_touches`)."""
        self._touch(session_id, ttl_hours, written, self._clock(), count)

    def touch_live(self, room: Room, now: float, count: int = 1) -> None:
        """The same in a session that has members here. `now` is the clock's, which most have just asked."""
        live = room.live
        if live is not None:
            written = live.expires_at - live.ttl_hours * 3600.0
            ends = self._touch(room.name, live.ttl_hours, written, now, count)
            if ends > live.expires_at:
                live.expires_at = ends

    def _touch(self, session_id: str, ttl_hours: float, written: float, now: float, count: int) -> float:
        """When the session ends now."""
        touch = self._touched.get(session_id)
        if touch is None:
            due = max(now, written + min(60.0, ttl_hours * 360.0))
            touch = self._touched[session_id] = _Touch(due)
        touch.count += count
        touch.last_activity = now
        touch.expires_at = now + ttl_hours * 3600.0
        return touch.expires_at

    async def flush(self, everything: bool = False) -> None:
        """Write what is due. Raises StorageUnavailable (what was not written stays due)."""
        now = self._clock()
        due = {s: t for s, t in self._touched.items() if everything or t.due <= now}
        if not due:
            return
        for session_id in due:
            del self._touched[session_id]
        try:
            await self._sessions.touch({s: (t.count, when(t.last_activity)) for s, t in due.items()})
        except StorageUnavailable:
            for session_id, touch in due.items():
                newer = self._touched.get(session_id)
                if newer is None:
                    self._touched[session_id] = touch
                else:
                    newer.count += touch.count
            raise

    def expires_at(self, session_id: str) -> float:
        """When it ends, in epoch seconds, as far as activity that is not yet written tells; else 0."""
        touch = self._touched.get(session_id)
        return touch.expires_at if touch else 0.0

    def count(self, session_id: str) -> int:
        """Commands that are not yet written."""
        touch = self._touched.get(session_id)
        return touch.count if touch else 0

    def ended(self, session_id: str) -> None:
        """The session has ended: its commands are still counted, but no longer put off its end."""
        touch = self._touched.get(session_id)
        if touch is not None:
            touch.expires_at = touch.due = 0.0


class _Touch:
    """Commands that are not yet written. `due` in epoch seconds."""

    __slots__ = ("count", "due", "expires_at", "last_activity")

    def __init__(self, due: float) -> None:
        self.due = due
        self.count = 0
        self.last_activity = 0.0
        self.expires_at = 0.0
