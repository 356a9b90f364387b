"""The errors of commands: one tree, each error with its code and whether a repeat may succeed.

Knows no HTTP status and no close code: those stand in `server/errors.py`.
"""

from typing import Any, ClassVar, Self

#: Milliseconds after which what is retryable may be tried again, where nothing tells better.
AGAIN = 1000


class ChatError(Exception):
    """Base of all errors that reach a client.

    `retry_after` is in milliseconds; `details` is a JSON object or a list of them.
    """

    code: ClassVar[str] = "INTERNAL"
    message: ClassVar[str] = "Something went wrong on the server"
    retryable: ClassVar[bool] = False

    def __init__(
        self, text: str | None = None, *, retry_after: int | None = None, details: Any = None
    ) -> None:
        self.text = text or self.message
        self.retry_after = AGAIN if retry_after is None and self.retryable else retry_after
        self.details = details
        super().__init__(self.text)

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of a reply (contract, "Reply")."""
        error: dict[str, Any] = {"code": self.code, "message": self.text, "retryable": self.retryable}
        if self.retry_after is not None:
            error["retry_after"] = self.retry_after
        if self.details is not None:
            error["details"] = self.details
        return error


class Internal(ChatError):
    """Parley's own fault. Has only the id under which the log has the details."""


class ValidationFailed(ChatError):
    code = "VALIDATION_ERROR"
    message = "The payload is not valid"

    def __init__(self, problem: str, *, field: str = "", joint: str = ": ") -> None:
        super().__init__(
            f"{field}{joint}{problem}" if field else problem, details={"field": field, "problem": problem}
        )


class UnknownCommand(ChatError):
    code = "UNKNOWN_COMMAND"
    message = "No such command"


class Unauthorized(ChatError):
    code = "UNAUTHORIZED"
    message = "A valid token is required"


class TokenExpired(ChatError):
    code = "TOKEN_EXPIRED"
    message = "The token has expired"


class Forbidden(ChatError):
    code = "FORBIDDEN"
    message = "Not allowed"


class OriginNotAllowed(ChatError):
    code = "ORIGIN_NOT_ALLOWED"
    message = "This origin may not connect"


class SessionNotFound(ChatError):
    code = "SESSION_NOT_FOUND"
    message = "No such session"


class SessionExpired(ChatError):
    code = "SESSION_EXPIRED"
    message = "The session has expired; its owner brings it back with POST …/extend"


class SessionArchived(ChatError):
    code = "SESSION_ARCHIVED"
    message = "The session is archived"


class MessageNotFound(ChatError):
    code = "MESSAGE_NOT_FOUND"
    message = "No such message"


class StreamNotFound(ChatError):
    code = "STREAM_NOT_FOUND"
    message = "No such stream"


class FileNotFound(ChatError):
    code = "FILE_NOT_FOUND"
    message = "No such file"


class AgentNotFound(ChatError):
    code = "AGENT_NOT_FOUND"
    message = "No such agent"


class WebhookNotFound(ChatError):
    code = "WEBHOOK_NOT_FOUND"
    message = "No such webhook"


class MessageRejected(ChatError):
    """The application's hook does not let it pass; the text is its reason."""

    code = "MESSAGE_REJECTED"
    message = "The message was not accepted"


class Conflict(ChatError):
    code = "CONFLICT"
    message = "The id is in use"


class StreamOpen(ChatError):
    code = "STREAM_OPEN"
    message = "The message is still being written"


class StreamClosed(ChatError):
    code = "STREAM_CLOSED"
    message = "The stream has ended"


class IndexConflict(ChatError):
    code = "INDEX_CONFLICT"
    message = "Chunks are missing before this one"

    def __init__(self, next_index: int) -> None:
        super().__init__(f"the next index is {next_index}", details={"next_index": next_index})
        self.next_index = next_index

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "next_index": self.next_index}


class PayloadTooLarge(ChatError):
    code = "PAYLOAD_TOO_LARGE"
    message = "The payload is too large"

    @classmethod
    def beyond(cls, limit: int, size: int) -> Self:
        """`size` in bytes, as far as it is known."""
        return cls(f"at most {limit} bytes", details={"limit": limit, "size": size})


class LimitReached(ChatError):
    """Of what stays until somebody takes it away: unlike `RateLimited`, waiting does not help."""

    code = "LIMIT_REACHED"
    message = "There are as many as there may be"


class UnsupportedFileType(ChatError):
    code = "UNSUPPORTED_FILE_TYPE"
    message = "Files of this type are not accepted"


class RateLimited(ChatError):
    code = "RATE_LIMIT"
    message = "Too many requests"
    retryable = True
    late = False  # its sender waits before it is sent


class SlowConsumer(ChatError):
    code = "SLOW_CONSUMER"
    message = "The connection reads slower than its events come"
    retryable = True


class AgentBusy(ChatError):
    code = "AGENT_BUSY"
    message = "The agent is answering another question"
    retryable = True


class AgentUnavailable(ChatError):
    code = "AGENT_UNAVAILABLE"
    message = "The agent cannot answer"
    retryable = True


class Unavailable(ChatError):
    code = "UNAVAILABLE"
    message = "A part of the service is not available; try again"
    retryable = True


class ServerFull(ChatError):
    code = "SERVER_FULL"
    message = "The server takes no more connections"
    retryable = True


class Draining(Unavailable):
    """The node is shutting down; another one will answer."""

    message = "The server is restarting; connect again"
