"""Tools that a question brings along, for its own answer.

Revision: 0016, after 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

Document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("chat_turns", sa.Column("tools", Document, nullable=True))


def downgrade() -> None:
    op.drop_column("chat_turns", "tools")
