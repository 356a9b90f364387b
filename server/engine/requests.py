"""What the engine reads in a request besides its session (parameters, credentials, Origin, body), and
answers.

Knows no sessions.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from server.engine.asgi import Receive, Scope, Send
from server.engine.heads import read
from server.engine.parser import BEGINNING

Headers = list[tuple[bytes, bytes]]
#: Where the official client looks for the server.
PATH: Final = "/socket.io/"
#: What a Socket.IO frame may have around a payload: the event's name, the ack's id.
FRAME_OVERHEAD: Final = 1024
#: Request headers that are read here, and those of the REST door.
ALLOWED_HEADERS: Final = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")
#: Seconds for the body of a POST.
BODY_TIMEOUT: Final = 15.0
#: ... in which all that it brings has to be taken; then its session ends. Proxies wait no longer.
HELD_UP: Final = 60.0
#: Whether this Origin may come in; the ASGI scope tells the rest.
OriginRule = Callable[[str, Scope], bool]
#: What its client is told of an Origin that may not: a JSON object.
Refused = Callable[[str], dict[str, Any]]

# The numbers and words of the reference server, which its clients print.
_ERRORS: Final = {
    0: (400, "Transport unknown"),
    1: (400, "Session ID unknown"),
    2: (400, "Bad handshake method"),
    3: (400, "Bad request"),
    4: (403, "Forbidden"),
    5: (400, "Unsupported protocol version"),
    6: (413, "Payload too large"),
}


def credentials(scope: Scope) -> bytes | None:
    """A digest of what a request proves its caller with (header or `?token=`); None if it has neither. Where
    another node passed the request on, that node has read it."""
    if "parley.caller" in scope:
        passed: bytes | None = scope["parley.caller"]
        return passed
    shown = read(scope["headers"]).first.get(b"authorization")
    if shown is not None:
        return hashlib.sha256(shown.removeprefix(b"Bearer ")).digest()[:16]
    if b"token=" not in scope["query_string"]:
        return None
    token = query_of(scope).get(b"token")
    return hashlib.sha256(token).digest()[:16] if token else None


def query_of(scope: Scope) -> dict[bytes, bytes]:
    """First value of each parameter; those read here need no percent-decoding."""
    found: dict[bytes, bytes] = {}
    for part in scope["query_string"].split(b"&"):
        name, _, value = part.partition(b"=")
        found.setdefault(name, value)
    return found


def header_of(scope: Scope, name: bytes) -> str | None:
    value = read(scope["headers"]).first.get(name)
    return None if value is None else value.decode("latin-1")


class TooLong:
    """A body beyond the limit: its beginning, and its size as far as it is known."""

    def __init__(self, beginning: bytes, size: int) -> None:
        self.beginning, self.size = beginning, size


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes | TooLong:
    """A request's body, or that it is longer than `limit`: no later than its first piece where its length
    says so. Raises TimeoutError, or ConnectionError if it was not sent to its end."""
    length = header_of(scope, b"content-length")
    declared = int(length) if length is not None and length.isdecimal() else 0
    parts, size, more = [], 0, True
    async with asyncio.timeout(BODY_TIMEOUT):
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise ConnectionError
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if max(size, declared) > limit:
                return TooLong(parts[0][:BEGINNING], max(size, declared))
            more = event.get("more_body", False)
    return b"".join(parts)


def same_origin(origin: str, scope: Scope) -> bool:
    """X-Forwarded-Host's word is not taken for it."""
    secure = scope["scheme"] in ("https", "wss")
    return origin == f"{'https' if secure else 'http'}://{header_of(scope, b'host')}"


class OriginCheck:
    """Who may come in from where."""

    def __init__(self, rule: OriginRule = same_origin, refused: Refused | None = None) -> None:
        self._rule = rule
        self._refused = refused

    def allowed(self, scope: Scope) -> bool:
        """Whether the request's Origin may come in."""
        origin = header_of(scope, b"origin")
        return origin is None or self._rule(origin, scope)

    def refusal(self, scope: Scope) -> bytes:
        """The body for a request whose Origin may not come in."""
        body = {"code": 4, "message": _ERRORS[4][1]}
        if self._refused is not None:
            body["error"] = self._refused(header_of(scope, b"origin") or "")
        return orjson.dumps(body)

    def headers(self, scope: Scope) -> Headers | None:
        """The response's CORS headers; None if the Origin may not come in."""
        origin = header_of(scope, b"origin")
        if origin is None:
            return []
        if not self.allowed(scope):
            return None
        headers = self._allowing(origin)
        headers.append((b"access-control-expose-headers", b"Retry-After"))
        if scope["method"] == "OPTIONS":
            headers.append((b"access-control-allow-methods", b"OPTIONS, GET, POST"))
            # An allowed page's libraries add headers of their own, which nobody reads.
            wanted = header_of(scope, b"access-control-request-headers") or ""
            allowed = ", ".join((*ALLOWED_HEADERS, *filter(None, (wanted.strip(),))))
            headers.append((b"access-control-allow-headers", allowed.encode("latin-1")))
            headers.append((b"access-control-max-age", b"600"))
        return headers

    def _allowing(self, origin: str) -> Headers:
        """Who may read the answer."""
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"vary", b"Origin"),
            (b"access-control-allow-credentials", b"true"),
        ]


def error(code: int, more: Mapping[str, Any] | None = None) -> bytes:
    """The body of an Engine.IO refusal; `more` is what the application adds."""
    return orjson.dumps({"code": code if code < 6 else 3, "message": _ERRORS[code][1], **(more or {})})


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    kind = b"application/json" if status >= 400 else b"text/plain; charset=UTF-8"
    fields = [*headers, (b"content-type", kind), (b"content-length", b"%d" % len(body)),
              (b"cache-control", b"no-store")]  # fmt: skip
    if status == 204:
        fields = headers
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
