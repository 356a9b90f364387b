"""`auth_refresh`: the same identity with a newer token."""

from typing import Any

from events.access import Caller
from events.clock import rfc3339, when
from events.errors import Unauthorized
from events.membership import Membership
from events.room import Connection
from events.tasks import Tasks
from server.identity.auth import Authenticator

#: The last moment of year 9999, in epoch seconds: the end that clients see of a token without one.
LAST_MOMENT = 253402300799.0


class Refresh:
    def __init__(self, authenticator: Authenticator, membership: Membership, tasks: Tasks) -> None:
        self._authenticator, self._membership, self._tasks = authenticator, membership, tasks

    async def __call__(self, caller: Caller, conn: Connection | None, token: str) -> dict[str, Any]:
        """Raises Unauthorized, TokenExpired, Forbidden, RateLimited, Unavailable."""
        fresh = await self._authenticator.authenticate(token, address=conn.address if conn else None)
        if fresh.identity != caller.identity:
            raise Unauthorized("the token is another identity's")
        if conn is not None:
            conn.caller, conn.noticed = fresh, False
            # After the reply: the connection leaves rooms that the new token does not open, and a raw
            # WebSocket ends with its room.
            self._tasks.spawn(self._membership.check_all(conn))
        return {"expires_at": expiry(fresh.expires_at)}


def expiry(seconds: float) -> str:
    """When a token ends, as clients see it."""
    return rfc3339(when(min(seconds, LAST_MOMENT)))
