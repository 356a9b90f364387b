"""Large messages on their way to their commit: the bound of them together, by account. Knows no command."""

from typing import Final, Protocol

from events.held import SMALL
from events.waiting import Waiting, no_room
from storage.ops import Committed, Op
from storage.place import CommitPlace
from storage.writer import Owner, Writer, size_of

#: Characters of all of a node, a fifth of them one account's alone: as many as a database writes in a second
#: or two.
MOST: Final = 128 * 1024 * 1024


class Submits(Protocol):
    """Where what callers say goes to."""

    def submit(self, account: str, op: Op, owner: Owner | None = None) -> CommitPlace[Committed]: ...


class Uncommitted:
    """In place of the writer, for what callers say. A message is held as objects until it is committed; its
    sender's bucket bounds what one account says, and nothing else what thousands do."""

    def __init__(self, writer: Writer, most: int = MOST) -> None:
        self._writer, self._waiting = writer, Waiting(most)

    def submit(self, account: str, op: Op, owner: Owner | None = None) -> CommitPlace[Committed]:
        """Raises RateLimited: too much waits. Small messages always go, whoever fills the rest."""
        size = size_of(op)
        if size <= SMALL:
            return self._writer.submit(op, owner, size)
        if not self._waiting.add(account, size):
            raise no_room()
        place = self._writer.submit(op, owner, size)
        place.add_done_callback(lambda _: self._waiting.drop(account, size))
        return place
