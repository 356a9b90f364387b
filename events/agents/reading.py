"""What the readers of an upstream's answer share, whichever form it has. Does no input or output."""

import json
from typing import Any, TypeVar

import msgspec

from events.agents.deltas import Citation, Delta, Unread
from events.schema import FinishReason

#: Where a thought's metadata has what the Responses API takes back.
ENCRYPTED = "responses"
#: Sources of one answer, and fields that are told as unread; what comes beyond is left out.
MOST_SOURCES = 1000
MOST_UNREAD = 100
#: Letters of a source's address: addresses are kept as long as the answer is written.
LONGEST_URL = 8192

REASONS: dict[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length", "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter", "safety": "content_filter", "recitation": "content_filter",
    "refusal": "content_filter", "sensitive": "content_filter",
    "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "error": "error", "insufficient_system_resource": "error", "network_error": "error",
}  # fmt: skip

T = TypeVar("T")


class Sources:
    """Of one answer: each address is told once."""

    def __init__(self) -> None:
        self._urls: set[str] = set()

    def feed(self, told: Any) -> list[Delta]:
        """A list of citations, in whichever of their spellings."""
        found: list[Delta] = []
        for each in told if isinstance(told, list) else ():
            source = _source(each)
            if source is not None and source.url not in self._urls and len(self._urls) < MOST_SOURCES:
                self._urls.add(source.url)
                found.append(source)
        return found


class UnreadFields:
    """Of one answer: each field is told once."""

    def __init__(self) -> None:
        self._fields: set[str] = set()

    def feed(self, field: str) -> list[Delta]:
        field = field[:60]
        if field in self._fields or len(self._fields) == MOST_UNREAD:
            return []
        self._fields.add(field)
        return [Unread(field)]


def decoded(data: bytes, form: type[T]) -> T:
    """Raises msgspec.DecodeError, ValueError."""
    try:
        return msgspec.json.decode(data, type=form)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Some send the halves of a surrogate pair one by one, which only Python's own decoder takes.
        whole = json.dumps(json.loads(data), ensure_ascii=False)
        return msgspec.json.decode(whole.encode("utf-8", "replace"), type=form)


def _source(told: Any) -> Citation | None:
    """A citation: an address alone, an object, or an object within one."""
    if isinstance(told, str):
        told = {"url": told}
    if isinstance(told, dict) and isinstance(told.get("url_citation"), dict):
        told = told["url_citation"]
    if not isinstance(told, dict) or not 0 < len(text_of(told.get("url"))) <= LONGEST_URL:
        return None
    snippet = text_of(told.get("snippet")) or text_of(told.get("content"))
    return Citation(told["url"], text_of(told.get("title")) or None, snippet or None)


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def clean(text: str) -> str:
    """NUL cannot be stored."""
    return text.replace("\0", "")
