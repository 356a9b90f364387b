"""What polling clients of sessions that are over are to hear at their next request: why, mostly. Bounded, and
only for who opened the session. Knows no session.
"""

from typing import Final, NamedTuple

#: Sessions, and bytes of all of them: each may have an outbox full.
MOST: Final = 1000
MOST_BYTES: Final = 16 * 1024 * 1024


class _Kept(NamedTuple):
    until: float
    owner: bytes | None  # a digest of the credentials that opened the session
    words: bytes


class LastWords:
    """Times are of the caller's clock; `seconds` until a client that has not asked is not coming."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: dict[str, _Kept] = {}  # oldest first
        self._bytes = 0

    def keep(self, sid: str, owner: bytes | None, words: bytes, now: float) -> None:
        self._kept[sid] = _Kept(now + self._seconds, owner, words)
        self._bytes += len(words)
        while self._kept:
            oldest, kept = next(iter(self._kept.items()))
            if kept.until > now and len(self._kept) <= MOST and self._bytes <= MOST_BYTES:
                break
            self._drop(oldest)

    def take(self, sid: str, caller: bytes | None) -> bytes | None:
        """Once, and for nobody else: a sid alone stands in logs of proxies."""
        kept = self._kept.get(sid)
        if kept is None or kept.owner not in (None, caller):
            return None
        self._drop(sid)
        return kept.words

    def _drop(self, sid: str) -> None:
        self._bytes -= len(self._kept.pop(sid).words)
