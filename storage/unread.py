"""How much of a session's end its participants have not read: for many at once, and of its newest messages
alone, so that it costs the same in a session of any length."""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from storage.batched_select import BatchedSelect
from storage.database import Database, Row
from storage.senders import sender_of
from storage.statement import among
from storage.tables import messages, participants

#: Messages that are looked at.
NEWEST = 100

_ID = sa.bindparam("session_id", type_=sa.String)
_MARKS = sa.select(participants.c.user_id, participants.c.read_seq).where(
    participants.c.session_id == _ID, among(participants.c.user_id, "user_ids"), participants.c.read_seq > 0
)
_NEWEST = (
    sa.select(messages.c.seq, messages.c.sender_type, messages.c.sender_id)
    .where(messages.c.session_id == _ID, messages.c.deleted_at.is_(None))
    .order_by(messages.c.seq.desc())
    .limit(NEWEST)
)
_READ = BatchedSelect(_MARKS, _NEWEST, each="session_id")


class UnreadReader:
    """Raises StorageUnavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of(self, asked: Mapping[str, Collection[str]]) -> dict[tuple[str, str], int]:
        """By session and user, as keys: others' undeleted messages above the user's read mark, among the
        newest of the session."""
        users = {user for those in asked.values() for user in those}
        found = await _READ.fetch(self._db, list(asked), user_ids=list(users))
        counts: dict[tuple[str, str], int] = {}
        for session_id, (marks, newest) in found.items():
            read: dict[str, int] = {user: seq for user, seq in marks}
            messages = _Newest(newest)
            for user in asked[session_id]:
                counts[session_id, user] = messages.unread(user, read.get(user, 0))
        return counts


class _Newest:
    """Of one session's newest messages."""

    def __init__(self, newest: Sequence[Row]) -> None:
        self._all: list[int] = []
        self._by: dict[tuple[str, str], list[int]] = {}
        for seq, sender_type, sender_id in reversed(newest):
            self._all.append(seq)
            self._by.setdefault((sender_type, sender_id), []).append(seq)

    def unread(self, user: str, read: int) -> int:
        return _above(self._all, read) - _above(self._by.get(sender_of(user), ()), read)


def _above(seqs: Sequence[int], read: int) -> int:
    """How many of these ascending numbers are above it."""
    return len(seqs) - bisect_right(seqs, read)
