"""What a reader lacks of a stream, who has the pieces before one. Knows no stream that is open."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw, Struct

from events.parts import NOTHING, Made, Stored, event_name, made_of, part_of, shown_json, told_text
from storage.interfaces import StreamText
from storage.pieces import OWN, Run


class Rest(Struct, frozen=True):
    """`runs` of pieces from `index` on. `content` is the text from the piece `content_index` on, `parts` are
    all so far, where there are others than the text. `known`: the pieces are. `exact`: they tell the text to
    those, too, who know `stream_chunk` alone."""

    status: str
    index: int
    runs: Sequence[Run]
    next_index: int
    content_index: int
    content: str
    parts: list[Stored] | None
    known: bool = True
    exact: bool = True

    @property
    def lacks(self) -> bool:
        """Whether the end has to tell everything."""
        return not self.exact or (not self.known and self.parts is not None)

    @classmethod
    def of_pieces(
        cls, status: str, index: int, runs: Sequence[Run], next_index: int, made: Made, *, taken_back: bool
    ) -> "Rest":
        """`made` is the whole message, where there are other parts."""
        if taken_back:
            return cls(status, index, runs, next_index, 0, *made, exact=False)
        return cls(status, index, runs, next_index, index, told_text(runs), made.parts)

    @classmethod
    def of_text(cls, text: StreamText, index: int, status: str) -> "Rest":
        """`text` was read from `index` on."""
        plain = (Run(OWN, text.text, text.next_index - index),) if text.next_index > index else ()
        all_runs, runs = text.whole or text.runs, text.runs or plain
        made = made_of("", all_runs)
        taken_back = bool(all_runs) and told_text(all_runs) != made.content
        return cls.of_pieces(status, index, runs, text.next_index, made, taken_back=taken_back)

    @classmethod
    def of_record(cls, made: Made, status: str) -> "Rest":
        """Of a message whose pieces are not known any more: all of it, its text as the first piece."""
        runs = (Run(OWN, made.content, 1),) if made != NOTHING else ()
        return cls(status, 0, runs, len(runs), 0, *made, known=False)


def piece(room: str, message_id: str, index: int, run: Run) -> dict[str, Any]:
    """What tells of a run, where it is no event of the log."""
    name = event_name(run.part)
    told: dict[str, Any] = {"type": name, "session_id": room, "message_id": message_id}
    if name == "stream_part":
        return told | {"part": Raw(shown_json(run.text)), "index": index}
    told |= {"content": run.text, "index": index, "count": run.count}
    return told if run.part == OWN else told | {"part": part_of(run.part)}
