"""Questions to agents and how far their answers are; what an agent does with a question while it is busy.

Revision: 0011, after 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BIG = sa.BigInteger()
OPEN = sa.text("state <> 'done'")


def upgrade() -> None:
    op.add_column(
        "agents", sa.Column("when_busy", sa.String(length=20), server_default="queue", nullable=False)
    )
    op.create_table(
        "chat_turns",
        sa.Column("question_id", sa.String(length=100), nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("agent_id", sa.Integer(), nullable=False),
        sa.Column("when_busy", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="queued", nullable=False),
        sa.Column("fence", BIG, server_default="0", nullable=False),
        sa.Column("answer_id", sa.String(length=100), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'waiting', 'done')", name=op.f("chat_turns_state_check")
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name=op.f("chat_turns_session_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("question_id", name=op.f("chat_turns_pkey")),
    )
    op.create_index(op.f("chat_turns_session_id_idx"), "chat_turns", ["session_id"])
    op.create_index(
        "chat_turns_open_idx",
        "chat_turns",
        ["session_id", "seq"],
        postgresql_where=OPEN,
        sqlite_where=OPEN,
    )


def downgrade() -> None:
    op.drop_table("chat_turns")
    op.drop_column("agents", "when_busy")
