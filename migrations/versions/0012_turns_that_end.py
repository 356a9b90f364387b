"""Turns that are to end, by whichever node; a session's turns in their order.

Revision: 0012, after 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chat_turns", sa.Column("stopped", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(op.f("chat_turns_session_id_seq_idx"), "chat_turns", ["session_id", "seq"])
    op.drop_index(op.f("chat_turns_session_id_idx"), "chat_turns")


def downgrade() -> None:
    op.create_index(op.f("chat_turns_session_id_idx"), "chat_turns", ["session_id"])
    op.drop_index(op.f("chat_turns_session_id_seq_idx"), "chat_turns")
    op.drop_column("chat_turns", "stopped")
