"""How long somebody who asks waits for a database that is away. Knows no door and no statement."""

import asyncio
from contextvars import ContextVar
from typing import Final

#: Seconds for which a command waits: a restart of PostgreSQL and a failover are over by then, and a client,
#: which usually gives up after ten (`ackTimeout`), still hears the answer.
WAIT = 8.0
#: Seconds that the last try has in any case: more than a commit takes, and with `WAIT` still less than ten.
LEAST = 1.0


class Patience:
    """One command's, for whatever tasks it has. `until` in loop time; None once it is answered."""

    __slots__ = ("until",)

    def __init__(self, until: float | None = None) -> None:
        self.until = until
        if until is None:
            self.begin()

    def begin(self, since: float | None = None) -> None:
        """`since`: the loop time at which the command came; now where it is None."""
        self.until = (asyncio.get_running_loop().time() if since is None else since) + WAIT


#: The command's for which the present task works; None: the node's own work, which does not wait, but comes
#: back to what could not be done.
PATIENCE: Final[ContextVar[Patience | None]] = ContextVar("parley.patience", default=None)


def until() -> float | None:
    """Until when the present task waits for a database that is away; None: not at all."""
    patience = PATIENCE.get()
    return patience.until if patience is not None else None
