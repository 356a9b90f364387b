"""What an error looks like outside: HTTP status, WebSocket close code, body. One table (contract, section 7).

Knows no transport beyond these numbers; which errors there are is `events/errors.py`'s.
"""

import secrets
from dataclasses import dataclass
from math import ceil
from typing import Any

import orjson
import structlog
from starlette.responses import Response

from events import errors
from events.errors import ChatError
from storage.errors import Unavailable as StorageUnavailable

log = structlog.get_logger("parley.errors")


@dataclass(frozen=True, slots=True)
class Outside:
    """How one code looks: `status` of HTTP, `close` of the raw WebSocket (None: the connection stays)."""

    status: int
    close: int | None = None


TABLE = {
    "VALIDATION_ERROR": Outside(422),
    "UNKNOWN_COMMAND": Outside(422),
    "UNAUTHORIZED": Outside(401, 4001),
    "TOKEN_EXPIRED": Outside(401, 4001),
    "FORBIDDEN": Outside(403, 4003),
    "ORIGIN_NOT_ALLOWED": Outside(403, 4003),
    "SESSION_NOT_FOUND": Outside(404, 4004),
    "SESSION_EXPIRED": Outside(410, 4004),
    "SESSION_ARCHIVED": Outside(409, 4004),
    "MESSAGE_NOT_FOUND": Outside(404),
    "STREAM_NOT_FOUND": Outside(404),
    "FILE_NOT_FOUND": Outside(404),
    "AGENT_NOT_FOUND": Outside(404),
    "CONFLICT": Outside(409),
    "STREAM_OPEN": Outside(409),
    "STREAM_CLOSED": Outside(409),
    "INDEX_CONFLICT": Outside(409),
    "PAYLOAD_TOO_LARGE": Outside(413, 1009),
    "UNSUPPORTED_FILE_TYPE": Outside(415),
    "RATE_LIMIT": Outside(429, 4008),
    # Only a connection is ever cut off for its slowness; the status is there for completeness.
    "SLOW_CONSUMER": Outside(503, 4013),
    "AGENT_UNAVAILABLE": Outside(503, 1013),
    "UNAVAILABLE": Outside(503, 1013),
    "SERVER_FULL": Outside(503, 1013),
    "INTERNAL": Outside(500, 1011),
}
DRAINING_CLOSE = 1012
"""Service Restart (IANA): come back, another node will answer. The code is UNAVAILABLE, as of any outage."""


def http_status(error: ChatError) -> int:
    return TABLE[error.code].status


def close_code(error: ChatError) -> int | None:
    """The close code where `error` ends a raw WebSocket; None if it never does."""
    if isinstance(error, errors.Draining):
        return DRAINING_CLOSE
    return TABLE[error.code].close


def chat_error(error: BaseException) -> ChatError:
    """Any exception as what a client may know of it.

    A store that is away is `Unavailable`; what is not ours to tell is logged with its story under an id, and
    the client gets that id, nothing else.
    """
    if isinstance(error, ChatError):
        return error
    if isinstance(error, StorageUnavailable):
        return errors.Unavailable()
    log_id = secrets.token_hex(8)
    log.error("internal_error", log_id=log_id, exc_info=error)
    return errors.Internal(details={"log_id": log_id})


def reply_error(error: BaseException) -> dict[str, Any]:
    """The reply to a command that failed: `{"ok": false, "error": {…}}`."""
    return {"ok": False, "error": chat_error(error).as_dict()}


def error_body(error: BaseException) -> dict[str, Any]:
    """The body of an HTTP answer that failed: `{"error": {…}}`."""
    return {"error": chat_error(error).as_dict()}


def retry_after(error: ChatError) -> int | None:
    """Whole seconds for the `Retry-After` header (RFC 9110, 10.2.3), rounded up; None if it has no place."""
    if error.retry_after is not None:
        return max(1, ceil(error.retry_after / 1000))
    return 1 if TABLE[error.code].status in (429, 503) else None


def json_error(error: BaseException) -> Response:
    """The whole HTTP answer for `error`."""
    shown = chat_error(error)
    headers: dict[str, str] = {}
    if (seconds := retry_after(shown)) is not None:
        headers["Retry-After"] = str(seconds)
    if TABLE[shown.code].status == 401:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 15.5.2: a 401 names a challenge
    return Response(
        orjson.dumps({"error": shown.as_dict()}),
        status_code=TABLE[shown.code].status,
        headers=headers,
        media_type="application/json",
    )
