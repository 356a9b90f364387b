"""What a stream is written in: pieces under one running index, each of a part of its message.

The domain names the parts; storage only compares the names. A stream's texts are one list, and a second list
says where another part begins. That list is empty while all is the message's own text, so a chunk costs one
comparison and no allocation: that is why a piece is no struct of its own.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import Struct

#: The part that is the message's own text.
OWN = ""
#: Begins the name of a part of which each piece is the whole: it takes the place of the one before, and
#: neighbours are not joined.
WHOLE = "="


def is_whole(part: str) -> bool:
    return part.startswith(WHOLE)


class Run(Struct, frozen=True):
    """Neighbouring pieces of one part, joined: so many of them."""

    part: str
    text: str
    count: int


def own_text(runs: Sequence[Run]) -> str:
    return "".join(run.text for run in runs if run.part == OWN)


def rest_of(runs: Sequence[Run], have: int, characters: int) -> Iterator[tuple[int, str, list[str]]]:
    """What a reader who has so many pieces and characters lacks: first index, part and pieces of each run.
    Where in a run its pieces end is not known: the first has all of the text."""
    index = 0
    for run in runs:
        lacking = min(run.count, index + run.count - have)
        if lacking > 0:
            rest = run.text[max(0, characters) :]
            yield index + run.count - lacking, run.part, [rest, *[""] * (lacking - 1)]
        index += run.count
        characters -= len(run.text)


class Pieces:
    """A base of those who keep a stream's pieces. They append to `pieces` themselves, and call `turn` where a
    piece is not of `part`, as the last one was."""

    __slots__ = ("part", "pieces", "turns")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.turns: list[tuple[int, str]] = []  # the index at which another part begins, and which
        self.part: str | None = OWN  # of the last piece; None where no other may be joined to it

    def turn(self, part: str) -> None:
        self.turns.append((len(self.pieces), part))
        self.part = None if is_whole(part) else part

    def put(self, runs: Sequence[Run]) -> None:
        """In place of what was there. Where in a run its pieces end is not known: the first has all of it."""
        Pieces.__init__(self)
        for run in runs:
            if run.part != self.part:
                self.turn(run.part)
            self.pieces += [run.text, *[""] * (run.count - 1)]

    def run_at(self, index: int) -> tuple[str, int | None]:
        """The part of the piece with this index, and where its run ends; None: at the end of all."""
        turns = self.turns
        behind = bisect_right(turns, index, key=_begins)
        return (turns[behind - 1][1] if behind else OWN), (turns[behind][0] if behind < len(turns) else None)

    def runs_from(self, index: int) -> list[Run]:
        """Neighbours of one part, joined, from a piece on."""
        pieces, runs = self.pieces, []
        behind = bisect_right(self.turns, index, key=_begins)
        part = self.turns[behind - 1][1] if behind else OWN
        for begins, following in islice(self.turns, behind, None):
            if begins > index:
                runs.append(_run(part, pieces[index:begins]))
            part, index = following, begins
        if index < len(pieces):
            runs.append(_run(part, pieces[index:]))
        return runs

    def text_from(self, index: int) -> tuple[str, tuple[Run, ...]]:
        """The message's own text, and the runs of all parts where there are others."""
        if not self.turns:
            return "".join(self.pieces[index:]), ()
        runs = self.runs_from(index)
        return own_text(runs), tuple(runs)


def _run(part: str, pieces: list[str]) -> Run:
    return Run(part, pieces[0] if len(pieces) == 1 else "".join(pieces), len(pieces))


def _begins(turn: tuple[int, str]) -> int:
    return turn[0]
