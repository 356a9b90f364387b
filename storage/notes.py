"""Events that no revision tells of, for webhooks: written in the transaction of what they tell, or not at
all. Nothing is written while there is no webhook."""

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from storage.database import Database, SqlConnection
from storage.records import SessionRecord
from storage.statement import Statement, among, to_json
from storage.tables import webhook_cursors, webhook_dead, webhook_events
from storage.types import Time

#: With the session's last revision; a session that is gone has none.
_NOTE = {
    dialect: Statement(
        sa.text(f"""
INSERT INTO webhook_events (session_id, name, event, revision, user_id, data, at)
SELECT :session_id, :name, :event,
    coalesce((SELECT last_revision FROM chat_sessions WHERE session_id = :session_id), 0),
    :user_id, {data}, :at
WHERE EXISTS (
    SELECT 1 FROM webhooks w WHERE w.is_active AND (w.session_id IS NULL OR w.session_id = :session_id)
)
""").bindparams(
            *(
                sa.bindparam(name, type_=sa.String)
                for name in ("session_id", "name", "event", "user_id", "data")
            ),
            sa.bindparam("at", type_=Time),
        )
    )
    for dialect, data in (("postgresql", "CAST(:data AS jsonb)"), ("sqlite", ":data"))
}
_OF = among(webhook_events.c.session_id, "ids")
_FORGET = [
    Statement(webhook_events.delete().where(_OF)),
    Statement(webhook_dead.delete().where(among(webhook_dead.c.session_id, "ids"))),
    # One that is made anew under the same id is told from its beginning.
    Statement(
        webhook_cursors.update()
        .where(among(webhook_cursors.c.session_id, "ids"))
        .values(revision=0, seq=0, untold=None, attempts=0, error=None, fence=webhook_cursors.c.fence + 1)
    ),
]
_ERASE = Statement(
    webhook_events.delete().where(webhook_events.c.user_id == sa.bindparam("user_id", type_=sa.String))
)
_DROP = Statement(webhook_events.delete().where(webhook_events.c.at < sa.bindparam("before", type_=Time)))
#: Of sessions that are gone, when nothing of them is to be told any more.
_DROP_CURSORS = Statement(
    sa.text("""
DELETE FROM webhook_cursors WHERE revision = 0
    AND NOT EXISTS (SELECT 1 FROM chat_sessions s WHERE s.session_id = webhook_cursors.session_id)
    AND NOT EXISTS (SELECT 1 FROM webhook_events e WHERE e.session_id = webhook_cursors.session_id)
""")
)


def of_session(event: str, record: SessionRecord) -> dict[str, Any]:
    """What an event tells of a session."""
    names = ("session_id", "user_id", "agent_id", "title", "status", "metadata")
    times = ("created_at", "updated_at", "expires_at")
    told = {name: getattr(record, name) for name in names} | {
        name: _stamp(getattr(record, name)) for name in times
    }
    return {"event": event, **told}


def of_feedback(
    session_id: str, message_id: str, user_id: str, value: str | None, comment: str | None, at: datetime
) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "message_id": message_id,
        "user_id": user_id,
        "value": value,
        "comment": comment,
        "given_at": _stamp(at),
    }


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _new_name() -> str:
    return secrets.token_urlsafe(18)


class Notes:
    """`on`: there is a webhook that wants them, as far as is known here; whether it is so the statement sees.
    `new_name` makes an event's id, before its transaction: one that is tried again has the same."""

    def __init__(self, db: Database, new_name: Callable[[], str] = _new_name) -> None:
        self._db, self._new_name = db, new_name
        self.on = True
        self.on_noted: Callable[[str], None] = lambda session_id: None

    def name(self) -> str:
        return f"evt_{self._new_name()}"

    async def note(
        self,
        connection: SqlConnection,
        name: str,
        session_id: str,
        event: str,
        data: dict[str, Any],
        at: datetime,
        user_id: str | None = None,
    ) -> None:
        """Within the transaction of what it tells; afterwards `told`."""
        await connection.execute(
            _NOTE[connection.dialect],
            session_id=session_id,
            name=name,
            event=event,
            user_id=user_id,
            data=to_json(data),
            at=at,
        )

    def told(self, session_ids: Sequence[str]) -> None:
        """Committed."""
        for session_id in session_ids:
            self.on_noted(session_id)

    async def forget(self, connection: SqlConnection, session_ids: Sequence[str]) -> None:
        """All that was to be told of these sessions; they are being erased."""
        for statement in _FORGET:
            await connection.execute(statement, ids=list(session_ids))

    async def erase_user(self, user_id: str) -> None:
        """What is to be told of one."""
        await self._db.execute(_ERASE, again=True, user_id=user_id)

    async def drop(self, before: datetime) -> None:
        """What nobody took until now."""
        await self._db.execute(_DROP, again=True, before=before)
        await self._db.execute(_DROP_CURSORS, again=True)
