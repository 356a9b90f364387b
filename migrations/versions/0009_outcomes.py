"""Why an answer ended, what it cost in tokens, and which model gave it.

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

Document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    # Without a default: PostgreSQL writes no row anew.
    op.add_column("chat_messages", sa.Column("finish_reason", sa.String(length=20), nullable=True))
    op.add_column("chat_messages", sa.Column("usage", Document, nullable=True))
    op.add_column("chat_messages", sa.Column("model", sa.String(length=200), nullable=True))


def downgrade() -> None:
    for name in ("model", "usage", "finish_reason"):
        op.drop_column("chat_messages", name)
