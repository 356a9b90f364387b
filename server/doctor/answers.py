"""What an HTTP answer says: codes in its body, and the fault that it points to."""

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


def upgrade_fault(status: int) -> str:
    """A proxy that reaches nobody, else one that made a plain GET of it."""
    if status in (502, 503, 504):
        return "unreachable"
    return "no-upgrade"


def fault(answer: httpx.Response) -> str:
    if answer.status_code in (404, 405):
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
