"""Tool calls that come in pieces: which piece belongs to which call. Knows no upstream by name."""

from typing import Any

import msgspec

from events.agents.deltas import Delta, ToolInput

#: Calls of one answer: as many as a message may have parts.
MOST_CALLS = 1000


class _Call:
    def __init__(self, number: int, tool_call_id: str, name: str) -> None:
        self.number, self.id, self.name = number, tool_call_id, name


class ToolCalls:
    """The calls of one answer. Servers number them by `index`, or by `id` alone, or give some of several
    calls the same index; a piece with neither goes on with the last one."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def feed(self, pieces: list[Any]) -> list[Delta]:
        """Raises ValueError."""
        return [self._piece(piece) for piece in pieces if isinstance(piece, dict)]

    def _piece(self, piece: dict[str, Any]) -> Delta:
        function = piece.get("function") or piece.get("custom") or {}
        if not isinstance(function, dict):
            function = {}
        name, tool_call_id = _text(function.get("name")), _text(piece.get("id"))
        index = piece.get("index")
        index = index if isinstance(index, int) and not isinstance(index, bool) else None
        call = self._of(index, tool_call_id, name)
        arguments = function.get("arguments", function.get("input"))
        extra = {key: piece[key] for key in ("extra_content", "provider_specific_fields") if piece.get(key)}
        return ToolInput(call.number, call.id, call.name, _arguments(arguments), extra or None)

    def _of(self, index: int | None, tool_call_id: str, name: str) -> _Call:
        known = self._by_index.get(index) if index is not None else self._last(tool_call_id, name)
        if known is not None and not (name and tool_call_id and known.id != tool_call_id):
            known.name = known.name or name
            return known
        number = len(self._calls)
        if number == MOST_CALLS:
            raise ValueError("more tool calls than an answer may have")
        call = _Call(number, tool_call_id or f"call_{number}", name)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _last(self, tool_call_id: str, name: str) -> _Call | None:
        """The call that a piece without an index goes on with."""
        if tool_call_id:
            return next((call for call in self._calls if call.id == tool_call_id), None)
        return self._calls[-1] if self._calls and not name else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _arguments(value: Any) -> str:
    """Some give them as the object that others write as text."""
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()
