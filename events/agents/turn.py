"""Gathers what a model says in one call, so that it can be told of it in the next. Sends nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from events.agents.deltas import Delta, ReasoningDelta, StartOver, ToolInput
from events.agents.modelcall import CalledTool, ModelTurn
from events.agents.toolbox import arguments_of
from events.agents.toolresults import ToolResult

#: Characters of what a model thought, and bytes of what it wants back with that, in one call. A model goes
#: on without; what it thinks an upstream may send for ever.
MOST, MOST_METADATA = 1024 * 1024, 512 * 1024


class WantedCall(Struct):
    """`number` counts an answer's calls, `input_text` grows until the model has ended its turn."""

    number: int
    tool_call_id: str
    name: str
    input_text: str = ""
    provider_metadata: dict[str, Any] | None = None


class _Thought(Struct):
    text: list[str] = []
    provider_metadata: dict[str, Any] | None = None


class TurnReader:
    """One call of the model."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thoughts: dict[int, _Thought] = {}
        self._calls: dict[int, WantedCall] = {}
        self._room, self._metadata = MOST, KeptMetadata()

    def take(self, delta: Delta) -> None:
        if isinstance(delta, str):
            self._text.append(delta)
        elif isinstance(delta, ReasoningDelta):
            self._think(delta)
        elif isinstance(delta, ToolInput) and not delta.by_provider:
            call = self._calls.get(delta.call)
            if call is None:
                call = WantedCall(delta.call, delta.tool_call_id, delta.name)
                self._calls[delta.call] = call
            call.input_text += delta.content
            call.name = call.name or delta.name
            call.provider_metadata = self._metadata.merged(call.provider_metadata, delta.provider_metadata)
        elif isinstance(delta, StartOver):
            self._thoughts.clear()
            self._room = MOST

    def _think(self, delta: ReasoningDelta) -> None:
        thought = self._thoughts.setdefault(delta.thought, _Thought())
        self._room -= len(delta.content)
        if self._room >= 0:
            thought.text.append(delta.content)
        thought.provider_metadata = self._metadata.merged(thought.provider_metadata, delta.provider_metadata)

    @property
    def calls(self) -> list[WantedCall]:
        """Those that the agent is to carry out."""
        return list(self._calls.values())

    def told(self, results: Mapping[int, ToolResult], heard: Sequence[str] = ()) -> ModelTurn:
        """`results` by the calls' numbers; `heard`: what people said meanwhile."""
        called = [
            CalledTool(
                call.tool_call_id, call.name, _valid(call.input_text), results[call.number].text,
                call.provider_metadata,
            )
            for call in self.calls
        ]  # fmt: skip
        reasoning = [
            ("".join(thought.text), thought.provider_metadata)
            for thought in self._thoughts.values()
            if thought.provider_metadata is not None
        ]
        return ModelTurn("".join(self._text), called, reasoning, heard)


def _valid(input_text: str) -> str:
    """What is no JSON object no template can write: the result says what was wrong with it."""
    try:
        arguments_of(input_text)
    except ValueError:
        return "{}"
    return input_text.strip() or "{}"


class KeptMetadata:
    """What comes with the pieces of one answer and goes back to its model: beyond `most` bytes none of it."""

    def __init__(self, most: int = MOST_METADATA) -> None:
        self._most, self._came, self._is_over = most, 0, False

    def merged(self, known: dict[str, Any] | None, more: dict[str, Any] | None) -> dict[str, Any] | None:
        if not more:
            return known
        made = None if self._is_over else merged(known, more)
        self._came += len(msgspec.json.encode(more))
        if made is not None and self._came > self._most:
            # Pieces that became one are smaller than they came.
            self._came = 0
            self._is_over = len(msgspec.json.encode(made)) > self._most
        return None if self._is_over else made


def merged(known: dict[str, Any] | None, more: dict[str, Any] | None) -> dict[str, Any] | None:
    """Lists grow; pieces of one entry become one again, as it was before it was cut up. Of all else the last
    counts."""
    if not more:
        return known
    made = dict(known or {})
    for name, value in more.items():
        before = made.get(name)
        if isinstance(value, list) and isinstance(before, list):
            made[name] = _joined(before, value)
        else:
            made[name] = value
    return made


def _joined(known: list[Any], more: list[Any]) -> list[Any]:
    made = list(known)
    for each in more:
        last = made[-1] if made else None
        if isinstance(each, dict) and isinstance(last, dict) and _are_one(last, each):
            made[-1] = _grown(last, each)
        else:
            made.append(each)
    return made


def _are_one(last: dict[str, Any], each: dict[str, Any]) -> bool:
    """Pieces are told by their index (OpenRouter), or end with a signature (Anthropic's, through LiteLLM)."""
    if last.get("type") != each.get("type") or last.get("index") != each.get("index"):
        return False
    return each.get("index") is not None or (each.get("type") == "thinking" and not last.get("signature"))


def _grown(last: dict[str, Any], each: dict[str, Any]) -> dict[str, Any]:
    grown = {**last, **{name: value for name, value in each.items() if value is not None}}
    for name in ("text", "summary", "data", "thinking"):
        if isinstance(last.get(name), str) and isinstance(each.get(name), str):
            grown[name] = last[name] + each[name]
    return grown
