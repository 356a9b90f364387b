"""Reads an HTTP answer: codes in its body, and the fault that it points to."""

from typing import Any

import httpx


def error_code(answer: httpx.Response) -> str:
    """The contract's error code in a body, or the empty string."""
    try:
        code = answer.json()["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return code if isinstance(code, str) else ""


def engine_code(answer: httpx.Response) -> int | None:
    """Engine.IO's error code in a body (0 transport unknown, 1 session unknown, 3 bad request …), or None."""
    try:
        code = answer.json()["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return code if isinstance(code, int) else None


def said(answer: httpx.Response, name: str) -> dict[str, Any] | None:
    """The body of a node's /healthz ("status") or /readyz ("checks"), by the name that it must have; None for
    anybody else's, such as the start page that a proxy gives for whatever it does not know."""
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and name in body and "status" in body else None


def upgrade_fault(status: int, body: bytes) -> str:
    """A proxy that reaches nobody, one that answers by itself, else one that made a plain GET of it."""
    answer = httpx.Response(status or 502, content=body)
    if error_code(answer) == "UNKNOWN_COMMAND":  # ours, to a plain GET
        return "no-upgrade"
    found = fault(answer)
    return "no-upgrade" if found == "broken" else found


def fault(answer: httpx.Response) -> str:
    if answer.status_code == 503 and error_code(answer):
        return "not-ready"  # Parley itself: it has no place, drains, or its database is away
    if answer.status_code < 400 or answer.status_code in (404, 405):
        return "not-routed"
    if answer.status_code in (502, 503, 504):
        return "unreachable"
    if error_code(answer) in ("UNAUTHORIZED", "TOKEN_EXPIRED", "FORBIDDEN"):
        return "token-refused"
    return "broken"


def message(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
        return f"{error['code']} ({error['message']})"
    except (ValueError, KeyError, TypeError):
        return ""


def short(answer: httpx.Response) -> str:
    return f"{answer.status_code} {message(answer) or answer.text[:120]!r}"
