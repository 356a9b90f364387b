"""Identifiers that nobody can guess.

Their random bytes are fetched from the kernel for many at once: a system call for each costs as much as the
rest of a handshake's thinking. For the event loop's thread alone.
"""

import os
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import partial
from typing import AnyStr, Generic

#: Bytes fetched at once.
_FETCHED = 4096


class _Pool(Generic[AnyStr]):
    """What `fill` makes of random bytes, each part of it given out once, also after a fork."""

    __slots__ = ("_all", "_fill", "_next")

    def __init__(self, fill: Callable[[], AnyStr]) -> None:
        self._fill: Callable[[], AnyStr] = fill
        self.refill()
        os.register_at_fork(after_in_child=self.refill)

    def refill(self) -> None:
        self._all: AnyStr = self._fill()
        self._next = 0

    def take(self, count: int) -> AnyStr:
        """At most what `fill` makes."""
        if self._next + count > len(self._all):
            self.refill()
        start = self._next
        self._next = end = start + count
        return self._all[start:end]


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def base64url(data: bytes) -> bytes:
    """Base64 for addresses, without padding (RFC 4648, section 5; RFC 7515, section 2)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE, b"=")


def from_base64url(text: bytes) -> bytes:
    """The other way; `text` is of that alphabet. Raises ValueError where it has a length that none has."""
    return a2b_base64(text.translate(_FROM_URL_SAFE) + b"=" * (-len(text) % 4))


_bytes = _Pool(lambda: os.urandom(_FETCHED))
_letters = _Pool(lambda: base64url(os.urandom(_FETCHED // 3 * 3)).decode())


def new_id(prefix: str) -> str:
    """An opaque id: `prefix`_ and 128 random bits."""
    return f"{prefix}_{_bytes.take(16).hex()}"


#: A secret of 120 random bits: 20 characters of base64url.
new_token: Callable[[], str] = partial(_letters.take, 20)
