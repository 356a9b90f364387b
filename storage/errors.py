"""The errors of storage. No error of asyncpg, sqlite3 or Redis leaves `storage/` in any other form."""

from typing import Any


class StorageError(Exception):
    """Something below failed in a way that repeating will not mend."""


class StorageUnavailable(StorageError):
    """The database or Redis cannot answer now, or its answer was lost. The same call may be repeated."""


class Away(StorageUnavailable):
    """The database cannot be reached, gave no answer, or takes no writes: it may be back in a moment."""

    #: Whether it is known that nothing of the call has happened.
    undone = False


class RolledBack(StorageUnavailable):
    """The database gave the transaction up for another's sake: nothing of it has happened."""


class BusUnavailable(StorageUnavailable):
    """It is Redis that cannot, not the database."""


class AlreadyExists(StorageError):
    """A unique id is taken by something else."""


class CapReached(StorageError):
    """There are as many as there may be. `most` is how many."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class SessionMissing(StorageError):
    """No such session, or one that waits for its purge."""


class SessionEnded(StorageError):
    """The session takes no writes.

    `status` says why: "expired" or "archived".
    """

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class MessageMissing(StorageError):
    """No such message in this session, or a deleted one."""


class FileMissing(StorageError):
    """No such file in this session, or one that already belongs to a message."""


class NotAllowed(StorageError):
    """The message is another sender's."""


class Superseded(StorageError):
    """A later change of the message was made while this one waited."""


class QuestionOpen(StorageError):
    """An answer is open in the session, and the question is not to wait for its end; or too many wait."""


class BranchesFull(StorageError):
    """There are as many branches as there may be, of a message or of the session. `problem` says which."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class StreamStillOpen(StorageError):
    """The message is still being written."""


class InterruptMissing(StorageError):
    """The message asks nothing by this id."""


class AlreadyAnswered(StorageError):
    """Somebody else was first, or it was cancelled. `answer` is what counts."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer)
        self.answer = answer


class AnswersFull(StorageError):
    """The message asks, and was answered, as much as one may."""


class FencedOff(StorageError):
    """The turn was handed to somebody else since."""


class StreamNotOpen(StorageError):
    """The message is not, or no longer, being written. `status` is what it is now."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status
