"""Text as the search index sees it: beginnings of words, pairs of letters where a script writes no spaces,
and symbols. Pure.

Both databases get the same tokens, made here, so that they find the same; neither's own idea of a word, nor
its locale, has a say.
"""

import re
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storage.turns import Work, at_once

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
#: A mark that is not a letter: some letters of those scripts are among the marks.
_SIGN = rf"(?:(?!\w)[{_MARKS}])"
_A_SIGN, _LETTERS = re.compile(_SIGN), re.compile(rf"{_LETTER}*")
#: A word begins after no letter and no mark, and goes on after its marks.
_BEGIN, _END = re.compile(rf"(?<!{_LETTER})(?<![{_MARKS}])"), re.compile(rf"(?!{_LETTER}|[{_MARKS}])")
_RUN = re.compile(rf"(?P<pairs>[{SPACELESS}]+)|{_LETTER}+(?:[{_MARKS}]+{_LETTER}*)*")

_ASCII = re.compile("[a-z0-9]+")
#: Punctuation that people look for; the rest of it ends sentences.
_SIGNS = "#%&*@\u00a7\u00b6\u2020\u2021\u2022\u203b"
_ASCII_SYMBOL = re.compile(r"[#%&*@+<=>|~$^`]")
_MAYBE_SYMBOL = re.compile(r"[^\w\s]")
#: Characters that join symbols to one emoji, or choose the form in which it is shown.
_JOINERS = "\u200d\ufe0e\ufe0f"
#: Characters that may continue a word.
_REST = re.compile(rf"[\w{_MARKS}{SPACELESS}]*")
#: In front of what would compose with the character before it, but shall not: a vowel after a consonant is no
#: syllable where each was written as a letter of its own.
_APART = re.compile(
    "(?=[\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0cc2\u0cd5\u0cd6\u0d3e\u0d57\u0dcf\u0ddf\u0f73\u0f75\u0f81"
    "\u0fb5\u0fb7\u102e\u1b35\u3133\u3135\u3136\u313a-\u313f\u314f-\u3163"
    "\uffa3\uffa5\uffa6\uffaa-\uffaf\uffc2-\uffc7\uffca-\uffcf\uffd2-\uffd7\uffda-\uffdc\U00011127\U0001133e\U00011357\U000114b0\U000114ba"
    "\U000114bd\U000115af\U00011930])"
)

#: Characters that are folded together. Normalising takes time by the square of how many marks are in a row.
BLOCK = 256
#: Marks that stay with their character even where a block ends (Unicode's Stream-Safe Text Format has 30).
CLUSTER = 32
#: Characters that are taken apart into words together.
PIECE = 2048
#: Cost of a character of a script without spaces, with its pair, in characters of a word.
PAIRS = 4

#: Characters that may stand between the words of a phrase.
GAP = 40
#: Letters of a word that count: longer ones are addresses, keys and the like.
WORD = 64
#: The beginnings of a word that are tokens, by their number of letters. Each costs an entry in the index;
#: what lies between two of them is found by the shorter one, and by a look at the message.
BEGINNINGS = (2, 3, 4, 6, 9)
#: Letters of a text without spaces from which on it is found with spaces in it, and how many in one place:
#: people write compounds both ways. With two letters it would hardly ever be the same word.
COMPOUND, SPACES = 3, 8
#: Different tokens of one message: far more than 256 KiB of prose have.
TOKENS = 20_000


class SourcePositions:
    """Where each character of a folded text comes from: the place of the character, with what composes with
    it, of which it is a part. One place more stands for the end.

    Kept by block, and worked out within one when somebody asks: few places of a text are ever asked for.
    """

    __slots__ = ("_blocks", "_known", "_length", "_sources", "_starts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._length = 0
        #: Where each block starts, folded and not; and its length in `text`, or 0 where its characters stand
        #: in the same order, one for one.
        self._starts: list[int] = []
        self._sources: list[int] = []
        self._blocks: list[int] = []
        self._known: dict[int, list[int]] = {}

    def add(self, source: int, block: int, folded: int, *, even: bool) -> None:
        """The next block: so many characters from `source` on that became `folded`."""
        if not even or not self._blocks or self._blocks[-1]:
            self._starts.append(self._length)
            self._sources.append(source)
            self._blocks.append(0 if even else block)
        self._length += folded

    @property
    def uneven(self) -> bool:
        return any(self._blocks)

    def __len__(self) -> int:
        return self._length + 1

    def __getitem__(self, index: int) -> int:
        if index >= self._length:
            if index > self._length:
                raise IndexError
            return len(self._text)
        number = bisect_right(self._starts, index) - 1
        within = index - self._starts[number]
        if not self._blocks[number]:
            return self._sources[number] + within
        if number not in self._known:
            self._known[number] = self._origins(self._sources[number], self._blocks[number])
        return self._known[number][within]

    @staticmethod
    def _cluster_end(text: str, start: int, stop: int) -> int:
        end = start + 1
        while end < stop and _continues(text[end]):
            end += 1
        return end

    def _origins(self, start: int, length: int) -> list[int]:
        origins: list[int] = []
        stop = start + length
        while start < stop:
            end = self._cluster_end(self._text, start, stop)
            origins += [start] * len(_folded(self._text[start:end]))
            start = end
        return origins


def fold(text: str) -> tuple[str, SourcePositions | None]:
    """Lower case, one form for what looks alike (NFKC); and where each character comes from in `text`.

    None: from the same place.
    """
    return at_once(folding(text))


def folding(text: str) -> Work[tuple[str, SourcePositions | None]]:
    """`fold`, in pieces: what is in its form already costs next to nothing, a block that is not a little
    more, and neither makes the others dearer."""
    if text.isascii():
        return text.lower(), None
    parts: list[str] = []
    places = SourcePositions(text)
    start = 0
    while start < len(text):
        stop = _block_end(text, start)
        block = text[start:stop]
        folded, even = _block(block)
        parts.append(folded)
        places.add(start, len(block), len(folded), even=even)
        yield max(len(block), len(folded))
        start = stop
    return "".join(parts), places if places.uneven else None


def _block_end(text: str, start: int) -> int:
    """Not in front of what composes with the character before it, unless that goes on for too long."""
    stop = start + BLOCK
    while stop < len(text) and stop < start + BLOCK + CLUSTER and _continues(text[stop]):
        stop += 1
    return stop


def _block(block: str) -> tuple[str, bool]:
    """A folded block, and whether its characters stand for those of the block one for one."""
    if block.isascii():
        return block.lower(), True
    if unicodedata.is_normalized("NFKC", block):
        lower = block.casefold()
        if unicodedata.is_normalized("NFKC", lower):
            return lower, len(lower) == len(block)
    return "".join(map(_folded, _APART.split(block))), False


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _continues(char: str) -> bool:
    """Whether it composes with what is before it."""
    # Accents, half-width voice marks, and the later parts of a decomposed Hangul syllable.
    return bool(unicodedata.combining(char)) or "\uff9e" <= char <= "\uff9f" or "\u1160" <= char <= "\u11ff"


def tokens(text: str) -> set[str]:
    """The tokens by which a text is found."""
    return at_once(tokenizing(text))


def tokenizing(text: str) -> Work[set[str]]:
    """`tokens`, in pieces."""
    folded, _ = yield from folding(text)
    ascii_only = folded.isascii()
    found: set[str] = set()
    before = Before()
    start = 0
    while start < len(folded) and len(found) <= TOKENS:
        stop = start + PIECE
        # Not in the middle of a word.
        rest = _REST.match(folded, stop)
        stop = rest.end() if rest else len(folded)
        if ascii_only:
            end = min(stop, start + PIECE + WORD)  # what follows is the rest of one word
            _begin(_ASCII.findall(folded, start, end), found)
            found.update(_ASCII_SYMBOL.findall(folded, start, end))
            yield end - start
        else:
            yield from _tokens(folded, start, stop, found, before)
            found.update(filter(_is_symbol, set(_MAYBE_SYMBOL.findall(folded, start, stop))))
        start = stop
    return found


@dataclass(slots=True)
class Before:
    """The last letter of the run without spaces before the present one, and where it ended."""

    letter: str = ""
    end: int = 0


def _begin(words: Iterable[str], found: set[str]) -> None:
    """The beginnings of these words. A word of one letter begins nothing but itself."""
    words = set(words)
    for letters in BEGINNINGS:
        found.update([word[:letters] for word in words if len(word) >= letters])
    found.update([word for word in words if len(word) == 1])


def _tokens(folded: str, start: int, stop: int, found: set[str], before: Before) -> Work[None]:
    for run in _RUN.finditer(folded, start, stop):
        word = run.group()
        if run.lastgroup is None:
            _begin((word,), found)
            before.letter = ""
            yield len(word)
            continue
        # Over a space, too: a compound may be written as one word, or as two.
        gap = folded[before.end : min(run.start(), before.end + SPACES + 1)] if before.letter else ""
        if gap.isspace() and len(gap) <= SPACES:
            found.add(before.letter + word[0])
        before.letter, before.end = word[-1], run.end()
        for at in range(0, len(word), PIECE):
            # Letters by themselves, too: the pairs that begin with one are many.
            piece = word[at : at + PIECE + 1]
            found.update(piece)
            found.update([piece[index : index + 2] for index in range(len(piece) - 1)])
            yield PAIRS * len(piece)
            if len(found) > TOKENS:
                return


def _is_symbol(char: str) -> bool:
    return char in _SIGNS or unicodedata.category(char).startswith("S")


@dataclass(frozen=True, slots=True)
class Term:
    """One word, phrase or piece of a spaceless text. `hits` decides, on folded text.

    `letters` matches it with whatever stands around its words. `begins`: its first run is a word, which has
    no letter before it; `ends` are the groups of words that have none behind them. A regular expression for
    that would be compiled with the class of all letters twice a word, which takes milliseconds each.

    `tokens`: whatever it is found in has them all. `exact`: it is in what has them, too. `reach`: how many
    characters it looks at to be found somewhere, at most.
    """

    letters: re.Pattern[str]
    begins: bool
    ends: tuple[int, ...]
    tokens: tuple[str, ...]
    exact: bool
    negative: bool
    reach: int

    def hits(self, folded: str, start: int = 0, stop: int = sys.maxsize) -> Iterator[tuple[int, int]]:
        """From where to where it stands, one behind the other, between these places."""
        at = start
        while (found := self.letters.search(folded, at, stop)) is not None:
            first = _first_sign(folded, found.start()) if self.begins else found.start()
            if first >= start and self._stands(folded, first, found):
                yield first, found.end()
                at = found.end()
            elif self.begins:  # no word begins in the middle of one
                at = _LETTERS.match(folded, found.start()).end()  # type: ignore[union-attr]
            else:
                at = found.start() + 1

    def _stands(self, folded: str, first: int, found: re.Match[str]) -> bool:
        if self.begins and _BEGIN.match(folded, first) is None:
            return False
        return all(_END.match(folded, found.end(word)) for word in self.ends)


def _first_sign(folded: str, word: int) -> int:
    """Where the signs begin that stand in front of a word, and belong to it where no letter has them."""
    first = word
    while first > max(0, word - GAP) and _A_SIGN.match(folded, first - 1):
        first -= 1
    return first


def term(text: str, *, negative: bool = False, whole: bool = False) -> Term | None:
    """None if nothing in `text` can be looked for. `whole`: its last word is one, not the beginning of one,
    and what has no spaces is not found with some."""
    folded = fold(text)[0]
    runs = list(_RUN.finditer(folded))
    if not runs:
        return _symbols(folded, negative)
    patterns: list[str] = []
    found: list[str] = []
    ends: list[int] = []
    reach = GAP
    for run in runs:
        word = run.group()
        reach += len(word) + GAP
        if run.lastgroup is None:
            found.append(_token(word))
            # What most texts have around it is looked at here, and the rest of it in `Term.hits`.
            start = "" if patterns else "(?<![a-z0-9])"
            if run is runs[-1] and not whole and len(word) > 1:  # the beginning of one
                patterns.append(rf"{start}{re.escape(word)}")
            else:
                ends.append(len(ends) + 1)
                patterns.append(rf"{start}({re.escape(word)})(?![a-z0-9])")
            continue
        apart = "" if whole or len(word) < COMPOUND else rf"\s{{0,{SPACES}}}"
        reach += SPACES * len(word) if apart else 0
        patterns.append(apart.join(map(re.escape, word)))
        found += [word[index : index + 2] for index in range(max(1, len(word) - 1))]
    letters = re.compile(rf"[\W_]{{0,{GAP}}}".join(patterns))
    # A pair may also come of two words.
    exact = len(runs) == 1 and len(runs[0].group()) == 1
    begins = runs[0].lastgroup is None
    return Term(letters, begins, tuple(ends), tuple(dict.fromkeys(found)), exact, negative, reach + 1)


def _token(word: str) -> str:
    """By which a word is found."""
    return word[: max((letters for letters in BEGINNINGS if letters <= len(word)), default=1)]


def _symbols(folded: str, negative: bool) -> Term | None:
    symbols = list(filter(_is_symbol, folded))
    if not symbols:
        return None
    pattern = re.compile(rf"[\s{_JOINERS}]{{0,{SPACES}}}".join(map(re.escape, symbols)))
    reach = len(symbols) * (1 + SPACES)
    return Term(pattern, False, (), tuple(dict.fromkeys(symbols)), len(symbols) == 1, negative, reach)


_QUOTES = str.maketrans("\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02", '"' * 7)
_PART = re.compile(r'(-?)"([^"]*)"?|(\S+)')
#: A minus in front of what can be looked for, and no arrow.
_WITHOUT = re.compile(r"-+[^\s!-/:-@\[-`{-~]")


def parse(query: str) -> list[Term]:
    """Beginnings of words, `"phrases"`, and what must not be there: `-word`, `-"phrase"`."""
    found = []
    for part in _PART.finditer(query.translate(_QUOTES)):
        sign, phrase, word = part.groups()
        negative = sign == "-" if word is None else bool(_WITHOUT.match(word))
        text = phrase if word is None else word
        one = term(text, negative=negative, whole=negative or word is None)
        if one is not None:
            found.append(one)
    return found
