"""The dearest JSON and texts that fit into one call."""

import unicodedata
from typing import Any

from events.outline import DEPTH
from events.outline import WIDTH as MOST

#: Bytes of a call (WS_MESSAGE_SIZE_LIMIT), less what stands around its dearest field.
ROOM = 250_000
#: Objects of one key each that fill it, as `json.dumps` writes them.
WIDTH = min(ROOM // 10, MOST - 50)


def wide() -> dict[str, Any]:
    """As many objects as fit: each is made, walked through and freed by itself."""
    return {"all": [{"a": 0} for _ in range(WIDTH)]}


def deep() -> dict[str, Any]:
    """As many levels as there may be, many times."""
    one: Any = 0
    for _ in range(DEPTH - 20):
        one = {"a": one}
    return {"all": [one] * (WIDTH * 9 // 10 // DEPTH)}


#: Each letter is normalised by itself, and becomes several.
DEAR_TEXT = unicodedata.normalize(
    "NFD", "내일 회의실에서 보고서를 함께 봅시다 Phở bò tái lăn ở Việt Nam \ufdfa "
)


def long_text(size: int = ROOM // 6) -> str:
    """Letters that JSON writes as six bytes each (`json.dumps` does)."""
    return (DEAR_TEXT * (size // len(DEAR_TEXT) + 1))[:size]


def escaped(size: int = ROOM // 6) -> str:
    """Letters that every JSON has to write as six bytes each."""
    return "\x01" * size


def name(number: int) -> str:
    """A user as long as may be."""
    return f"user{number:06d}".ljust(255, "x")


#: As long as a query may be, each pair of its letters another token.
SYLLABLES = "".join(chr(ord("가") + 28 * number) for number in range(256))


def title(number: int) -> str:
    """Letters that fold to eighteen each; the first few together have every token of `SYLLABLES`."""
    letters = SYLLABLES[49 * number :][:50]
    return "\ufdfa" * (200 - len(letters)) + letters
