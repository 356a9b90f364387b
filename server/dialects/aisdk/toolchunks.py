"""Calls of tools as chunks of a UI message stream, and what an answer asks of people. Knows no other part.

A tool of the page's is a call that the page carries out; all others are told as carried out elsewhere
(`providerExecuted`), or pages would call them. What can be neither is a call of the tool `ASK`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from server.dialects.steps import ENDED, Part, ToldText

Chunk = dict[str, Any]
Interrupt = dict[str, Any]

#: The tool that a page may have to answer what is no call: its output is the answer's payload.
ASK = "ask_user"
#: Before an interrupt's id, in the id of a call of `ASK`.
ASKED = "ask:"
#: Letters of a name that a page has: more than any of ours, and a file's address.
NAME = 2000


class ToldCall(Struct):
    """What a client knows of a call. `approval`: the id under which it was asked to allow it."""

    tool_call_id: str
    text: ToldText
    is_begun: bool = False
    is_written: bool = False
    approval: str | None = None
    is_decided: bool = False
    has_ended: bool = False


class ToolChunks:
    """`asked_page`: the page was asked since this was cleared."""

    def __init__(self, sdk: int) -> None:
        self.asked_page = False
        self._sdk = sdk
        self._calls: dict[str, ToldCall] = {}  # by the call's id
        self._parts: dict[str, Part] = {}  # as they are now, by their id

    def knows(self, parts: Sequence[Any]) -> None:
        """The client has these UI parts."""
        for part in parts:
            call_id, state = part.get("toolCallId"), part.get("state")
            if not isinstance(call_id, str) or len(call_id) > NAME or not isinstance(state, str):
                continue
            call = self._calls[call_id] = ToldCall(call_id, ToldText(), is_begun=True)
            call.is_written = state != "input-streaming"
            approval = part.get("approval")
            if isinstance(approval, dict):
                call.approval, call.is_decided = str(approval.get("id"))[:NAME], "approved" in approval
            call.has_ended = state.startswith("output-")

    def is_known(self, part: Part) -> bool:
        return part["tool_call_id"] in self._calls

    def grown(self, part_id: str, text: str) -> Iterator[Chunk]:
        """More of a call's input."""
        call = self._calls[self._parts[part_id]["tool_call_id"]]
        if not call.is_written:
            call.text.add(text)
            yield {"type": "tool-input-delta", "toolCallId": call.tool_call_id, "inputTextDelta": text}

    def shown(self, part: Part) -> Iterator[Chunk]:
        call_id, state = part["tool_call_id"], part["state"]
        self._parts[part["id"]] = part
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = ToldCall(call_id, ToldText())
        if state == "input_streaming":
            yield from self._begun(call, part)
            return
        if state in ENDED and not call.is_written and "input" not in part:
            call.is_written = call.has_ended = True
            error = {"input": part.get("input_text", ""), "errorText": _error(part)}
            yield {"type": "tool-input-error", **_head(part), **error}
            return
        if not call.is_written:
            call.is_written = True
            yield {"type": "tool-input-available", **_head(part), "input": part.get("input", {})}
        if _is_by_page(part) or state.startswith("approval_"):
            self.asked_page = True
        if state in ENDED and not call.has_ended:
            call.has_ended = True
            yield from self._ended(call, part)

    def _begun(self, call: ToldCall, part: Part) -> Iterator[Chunk]:
        if call.is_written:
            return
        if not call.is_begun:
            call.is_begun = True
            yield {"type": "tool-input-start", **_head(part)}
        rest = call.text.rest(part.get("input_text", ""))
        if rest:
            yield from self.grown(part["id"], rest)

    def _ended(self, call: ToldCall, part: Part) -> Iterator[Chunk]:
        head = {"toolCallId": call.tool_call_id}
        by = {} if _is_by_page(part) else {"providerExecuted": True}
        if part["state"] == "output_available":
            yield {"type": "tool-output-available", **head, "output": part.get("output"), **by}
        elif part["state"] == "output_error" or self._sdk < 6:
            yield {"type": "tool-output-error", **head, "errorText": _error(part), **by}
        else:
            yield from self._denied(call, part)

    def _denied(self, call: ToldCall, part: Part) -> Iterator[Chunk]:
        """To a page that was not asked, because somebody else has answered, it is told that it was."""
        if call.approval is None:
            yield self._request(call, part["id"])
        if self._sdk >= 7 and not call.is_decided:
            decided = {"approvalId": call.approval, "approved": False, "reason": _error(part)}
            yield {"type": "tool-approval-response", **decided}
        yield {"type": "tool-output-denied", "toolCallId": call.tool_call_id}

    def _request(self, call: ToldCall, approval: str) -> Chunk:
        call.approval = approval
        return {"type": "tool-approval-request", "approvalId": approval, "toolCallId": call.tool_call_id}

    def asked(self, interrupts: Sequence[Interrupt]) -> Iterator[Chunk]:
        """What an answer waits for."""
        parts = {part["tool_call_id"]: part for part in self._parts.values()}
        for each in interrupts:
            if "answer" in each:
                continue
            part = parts.get(each.get("tool_call_id", ""))
            call = None if part is None else self._calls[part["tool_call_id"]]
            if part is None or call is None:
                yield from self._question(each)
            elif part["state"] == "approval_requested" and self._sdk >= 6:
                if call.approval is None:
                    yield self._request(call, each["id"])
            elif not (_is_by_page(part) and part["state"] == "input_available"):
                yield from self._question(each)

    def _question(self, interrupt: Interrupt) -> Iterator[Chunk]:
        call_id = ASKED + interrupt["id"]
        if call_id in self._calls:
            return
        told = {name: value for name, value in interrupt.items() if name != "id"}
        yield {"type": "tool-input-available", "toolCallId": call_id, "toolName": ASK, "input": told}


def _head(part: Part) -> Chunk:
    head = {"toolCallId": part["tool_call_id"], "toolName": part["name"]}
    if not _is_by_page(part):
        head["providerExecuted"] = True
    return head | ({"title": part["title"]} if "title" in part else {})


def _is_by_page(part: Part) -> bool:
    return bool(part.get("executed_by") == "client")


def _error(part: Part) -> str:
    error = part.get("error")
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or "the call failed")
    return error or "the call failed"
