"""Reads a stream of chat completions, of whichever server: data of its events in, typed deltas out.

Does no input or output and knows no server by name. docs/agents.md has the table of what servers send.
"""

from typing import Any

from msgspec import Raw, Struct

from events.agents.account import usage_of
from events.agents.chatturns import SIGNED, WORDS, WORDS_BACK
from events.agents.deltas import Delta, Finish, Model, ReasoningDelta
from events.agents.faults import UpstreamFault, fault_of
from events.agents.reading import REASONS, Sources, UnreadFields, clean, decoded, text_of
from events.agents.thinking import Thinking, ThinkSplitter
from events.agents.toolcalls import ToolCalls
from events.schema import FinishReason, Usage

NOTHING = Raw(b"null")

#: Fields of a delta that are read below, or say nothing about the answer.
_READ = frozenset(
    [
        "role",
        "content",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "thinking_blocks",
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

    repeats = False
    place = None

    def __init__(self, thinking: Thinking = "off") -> None:
        self.finished = False
        self._split = ThinkSplitter(thinking)
        self._calls = ToolCalls()
        self._sources, self._unread = Sources(), UnreadFields()
        self._usage = Usage()
        self._model = ""
        self._refused = False

    @property
    def done(self) -> bool:
        """Never: usage follows the end, and then `[DONE]`."""
        return False

    def feed(self, data: bytes, event: bytes = b"") -> list[Delta]:
        """The data of one event, whose name is `event`; or a whole completion that came in place of a stream.

        Raises UpstreamFault, or msgspec.DecodeError or ValueError for what is no completion."""
        if event == b"error" or data.startswith(b"["):
            raise UpstreamFault(fault_of(None, data))
        chunk = decoded(data, _Chunk)
        self._check(chunk, data)
        found: list[Delta] = []
        if isinstance(chunk.model, str) and chunk.model and chunk.model != self._model:
            self._model = chunk.model
            found.append(Model(chunk.model))
        choice = next((each for each in chunk.choices or () if not each.index), None)
        if choice is not None:
            found += self._choice(choice)
        found += self._sources.feed(chunk.search_results) + self._sources.feed(chunk.citations)
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
            found += self._unread.feed(field) if said[field] else []
        calls = said.get("tool_calls")
        if isinstance(calls, list):
            found += self._calls.feed(calls)
        if isinstance(said.get("function_call"), dict):
            found += self._calls.feed([{"index": 0, "function": said["function_call"]}])
        found += self._sources.feed(said.get("annotations"))
        if isinstance(said.get("context"), dict):
            found += self._sources.feed(said["context"].get("citations"))
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
            return self._split.feed(clean(content))
        if not isinstance(content, list):
            raise ValueError("content is neither text nor a list of parts")
        found: list[Delta] = []
        for part in content:
            found += self._part(part)
        return found

    def _part(self, part: Any) -> list[Delta]:
        if isinstance(part, str):
            return self._split.feed(clean(part))
        if not isinstance(part, dict):
            raise ValueError("a part of the content is neither text nor an object")
        if part.get("type") in ("text", "output_text"):
            return self._split.feed(clean(text_of(part.get("text"))))
        if part.get("type") in ("thinking", "reasoning"):
            thought = part.get("thinking", part.get("text"))
            if isinstance(thought, list):
                thought = "".join(text_of(each.get("text")) for each in thought if isinstance(each, dict))
            return _thought(text_of(thought))
        if part.get("type") == "refusal":
            return self._refusal(part.get("refusal"))
        return self._unread.feed(f"content.{text_of(part.get('type'))}")

    def _refusal(self, words: Any) -> list[Delta]:
        """The model's own words for why it does not answer: people read them as they read an answer."""
        if not isinstance(words, str) or not words:
            return []
        self._refused = True
        return [clean(words)]

    def _reasoning(self, said: dict[str, Any]) -> list[Delta]:
        """Some send the same words under two names, and once more in the details: they are taken once."""
        words = text_of(said.get(WORDS_BACK))
        # Who names it so wants it back under the same name while its tools run.
        metadata: dict[str, Any] = {WORDS: WORDS_BACK} if words else {}
        words = words or text_of(said.get("reasoning"))
        for name in SIGNED:
            details = said.get(name)
            if not isinstance(details, list) or not details:
                continue
            metadata[name] = details
            if not words:
                parts = [part for part in details if isinstance(part, dict)]
                words = "".join(text_of(part.get("text")) or text_of(part.get("summary")) for part in parts)
        return [ReasoningDelta(clean(words), metadata or None)] if words or metadata else []


def _thought(words: str) -> list[Delta]:
    return [ReasoningDelta(clean(words))] if words else []
