"""What an upstream means by an error, before a stream or within one. Sends nothing and retries nothing."""

import re
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

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
    "insufficient_quota": Kind.QUOTA,
    "billing_hard_limit_reached": Kind.QUOTA,
    "content_filter": Kind.FILTERED,
    "content_policy_violation": Kind.FILTERED,
    "invalid_api_key": Kind.UNAUTHORIZED,
    "authentication_error": Kind.UNAUTHORIZED,
    "permission_error": Kind.UNAUTHORIZED,
    "rate_limit_exceeded": Kind.RATE_LIMIT,
    "rate_limit_error": Kind.RATE_LIMIT,
}

#: In this order, of errors that the request itself caused. docs/agents.md names who says which.
_TEXTS = [
    (
        Kind.CONTEXT,
        r"context[ _-]?(?:length|window|size|limit)|request too large|reduce the length of the messages"
        r"|(?:prompt|input) (?:is|are) too (?:long|large)|input token count|input length \(\d+\) exceeds"
        r"|exceeds? the model'?s (?:maximum|max) |max_tokens must be at least 1, got -",
    ),
    (Kind.STREAM_OPTIONS, r"stream_options"),
    (Kind.MAX_TOKENS, r"use '?max_completion_tokens"),
    (
        Kind.SYSTEM,
        r"system role (?:is )?not supported|only user and assistant roles|(?:does|do) not support system"
        r"|developer instruction is not enabled|system messages? (?:is|are) not supported"
        r"|unexpected role:? '?system",
    ),
    (
        Kind.TURNS,
        r"(?:must|should) (?:alternate|be alternating)|alternate between|interleave the user"
        r"|(?:successive|consecutive) user|(?:start|begin) with a user|first message must"
        r"|system message must be at the beginning|last message must (?:have role|be)|expected last role",
    ),
    (Kind.FILTERED, r"content management policy|content[ _]policy|input was flagged|flagged by moderation"),
]
_QUOTA = re.compile(
    r"insufficient[ _](?:quota|balance|credits|funds)|exceeded your current quota|requires more credits"
)
_TEXTS_COMPILED = [(kind, re.compile(pattern)) for kind, pattern in _TEXTS]

_WINDOW = re.compile(
    r"(?:maximum context length (?:is|of)|n_ctx\"?:|context size \(|maximum number of tokens allowed \(|limit"
    r"|maximum input length is|tokens? >)\s{0,3}(\d{2,9})|with (\d{2,9}) maximum context length"
)
#: What the messages alone come to, where that is said, before what they come to with the answer.
_ASKED = re.compile(
    r"(\d{1,9}) (?:in|of) the (?:messages|prompt)|(\d{1,9}) of text input|n_prompt_tokens\"?:\s{0,3}(\d{1,9})"
)
_ASKED_IN_ALL = re.compile(
    r"request \((\d{1,9}) tokens\)|resulted in (\d{1,9}) tokens|has (\d{1,9}) input tokens"
    r"|contains (?:at least )?(\d{1,9}) (?:input )?tokens|input token count \((\d{1,9})\)"
    r"|requested:? (?:about )?(\d{1,9})|too long: (\d{1,9}) tokens"
)
_SECONDS = r"(\d{1,5}(?:\.\d{1,9})?)"
_WAIT = re.compile(
    rf"(?:try again|retry) in (?:(\d{{1,3}})h)?(?:(\d{{1,4}})m(?=\d))?{_SECONDS} ?(ms|s)"
    rf"|retrydelay\"?:\s{{0,3}}\"{_SECONDS}s"
)


def fault_of(status: int | None, body: bytes) -> Fault:
    """`status` is None for an error that came within a stream; its own code then stands for it."""
    text = body[: LOOKED_AT * 2].decode("utf-8", "replace")[:LOOKED_AT]
    codes = _codes(_decoded(body))
    if status is None:
        status = next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)), None)
    said = text.lower()
    kind = _kind(status, codes, said)
    detail = f"status {status}: {text}" if status is not None else text
    return Fault(
        kind,
        detail,
        wait=_wait(said),
        asked=_number(said, _ASKED, _ASKED_IN_ALL) if kind is Kind.CONTEXT else None,
        window=_number(said, _WINDOW) if kind is Kind.CONTEXT else None,
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
    if status is None or status < 500 or "context" in said:
        found = next((kind for kind, pattern in _TEXTS_COMPILED if pattern.search(said)), None)
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


def _number(said: str, *patterns: re.Pattern[str]) -> int | None:
    found = next((match for pattern in patterns if (match := pattern.search(said))), None)
    return int(next(group for group in found.groups() if group)) if found else None


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
