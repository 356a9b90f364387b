"""Text as the search index sees it: words, and pairs of letters where a script writes no spaces. Pure.

Both databases get the same tokens, made here, so that they find the same; neither's own idea of a word, nor
its locale, has a say.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

#: Scripts that are written without spaces, or (Hangul) that glue particles to words: a word is not what
#: stands between two spaces, so every pair of neighbouring letters is a token.
SPACELESS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0edf\u1000-\u1049\u1050-\u109f\u1780-\u17d3"
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3005-\u3007\u3040-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3100-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
#: Vowel signs and accents that stay with the letter before them.
_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u064b-\u065f\u0670\u0900-\u0dff\u200c\u200d"
_LETTER = rf"[^\W_{SPACELESS}]"
_RUN = re.compile(rf"(?P<pairs>[{SPACELESS}]+)|{_LETTER}+(?:[{_MARKS}]+{_LETTER}*)*")

_ASCII = re.compile("[a-z0-9]+")

#: Letters of a word that count: longer ones are addresses, keys and the like.
WORD = 64
#: Different tokens of one message: far more than 256 KiB of prose have.
TOKENS = 20_000


def fold(text: str) -> tuple[str, list[int] | None]:
    """Lower case, one form for what looks alike (NFKC); and where each character comes from in `text`.

    None: from the same place.
    """
    if text.isascii():
        return text.lower(), None
    folded = _fold(text)
    if len(folded) == len(text) and unicodedata.is_normalized("NFKC", text):
        return folded, None
    parts: list[str] = []
    origins: list[int] = []
    for start, cluster in _clusters(text):
        part = _fold(cluster)
        parts.append(part)
        origins += [start] * len(part)
    return "".join(parts), [*origins, len(text)]


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _clusters(text: str) -> Iterator[tuple[int, str]]:
    """Characters with those that compose with them."""
    start = 0
    for index in range(1, len(text) + 1):
        if index < len(text):
            char = text[index]
            # Accents, half-width voice marks, and the later parts of a decomposed Hangul syllable.
            if unicodedata.combining(char) or "\uff9e" <= char <= "\uff9f" or "\u1160" <= char <= "\u11ff":
                continue
        yield start, text[start:index]
        start = index


def tokens(text: str) -> set[str]:
    """What a text is found by."""
    folded = fold(text)[0]
    if folded.isascii():
        return {word[:WORD] for word in _ASCII.findall(folded)}
    found: set[str] = set()
    for run in _RUN.finditer(folded):
        word = run.group()
        if run.lastgroup is None:
            found.add(word[:WORD])
        else:
            # Letters by themselves, too: the pairs that begin with one are many.
            found.update(word)
            found.update(word[index : index + 2] for index in range(len(word) - 1))
        if len(found) > TOKENS:
            break
    return found


@dataclass(frozen=True, slots=True)
class Term:
    """One word, phrase or piece of a spaceless text. `pattern` decides, on folded text.

    `tokens`: whatever the pattern matches has them all. `exact`: what has them matches, too.
    """

    pattern: re.Pattern[str]
    tokens: tuple[str, ...]
    exact: bool
    negative: bool


def term(text: str, *, negative: bool = False) -> Term | None:
    """None if nothing in `text` can be looked for."""
    runs = list(_RUN.finditer(fold(text)[0]))
    if not runs:
        return None
    patterns, found = [], []
    for run in runs:
        word = run.group()
        if run.lastgroup is None:
            found.append(word[:WORD])
            patterns.append(rf"(?<!{_LETTER}){re.escape(word)}(?!{_LETTER}|[{_MARKS}])")
            continue
        patterns.append(re.escape(word))
        found += [word[index : index + 2] for index in range(max(1, len(word) - 1))]
    pattern = re.compile(r"[\W_]{0,40}".join(patterns))
    exact = len(runs) == 1 and len(found) == 1 and len(runs[0].group()) <= WORD
    return Term(pattern, tuple(dict.fromkeys(found)), exact, negative)


_QUOTES = str.maketrans("\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02", '"' * 7)
_PART = re.compile(r'(-?)"([^"]*)"?|(\S+)')


def parse(query: str) -> list[Term]:
    """Words, `"phrases"`, and what must not be there: `-word`, `-"phrase"`."""
    found = []
    for part in _PART.finditer(query.translate(_QUOTES)):
        sign, phrase, word = part.groups()
        if word is not None:
            sign = "-" if word.startswith("-") else ""
        one = term(phrase if word is None else word, negative=sign == "-")
        if one is not None:
            found.append(one)
    return found
