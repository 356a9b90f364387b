"""Messages are counted in blocks, so that what is unread is known at once.

Revision: 0019, after 0018

Nothing is counted here: the nodes do, session by session (`storage.tallies`). A trigger takes a deleted
message off, because a node of the version before knows nothing of tallies. It locks the table of the messages
for an instant.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_FORGET = """
UPDATE chat_tallies SET live = live - 1
WHERE session_id = {new}.session_id AND sender IN ('', {new}.sender_type || ':' || {new}.sender_id)
    AND ((width = 256 AND block = ({new}.seq - 1) / 256) OR (width = 4096 AND block = ({new}.seq - 1) / 4096))
"""
_POSTGRESQL_UP = (
    f"""
    CREATE FUNCTION chat_tallies_forget_message() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        {_FORGET.format(new="NEW")};
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER chat_tallies_forget AFTER UPDATE OF deleted_at ON chat_messages FOR EACH ROW
    WHEN (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL)
    EXECUTE FUNCTION chat_tallies_forget_message()
    """,
)
_SQLITE_UP = (
    f"""
    CREATE TRIGGER chat_tallies_forget AFTER UPDATE OF deleted_at ON chat_messages
    WHEN old.deleted_at IS NULL AND new.deleted_at IS NOT NULL
    BEGIN
        {_FORGET.format(new="new")};
    END
    """,
)


def upgrade() -> None:
    op.create_table(
        "chat_tallies",
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("sender", sa.String(length=300), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name="chat_tallies_session_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", "sender", "width", "block", name="chat_tallies_pkey"),
    )
    for statement in _POSTGRESQL_UP if op.get_bind().dialect.name == "postgresql" else _SQLITE_UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER chat_tallies_forget" + _on())
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION chat_tallies_forget_message()")
    op.drop_table("chat_tallies")


def _on() -> str:
    return " ON chat_messages" if op.get_bind().dialect.name == "postgresql" else ""
