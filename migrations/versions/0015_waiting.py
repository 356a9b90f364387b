"""Messages that wait for people: what they ask, and what their turns go on with.

Revision: 0015, after 0014
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

Document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Time = sa.DateTime(timezone=True)
CHECK = "chat_messages_status_check"
BEFORE = "'complete', 'streaming', 'cancelled', 'interrupted', 'failed'"
IF_EMPTY = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM chat_messages) THEN
        ALTER TABLE chat_messages VALIDATE CONSTRAINT {CHECK};
    END IF;
END $$
"""
INDEXES = {
    "chat_messages_interrupts_idx": sa.text("interrupts IS NOT NULL"),
    "chat_messages_waiting_idx": sa.text("status = 'waiting'"),
}


def upgrade() -> None:
    """An operator may have made the column and the indexes before, without a lock (docs/operations.md)."""
    by_hand = op.get_bind().dialect.name == "postgresql"
    _check(BEFORE.replace("'cancelled'", "'waiting', 'cancelled'"), instead_of=BEFORE)
    op.add_column(
        "chat_messages", sa.Column("interrupts", Document, nullable=True), if_not_exists=by_hand or None
    )
    op.add_column("chat_turns", sa.Column("expires_at", Time, nullable=True))
    op.add_column("chat_turns", sa.Column("written", Document, nullable=True))
    for name, where in INDEXES.items():
        op.create_index(
            name,
            "chat_messages",
            ["session_id"],
            postgresql_where=where,
            sqlite_where=where,
            if_not_exists=by_hand,
        )


def downgrade() -> None:
    # The version before knows nobody who would go on with them.
    op.execute(
        "UPDATE chat_turns SET state = 'done', outcome = 'cancelled', claimed_until = NULL "
        "WHERE state = 'waiting'"
    )
    op.execute("UPDATE chat_messages SET status = 'cancelled' WHERE status = 'waiting'")
    for name in INDEXES:
        op.drop_index(name, "chat_messages")
    for name in ("written", "expires_at"):
        op.drop_column("chat_turns", name)
    op.drop_column("chat_messages", "interrupts")
    _check(BEFORE, instead_of=BEFORE.replace("'cancelled'", "'waiting', 'cancelled'"))


def _check(values: str, *, instead_of: str) -> None:
    """SQLite drops no constraint, and writing all messages anew may take an hour: its documents let a CHECK
    be changed in the schema's own text (https://sqlite.org/lang_altertable.html#otheralter)."""
    if op.get_bind().dialect.name == "postgresql":
        # NOT VALID, so that nobody waits while all messages are looked at: these are within the old one,
        # which allows less, or were changed just now.
        op.drop_constraint(op.f(CHECK), "chat_messages", type_="check")
        op.create_check_constraint(
            op.f(CHECK), "chat_messages", f"status IN ({values})", postgresql_not_valid=True
        )
        op.execute(IF_EMPTY)
        return
    # A definition begins no transaction of its own, a change of rows does: all of it happens, or nothing.
    op.execute("UPDATE chat_messages SET status = status WHERE id < 0")
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.get_bind().exec_driver_sql("PRAGMA writable_schema = ON")
    op.get_bind().exec_driver_sql(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'chat_messages'",
        (f"status IN ({instead_of})", f"status IN ({values})"),
    )
    op.get_bind().exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    op.get_bind().exec_driver_sql("PRAGMA writable_schema = RESET")
