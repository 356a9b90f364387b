"""Headers that an agent's config adds to requests: which it may have. Sends nothing."""

import re

#: Headers that make the request: no config names them.
FRAMING = frozenset(
    [
        "host",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "accept",
        "accept-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "user-agent",
    ]
)
#: Headers that carry keys, which no config may hold.
KEYS = frozenset(["authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"])
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


def check_header(name: str, value: str, taken: frozenset[str]) -> None:
    """Raises ValueError."""
    if not _NAME.fullmatch(name) or not value.isascii() or not value.isprintable() or len(value) > 2000:
        raise ValueError("a name or value that no header can have")
    if name.lower() in taken:
        raise ValueError(f"{name.lower()} cannot be set there")
