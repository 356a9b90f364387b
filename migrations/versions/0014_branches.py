"""Branches of a conversation: what a message follows, where a session's path ends, questions asked again.

Revision: 0014, after 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

BIG = sa.BigInteger()
FORKS = sa.text("parent_seq <> seq - 1")
OPEN = sa.text("state <> 'done'")


def upgrade() -> None:
    """An operator may have made `parent_seq` and its index before, without a lock (docs/operations.md)."""
    by_hand = op.get_bind().dialect.name == "postgresql"
    op.add_column("chat_sessions", sa.Column("head_seq", BIG, nullable=True))
    op.add_column("chat_sessions", sa.Column("head_id", sa.String(length=100), nullable=True))
    op.add_column("chat_messages", sa.Column("parent_seq", BIG, nullable=True), if_not_exists=by_hand or None)
    op.add_column("chat_messages", sa.Column("parent_id", sa.String(length=100), nullable=True))
    op.add_column("chat_turns", sa.Column("again_seq", BIG, server_default="0", nullable=False))
    op.create_index(
        "chat_messages_forks_idx",
        "chat_messages",
        ["session_id", "seq", "parent_seq"],
        postgresql_where=FORKS,
        sqlite_where=FORKS,
        if_not_exists=by_hand,
    )
    # Of two indexes that serve alike SQLite takes the younger one: that of open questions has few rows.
    op.drop_index("chat_turns_open_idx", "chat_turns")
    op.create_index(
        "chat_turns_open_idx", "chat_turns", ["session_id", "seq"], postgresql_where=OPEN, sqlite_where=OPEN
    )


def downgrade() -> None:
    op.drop_index("chat_messages_forks_idx", "chat_messages")
    op.drop_column("chat_turns", "again_seq")
    op.drop_column("chat_messages", "parent_id")
    op.drop_column("chat_messages", "parent_seq")
    op.drop_column("chat_sessions", "head_id")
    op.drop_column("chat_sessions", "head_seq")
