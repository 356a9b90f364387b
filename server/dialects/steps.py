"""What is new in each line of an answer, for readers who can only be told more, and never take anything back.
Knows no dialect."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from events.parts import BETWEEN
from server.dialects.answerlines import AnswerLine

Part = dict[str, Any]
#: States after which a call of a tool is told: it is written, or it has ended.
CALLED = frozenset({"input_available", "output_available", "output_error", "output_denied"})
ENDED = CALLED - {"input_available"}


class TextStep(NamedTuple):
    """More of the answer's text."""

    text: str


class ThoughtStep(NamedTuple):
    """More of what the model thought; each reasoning begins with a blank line behind the one before."""

    text: str


class PartStep(NamedTuple):
    """A tool's call, a source or a file; each is told once, when all of it is known."""

    part: Part


class EndStep(NamedTuple):
    """The end. `changed`: a text that was told is not the answer's any more."""

    line: AnswerLine
    changed: bool


Step = TextStep | ThoughtStep | PartStep | EndStep


class _Told:
    """How far a text was told, in constant memory."""

    __slots__ = ("_digest", "_length")

    def __init__(self) -> None:
        self._digest, self._length = blake2b(digest_size=16), 0

    def add(self, text: str) -> None:
        self._digest.update(text.encode())
        self._length += len(text)

    def rest(self, whole: str) -> str | None:
        """What is still to be told of a text; None where it begins otherwise."""
        known = blake2b(whole[: self._length].encode(), digest_size=16).digest()
        return whole[self._length :] if known == self._digest.digest() else None


class Steps:
    """One reader's, of one answer."""

    def __init__(self) -> None:
        self._text = _Told()
        self._thoughts: dict[str, _Told] = {}
        self._parts: set[str] = set()

    def take(self, line: AnswerLine) -> Iterator[Step]:
        match line.type:
            case "stream_chunk":
                yield from self._more(line.content or "")
            case "stream_delta":
                yield from self._thought(line.part, line.content or "")
            case "stream_part":
                yield from self._part(line.part)
        for part in line.parts or ():
            yield from self._part(part)
        if line.type == "stream_end":
            rest = "" if line.content is None else self._text.rest(line.content)
            yield from self._more(rest or "")
            yield EndStep(line, rest is None)

    def _more(self, text: str) -> Iterator[Step]:
        if text:
            self._text.add(text)
            yield TextStep(text)

    def _thought(self, part_id: str, text: str) -> Iterator[Step]:
        """Of a reasoning that was opened; a tool's input is told when it is whole."""
        told = self._thoughts.get(part_id)
        if told is not None and text:
            told.add(text)
            yield ThoughtStep(text)

    def _part(self, part: Part) -> Iterator[Step]:
        part_id = part["id"]
        match part["type"]:
            case "reasoning":
                yield from self._reasoning(part_id, part["text"])
            case "tool" if part_id not in self._parts and is_told(part):
                self._parts.add(part_id)
                yield PartStep(part)
            case "source" | "file" if part_id not in self._parts:
                self._parts.add(part_id)
                yield PartStep(part)

    def _reasoning(self, part_id: str, whole: str) -> Iterator[Step]:
        """Thoughts that are thought anew are told no more: they are not the answer."""
        if part_id not in self._thoughts:
            between = BETWEEN if self._thoughts else ""
            self._thoughts[part_id] = _Told()
            if between:
                yield ThoughtStep(between)
        yield from self._thought(part_id, self._thoughts[part_id].rest(whole) or "")


def is_told(tool: Part) -> bool:
    """A page's tool when it is to be called, all others when they have ended."""
    return tool["state"] in (CALLED if tool.get("executed_by") == "client" else ENDED)


def whole(content: str, parts: Sequence[Part]) -> list[Step]:
    """The steps of an answer that has ended, but its end."""
    steps = Steps()
    told = [step for part in parts for step in steps.take(AnswerLine("stream_part", part=part))]
    return [*told, TextStep(content)] if content else told
