"""Calls of tools as AG-UI events. Knows no other part.

A call's id is its message's and its part's: models count calls from 0 in each answer, and a client knows all
calls of a thread by their id.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from server.dialects.steps import ENDED, Part, ToldText

Json = dict[str, Any]


class Named(NamedTuple):
    """What an id of ours names: a part of a message, or an interrupt of it."""

    message_id: str
    own_id: str


def named(message_id: str, own_id: str) -> str:
    return f"{message_id}/{own_id}"


def named_by(known: str) -> Named | None:
    """Ids of messages have no slash."""
    message_id, slash, own_id = known.partition("/")
    return Named(message_id, own_id) if slash else None


class _Call(Struct):
    """What a client knows of one. `is_written`: all of its arguments."""

    text: ToldText
    is_begun: bool = False
    is_written: bool = False
    has_result: bool = False


class ToolEvents:
    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._parts: dict[str, tuple[str, Part]] = {}  # by their id, with the call's

    def __bool__(self) -> bool:
        return bool(self._parts)

    def knows_call(self, call_id: str) -> None:
        self._calls[call_id] = _Call(ToldText(), is_begun=True, is_written=True)

    def knows_result(self, call_id: str) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call.has_result = True

    def grown(self, part_id: str, text: str) -> Iterator[Json]:
        """More of a call's arguments."""
        call_id, _ = self._parts[part_id]
        call = self._calls[call_id]
        if not call.is_written and text:
            call.text.add(text)
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": text}

    def shown(self, part: Part, message_id: str, parent: str) -> Iterator[Json]:
        """A call as it is now. `parent`: the client's message that it is put to."""
        call_id, state = named(message_id, part["id"]), part["state"]
        self._parts[part["id"]] = call_id, part
        call = self._calls.setdefault(call_id, _Call(ToldText()))
        if not call.is_begun:
            call.is_begun = True
            yield {
                "type": "TOOL_CALL_START",
                "toolCallId": call_id,
                "toolCallName": part["name"],
                "parentMessageId": parent,
            }
        if not call.is_written:
            yield from self._arguments(call_id, call, part)
        if state in ENDED and not call.has_result:
            call.has_result = True
            yield {
                "type": "TOOL_CALL_RESULT",
                "messageId": named(call_id, "result"),
                "toolCallId": call_id,
                "role": "tool",
                "content": result_of(part),
            }

    def _arguments(self, call_id: str, call: _Call, part: Part) -> Iterator[Json]:
        if part["state"] == "input_streaming":
            yield from self.grown(part["id"], call.text.rest(part.get("input_text", "")) or "")
            return
        if not call.text.length:
            given = part.get("input_text", "") if "input" not in part else _json(part["input"])
            yield from self.grown(part["id"], given)
        call.is_written = True
        yield {"type": "TOOL_CALL_END", "toolCallId": call_id}

    def close(self) -> Iterator[Json]:
        """What is not written to its end is told as it is."""
        for call_id, call in self._calls.items():
            if call.is_begun and not call.is_written:
                call.is_written = True
                yield {"type": "TOOL_CALL_END", "toolCallId": call_id}

    def of_page(self, interrupts: Sequence[Json]) -> list[str]:
        """The calls among what an answer waits for that the page is to carry out."""
        waiting = {each.get("tool_call_id") for each in interrupts}
        return [
            call_id
            for call_id, part in self._parts.values()
            if part["tool_call_id"] in waiting
            and part.get("executed_by") == "client"
            and part["state"] == "input_available"
        ]

    def asked_about(self, tool_call_id: str) -> str | None:
        """The client's id of a call."""
        parts = self._parts.values()
        return next((known for known, part in parts if part["tool_call_id"] == tool_call_id), None)


def result_of(part: Part) -> str:
    """Of a call that has ended, as a client is told."""
    if part["state"] == "output_available":
        output = part.get("output")
        return output if isinstance(output, str) else _json(output)
    error = part.get("error")
    if isinstance(error, dict):
        error = error.get("message") or error.get("code")
    return f"Error: {error or 'the call failed'}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
