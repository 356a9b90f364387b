"""Users' avatars, and when they were seen; what readers think of messages.

Revision: 0013, after 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("people") as people:
        people.alter_column("name", existing_type=sa.String(255), nullable=True)
        people.add_column(sa.Column("avatar_url", sa.String(1000), nullable=True))
        people.add_column(sa.Column("seen", TIME, nullable=True))
    op.add_column(
        "chat_sessions", sa.Column("rated", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.create_table(
        "chat_feedback",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("message_id", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("value", sa.String(length=20), nullable=False),
        sa.Column("comment", sa.String(length=2000), nullable=True),
        sa.Column("given_at", TIME, nullable=False),
        sa.CheckConstraint("value IN ('up', 'down')", name=op.f("chat_feedback_value_check")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name=op.f("chat_feedback_session_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("chat_feedback_pkey")),
        sa.UniqueConstraint("message_id", "user_id", name=op.f("chat_feedback_message_id_user_id_key")),
    )
    op.create_index(op.f("chat_feedback_user_id_idx"), "chat_feedback", ["user_id"])
    op.create_index("chat_feedback_session_id_idx", "chat_feedback", ["session_id", "given_at"])
    op.create_index(op.f("chat_feedback_given_at_idx"), "chat_feedback", ["given_at"])


def downgrade() -> None:
    op.drop_table("chat_feedback")
    op.drop_column("chat_sessions", "rated")
    op.execute("DELETE FROM people WHERE name IS NULL")
    with op.batch_alter_table("people") as people:
        people.drop_column("seen")
        people.drop_column("avatar_url")
        people.alter_column("name", existing_type=sa.String(255), nullable=False)
