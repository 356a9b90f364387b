"""How deep and how wide JSON may be is known before anything is built of it, in one pass over its bytes."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.outline import DEPTH, WIDTH, Nested
from server.engine.packets import loads

SIZE = 1024 * 1024


def filled(unit: str, size: int = SIZE) -> bytes:
    """An array of as many units as fit."""
    return ("[" + ",".join([unit] * ((size - 2) // (len(unit) + 1))) + "]").encode()


def levels(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(levels, inner), default=0)


#: What has brackets, quotes and backslashes where they mean nothing.
texts = st.text(st.sampled_from('[]{}"\\u0,: x'), max_size=12)
values = st.recursive(
    texts | st.integers(-(2**63), 2**64 - 1),  # beyond these orjson reads a float
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values, st.integers(DEPTH - 12, DEPTH + 1), st.booleans(), texts)
@example('"]]]', DEPTH, False, '\\"[')
@example("\\", DEPTH + 1, True, "\\\\")
def test_the_depth_is_that_of_what_is_no_string(value: Any, deeper: int, objects: bool, text: str) -> None:
    for _ in range(deeper):
        value = {text: value} if objects else [text, value]
    data = json.dumps(value).encode()
    if levels(value) > DEPTH:
        with pytest.raises(Nested):
            loads(data)
    else:
        assert loads(data) == value


@pytest.mark.parametrize("before", [0, 1, 700, 2047, 2048, 4095, 6000])
@pytest.mark.parametrize("core", ["", "0", "{}", '"["'])
def test_the_depth_is_found_wherever_it_is(before: int, core: str) -> None:
    """`before`: pairs of brackets ahead of it, half of them empty."""
    for tower in (DEPTH - 1, DEPTH):
        inner = tower - (core == "{}")
        wide = ("[" + "[[]]," * before + "[" * inner + core + "]" * inner + "]").encode()
        if tower < DEPTH:
            assert len(loads(wide)) == before + 1
        else:
            with pytest.raises(Nested):
                loads(wide)


@pytest.mark.parametrize("unit", ["[]", "{}", "[[]]", '{"[":[]}', '{"\\"":1}'])
def test_the_width_counts_what_is_no_string(unit: str) -> None:
    each = levels(json.loads(unit))
    most = (WIDTH - 1) // each
    assert len(loads(("[" + ",".join([unit] * most) + "]").encode())) == most
    with pytest.raises(Nested):
        loads(("[" + ",".join([unit] * (most + 1)) + "]").encode())


@pytest.mark.parametrize("text", ["[" * SIZE, '"[' * (SIZE // 3), "\\[{" * (SIZE // 4), "]}" * (SIZE // 2)])
def test_a_text_of_brackets_is_a_text(text: str) -> None:
    assert loads(json.dumps([text]).encode()) == [text]


SHAPES = {
    "arrays": filled("[]"),
    "objects": filled('{"a":{}}'),
    "deep": filled("[" * 190 + "]" * 190),
    "deeper than is taken": filled("[" * 900 + "]" * 900),
    "never closed": b"[" * SIZE,
    "closed": b"]" * SIZE,
    "numbers": filled("1e1"),
    "strings": filled('"["'),
    "quotes": filled('"\\"["'),
    "backslashes": filled('"\\\\"'),
    "NULs that are none": filled('"\\\\u0000"'),
    "names": ("{" + ",".join(f'"{n:x}":0' for n in range(SIZE // 9)) + "}").encode(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_megabyte_of_any_shape_is_read_or_refused_soon(shape: str) -> None:
    """What took longest was a second; now it is some ten milliseconds, and the bound leaves room for a slow
    machine."""
    began = time.thread_time()
    with contextlib.suppress(ValueError):
        loads(SHAPES[shape])
    assert time.thread_time() - began < 0.15
