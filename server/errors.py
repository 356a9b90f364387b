"""How errors look to clients: HTTP status, WebSocket close code, body. One table (contract, section 7).

Knows no transport beyond these numbers; which errors there are is `events/errors.py`'s.
"""

from dataclasses import dataclass
from math import ceil

import orjson
from starlette.responses import Response

from events import errors
from events.errors import ChatError


@dataclass(frozen=True, slots=True)
class Shown:
    """How one code looks: `status` of HTTP, `close` of the raw WebSocket (None: the connection stays)."""

    status: int
    close: int | None = None


TABLE = {
    "VALIDATION_ERROR": Shown(422),
    "UNKNOWN_COMMAND": Shown(422),
    "UNAUTHORIZED": Shown(401, 4001),
    "TOKEN_EXPIRED": Shown(401, 4001),
    "FORBIDDEN": Shown(403, 4003),
    "ORIGIN_NOT_ALLOWED": Shown(403, 4003),
    "SESSION_NOT_FOUND": Shown(404, 4004),
    "SESSION_EXPIRED": Shown(410, 4004),
    "SESSION_ARCHIVED": Shown(409, 4004),
    "MESSAGE_NOT_FOUND": Shown(404),
    "STREAM_NOT_FOUND": Shown(404),
    "FILE_NOT_FOUND": Shown(404),
    "AGENT_NOT_FOUND": Shown(404),
    "WEBHOOK_NOT_FOUND": Shown(404),
    "MESSAGE_REJECTED": Shown(422),
    "CONFLICT": Shown(409),
    "AGENT_BUSY": Shown(409),
    "STREAM_OPEN": Shown(409),
    "STREAM_CLOSED": Shown(409),
    "INDEX_CONFLICT": Shown(409),
    "PAYLOAD_TOO_LARGE": Shown(413, 1009),
    "LIMIT_REACHED": Shown(409),
    "UNSUPPORTED_FILE_TYPE": Shown(415),
    "RATE_LIMIT": Shown(429, 4008),
    # Only a connection is ever cut off for its slowness; the status is there for completeness.
    "SLOW_CONSUMER": Shown(503, 4013),
    "AGENT_UNAVAILABLE": Shown(503, 1013),
    "UNAVAILABLE": Shown(503, 1013),
    "SERVER_FULL": Shown(503, 1013),
    "INTERNAL": Shown(500, 1011),
}
DRAINING_CLOSE = 1012
"""Service Restart (IANA): come back, another node will answer. The code is UNAVAILABLE, as of any outage."""


def close_code(error: ChatError) -> int | None:
    """The close code where `error` ends a raw WebSocket; None if it never does."""
    if isinstance(error, errors.Draining):
        return DRAINING_CLOSE
    return TABLE[error.code].close


def retry_after(error: ChatError) -> int | None:
    """Whole seconds for the `Retry-After` header (RFC 9110, 10.2.3), rounded up; None if it has no place."""
    if error.retry_after is not None:
        return max(1, ceil(error.retry_after / 1000))
    return 1 if TABLE[error.code].status in (429, 503) else None


def body_of(error: ChatError) -> bytes:
    """What HTTP answers say of `error`."""
    return orjson.dumps({"error": error.as_dict()})


def json_error(error: ChatError) -> Response:
    """The whole HTTP answer for `error`."""
    headers: dict[str, str] = {}
    if (seconds := retry_after(error)) is not None:
        headers["Retry-After"] = str(seconds)
    if TABLE[error.code].status == 401:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 15.5.2: a 401 names a challenge
    return Response(
        body_of(error),
        status_code=TABLE[error.code].status,
        headers=headers,
        media_type="application/json",
    )
