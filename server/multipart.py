"""Where the parts of a multipart body (RFC 2046, section 5.1) begin and end, in a time that does not depend
on what is in them. Knows no field and no file.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

#: Bytes of a part's headers: a long file name is shortened, not refused. And of a boundary.
HEADERS: Final = 32 * 1024
BOUNDARY: Final = 256
#: Parameters of a `Content-Disposition`.
PARAMETERS: Final = 100

#: A part begins ("part", with its `Content-Disposition`), goes on ("data"), ends ("end"); at last "finish".
PartEvent = tuple[str, bytes]


class Malformed(Exception):
    """Not a multipart body."""


class _Place(Enum):
    BEFORE = 1
    HEADERS = 2
    CONTENT = 3
    BEHIND = 4


class PartReader:
    """Cuts a body that comes in pieces."""

    def __init__(self, boundary: bytes) -> None:
        """Raises Malformed."""
        if not 0 < len(boundary) <= BOUNDARY:
            raise Malformed
        # What begins like one and goes on otherwise is content, and a body may consist of nothing else: the
        # expression goes past it.
        self._delimiter = re.compile(rb"\r\n--" + re.escape(boundary) + rb"(?:\r\n|--)")
        self._wholes = b"\r\n--" + boundary + b"\r\n", b"\r\n--" + boundary + b"--"
        self._length = len(boundary) + 6
        self._place = _Place.BEFORE
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[PartEvent]:
        """What the next piece tells: to be gone through before there is another. Raises Malformed."""
        data, at = self._rest + piece, 0
        if self._place is _Place.BEFORE:
            data = b"\r\n" + data.lstrip(b"\r\n")
            if len(data) < self._length:
                self._rest = data
                return
            if self._delimiter.match(data) is None:
                raise Malformed
        while self._place is not _Place.BEHIND:
            if self._place is _Place.HEADERS:
                end = data.find(b"\r\n\r\n", at)
                if (end if end >= 0 else len(data)) > at + HEADERS:
                    raise Malformed
                if end < 0:
                    break
                yield "part", _disposition(data[at + 2 : end])
                at, self._place = end + 4, _Place.CONTENT
                continue
            found = self._delimiter.search(data, at)
            stop = self._sure(data, at) if found is None else found.start()
            if self._place is _Place.CONTENT and stop > at:
                yield "data", data[at:stop]
            at = stop
            if found is None:
                break
            if self._place is _Place.CONTENT:
                yield "end", b""
            at, self._place = found.end() - 2, _Place.HEADERS  # at the line end before its headers
            if found[0][-2:] == b"--":
                self._place = _Place.BEHIND
                yield "finish", b""
        self._rest = b"" if self._place is _Place.BEHIND else data[at:]

    def _sure(self, data: bytes, at: int) -> int:
        """Up to where there is no delimiter, also if the next piece goes on with one."""
        at = max(at, len(data) - self._length + 1)
        while (start := data.find(b"\r", at)) >= 0:
            if any(whole.startswith(data[start:]) for whole in self._wholes):
                return start
            at = start + 1
        return len(data)


def _disposition(headers: bytes) -> bytes:
    """The value of that line; the last one counts. Raises Malformed."""
    value = b""
    for line in headers.split(b"\r\n") if headers else ():
        name, colon, rest = line.partition(b":")
        if not colon:
            raise Malformed
        if name.strip().lower() == b"content-disposition":
            value = rest.strip()
    if value.count(b";") > PARAMETERS:
        raise Malformed
    return value
