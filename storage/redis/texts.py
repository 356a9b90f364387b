"""Pieces of streams as they lie in Redis (`stream.lua`), and texts as scripts answer with them."""

from collections.abc import Sequence

from storage.interfaces import StreamText
from storage.pieces import OWN, Run, own_text

#: Stands on both sides of a part's name before a piece of it: a byte that no UTF-8 has. A piece of the
#: message's own text is stored as it is.
_MARK = b"\xff"


def stored(part: str, pieces: Sequence[str]) -> Sequence[str | bytes]:
    if part == OWN:
        return pieces
    head = _MARK + part.encode() + _MARK
    return [head + piece.encode() for piece in pieces]


def text_of(
    found: bytes | Sequence[bytes | int], next_index: int, start: int, *, closed: bool, ended: bool
) -> StreamText:
    """`found`: the message's own text; or where it has other parts part, pieces and text of each run."""
    if isinstance(found, bytes):
        return StreamText(found.decode(), next_index, start, closed, ended)
    runs = runs_of(found)
    return StreamText(own_text(runs), next_index, start, closed, ended, runs)


def runs_of(found: Sequence[bytes | int]) -> tuple[Run, ...]:
    words = iter(found)
    return tuple(
        Run(str(part, "utf-8"), str(text, "utf-8"), int(count))  # type: ignore[arg-type]
        for part, count, text in zip(words, words, words, strict=True)
    )
