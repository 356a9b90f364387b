"""What is new in each line of an answer, part by part, for readers who know parts and cannot take anything
back. Knows no dialect."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from events.parts import TEXT, delta_label, text_label
from server.dialects.answerlines import AnswerLine
from server.dialects.steps import EndStep, Part, ToldText

#: Parts that grow, with the field that does.
GROWING = {"text": "text", "reasoning": "text"}


class GrownPart(NamedTuple):
    """More of a part's text: of a `text` or a `reasoning`, or of a `tool`'s input while it is written. A part
    is there from the first one on, which may say nothing yet."""

    part_id: str
    kind: str
    text: str


class ShownPart(NamedTuple):
    """A part that does not grow, or a tool, as it is now."""

    part: Part


AnswerStep = GrownPart | ShownPart | EndStep


class PartSteps:
    """One reader's, of one answer."""

    def __init__(self) -> None:
        self._told: dict[str, ToldText] = {}
        self._kinds: dict[str, str] = {}
        self._has_text = self._changed = False

    def take(self, line: AnswerLine) -> Iterator[AnswerStep]:
        match line.type:
            case "stream_chunk" if line.parts is None:
                yield from self._chunk(line.part or TEXT, line.content or "")
            case "stream_delta":
                yield from self._delta(line.part, line.content or "")
            case "stream_part":
                yield from self._part(line.part)
        for part in line.parts or ():
            yield from self._part(part)
        if line.type == "stream_end":
            if line.parts is None and line.content:
                yield from self._whole(TEXT, "text", line.content)
            yield EndStep(line, self._changed)

    def add_to(self, part_id: str) -> tuple[str, Callable[[str], None]]:
        """The label of more text of a part that has begun, and what is to be told of such text that was told
        to the reader without this."""
        label = text_label(part_id) if self._kinds[part_id] == "text" else delta_label(part_id)
        return label, self._told[part_id].add

    def _chunk(self, part_id: str, text: str) -> Iterator[GrownPart]:
        """Text for a second part that is not there yet was put in for those who know none: all of the part
        follows."""
        if part_id not in self._told:
            if self._has_text or not text:
                return
            self._open(part_id, "text")
        yield from self._more(part_id, text)

    def _delta(self, part_id: str, text: str) -> Iterator[GrownPart]:
        if part_id in self._told:
            yield from self._more(part_id, text)
        elif self._kinds.get(part_id) == "tool" and text:
            yield GrownPart(part_id, "tool", text)

    def _part(self, part: Part) -> Iterator[AnswerStep]:
        kind = part["type"]
        if kind in GROWING:
            yield from self._whole(part["id"], kind, part["text"])
        else:
            self._kinds[part["id"]] = kind
            yield ShownPart(part)

    def _whole(self, part_id: str, kind: str, text: str) -> Iterator[GrownPart]:
        """Thoughts that are thought anew are told no more: they are not the answer."""
        if part_id not in self._told:
            self._open(part_id, kind)
            yield GrownPart(part_id, kind, "")
        rest = self._told[part_id].rest(text)
        if rest is None:
            self._changed = self._changed or kind == "text"
        else:
            yield from self._more(part_id, rest)

    def _open(self, part_id: str, kind: str) -> None:
        self._told[part_id], self._kinds[part_id] = ToldText(), kind
        self._has_text = self._has_text or kind == "text"

    def _more(self, part_id: str, text: str) -> Iterator[GrownPart]:
        if text:
            self._told[part_id].add(text)
            yield GrownPart(part_id, self._kinds[part_id], text)
