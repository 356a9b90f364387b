"""A copy of a database that is under way, so that none is taken for whole before it is.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unfinished_copies",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.String(length=100), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("progress", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("unfinished_copies_one_check")),
        sa.PrimaryKeyConstraint("id", name="unfinished_copies_pkey"),
    )


def downgrade() -> None:
    op.drop_table("unfinished_copies")
