"""Calls of tools that people have a word in: what they are asked, and what becomes of a call by their answer.
Knows no model, no tools' protocol and no stream."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from events.agents.deltas import Delta, ToolDecided, ToolOutput
from events.agents.toolresults import ToolResult, cut, failed
from events.storable import storable

#: Of an approval's answer. What else it says is not told to the model.
APPROVAL = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string", "maxLength": 2000}},
    "required": ["approved"],
}
#: Bytes of a reason, and of what a page gave, that the model is told.
REASON = 2000
NOBODY = "nobody answered in time"
#: Where a call's part keeps which tool of which server was shown to those who allow it.
SHOWN_TOOL = "shown_tool"
#: Characters of a call's id in a part.
CALL_ID_LENGTH = 200

Part = Mapping[str, Any]


class AskedCall(Struct, frozen=True):
    """A call that waits. `by_page`: the page carries it out; else somebody has to allow it."""

    number: int
    tool_call_id: str
    name: str
    title: str | None
    by_page: bool

    def interrupt(self) -> dict[str, Any]:
        """As `events.schema.Interrupt` has it."""
        asked: dict[str, Any] = {
            "id": part_id(self.number),
            "tool_call_id": call_id(self.number, self.tool_call_id),
            "message": told_title(self.name, self.title),
        }
        if self.by_page:
            return {**asked, "reason": "tool_call"}
        return {**asked, "reason": "confirmation", "response_schema": APPROVAL}


def told_title(name: str, title: str | None) -> str:
    """A title is its server's word: the name that the model called stands with it."""
    return name if title is None or title == name else f"{title} ({name})"


def part_id(number: int) -> str:
    """Of a call's part, and of what is asked about it."""
    return f"tool-{number + 1}"


def call_id(number: int, tool_call_id: str) -> str:
    """As a part and an interrupt have it."""
    return storable(tool_call_id) if len(tool_call_id) <= CALL_ID_LENGTH else part_id(number)


def number_of(part: Part) -> int:
    return int(str(part["id"]).rpartition("-")[2]) - 1


class Decision(Struct, frozen=True):
    """What was said of a call that waited. `is_allowed`: it is to be carried out now, with the arguments and
    by the tool (`of_server`) that were shown; else `shown` is how it ended, and `result` what the model is
    told."""

    number: int
    name: str
    input: Any
    is_allowed: bool
    of_server: str
    shown: Sequence[Delta] = ()
    result: ToolResult | None = None


def decisions(parts: Iterable[Part], interrupts: Iterable[Mapping[str, Any]], limit: int) -> list[Decision]:
    """Of the calls of an answer that has waited; `limit` in bytes of what a page gave."""
    answers = {each["id"]: each.get("answer") or {} for each in interrupts}
    return [
        _decision(part, answers[part["id"]], limit)
        for part in parts
        if part["type"] == "tool" and part["id"] in answers and _waits(part)
    ]


def _waits(part: Part) -> bool:
    by_page = part.get("executed_by") == "client"
    return bool(part["state"] == ("input_available" if by_page else "approval_requested"))


def _decision(part: Part, answer: Mapping[str, Any], limit: int) -> Decision:
    number, name, given = number_of(part), part["name"], part.get("input")
    resolved, payload = answer.get("status") == "resolved", answer.get("payload")
    if part.get("executed_by") == "client":
        result = _given(payload, limit) if resolved else failed(_why(answer, "it was not carried out"), limit)
        output = ToolOutput(number, output=result.output, error=result.error)
        return Decision(number, name, given, False, "", (output,), result)
    if resolved and isinstance(payload, dict) and payload.get("approved") is True:
        of_server = (part.get("provider_metadata") or {}).get(SHOWN_TOOL)
        return Decision(number, name, given, True, str(of_server), (ToolDecided(number),))
    reason = payload.get("reason") if isinstance(payload, dict) else None
    why = f"it was not allowed: {reason}" if isinstance(reason, str) and reason else "it was not allowed"
    result = failed(cut(_why(answer, why), REASON), limit)
    return Decision(number, name, given, False, "", (ToolDecided(number, denied=result.error),), result)


def _why(answer: Mapping[str, Any], otherwise: str) -> str:
    return NOBODY if answer.get("why") == "expired" else otherwise


def _given(payload: Any, limit: int) -> ToolResult:
    """What a page gave, as the model is told of it."""
    text = payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()
    told = cut(text, limit)
    return ToolResult(told, payload if told == text else told)
