"""Where a message matches what was asked, how well, and the piece of it that shows it. Pure."""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from storage.turns import Work, at_once
from storage.words import SourcePositions, Term, folding

#: Characters of a snippet, and of what comes before its first hit.
LENGTH, BEFORE = 240, 60
#: Hits of one word that count.
HITS = 10
#: Characters that are looked through for one word together.
PIECE = 4096
OPEN, CLOSE = "<mark>", "</mark>"


@dataclass(frozen=True, slots=True)
class Match:
    """`spans`: the hits, as places in the text, in order and without overlaps."""

    score: float
    spans: tuple[tuple[int, int], ...]


def match(text: str, terms: Sequence[Term]) -> Match | None:
    """None if a word is missing, or one is there that must not be.

    The score knows no time and no other message, so that a page can be continued: more hits count more (but
    each less than the one before), a word for itself more than a part of one, words close together more than
    far apart, and a short message more than a long one.
    """
    return at_once(matching(text, terms))[0]


def matching(text: str, terms: Sequence[Term]) -> Work[tuple[Match | None, int]]:
    """`match`, in pieces; and how many characters were looked through: folded, one may become eighteen."""
    folded, origins = yield from folding(text)
    found: list[list[tuple[int, int]]] = []
    score = 0.0
    for term in terms:
        hits = yield from _hits(term, folded)
        if bool(hits) == term.negative:
            return None, len(folded)
        if term.negative:
            continue
        found.append(hits)
        alone = any(_alone(folded, start, stop) for start, stop in hits)
        score += (1.0 + math.log2(len(hits))) * (1.0 if alone else 0.75)
    if len(found) > 1:
        score += 1.0 / (1.0 + _distance(found) / 20.0)
    score /= 1.0 + math.log10(1.0 + len(folded) / 200.0)
    spans = _merged([span for hits in found for span in hits])
    if origins is not None:
        spans = _merged([(origins[start], _end(origins, stop)) for start, stop in spans])
    return Match(round(score, 6), tuple(spans)), len(folded)


def _hits(term: Term, folded: str) -> Work[list[tuple[int, int]]]:
    """The first places of what is looked for, or of what must not be there the first."""
    most = 1 if term.negative else HITS
    hits: list[tuple[int, int]] = []
    start = 0
    while start < len(folded) and len(hits) < most:
        stop = start + PIECE
        # Whatever begins in this piece is seen as a whole.
        for hit in term.hits(folded, start, stop + term.reach):
            if hit[0] >= stop or len(hits) == most:
                break
            hits.append(hit)
        yield min(stop, len(folded)) - start
        start = max(stop, hits[-1][1]) if hits else stop
    return hits


def _alone(text: str, start: int, stop: int) -> bool:
    before, after = text[start - 1 : start], text[stop : stop + 1]
    return not before.isalnum() and not after.isalnum()


def _distance(found: Sequence[Sequence[tuple[int, int]]]) -> int:
    """Between the first words asked for and the nearest hits of the others."""
    best = 1 << 30
    for start, stop in found[0]:
        reach = 0
        for hits in found[1:]:
            reach = max(reach, min(max(low - stop, start - high, 0) for low, high in hits))
        best = min(best, reach)
    return best


def _end(origins: SourcePositions, stop: int) -> int:
    # The whole of a character of which only a part was meant.
    while stop < len(origins) - 1 and origins[stop] == origins[stop - 1]:
        stop += 1
    return origins[stop]


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def snippet(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """HTML: the text is escaped, and nothing but our own `<mark>` and `</mark>` is markup in it."""
    start = max(0, spans[0][0] - BEFORE) if spans else 0
    if start:
        # Not in the middle of a word, where there are spaces.
        space = re.search(r"\s", text[start : spans[0][0]])
        start += space.end() if space and space.end() <= BEFORE // 2 else 0
    stop = min(len(text), max(start + LENGTH, spans[0][1] if spans else 0))
    parts = ["…"] if start else []
    at = start
    for low, high in spans:
        if low >= stop:
            break
        high = min(high, stop)
        parts += [html.escape(text[at:low]), OPEN, html.escape(text[low:high]), CLOSE]
        at = high
    parts.append(html.escape(text[at:stop]))
    if stop < len(text):
        parts.append("…")
    return "".join(parts)
