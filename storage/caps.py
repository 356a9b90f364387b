"""Caps that hold exactly: a transaction that adds to a number counts first, and the next one waits for it.

How many there may be is an argument; None is no limit.
"""

from storage.database import SqlConnection
from storage.errors import CapReached

#: The transaction has the name for itself until its end. Two names of one hash only wait for each other.
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"


async def alone(connection: SqlConnection, what: str, whose: str) -> None:
    """Nobody else adds to `what` of this owner until the transaction's end. SQLite has one writer anyway."""
    if connection.dialect == "postgresql":
        await connection.raw.execute(_ALONE, f"{what}:{whose}")


def admit(there: int, most: int | None, more: int = 1) -> None:
    """Raises CapReached where `more` do not go with those that are `there`."""
    if most is not None and there + more > most:
        raise CapReached(most)
