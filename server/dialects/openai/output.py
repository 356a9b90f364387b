"""What an answer has said as the `output` of a response: its items, and the events by which they grow.

The order of events, and the items' ids, follow from the answer's pieces alone: every reader, and every node,
makes the same of them. All of the text is one item, which stays open to the end; each reasoning and each
call of a tool is one of its own.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from events.event import to_json
from server.dialects.behind import Behind
from server.dialects.openai.chunks import id_of
from server.dialects.openai.toolcalls import told_id
from server.dialects.steps import PartStep, Step, TextStep, ThoughtStep

Json = dict[str, Any]
#: An event's type behind `response.`, and its fields but `type` and `sequence_number`.
Told = tuple[str, Json]

#: Who has called a tool that the caller is not to call: in the place of an MCP server's name.
SERVER = "agent"


class Output:
    """One answer's, as one reader sees it. `message_id` is the answer's."""

    def __init__(self, behind: Behind | None = None) -> None:
        self.message_id = ""
        self.size = 0  # characters that are kept until the end
        self._behind = behind
        self._items: list[Json] = []
        self._message: _OpenItem | None = None
        self._reasoning: _OpenItem | None = None
        self._thought = ""  # the part that it is of

    def items(self, status: str = "completed") -> list[Json]:
        """All so far; those that are open have this `status`."""
        still_open = [each for each in (self._message, self._reasoning) if each is not None]
        items = list(self._items)
        for each in still_open:
            items[each.index] = each.shown(status)
        return items

    def take(self, steps: Iterable[Step]) -> Iterator[Told]:
        for step in steps if self._behind is None else self._behind.rest(steps):
            yield from self._take(step)

    def _take(self, step: Step) -> Iterator[Told]:
        match step:
            case ThoughtStep(text, part_id):
                yield from self._think(text, part_id)
            case TextStep(text):
                yield from self._end_reasoning("completed")
                yield from self._say(text)
            case PartStep({"type": "tool"} as part):
                yield from self._end_reasoning("completed")
                yield from self._call(part)
            case PartStep({"type": "source", "url": _} as part):
                yield from self._cite(part)

    def end(self, status: str) -> Iterator[Told]:
        """Close what is open. `status` is an item's: `completed` or `incomplete`."""
        yield from self._end_reasoning(status)
        if self._message is not None:
            message, self._message = self._message, None
            yield "output_text.done", {**message.place, "text": message.text, "logprobs": []}
            yield from self._close(message, status)

    # --- text

    def _say(self, text: str) -> Iterator[Told]:
        message = self._message
        if message is None:
            fields = {"type": "message", "role": "assistant"}
            message = self._message = self._open(id_of(self.message_id, self._behind), fields, _TEXT)
            yield from message.opening()
        message.texts.append(text)
        self.size += len(text)
        yield "output_text.delta", {**message.place, "delta": text, "logprobs": []}

    def _cite(self, source: Json) -> Iterator[Told]:
        """It is about the text, wherever that goes on."""
        if self._message is None:
            yield from self._end_reasoning("completed")
            fields = {"type": "message", "role": "assistant"}
            self._message = self._open(id_of(self.message_id, self._behind), fields, _TEXT)
            yield from self._message.opening()
        message, url = self._message, source["url"]
        noted = {"type": "url_citation", "start_index": 0, "end_index": 0, "url": url}
        noted["title"] = source.get("title") or url
        place = {**message.place, "annotation_index": len(message.annotations)}
        message.annotations.append(noted)
        yield "output_text.annotation.added", {**place, "annotation": noted}

    # --- reasoning

    def _think(self, text: str, part_id: str) -> Iterator[Told]:
        if self._reasoning is None or self._thought != part_id:
            yield from self._end_reasoning("completed")
            self._thought = part_id
            fields = {"type": "reasoning", "summary": []}
            self._reasoning = self._open(self._id("rs"), fields, _REASONING)
            yield from self._reasoning.opening()
        if text:
            self._reasoning.texts.append(text)
            self.size += len(text)
            yield "reasoning_text.delta", {**self._reasoning.place, "delta": text}

    def _end_reasoning(self, status: str) -> Iterator[Told]:
        if self._reasoning is not None:
            reasoning, self._reasoning = self._reasoning, None
            yield "reasoning_text.done", {**reasoning.place, "text": reasoning.text}
            yield from self._close(reasoning, status)

    # --- tools

    def _call(self, tool: Json) -> Iterator[Told]:
        if tool.get("executed_by") == "client":
            call_id = told_id(tool["tool_call_id"], self.message_id)
            item = {"id": self._id("fc"), "type": "function_call", "call_id": call_id}
            kind, ended = "function_call_arguments", None
        else:
            # The agent has called it: as a function's call a program would call it again.
            item = {"id": self._id("mcp"), "type": "mcp_call", "server_label": SERVER}
            kind, ended = "mcp_call_arguments", _outcome(tool)
        item |= {"name": tool["name"], "arguments": "", "status": "in_progress"}
        arguments = to_json(tool["input"]).decode() if "input" in tool else tool.get("input_text", "")
        place = {"item_id": item["id"], "output_index": len(self._items)}
        done = {**item, "arguments": arguments, "status": "completed", **(ended or {})}
        self._items.append(done)
        yield "output_item.added", {"output_index": place["output_index"], "item": item}
        if ended is not None:
            yield "mcp_call.in_progress", place
        # Whole: a program that adds up deltas has them all.
        yield f"{kind}.delta", {**place, "delta": arguments}
        yield f"{kind}.done", {**place, "name": tool["name"], "arguments": arguments}
        if ended is not None:
            yield f"mcp_call.{ended['status']}", place
        yield "output_item.done", {"output_index": place["output_index"], "item": done}

    # --- items

    def _id(self, kind: str) -> str:
        return f"{kind}_{len(self._items)}_{id_of(self.message_id, self._behind)}"

    def _open(self, item_id: str, fields: Json, content: Json) -> "_OpenItem":
        item = _OpenItem(len(self._items), {"id": item_id, **fields}, content)
        self._items.append({})
        return item

    def _close(self, item: "_OpenItem", status: str) -> Iterator[Told]:
        done = self._items[item.index] = item.shown(status)
        yield "content_part.done", {**item.place, "part": done["content"][0]}
        yield "output_item.done", {"output_index": item.index, "item": done}


_TEXT: Json = {"type": "output_text", "annotations": [], "logprobs": []}
_REASONING: Json = {"type": "reasoning_text"}


class _OpenItem:
    """One that grows: it has one content, whose text does."""

    __slots__ = ("_content", "_fields", "annotations", "index", "texts")

    def __init__(self, index: int, fields: Json, content: Json) -> None:
        self.index, self._fields, self._content = index, fields, content
        self.texts: list[str] = []
        self.annotations: list[Json] = []

    @property
    def place(self) -> Json:
        return {"item_id": self._fields["id"], "output_index": self.index, "content_index": 0}

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def opening(self) -> Iterator[Told]:
        item = {**self._fields, "status": "in_progress", "content": []}
        yield "output_item.added", {"output_index": self.index, "item": item}
        yield "content_part.added", {**self.place, "part": {**self._content, "text": ""}}

    def shown(self, status: str) -> Json:
        content = {**self._content, "text": self.text}
        if self.annotations:
            content["annotations"] = list(self.annotations)
        return {**self._fields, "status": status, "content": [content]}


def _outcome(tool: Json) -> Json:
    """How the agent's own call of a tool has ended."""
    if tool["state"] == "output_available":
        output = tool.get("output")
        text = output if isinstance(output, str) else to_json(output).decode()
        return {"status": "completed", "output": text, "error": None}
    told = tool.get("error") or ("denied" if tool["state"] == "output_denied" else "it failed")
    error = {"type": "mcp_tool_execution_error", "content": told}
    return {"status": "failed", "output": None, "error": error}
