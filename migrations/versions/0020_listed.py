"""A user's sessions are found in the order of their activity.

Revision: 0020, after 0019

`listed_at` is a session's last activity, ten minutes behind at most: an index of the exact time would be
written with every message. Those who take part have it, too. A trigger moves both, because a node of the
version before knows nothing of them; what is NULL the nodes fill in (`storage.listed`), and lists look at it
besides.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

#: Of those who take part in others' sessions.
SHARED = "joined_at IS NOT NULL AND removed_at IS NULL AND role <> 'owner'"
UNLISTED = "listed_at IS NULL AND role <> 'owner'"
_MOVE = """
UPDATE chat_sessions SET listed_at = {new}.last_activity WHERE id = {new}.id;
UPDATE chat_participants SET listed_at = {new}.last_activity
    WHERE session_id = {new}.session_id AND role <> 'owner';
"""
_POSTGRESQL_UP = (
    f"""
    CREATE FUNCTION chat_sessions_listed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        {_MOVE.format(new="NEW")}
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER chat_sessions_listed AFTER UPDATE OF last_activity ON chat_sessions FOR EACH ROW
    WHEN (NEW.listed_at IS NULL OR NEW.last_activity >= NEW.listed_at + interval '10 minutes')
    EXECUTE FUNCTION chat_sessions_listed()
    """,
)
_SQLITE_UP = (
    f"""
    CREATE TRIGGER chat_sessions_listed AFTER UPDATE OF last_activity ON chat_sessions
    WHEN new.listed_at IS NULL
        OR julianday(new.last_activity) - julianday(new.listed_at) >= 10.0 / 1440
    BEGIN
        {_MOVE.format(new="new")}
    END
    """,
)


def upgrade() -> None:
    """An operator may have made columns and indexes before, without a lock (docs/operations.md)."""
    by_hand = op.get_bind().dialect.name == "postgresql"
    for table in ("chat_sessions", "chat_participants"):
        op.add_column(
            table,
            sa.Column("listed_at", sa.DateTime(timezone=True), nullable=True),
            if_not_exists=by_hand or None,
        )
    for column in ("user_id", "agent_id"):
        op.create_index(
            f"chat_sessions_{column}_listed_at_idx",
            "chat_sessions",
            [column, "listed_at"],
            if_not_exists=by_hand,
        )
        op.drop_index(f"chat_sessions_{column}_idx", "chat_sessions")
    op.create_index("chat_sessions_listed_at_idx", "chat_sessions", ["listed_at"], if_not_exists=by_hand)
    for name, columns, where in (
        ("chat_participants_shared_idx", ["user_id", "listed_at"], SHARED),
        ("chat_participants_unlisted_idx", ["session_id"], UNLISTED),
    ):
        op.create_index(
            name,
            "chat_participants",
            columns,
            postgresql_where=sa.text(where),
            sqlite_where=sa.text(where),
            if_not_exists=by_hand,
        )
    for statement in _POSTGRESQL_UP if by_hand else _SQLITE_UP:
        op.execute(statement)


def downgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute("DROP TRIGGER chat_sessions_listed" + (" ON chat_sessions" if on_postgresql else ""))
    if on_postgresql:
        op.execute("DROP FUNCTION chat_sessions_listed()")
    for name in ("chat_participants_shared_idx", "chat_participants_unlisted_idx"):
        op.drop_index(name, "chat_participants")
    op.drop_index("chat_sessions_listed_at_idx", "chat_sessions")
    for column in ("user_id", "agent_id"):
        op.create_index(f"chat_sessions_{column}_idx", "chat_sessions", [column])
        op.drop_index(f"chat_sessions_{column}_listed_at_idx", "chat_sessions")
    for table in ("chat_sessions", "chat_participants"):
        op.drop_column(table, "listed_at")
