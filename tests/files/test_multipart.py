"""Parts of a multipart body, however its pieces come."""

from collections.abc import Iterator

import pytest

from server.multipart import HEADERS, PARAMETERS, Malformed, PartEvent, PartReader

#: Nearly the end of the part, again and again.
NEAR = b"\r\n--bx" * 20 + b"\r\n--b-\r\n-\r\r\n--" + b"-b--\r\n" * 3
BODY = (
    b'--b\r\ncontent-disposition: form-data; name="post"\r\n\r\nfalse'
    b'\r\n--b\r\nX: y\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    + NEAR
    + b"\r\n--b\r\n\r\n\r\n--b--\r\n--b\r\n\r\nbehind"
)


def read(body: bytes, size: int, boundary: bytes = b"b") -> list[PartEvent]:
    """What a reader tells of a body that comes in pieces of a size, its data in one."""

    def events() -> Iterator[PartEvent]:
        reader = PartReader(boundary)
        for start in range(0, len(body), size):
            yield from reader.feed(body[start : start + size])

    told: list[PartEvent] = []
    for kind, data in events():
        if kind == "data" and told[-1][0] == "data":
            told[-1] = kind, told[-1][1] + data
        else:
            told.append((kind, data))
    return told


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 10_000])
@pytest.mark.parametrize("before", [b"", b"\r\n\r\n"])
def test_parts_are_the_same_in_any_pieces(before: bytes, size: int) -> None:
    assert read(before + BODY, size) == [
        ("part", b'form-data; name="post"'),
        ("data", b"false"),
        ("end", b""),
        ("part", b'form-data; name="file"; filename="a"'),
        ("data", NEAR),
        ("end", b""),
        ("part", b""),
        ("end", b""),
        ("finish", b""),
    ]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(
    "body",
    [
        b"words before\r\n--b\r\n\r\n",
        b"--c\r\n\r\nx\r\n--c--",
        b"--b\r\nno header\r\n\r\n",
        b"--b\r\nX: " + b"y" * HEADERS,
        b"--b\r\nContent-Disposition: form-data" + b";" * (PARAMETERS + 1) + b"\r\n\r\n",
    ],
    ids=["words before", "another boundary", "no header", "long", "parameters"],
)
def test_what_is_none(body: bytes, size: int) -> None:
    with pytest.raises(Malformed):
        read(body, size)


@pytest.mark.parametrize("boundary", [b"", b"b" * 257])
def test_boundaries_that_cannot_be_used(boundary: bytes) -> None:
    with pytest.raises(Malformed):
        PartReader(boundary)
