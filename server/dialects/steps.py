"""What is new in each line of an answer, for readers who can only be told more, and never take anything back.
Knows no dialect."""

from collections.abc import Container, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from events.parts import BETWEEN, TEXT
from server.dialects.answerlines import AnswerLine
from storage.interrupts import Interrupt, is_open

Part = dict[str, Any]
#: States after which a call of a tool is told: it is written, or it has ended.
CALLED = frozenset({"input_available", "output_available", "output_error", "output_denied"})
ENDED = CALLED - {"input_available"}


class TextStep(NamedTuple):
    """More of the answer's text, in the text part with this id. A second one begins with a blank line."""

    text: str
    part_id: str = TEXT


class ThoughtStep(NamedTuple):
    """More of what the model thought, in the reasoning with this id. The first of each may be empty: it has
    begun."""

    text: str
    part_id: str


class PartStep(NamedTuple):
    """A tool's call, a source or a file; each is told once, when all of it is known."""

    part: Part


class EndStep(NamedTuple):
    """The end. `changed`: a text that was told is not the answer's any more. `calls`: it waits for what tools
    of the reader's give."""

    line: AnswerLine
    changed: bool
    calls: bool = False


Step = TextStep | ThoughtStep | PartStep | EndStep


class ToldText:
    """How far a text was told, in constant memory."""

    __slots__ = ("_digest", "length")

    def __init__(self) -> None:
        self._digest, self.length = blake2b(digest_size=16), 0

    def add(self, text: str) -> None:
        self._digest.update(text.encode())
        self.length += len(text)

    def rest(self, whole: str) -> str | None:
        """What is still to be told of a text; None where it begins otherwise."""
        known = blake2b(whole[: self.length].encode(), digest_size=16).digest()
        return whole[self.length :] if known == self._digest.digest() else None


class Steps:
    """One reader's, of one answer."""

    def __init__(self) -> None:
        self._text = ToldText()
        self._thoughts: dict[str, ToldText] = {}
        self._parts: set[str] = set()
        self._called: set[str] = set()

    def add(self, text: str) -> None:
        """More of the text, which was told to the reader without this."""
        self._text.add(text)

    def take(self, line: AnswerLine) -> Iterator[Step]:
        changed = False
        match line.type:
            case "stream_delta":
                yield from self._thought(line.part, line.content or "")
            case "stream_part":
                yield from self._part(line.part)
            case "stream_chunk" if line.parts is None:
                yield from self._more(line.content or "", line.part or TEXT)
            case "stream_chunk" | "stream_end":  # all so far, where nobody knows the pieces
                changed = line.content is not None and self._text.rest(line.content) is None
                yield from self._parts_of(line.parts or (), changed)
                if not changed:
                    yield from self._more((line.content or "")[self._text.length :], TEXT)
        if line.type == "stream_end":
            yield EndStep(line, changed, awaits_calls(line.interrupts, self._called))

    def _more(self, text: str, part_id: str) -> Iterator[Step]:
        if text:
            self._text.add(text)
            yield TextStep(text, part_id)

    def _parts_of(self, parts: Sequence[Part], changed: bool) -> Iterator[Step]:
        """What is new in all parts so far, in their order."""
        between, end = "", 0
        for part in parts:
            if part["type"] != "text":
                yield from self._part(part)
            elif not changed:
                text = between + part["text"]
                begin, between, end = end, BETWEEN, end + len(text)
                yield from self._more(text[max(0, self._text.length - begin) :], part["id"])

    def _thought(self, part_id: str, text: str) -> Iterator[Step]:
        """Of a reasoning that was opened; a tool's input is told when it is whole."""
        told = self._thoughts.get(part_id)
        if told is not None and text:
            told.add(text)
            yield ThoughtStep(text, part_id)

    def _part(self, part: Part) -> Iterator[Step]:
        part_id = part["id"]
        match part["type"]:
            case "reasoning":
                yield from self._reasoning(part_id, part["text"])
            case "tool" if part_id not in self._parts and is_told(part):
                self._parts.add(part_id)
                if is_to_call(part):
                    self._called.add(part["tool_call_id"])
                yield PartStep(part)
            case "source" | "file" if part_id not in self._parts:
                self._parts.add(part_id)
                yield PartStep(part)

    def _reasoning(self, part_id: str, whole: str) -> Iterator[Step]:
        """Thoughts that are thought anew are told no more: they are not the answer."""
        if part_id not in self._thoughts:
            self._thoughts[part_id] = ToldText()
            yield ThoughtStep("", part_id)
        yield from self._thought(part_id, self._thoughts[part_id].rest(whole) or "")


def is_told(tool: Part) -> bool:
    """A page's tool when it is to be called, all others when they have ended."""
    return tool["state"] in (CALLED if tool.get("executed_by") == "client" else ENDED)


def is_to_call(tool: Part) -> bool:
    """Whether a reader's tool is to be called."""
    return tool.get("executed_by") == "client" and tool["state"] == "input_available"


def awaits_calls(interrupts: Sequence[Interrupt] | None, called: Container[str]) -> bool:
    """Whether an answer waits for what one of these calls gives."""
    return any(is_open(each) and each.get("tool_call_id", "") in called for each in interrupts or ())


def whole(content: str, parts: Sequence[Part]) -> list[Step]:
    """The steps of an answer that has ended, but its end."""
    return list(Steps().take(AnswerLine("stream_chunk", content=content, parts=list(parts))))
