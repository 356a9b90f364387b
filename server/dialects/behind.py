"""The rest of an answer, for who has had its beginning: it waited for him in between. Knows no dialect."""

from collections.abc import Iterable, Iterator, Set

from events.parts import BETWEEN
from server.dialects.steps import PartStep, Step, TextStep, ThoughtStep


class Behind:
    """`told`: parts that were, by their ids; so many `parts`, and `characters` of text."""

    def __init__(self, told: Set[str], parts: int, characters: int) -> None:
        self.parts, self.characters = parts, characters
        self._told, self._skipped, self._begun = told, 0, False

    def rest(self, steps: Iterable[Step]) -> Iterator[Step]:
        for step in steps:
            match step:
                case TextStep(text, part_id):
                    more = self._rest_of(text)
                    if more:
                        yield TextStep(more, part_id)
                case ThoughtStep(_, part_id) if part_id in self._told:
                    pass
                case PartStep({"id": part_id}) if part_id in self._told:
                    pass
                case _:
                    yield step

    def _rest_of(self, text: str) -> str:
        """Without the blank line that parts it from what was told."""
        skipped = min(len(text), self.characters - self._skipped)
        self._skipped += skipped
        text = text[skipped:]
        if not self._begun and text:
            self._begun = bool(self.characters)
            return text.removeprefix(BETWEEN) if self.characters else text
        return text
