"""Identifiers that nobody can guess.

Their random bytes are fetched from the kernel for many at once: a system call for each costs as much as the
rest of a handshake's thinking. For the event loop's thread alone.
"""

import os
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable

#: Bytes fetched at once.
_FETCHED = 4096
#: Bytes of a token, and its letters.
_TOKEN, _LETTERS = 15, 20


class _Random:
    """Bytes of `os.urandom`, each given out once, also after a fork."""

    __slots__ = ("_bytes", "_next")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._bytes, self._next = b"", 0

    def take(self, count: int) -> bytes:
        start, self._next = self._next, self._next + count
        if self._next > len(self._bytes):
            self._bytes = os.urandom(max(count, _FETCHED))
            start, self._next = 0, count
        return self._bytes[start : self._next]


class _Tokens:
    """The same as letters of base64url, which three bytes make four of: written for many tokens at once."""

    __slots__ = ("_letters", "_next")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._letters, self._next = "", 0

    def take(self) -> str:
        """A secret of 120 random bits."""
        start = self._next
        self._next = end = start + _LETTERS
        if end > len(self._letters):
            self._letters = base64url(os.urandom(_FETCHED // _TOKEN * _TOKEN)).decode()
            start, self._next = 0, _LETTERS
            end = _LETTERS
        return self._letters[start:end]


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_random, _tokens = _Random(), _Tokens()
os.register_at_fork(after_in_child=_random.forget)
os.register_at_fork(after_in_child=_tokens.forget)


def new_id(prefix: str) -> str:
    """An opaque id: `prefix`_ and 128 random bits."""
    return f"{prefix}_{_random.take(16).hex()}"


#: A secret of 120 random bits: 20 letters of base64url.
new_token: Callable[[], str] = _tokens.take


def base64url(data: bytes) -> bytes:
    """Base64 for addresses, without padding (RFC 4648, section 5; RFC 7515, section 2)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE, b"=")


def from_base64url(text: bytes) -> bytes:
    """The other way; `text` is of that alphabet. Raises ValueError where it has a length that none has."""
    return a2b_base64(text.translate(_FROM_URL_SAFE) + b"=" * (-len(text) % 4))
