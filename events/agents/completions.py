"""Reads a stream of chat completions, of whichever server: data of its events in, typed deltas out.

Does no input or output and knows no server by name. docs/agents.md has the table of what servers send.
"""

import json
from typing import Any

import msgspec
from msgspec import Raw, Struct

from events.agents.account import usage_of
from events.agents.deltas import Citation, Delta, Finish, Model, ReasoningDelta, Unread
from events.agents.faults import UpstreamFault, fault_of
from events.agents.thinking import Thinking, ThinkSplitter
from events.agents.toolcalls import ToolCalls
from events.schema import FinishReason, Usage

NOTHING = Raw(b"null")

#: Sources of one answer, and fields that are told as unread; what comes beyond is left out.
MOST_SOURCES = 1000
MOST_UNREAD = 100

REASONS: dict[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length", "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter", "safety": "content_filter", "recitation": "content_filter",
    "refusal": "content_filter", "sensitive": "content_filter",
    "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "error": "error", "insufficient_system_resource": "error", "network_error": "error",
}  # fmt: skip

#: Fields of a delta that are read below, or say nothing about the answer.
_READ = frozenset(
    [
        "role",
        "content",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "tool_calls",
        "function_call",
        "refusal",
        "annotations",
        "context",
        "index",
        "tool_call_id",
        "name",
        "obfuscation",
    ]
)


class _Choice(Struct):
    index: int | None = None
    delta: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    finish_reason: str | int | None = None
    usage: Raw = NOTHING
    error: Raw = NOTHING


class _Groq(Struct):
    usage: Raw = NOTHING
    error: Raw = NOTHING


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    model: Any = None
    usage: Raw = NOTHING
    x_groq: _Groq | None = None
    error: Raw = NOTHING
    object: Any = None
    citations: Any = None
    search_results: Any = None


class CompletionReader:
    """One answer. `finished`: the model has said that it is at its end, and why."""

    def __init__(self, thinking: Thinking = "off") -> None:
        self.finished = False
        self._split = ThinkSplitter(thinking)
        self._calls = ToolCalls()
        self._urls: set[str] = set()
        self._unread: set[str] = set()
        self._usage = Usage()
        self._model = ""
        self._refused = False

    def feed(self, data: bytes, event: bytes = b"") -> list[Delta]:
        """The data of one event, whose name is `event`; or a whole completion that came in place of a stream.

        Raises UpstreamFault, or msgspec.DecodeError or ValueError for what is no completion."""
        if event == b"error" or data.startswith(b"["):
            raise UpstreamFault(fault_of(None, data))
        chunk = _decoded(data)
        self._check(chunk, data)
        found: list[Delta] = []
        if isinstance(chunk.model, str) and chunk.model and chunk.model != self._model:
            self._model = chunk.model
            found.append(Model(chunk.model))
        choice = next((each for each in chunk.choices or () if not each.index), None)
        if choice is not None:
            found += self._choice(choice)
        found += self._sources(chunk.search_results) + self._sources(chunk.citations)
        usage = usage_of(
            chunk.usage,
            chunk.x_groq.usage if chunk.x_groq else NOTHING,
            choice.usage if choice else NOTHING,
        )
        if usage is not None and usage != self._usage:
            self._usage = usage
            found.append(usage)
        return found

    def _check(self, chunk: _Chunk, data: bytes) -> None:
        errors = [chunk.error, *(each.error for each in chunk.choices or ())]
        if chunk.x_groq is not None:
            errors.append(chunk.x_groq.error)
        told = next((error for error in errors if bytes(error) not in (b"null", b"false", b'""')), None)
        if told is not None:
            raise UpstreamFault(fault_of(None, bytes(told)))
        if chunk.object == "error":
            raise UpstreamFault(fault_of(None, data))

    def _choice(self, choice: _Choice) -> list[Delta]:
        said = choice.delta if choice.delta is not None else choice.message or {}
        found = self._reasoning(said) + self._content(said.get("content"))
        found += self._refusal(said.get("refusal"))
        for field in said.keys() - _READ:
            found += self._passed_over(field[:50]) if said[field] else []
        calls = said.get("tool_calls")
        if isinstance(calls, list):
            found += self._calls.feed(calls)
        if isinstance(said.get("function_call"), dict):
            found += self._calls.feed([{"index": 0, "function": said["function_call"]}])
        found += self._sources(said.get("annotations"))
        if isinstance(said.get("context"), dict):
            found += self._sources(said["context"].get("citations"))
        if choice.finish_reason is not None and choice.finish_reason != "":
            found += [*self._split.end(), Finish(self._reason(str(choice.finish_reason)))]
            self.finished = True
        return found

    def _reason(self, said: str) -> FinishReason:
        reason = REASONS.get(said.lower(), "other")
        if reason == "stop" and self._refused:
            return "content_filter"
        # Gemini says `stop` where others say that they wait for tools.
        return "tool_calls" if reason == "stop" and len(self._calls) else reason

    def _content(self, content: Any) -> list[Delta]:
        if content is None:
            return []
        if isinstance(content, str):
            return self._split.feed(_clean(content))
        if not isinstance(content, list):
            raise ValueError("content is neither text nor a list of parts")
        found: list[Delta] = []
        for part in content:
            found += self._part(part)
        return found

    def _part(self, part: Any) -> list[Delta]:
        if isinstance(part, str):
            return self._split.feed(_clean(part))
        if not isinstance(part, dict):
            raise ValueError("a part of the content is neither text nor an object")
        if part.get("type") in ("text", "output_text"):
            return self._split.feed(_clean(_text(part.get("text"))))
        if part.get("type") in ("thinking", "reasoning"):
            thought = part.get("thinking", part.get("text"))
            if isinstance(thought, list):
                thought = "".join(_text(each.get("text")) for each in thought if isinstance(each, dict))
            return _thought(_text(thought))
        if part.get("type") == "refusal":
            return self._refusal(part.get("refusal"))
        return self._passed_over(f"content.{_text(part.get('type'))[:50]}")

    def _passed_over(self, field: str) -> list[Delta]:
        if field in self._unread or len(self._unread) == MOST_UNREAD:
            return []
        self._unread.add(field)
        return [Unread(field)]

    def _refusal(self, words: Any) -> list[Delta]:
        """The model's own words for why it does not answer: people read them as they read an answer."""
        if not isinstance(words, str) or not words:
            return []
        self._refused = True
        return [_clean(words)]

    def _reasoning(self, said: dict[str, Any]) -> list[Delta]:
        """Some send the same words under two names, and once more in the details: they are taken once."""
        words = _text(said.get("reasoning_content")) or _text(said.get("reasoning"))
        details = said.get("reasoning_details")
        if not isinstance(details, list) or not details:
            return _thought(words)
        if not words:
            parts = [part for part in details if isinstance(part, dict)]
            words = "".join(_text(part.get("text")) or _text(part.get("summary")) for part in parts)
        return [ReasoningDelta(_clean(words), {"reasoning_details": details})]

    def _sources(self, told: Any) -> list[Delta]:
        found: list[Delta] = []
        for each in told if isinstance(told, list) else ():
            source = _source(each)
            if source is not None and source.url not in self._urls and len(self._urls) < MOST_SOURCES:
                self._urls.add(source.url)
                found.append(source)
        return found


def _decoded(data: bytes) -> _Chunk:
    try:
        return msgspec.json.decode(data, type=_Chunk)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Some send the halves of a surrogate pair one by one, which only Python's own decoder takes.
        whole = json.dumps(json.loads(data), ensure_ascii=False)
        return msgspec.json.decode(whole.encode("utf-8", "replace"), type=_Chunk)


def _source(told: Any) -> Citation | None:
    """A citation: an address alone, an object, or an object within one."""
    if isinstance(told, str):
        told = {"url": told}
    if isinstance(told, dict) and isinstance(told.get("url_citation"), dict):
        told = told["url_citation"]
    if not isinstance(told, dict) or not _text(told.get("url")):
        return None
    snippet = _text(told.get("snippet")) or _text(told.get("content"))
    return Citation(told["url"], _text(told.get("title")) or None, snippet or None)


def _thought(words: str) -> list[Delta]:
    return [ReasoningDelta(_clean(words))] if words else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _clean(text: str) -> str:
    """NUL cannot be stored."""
    return text.replace("\0", "")
