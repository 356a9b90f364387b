"""What a storage error means to a client. Knows no command."""

from collections.abc import Callable

from events.bounds import SESSIONS
from events.errors import (
    AgentBusy,
    ChatError,
    Conflict,
    FileNotFound,
    Forbidden,
    LimitReached,
    MessageNotFound,
    SessionArchived,
    SessionExpired,
    SessionNotFound,
    StreamClosed,
    StreamOpen,
    Unavailable,
    ValidationFailed,
)
from storage import errors as storage_errors
from storage.interrupts import MESSAGE_BYTES

#: Of an answer to what a message asks.
MESSAGE_FULL = f"a message asks and is answered at most {MESSAGE_BYTES} bytes in all"

_NAMES: dict[type[Exception], Callable[[Exception], ChatError]] = {
    storage_errors.StorageUnavailable: lambda e: Unavailable(),
    storage_errors.CapReached: lambda e: SESSIONS.error(getattr(e, "most", 0)),
    storage_errors.SessionMissing: lambda e: SessionNotFound(),
    storage_errors.SessionEnded: lambda e: (
        SessionExpired() if getattr(e, "status", "") == "expired" else SessionArchived()
    ),
    storage_errors.MessageMissing: lambda e: MessageNotFound(),
    storage_errors.FileMissing: lambda e: FileNotFound(),
    storage_errors.NotAllowed: lambda e: Forbidden("only its sender may edit a message"),
    storage_errors.AlreadyExists: lambda e: Conflict(),
    storage_errors.Superseded: lambda e: Conflict("a later change was made meanwhile"),
    storage_errors.QuestionOpen: lambda e: AgentBusy(),
    storage_errors.BranchesFull: lambda e: LimitReached(getattr(e, "problem", None)),
    storage_errors.InterruptMissing: lambda e: MessageNotFound("the message asks nothing by this id"),
    storage_errors.AlreadyAnswered: lambda e: Conflict(
        "it was answered before", details={"answer": getattr(e, "answer", None)}
    ),
    storage_errors.AnswersFull: lambda e: ValidationFailed(MESSAGE_FULL, field="payload"),
    storage_errors.FencedOff: lambda e: Conflict("the question was handed to another worker since"),
    storage_errors.StreamStillOpen: lambda e: StreamOpen(),
    storage_errors.StreamNotOpen: lambda e: StreamClosed(details={"status": getattr(e, "status", None)}),
}


def translate(error: BaseException) -> ChatError | None:
    """What a storage error means to a client; None if it is none of those."""
    for kind, make in _NAMES.items():
        if isinstance(error, kind):
            return make(error)
    return None
