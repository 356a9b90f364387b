"""How deep and how wide JSON is, before anything is built of it. Reads no values."""

from itertools import accumulate
from typing import Final

#: Levels of arrays and objects taken. orjson reads 1024 and writes 254, and what is stored leaves in replies
#: that are a few levels deeper.
DEPTH: Final = 200
#: Arrays and objects taken in one message: what 64 KiB can hold. Each costs as much as some hundred bytes of
#: text, so that a size in bytes alone bounds no time on the loop.
WIDTH: Final = 32 * 1024

#: Brackets between two looks at how deep they are: what is too deep is most often so at its beginning.
_PIECE: Final = 4096

_NO_OUTLINE: Final = bytes(set(range(256)) - set(b'[]{}"'))
_NO_COMMAS: Final = bytes(set(range(256)) - set(b',"'))
#: One level down, and one up (-1 as a byte).
_STEPS: Final = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")
_EMPTY: Final = b"\x01\xff"


class Nested(ValueError):
    """Arrays and objects beyond `DEPTH` or a width."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__(f"at most {DEPTH} levels, and {width} arrays and objects")


def check_outline(data: bytes, width: int = WIDTH) -> None:
    """Raises Nested. Each step goes over the bytes once; what is no JSON at all may pass, or be called so."""
    outline = _without_strings(data, _NO_OUTLINE)
    if len(outline) > 2 * width:
        raise Nested(width)
    if len(outline) > 2 * DEPTH and _too_deep(outline.translate(_STEPS)):
        raise Nested(width)


def commas(data: bytes) -> int:
    """Between values: how many there are, about."""
    return len(_without_strings(data, _NO_COMMAS))


def _without_strings(data: bytes, others: bytes) -> bytes:
    """What is left of JSON without its strings and these bytes."""
    if 92 in data:  # a backslash
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Strings without such bytes go; those with some are every other part between the quotes that are left.
    left = data.translate(None, others).replace(b'""', b"")
    return b"".join(left.split(b'"')[::2]) if 34 in left else left


def _too_deep(steps: bytes) -> bool:
    # JSON is deepest in empty pairs. Without these it is one level lower, and what is wide is short.
    left = memoryview(steps.replace(_EMPTY, b"")).cast("b")
    level = 0
    for start in range(0, len(left), _PIECE):
        levels = list(accumulate(left[start : start + _PIECE], initial=level))
        if max(levels) >= DEPTH:
            return True
        level = levels[-1]
    return False
