"""An answer as chat completion chunks, and as one chat completion."""

from collections.abc import Iterator
from typing import Any

from events.event import to_json
from events.parts import BETWEEN, text_label
from server.dialects.answerlines import AnswerLine, Frames
from server.dialects.behind import Behind
from server.dialects.openai.errors import broken_off
from server.dialects.openai.toolcalls import told_id
from server.dialects.openai.usage import of_completion
from server.dialects.steps import EndStep, PartStep, Steps, TextStep, ThoughtStep, is_to_call, whole
from server.transports.codecs import data_line
from server.transports.growing import MARK, Growing, GrowingText
from storage.records import MessageRecord

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"
#: What was told of the answer cannot be taken back.
CHANGED = {"code": "ANSWER_CHANGED", "message": "the answer was written anew; its message has all of it"}


class ChatChunks(Frames):
    """`created` in seconds since the epoch."""

    def __init__(
        self, model: str, session_id: str, created: int, *, with_usage: bool, behind: Behind | None = None
    ) -> None:
        super().__init__()
        self._behind = behind
        self._model, self._session_id, self._created = model, session_id, created
        self._with_usage = with_usage
        self._steps, self._extras, self._thoughts = Steps(), Extras(), Thoughts()
        self._message_id = ""
        self._last: str | None = None  # the part of the text that was told last

    def tell(self, line: AnswerLine) -> Iterator[bytes]:
        self._message_id = line.message_id or self._message_id
        if not line.type:
            told = {"message": line.message, "code": line.code, "retryable": line.retryable}
            yield self._broken_off("streaming", told)  # to its reader alone: the answer goes on
        elif line.type == "stream_start":
            # Its helpers keep what they know from the first chunk: the session is told there.
            yield self._chunk({"role": "assistant", "content": ""}, metadata={"session_id": self._session_id})
        steps = self._steps.take(line)
        for step in steps if self._behind is None else self._behind.rest(steps):
            match step:
                case TextStep(text, part_id):
                    self._last = part_id
                    yield self._chunk({"content": text})
                case ThoughtStep():
                    thought = self._thoughts.more(step)
                    if thought:
                        yield self._chunk({"reasoning_content": thought})
                case PartStep(part):
                    delta = self._extras.delta_of(part, self._message_id)
                    if delta:
                        yield self._chunk(delta)
                case EndStep():
                    yield from self._end(step)

    def grows(self) -> Growing | None:
        if self._last is None or self._behind is not None:
            return None
        return GrowingText(text_label(self._last), self._chunk({"content": MARK}), self._steps.add)

    def _end(self, end: EndStep) -> Iterator[bytes]:
        line = end.line
        if end.changed or not (line.status == "complete" or end.calls):
            yield self._broken_off(line.status, CHANGED if end.changed else line.error)
            return
        if line.finish_reason == "error":
            yield self._broken_off("failed", None)
            return
        yield self._chunk({}, self._extras.finish(line.finish_reason))
        if self._with_usage:
            yield self._frame(choices=[], usage=of_completion(line.usage, line.tokens_used))
        self.ended = True
        yield DONE

    def _chunk(self, delta: Json, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        if self._with_usage:
            more["usage"] = None
        return self._frame(choices=[choice], **more)

    def _frame(self, **more: Any) -> bytes:
        head = {
            "id": id_of(self._message_id, self._behind),
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }
        return data_line(head | more)

    def _broken_off(self, status: str, error: Json | None) -> bytes:
        """A clean end would be taken for success: no `[DONE]`."""
        self.ended = True
        told = broken_off(status, error, message_id=self._message_id, session_id=self._session_id)
        return data_line({"error": told})


class Thoughts:
    """All reasoning as one text: a blank line between two of them."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def more(self, step: ThoughtStep) -> str:
        begins = step.part_id not in self._known
        between = BETWEEN if begins and self._known else ""
        self._known.add(step.part_id)
        return between + step.text


class Extras:
    """What an answer has besides text and thoughts. Entries of a list have an `index`, by which OpenAI's own
    helpers put streams together; without one they fail."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def delta_of(self, part: Json, message_id: str) -> Json | None:
        if part["type"] == "tool":
            # A call that is not to be made any more is none that the caller is to make: its program would.
            name = "tool_calls" if is_to_call(part) else "agent_tool_calls"
            return self._listed(name, call_of(part, message_id))
        if part["type"] == "source" and "url" in part:
            cited = {"url": part["url"], "title": part.get("title") or part["url"]}
            citation = {"start_index": 0, "end_index": 0, **cited}
            return self._listed("annotations", {"type": "url_citation", "url_citation": citation})
        return None

    def _listed(self, name: str, entry: Json) -> Json:
        index = self._counts.get(name, 0)
        self._counts[name] = index + 1
        return {name: [{"index": index, **entry}]}

    def finish(self, reason: str | None) -> str:
        if reason in ("length", "content_filter"):
            return reason
        return "tool_calls" if "tool_calls" in self._counts else "stop"


def id_of(message_id: str, behind: Behind | None) -> str:
    """Of a completion. What goes on has another: programs keep their messages by these."""
    return message_id if behind is None else f"{message_id}-{behind.parts}"


def call_of(tool: Json, message_id: str) -> Json:
    """A tool's call; one that has ended with what came of it."""
    arguments = to_json(tool["input"]).decode() if "input" in tool else tool.get("input_text", "")
    is_callers = tool.get("executed_by") == "client"
    called: Json = {
        "id": told_id(tool["tool_call_id"], message_id) if is_callers else tool["tool_call_id"],
        "type": "function",
        "function": {"name": tool["name"], "arguments": arguments},
    }
    if is_to_call(tool):
        return called
    for name in ("state", "output", "error"):
        if name in tool:
            called[name] = tool[name]
    return called


def completion(record: MessageRecord, model: str, behind: Behind | None) -> Json:
    """A whole answer that is `complete`, or waits for its caller's tools."""
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    extras, thoughts = Extras(), Thoughts()
    steps = whole(record.content, record.parts or ())
    for step in steps if behind is None else behind.rest(steps):
        match step:
            case TextStep(text):
                message["content"] = (message["content"] or "") + text
            case ThoughtStep():
                message["reasoning_content"] = message.get("reasoning_content", "") + thoughts.more(step)
            case PartStep(part):
                for name, entries in (extras.delta_of(part, record.message_id) or {}).items():
                    entries[0].pop("index")
                    message.setdefault(name, []).extend(entries)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": extras.finish(record.finish_reason),
    }
    return {
        "id": id_of(record.message_id, behind),
        "object": "chat.completion",
        "created": int(record.created_at.timestamp()),
        "model": model,
        "choices": [choice],
        "usage": of_completion(record.usage, record.tokens_used),
        "metadata": {"session_id": record.session_id},
    }
