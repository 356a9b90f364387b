"""Webhooks: where events are sent to, how far each was told, and what could not be told.

Revision: 0022, after 0021
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
ID = sa.String(length=100)


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("webhook_id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=True),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("events", DOCUMENT, nullable=False),
        sa.Column("secret", sa.String(length=200), nullable=False),
        sa.Column("old_secret", sa.String(length=200), nullable=True),
        sa.Column("old_until", TIME, nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.Column("swept_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name=op.f("webhooks_session_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("webhook_id", name=op.f("webhooks_pkey")),
    )
    op.create_index(op.f("webhooks_session_id_idx"), "webhooks", ["session_id"])
    op.create_table(
        "webhook_cursors",
        sa.Column("webhook_id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("untold", DOCUMENT, nullable=True),
        sa.Column("event_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held_until", TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.Column("told_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.webhook_id"],
            name=op.f("webhook_cursors_webhook_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("webhook_id", "session_id", name=op.f("webhook_cursors_pkey")),
    )
    op.create_index(op.f("webhook_cursors_session_id_idx"), "webhook_cursors", ["session_id"])
    op.create_table(
        "webhook_events",
        sa.Column("id", BIG, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("event", sa.String(length=20), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=True),
        sa.Column("data", DOCUMENT, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_events_pkey")),
        sqlite_autoincrement=True,
    )
    op.create_index("webhook_events_session_id_idx", "webhook_events", ["session_id", "id"])
    op.create_index(op.f("webhook_events_user_id_idx"), "webhook_events", ["user_id"])
    op.create_index(op.f("webhook_events_at_idx"), "webhook_events", ["at"])
    op.create_table(
        "webhook_dead",
        sa.Column("id", BIG, nullable=False),
        sa.Column("webhook_id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("event", sa.String(length=20), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(length=200), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.webhook_id"],
            name=op.f("webhook_dead_webhook_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_dead_pkey")),
    )
    op.create_index(op.f("webhook_dead_session_id_idx"), "webhook_dead", ["session_id"])
    op.create_index("webhook_dead_webhook_id_idx", "webhook_dead", ["webhook_id", "id"])


def downgrade() -> None:
    for table in ("webhook_dead", "webhook_events", "webhook_cursors", "webhooks"):
        op.drop_table(table)
