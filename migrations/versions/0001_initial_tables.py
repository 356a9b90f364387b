"""The initial tables, and agent 1, Echo.

Revision: 0001, after none
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Time = sa.DateTime(timezone=True)
Document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("avatar_url", sa.String(length=2000), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("config", Document, nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.CheckConstraint("kind IN ('echo', 'openai', 'remote')", name=op.f("agents_kind_check")),
        sa.PrimaryKeyConstraint("id", name="agents_pkey"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "revocations",
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("not_before", Time, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="revocations_pkey"),
    )
    op.create_table(
        "chat_sessions",
        sa.Column("id", Big, nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("trace_id", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("agent_id", sa.Integer(), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("metadata", Document, nullable=False),
        sa.Column("ttl_hours", sa.Double(), nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("updated_at", Time, nullable=False),
        sa.Column("last_activity", Time, nullable=False),
        sa.Column("expires_at", Time, nullable=False),
        sa.Column("last_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_revision", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("message_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("request_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_at", Time, nullable=True),
        sa.Column("created_via", sa.String(length=50), nullable=True),
        sa.Column("ip_address", sa.String(length=100), nullable=True),
        sa.Column("user_agent", sa.String(length=500), nullable=True),
        sa.CheckConstraint(
            "status IN ('active', 'archived', 'deleted')", name=op.f("chat_sessions_status_check")
        ),
        sa.CheckConstraint(
            "last_seq >= 0 AND last_revision >= last_seq AND message_count >= 0",
            name=op.f("chat_sessions_counters_check"),
        ),
        sa.CheckConstraint("ttl_hours > 0", name=op.f("chat_sessions_ttl_hours_check")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name="chat_sessions_agent_id_fkey", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="chat_sessions_pkey"),
        sa.UniqueConstraint("session_id", name="chat_sessions_session_id_key"),
        sa.UniqueConstraint("trace_id", name="chat_sessions_trace_id_key"),
    )
    op.create_index("chat_sessions_agent_id_idx", "chat_sessions", ["agent_id"])
    op.create_index(
        "chat_sessions_ending_idx",
        "chat_sessions",
        ["expires_at"],
        postgresql_where=sa.text("status = 'active' AND ended_at IS NULL"),
        sqlite_where=sa.text("status = 'active' AND ended_at IS NULL"),
    )
    op.create_index("chat_sessions_expires_at_idx", "chat_sessions", ["expires_at"])
    op.create_index("chat_sessions_status_idx", "chat_sessions", ["status"])
    op.create_index("chat_sessions_user_id_idx", "chat_sessions", ["user_id"])

    op.create_table(
        "chat_messages",
        sa.Column("id", Big, nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("message_id", sa.String(length=100), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("client_message_id", sa.String(length=255), nullable=True),
        sa.Column("sender_type", sa.String(length=20), nullable=False),
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("message_type", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("metadata", Document, nullable=False),
        sa.Column("reply_to", sa.String(length=100), nullable=True),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("error", Document, nullable=True),
        sa.Column("tokens_used", sa.BigInteger(), nullable=True),
        sa.Column("latency_ms", sa.BigInteger(), nullable=True),
        sa.Column("is_edited", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("edited_at", Time, nullable=True),
        sa.Column("deleted_at", Time, nullable=True),
        sa.CheckConstraint(
            "message_type IN ('text', 'stream', 'file', 'system')",
            name=op.f("chat_messages_message_type_check"),
        ),
        sa.CheckConstraint(
            "sender_type IN ('user', 'agent', 'system')", name=op.f("chat_messages_sender_type_check")
        ),
        sa.CheckConstraint(
            "status IN ('complete', 'streaming', 'cancelled', 'interrupted', 'failed')",
            name=op.f("chat_messages_status_check"),
        ),
        sa.CheckConstraint("seq > 0 AND revision >= seq", name=op.f("chat_messages_counters_check")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name="chat_messages_session_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="chat_messages_pkey"),
        sa.UniqueConstraint("message_id", name="chat_messages_message_id_key"),
        sa.UniqueConstraint("session_id", "revision", name="chat_messages_session_id_revision_key"),
        sa.UniqueConstraint(
            "session_id",
            "sender_type",
            "sender_id",
            "client_message_id",
            name="chat_messages_client_message_id_key",
        ),
        sa.UniqueConstraint("session_id", "seq", name="chat_messages_session_id_seq_key"),
    )
    op.create_index("chat_messages_created_at_idx", "chat_messages", ["created_at"])
    op.create_index("chat_messages_sender_id_idx", "chat_messages", ["sender_id"])
    op.create_index(
        "chat_messages_streaming_idx",
        "chat_messages",
        ["session_id"],
        postgresql_where=sa.text("status = 'streaming'"),
        sqlite_where=sa.text("status = 'streaming'"),
    )

    op.create_table(
        "chat_participants",
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("read_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("joined_at", Time, nullable=True),
        sa.Column("removed_at", Time, nullable=True),
        sa.CheckConstraint(
            "role IN ('owner', 'member', 'viewer')", name=op.f("chat_participants_role_check")
        ),
        sa.CheckConstraint("read_seq >= 0", name=op.f("chat_participants_read_seq_check")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name="chat_participants_session_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", "user_id", name="chat_participants_pkey"),
    )
    op.create_index("chat_participants_removed_at_idx", "chat_participants", ["removed_at"])
    op.create_index("chat_participants_user_id_idx", "chat_participants", ["user_id"])

    op.create_table(
        "chat_files",
        sa.Column("id", Big, nullable=False),
        sa.Column("file_id", sa.String(length=100), nullable=False),
        sa.Column("session_id", sa.String(length=100), nullable=False),
        sa.Column("message_id", sa.String(length=100), nullable=True),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("file_type", sa.String(length=255), nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("file_url", sa.String(length=2000), nullable=False),
        sa.Column("thumbnail_url", sa.String(length=2000), nullable=True),
        sa.Column("uploaded_by", sa.String(length=255), nullable=False),
        sa.Column("uploaded_at", Time, nullable=False),
        sa.CheckConstraint("file_size >= 0", name=op.f("chat_files_file_size_check")),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["chat_messages.message_id"],
            name="chat_files_message_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.session_id"],
            name="chat_files_session_id_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="chat_files_pkey"),
        sa.UniqueConstraint("file_id", name="chat_files_file_id_key"),
    )
    op.create_index("chat_files_message_id_idx", "chat_files", ["message_id"])
    op.create_index("chat_files_session_id_idx", "chat_files", ["session_id"])
    op.create_index("chat_files_uploaded_by_idx", "chat_files", ["uploaded_by"])

    op.execute("INSERT INTO agents (id, name, kind, config) VALUES (1, 'Echo', 'echo', '{}')")
    # 2 is the agent of OPENAI_BASE_URL; those that are created later begin at 3.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT setval(pg_get_serial_sequence('agents', 'id'), 2)")
        # Counters move with every message: room on the page lets PostgreSQL leave the indexes alone.
        op.execute("ALTER TABLE chat_sessions SET (fillfactor = 70)")
    else:
        op.execute("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'agents'")


def downgrade() -> None:
    for table in (
        "chat_files",
        "chat_participants",
        "chat_messages",
        "chat_sessions",
        "revocations",
        "agents",
    ):
        op.drop_table(table)
