"""What a request's head asks for, in the one reading that all of the engine goes by, and heads that two
readers could take differently. Knows no connection.
"""

from typing import Final

from server.engine.asgi import Headers

#: A request has at most one line of each: of two, one reader takes the first and another the last.
#: `Connection` and the lists of RFC 6455 (protocols, extensions) are not here: their lines are one list.
_SINGLE: Final = (
    b"authorization", b"content-length", b"host", b"origin", b"sec-websocket-key", b"sec-websocket-version",
    b"transfer-encoding", b"upgrade",
)  # fmt: skip


def ambiguous(headers: Headers) -> bool:
    """Whether two readers could take the request differently; names are in lower case."""
    fields = dict(headers)
    if len(fields) != len(headers):
        names = [name for name, _ in headers]
        if any(names.count(name) > 1 for name in _SINGLE):
            return True
    return b"transfer-encoding" in fields and b"content-length" in fields  # RFC 9112 section 6.3


def asks_for_websocket(headers: Headers) -> bool:
    """RFC 6455 section 4.2.1, points 3 and 4. A list in `Upgrade` leaves the choice to the server, which
    chooses none (RFC 9110 section 7.8)."""
    upgrade = connection = b""
    for name, value in headers:
        if name == b"upgrade":
            upgrade += value
        elif name == b"connection":
            connection += b"," + value
    if upgrade.strip(b" \t").lower() != b"websocket":
        return False
    return b"upgrade" in [token.strip(b" \t") for token in connection.lower().split(b",")]


def has_body(headers: Headers) -> bool:
    """Whether something follows the head that belongs to the request."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" \t") != b"0"):
            return True
    return False
