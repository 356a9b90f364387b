"""What a message is made of besides its text.

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

Document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    # Without a default: PostgreSQL writes no row anew.
    op.add_column("chat_messages", sa.Column("parts", Document, nullable=True))


def downgrade() -> None:
    op.drop_column("chat_messages", "parts")
