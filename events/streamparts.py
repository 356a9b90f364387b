"""The parts of an open stream, and what a producer's next piece of one is written as.

A stream has them where it is more than its own text. Labels and numbers: docs/adr/0015. Knows no caller.
"""

from collections.abc import Sequence

from events.errors import ValidationFailed
from events.parts import (
    BETWEEN,
    MOST,
    Fold,
    Made,
    Stored,
    content_of,
    delta_label,
    is_of_server,
    is_put_in,
    kept,
    part_of,
    put_in_label,
    text_label,
    told_text,
    whole_label,
)
from events.storable import storable
from storage.errors import StorageError
from storage.pieces import Pieces, is_whole
from storage.statement import to_json

#: Pieces as they are written: label and text of each.
Said = Sequence[tuple[str, str]]

_NUL = "\\u0000"


def encoded(part: Stored) -> tuple[Stored, str]:
    """A whole part as any database can hold it, and as a piece's text."""
    try:
        text = to_json(part)
        if _NUL not in text:
            return part, text
    except StorageError:
        pass
    part = storable(part)
    return part, to_json(part)


class StreamParts:
    """`put_in` counts the pieces that the server has put in: its producer does not count these. `taken_back`:
    who knows `stream_chunk` alone has added up something else than the text."""

    __slots__ = ("_fold", "_folded", "deltas", "put_in", "taken_back", "text", "text_label")

    def __init__(self, stream: Pieces) -> None:
        self._fold, self._folded = Fold(), 0
        self.put_in = 0
        self.taken_back = False
        self.text: str | None = None  # the text part that text is added to
        self.text_label = ""
        self.deltas: dict[str, str] = {}  # parts that grow and are not text, with the label of their pieces
        self.catch_up(stream)
        if stream.turns:
            self.taken_back = told_text(stream.runs_from(0)) != self.made(stream).content

    def catch_up(self, stream: Pieces) -> None:
        """With what was written since; to be called when a part was opened or replaced."""
        for run in stream.runs_from(self._folded):
            self._fold.take(run)
            if is_of_server(run.part):
                self.put_in += run.count
            if is_whole(run.part):
                self._now_grows(part_of(run.part))
        self._folded = len(stream.pieces)
        self.text = self._fold.last_text
        if self.text is not None:
            self.text_label = text_label(self.text)

    def _now_grows(self, part_id: str) -> None:
        if self._fold.type_of(part_id) in ("reasoning", "tool"):
            self.deltas[part_id] = delta_label(part_id)
        else:
            self.deltas.pop(part_id, None)

    def made(self, stream: Pieces) -> Made:
        self.catch_up(stream)
        parts = self._fold.parts
        return Made(content_of(parts), kept(parts))

    # --- what is written

    def opening(self, part_id: str) -> Said:
        """What is put in before the first text of a text part. Raises ValidationFailed."""
        if self._fold.type_of(part_id) is not None:
            raise ValidationFailed("text is added to the last text part alone", field="part")
        self._check_number(part_id)
        if self.text is None:
            return ()
        empty = {"type": "text", "id": part_id, "text": ""}
        return (put_in_label(part_id), BETWEEN), (whole_label(part_id, of_server=True), encoded(empty)[1])

    def replacing(self, stream: Pieces, part: Stored) -> Said:
        """A whole part, and before it what it adds to the text. Raises ValidationFailed."""
        part, text = encoded(part)
        part_id = part["id"]
        whole = (whole_label(part_id), text)
        if part.get("transient"):
            return (whole,)
        self._check_number(part_id)
        self.catch_up(stream)
        more = self._added(part_id, part["text"] if part["type"] == "text" else None)
        if more is None:
            self.taken_back = True
        return ((put_in_label(part_id), more), whole) if more else (whole,)

    def _added(self, part_id: str, text: str | None) -> str | None:
        """What a part adds to the text, which has `text` itself now; None where it takes something back."""
        fold, known = self._fold, self._fold.type_of(part_id)
        if text is None:
            return None if known == "text" else ""
        if known == "text":
            before = fold.text_of(part_id)
            return text[len(before) :] if part_id == self.text and text.startswith(before) else None
        if self.text is None:
            return text
        if known is not None and fold.is_behind(self.text, part_id):
            return None
        return BETWEEN + text

    def _check_number(self, part_id: str) -> None:
        if len(self._fold) >= MOST and self._fold.type_of(part_id) is None:
            raise ValidationFailed(f"a message has at most {MOST} parts", field="part")

    def unfinished(self, stream: Pieces) -> Said:
        """What is to be written where the last piece was put in, and the whole part behind it was lost with
        its node: the part as it has become."""
        if not stream.turns or not is_put_in(label := stream.turns[-1][1]):
            return ()
        part_id = part_of(label)
        whole = {"type": "text", "id": part_id, "text": self._fold.text_of(part_id)}
        return ((whole_label(part_id, of_server=True), encoded(whole)[1]),)
