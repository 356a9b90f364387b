"""What a model said in earlier answers, read from their parts as they are stored. Knows no API."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import structs

from events.agents.modelcall import CalledTool, ModelTurn
from events.agents.reading import ENCRYPTED
from events.agents.toolasking import SHOWN_TOOL
from events.schema import Message

#: Of a call that has no end: the answer was stopped, or its node was gone.
UNKNOWN = "(it was stopped before it ended)"
#: Where a part keeps the id that its upstream gave a call, if no part can have it.
CALL_ID = "tool_call_id"


def turns_of(said: Message) -> list[ModelTurn]:
    """The model calls of an answer; none, if it called no tools that others than its provider carried out."""
    parts: Any = said.parts or ()
    turns = [_turn(step) for step in _steps(parts) if step]
    return turns if any(turn.calls for turn in turns) else []


def turns_so_far(
    parts: Iterable[dict[str, Any]], results: Mapping[str, str], steered: Mapping[str, str]
) -> list[ModelTurn]:
    """Of an answer that goes on. `results`: what the model is told of calls that had none, by their parts'
    ids; `steered`: what was said meanwhile, by the messages' ids."""
    told = [part | {"output": results[part["id"]]} if part.get("id") in results else part for part in parts]
    turns = [_turn(step) for step in _steps(told)]
    for number, step in enumerate(part for part in told if part["type"] == "step"):
        heard = tuple(steered[each] for each in step.get("steered", ()) if each in steered)
        turns[number] = structs.replace(turns[number], heard=heard)
    return turns


def _steps(parts: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    steps: list[list[dict[str, Any]]] = [[]]
    for part in parts:
        if part["type"] == "step":
            steps.append([])
        else:
            steps[-1].append(part)
    return steps


def thoughts_of(said: Message) -> list[tuple[str, dict[str, Any]]]:
    """Of an answer without such calls: the thoughts that led to its text, as the Responses API takes them
    back."""
    parts: Any = said.parts or ()
    thoughts = _turn(parts).reasoning
    given = [(text, metadata.get(ENCRYPTED)) for text, metadata in thoughts]
    return [(text, encrypted) for text, encrypted in given if isinstance(encrypted, dict)]


def _turn(step: Iterable[dict[str, Any]]) -> ModelTurn:
    text: list[str] = []
    calls: list[CalledTool] = []
    reasoning: list[tuple[str, dict[str, Any]]] = []
    for part in step:
        if part["type"] == "text" and part.get("text"):
            text.append(part["text"])
        elif part["type"] == "tool" and part.get("executed_by", "agent") == "provider":
            reasoning.clear()  # none is taken back without the call that it led to
        elif part["type"] == "tool":
            calls.append(_called(part))
        elif part["type"] == "reasoning" and part.get("provider_metadata"):
            reasoning.append((part.get("text", ""), part["provider_metadata"]))
    return ModelTurn("\n\n".join(text), calls, reasoning)


def _called(part: dict[str, Any]) -> CalledTool:
    metadata = dict(part.get("provider_metadata") or {})
    tool_call_id = metadata.pop(CALL_ID, None) or part["tool_call_id"]
    metadata.pop(SHOWN_TOOL, None)
    given = part.get("input")
    written = msgspec.json.encode(given).decode() if isinstance(given, dict) else "{}"
    return CalledTool(tool_call_id, part["name"], written, _output(part), metadata or None)


def _output(part: dict[str, Any]) -> str:
    if part.get("error"):
        return f"Error: {_text(part['error'])}"
    return _text(part["output"]) if "output" in part else UNKNOWN


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
