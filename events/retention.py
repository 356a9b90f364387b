"""Erases conversations past their retention. Knows no SQL."""

import logging

from events.sessions import SessionManager

log = logging.getLogger("parley.retention")

#: Sessions erased in one transaction: their messages go with them, and they may be many.
PURGE = 20


class Retention:
    """Archived and expired sessions go `days` after they ended; 0 keeps them."""

    def __init__(self, sessions: SessionManager, days: float) -> None:
        self._sessions, self._days = sessions, days

    async def run(self) -> int:
        """How many were erased. Raises Unavailable."""
        erased = 0
        while due := await self._sessions.retain(self._days):
            for start in range(0, len(due), PURGE):
                await self._sessions.purge(due[start : start + PURGE])
            erased += len(due)
        if erased:
            log.info("erased %d sessions that ended more than %g days ago", erased, self._days)
        return erased
