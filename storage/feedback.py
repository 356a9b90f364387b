"""What readers think of messages. Who may say so, and who is told, is decided above."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from storage.database import Database, SqlConnection
from storage.notes import Notes, of_feedback
from storage.records import FeedbackRecord
from storage.rows import FEEDBACK
from storage.statement import Statement, among
from storage.tables import feedback, sessions
from storage.types import Time

#: The session first, as the writer has it: both lock its row before others.
_RATED = Statement(
    sessions.update()
    .where(sessions.c.session_id == sa.bindparam("which"), sessions.c.rated.is_(False))
    .values(rated=sa.true())
)
_PUT = Statement(
    sa.text("""
INSERT INTO chat_feedback (session_id, message_id, user_id, value, comment, given_at)
SELECT session_id, message_id, :user_id, :value, :comment, :now
FROM chat_messages WHERE message_id = :message_id AND session_id = :session_id AND deleted_at IS NULL
ON CONFLICT (message_id, user_id) DO UPDATE
SET value = excluded.value, comment = excluded.comment, given_at = excluded.given_at
""").bindparams(
        *(
            sa.bindparam(name, type_=sa.String)
            for name in ("session_id", "message_id", "user_id", "value", "comment")
        ),
        sa.bindparam("now", type_=Time),
    )
)
_MINE = feedback.c.user_id == sa.bindparam("user_id", type_=sa.String)
_TAKE_BACK = Statement(feedback.delete().where(feedback.c.message_id == sa.bindparam("message_id"), _MINE))
_ERASE = Statement(feedback.delete().where(_MINE))
_OF_MESSAGES = among(feedback.c.message_id, "message_ids")
_OWN = Statement(
    sa.select(feedback.c.message_id, feedback.c.value, feedback.c.comment).where(_OF_MESSAGES, _MINE)
)


def _count(value: str) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((feedback.c.value == value, 1), else_=0))


_SUMS = Statement(
    sa.select(feedback.c.message_id, _count("up"), _count("down"))
    .where(_OF_MESSAGES)
    .group_by(feedback.c.message_id)
)
_PLACE = (feedback.c.given_at, feedback.c.id)
_PAGE = sa.select(*FEEDBACK).order_by(*(column.desc() for column in _PLACE)).limit(sa.bindparam("rows"))
_BEFORE = sa.tuple_(*_PLACE) < sa.tuple_(
    sa.bindparam("given_at", type_=Time), sa.bindparam("id", type_=sa.BigInteger)
)
_IN_SESSION = feedback.c.session_id == sa.bindparam("session_id", type_=sa.String)
_PAGES = {
    (False, False): Statement(_PAGE),
    (False, True): Statement(_PAGE.where(_BEFORE)),
    (True, False): Statement(_PAGE.where(_IN_SESSION)),
    (True, True): Statement(_PAGE.where(_IN_SESSION, _BEFORE)),
}


class Sums(Struct, frozen=True):
    """How many readers think what of a message."""

    up: int
    down: int


class Feedbacks:
    """Every method raises StorageUnavailable. `user_id` is a key, as participants have it."""

    def __init__(self, db: Database, notes: Notes | None = None) -> None:
        self._db, self._notes = db, notes or Notes(db)

    async def put(
        self,
        session_id: str,
        message_id: str,
        user_id: str,
        value: str,
        comment: str | None,
        now: datetime,
    ) -> bool:
        """In place of what the user thought before. False: there is no such message (any more)."""
        given = {
            "session_id": session_id,
            "message_id": message_id,
            "user_id": user_id,
            "value": value,
            "comment": comment,
            "now": now,
        }

        notes, name = self._notes, self._notes.name()

        async def work(connection: SqlConnection) -> int:
            await connection.execute(_RATED, which=session_id)
            stored = await connection.execute(_PUT, **given)
            if stored and notes.on:
                data = of_feedback(session_id, message_id, user_id, value, comment, now)
                await notes.note(connection, name, session_id, "feedback", data, now, user_id)
            return stored

        stored = bool(await self._db.transact(work, again=True))
        notes.told([session_id])
        return stored

    async def take_back(self, session_id: str, message_id: str, user_id: str, now: datetime) -> None:
        notes, name = self._notes, self._notes.name()

        async def work(connection: SqlConnection) -> None:
            gone = await connection.execute(_TAKE_BACK, message_id=message_id, user_id=user_id)
            if gone and notes.on:
                data = of_feedback(session_id, message_id, user_id, None, None, now)
                await notes.note(connection, name, session_id, "feedback", data, now, user_id)

        await self._db.transact(work, again=True)
        notes.told([session_id])

    async def of_reader(
        self, message_ids: Collection[str], user_id: str
    ) -> dict[str, tuple[str, str | None]]:
        """(value, comment) by message."""
        rows = await self._db.fetch_all(_OWN, message_ids=list(message_ids), user_id=user_id)
        return {row[0]: (row[1], row[2]) for row in rows}

    async def sums(self, message_ids: Collection[str]) -> dict[str, Sums]:
        """By message; one without feedback is missing."""
        rows = await self._db.fetch_all(_SUMS, message_ids=list(message_ids))
        return {row[0]: Sums(int(row[1]), int(row[2])) for row in rows}

    async def page(
        self, session_id: str | None, before: tuple[datetime, int] | None, limit: int
    ) -> tuple[list[FeedbackRecord], bool]:
        """The newest first, of one session or of all, from behind a place on; whether there is more."""
        values: dict[str, Any] = {"rows": limit + 1}
        if session_id is not None:
            values["session_id"] = session_id
        if before is not None:
            values["given_at"], values["id"] = before
        statement = _PAGES[session_id is not None, before is not None]
        rows = await self._db.fetch_all(statement, **values)
        return [FeedbackRecord(*row) for row in rows[:limit]], len(rows) > limit

    async def erase_user(self, user_id: str) -> int:
        """How many are gone."""
        return await self._db.execute(_ERASE, again=True, user_id=user_id)
