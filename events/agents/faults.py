"""What an upstream means by an error, before a stream or within one. Sends nothing and retries nothing."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from events.agents import phrases

#: Characters of an error that are looked at, and that the log gets.
LOOKED_AT = 4000


class Kind(StrEnum):
    RATE_LIMIT = "rate limit"
    #: Money or a plan's end: waiting does not help.
    QUOTA = "quota"
    #: The conversation does not fit the model's window.
    CONTEXT = "context"
    UNAUTHORIZED = "unauthorized"
    #: The question, or the answer, was not let through.
    FILTERED = "filtered"
    #: The model's template wants user and assistant in turn.
    TURNS = "turns"
    #: The model's template knows no system message.
    SYSTEM = "system"
    #: The server does not know `stream_options`.
    STREAM_OPTIONS = "stream_options"
    #: The model wants `max_completion_tokens` in place of `max_tokens`.
    MAX_TOKENS = "max_tokens"
    #: The model gives no encrypted reasoning, or takes none back.
    ENCRYPTED = "encrypted"
    #: The model, or its server, takes no pictures.
    IMAGES = "images"
    #: The model, or its server as it was started, takes no tools.
    TOOLS = "tools"
    #: It does not know that tools may be named and not called.
    TOOL_CHOICE = "tool_choice"
    #: It does not take back what it thought.
    REASONING = "reasoning"
    #: A fault of the server's own: another try may succeed.
    SERVER = "server"
    OTHER = "other"


class Fault(Struct, frozen=True):
    """`wait`: seconds that the error itself names. `asked` and `window` count the model's own tokens."""

    kind: Kind
    detail: str
    wait: float | None = None
    asked: int | None = None
    window: int | None = None


class UpstreamFault(Exception):
    """An answer of status 200 that holds an error."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


_CODES = {
    "context_length_exceeded": Kind.CONTEXT,
    "exceed_context_size_error": Kind.CONTEXT,
    "model_context_window_exceeded": Kind.CONTEXT,
    "insufficient_quota": Kind.QUOTA,
    "billing_hard_limit_reached": Kind.QUOTA,
    "billing_not_active": Kind.QUOTA,
    "content_filter": Kind.FILTERED,
    "content_policy_violation": Kind.FILTERED,
    "image_content_policy_violation": Kind.FILTERED,
    "misalignment_policy_violation": Kind.FILTERED,
    "bio_policy": Kind.FILTERED,
    "cyber_policy": Kind.FILTERED,
    "invalid_prompt": Kind.FILTERED,
    "invalid_encrypted_content": Kind.ENCRYPTED,
    "invalid_image": Kind.IMAGES,
    "invalid_image_url": Kind.IMAGES,
    "invalid_image_format": Kind.IMAGES,
    "image_parse_error": Kind.IMAGES,
    "unsupported_image_media_type": Kind.IMAGES,
    "failed_to_download_image": Kind.IMAGES,
    "invalid_api_key": Kind.UNAUTHORIZED,
    "authentication_error": Kind.UNAUTHORIZED,
    "permission_error": Kind.UNAUTHORIZED,
    "rate_limit_exceeded": Kind.RATE_LIMIT,
    "rate_limit_error": Kind.RATE_LIMIT,
}


def _any(parts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(parts))


#: In this order, of errors that the request itself caused.
_TEXTS = [
    (Kind.CONTEXT, _any(phrases.TOO_LONG)),
    (Kind.STREAM_OPTIONS, _any(phrases.NO_STREAM_OPTIONS)),
    (Kind.MAX_TOKENS, _any(phrases.OTHER_LIMIT)),
    (Kind.TOOLS, _any(phrases.NO_TOOLS)),
    (Kind.TOOL_CHOICE, _any(phrases.NO_TOOL_CHOICE)),
    (Kind.REASONING, _any(phrases.NO_REASONING)),
    (Kind.SYSTEM, _any(phrases.NO_SYSTEM)),
    (Kind.TURNS, _any(phrases.TURNS)),
    (Kind.ENCRYPTED, _any(phrases.NO_ENCRYPTED)),
    (Kind.IMAGES, _any(phrases.NO_IMAGES)),
    (Kind.FILTERED, _any(phrases.FILTERED)),
    (Kind.RATE_LIMIT, _any(phrases.RATE)),
]
_QUOTA = _any(phrases.QUOTA)
_WAIT = re.compile(phrases.WAIT)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d\d\d)")


def fault_of(status: int | None, body: bytes) -> Fault:
    """`status` is None for an error that came within a stream; its own code then stands for it."""
    text = body[: LOOKED_AT * 2].decode("utf-8", "replace")[:LOOKED_AT]
    codes = _codes(_decoded(body))
    if status is None:
        status = next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)), None)
    said = _THOUSANDS.sub("", text.lower())
    kind = _kind(status, codes, said)
    detail = f"status {status}: {text}" if status is not None else text
    return Fault(
        kind,
        detail,
        wait=_wait(said),
        asked=_number(said, phrases.ASKED) if kind is Kind.CONTEXT else None,
        window=_number(said, phrases.WINDOW) if kind is Kind.CONTEXT else None,
    )


def _kind(status: int | None, codes: list[str], said: str) -> Kind:
    if status == 402 or (_QUOTA.search(said) and _wait(said) is None):
        return Kind.QUOTA
    known = next((_CODES[code] for code in codes if code in _CODES), None)
    if known is Kind.RATE_LIMIT and "request too large" in said:
        return Kind.CONTEXT  # more than a minute's tokens at once: waiting does not help, less does
    if known is not None:
        return known
    if status == 429:
        return Kind.RATE_LIMIT
    if status == 413 or (status == 400 and not said):
        return Kind.CONTEXT  # a proxy's words, or none
    said_anyway = any(word in said for word in ("context", "image input", "--jinja"))
    if status is None or status < 500 or said_anyway:
        found = next((kind for kind, pattern in _TEXTS if pattern.search(said)), None)
        if found is not None:
            return found
    if status in (401, 403):
        return Kind.UNAUTHORIZED
    if status is None or status >= 500 or status in (408, 409):
        return Kind.SERVER
    return Kind.OTHER


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None  # cut off, or no JSON at all: the text is looked at


def _codes(value: Any) -> list[str]:
    """The codes and types of an error object: {"error": {…}}, the object itself, or a list of one."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return []
    inner = value.get("error", value)
    if not isinstance(inner, dict):
        return [str(value[name]) for name in ("code", "status") if name in value]
    return [str(inner[name]).lower() for name in ("code", "type", "status") if inner.get(name) is not None]


def _number(said: str, patterns: Iterable[str]) -> int | None:
    found = next((match for pattern in patterns if (match := re.search(pattern, said))), None)
    return int(found[1]) if found else None


def _wait(said: str) -> float | None:
    found = _WAIT.search(said)
    if found is None:
        return None
    hours, minutes, seconds, unit, delay = found.groups()
    if delay is not None:
        return float(delay)
    if unit == "ms":
        return float(seconds) / 1000
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
