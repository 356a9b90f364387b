"""How an upstream's fault ends an answer: its code, our words for it, and when another try may succeed."""

from contextlib import suppress
from email.utils import parsedate_to_datetime

import httpcore

from events.agents.base import AnswerFailed
from events.agents.faults import Fault, Kind, fault_of
from events.agents.upstreams import Refused
from events.schema import FinishReason

#: Seconds that an upstream may ask to be waited for. One that asks for more is not tried again: whoever
#: waits hears of it at once, and may come back later.
LONGEST_WAIT = 60.0

#: What people are told. The log alone has the upstream's words, which may hold parts of the key.
_TOLD = {
    Kind.RATE_LIMIT: ("UPSTREAM_RATE_LIMIT", "the upstream takes no more requests now"),
    Kind.QUOTA: ("UPSTREAM_QUOTA", "what the upstream grants is used up"),
    Kind.CONTEXT: ("UPSTREAM_CONTEXT", "the question and its answer do not fit the model's window"),
    Kind.UNAUTHORIZED: ("UPSTREAM_UNAUTHORIZED", "the upstream refused the key"),
    Kind.FILTERED: ("UPSTREAM_FILTERED", "the upstream's filter stopped the answer"),
    Kind.SERVER: ("UPSTREAM_ERROR", "the upstream has a fault"),
}
_REFUSED = ("UPSTREAM_ERROR", "the upstream refused the request")

#: An answer without text, by why the model ended it.
_EMPTY: dict[FinishReason, tuple[str, str]] = {
    "length": ("UPSTREAM_LENGTH", "the answer's limit was reached before its first word"),
    "content_filter": ("UPSTREAM_FILTERED", "the upstream's filter stopped the answer"),
    "tool_calls": ("UPSTREAM_EMPTY", "the model asked for tools that it cannot have"),
    "error": ("UPSTREAM_ERROR", "the upstream has a fault"),
}


def refused(response: httpcore.Response, beginning: bytes) -> AnswerFailed:
    """What a status means."""
    return told(fault_of(response.status, beginning), _retry_after(response))


def told(fault: Fault, wait: float | None = None) -> AnswerFailed:
    """`wait`: the seconds of a Retry-After."""
    code, text = _TOLD.get(fault.kind, _REFUSED)
    again = None
    if fault.kind in (Kind.RATE_LIMIT, Kind.SERVER):
        asked = wait if wait is not None else fault.wait or 0.0
        again = asked if asked <= LONGEST_WAIT else None
    return AnswerFailed(code, text, retry_after=again, detail=fault.detail, fault=fault)


def stopped(retry_after: float | None = None) -> AnswerFailed:
    text = "the upstream stopped in the middle of its answer"
    return AnswerFailed("UPSTREAM_ERROR", text, retry_after=retry_after)


def empty(reason: FinishReason) -> AnswerFailed:
    code, text = _EMPTY.get(reason, ("UPSTREAM_EMPTY", "the model's answer is empty"))
    return AnswerFailed(code, text, retry_after=0 if reason == "error" else None)


def broken(error: Exception) -> AnswerFailed:
    """A request, or its answer, that came to nothing."""
    detail = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, Refused):
        return AnswerFailed("AGENT_UNAVAILABLE", "the agent's upstream is not allowed", detail=detail)
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return AnswerFailed("UPSTREAM_TIMEOUT", "the upstream took too long", retry_after=0, detail=detail)
    if isinstance(error, httpcore.NetworkError | httpcore.RemoteProtocolError):
        text = "the connection to the upstream failed"
        return AnswerFailed("UPSTREAM_ERROR", text, retry_after=0, detail=detail)
    return AnswerFailed("UPSTREAM_ERROR", "the upstream's answer is not valid", detail=detail)


def _retry_after(response: httpcore.Response) -> float | None:
    """Seconds (RFC 9110, section 10.2.3); a date counts from the upstream's own."""
    thousandths = _seconds(header(response, b"retry-after-ms"))
    if thousandths is not None:
        return thousandths / 1000
    asked = header(response, b"retry-after")
    with suppress(ValueError):
        if asked.endswith("gmt"):
            apart = parsedate_to_datetime(asked) - parsedate_to_datetime(header(response, b"date"))
            return max(0.0, apart.total_seconds())
    return _seconds(asked)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0.0 <= seconds < 1e9 else None


def header(response: httpcore.Response, name: bytes) -> str:
    """In lower case; "" where it is missing."""
    values = [value for key, value in response.headers if key.lower() == name]
    return b", ".join(values).decode("latin-1").strip().lower()
