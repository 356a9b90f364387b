"""Which history of the database this is: begun anew where it has gone back.

Revision: 0006, after 0005
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "lineage",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("origin", sa.String(length=100), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("lineage_one_check")),
        sa.PrimaryKeyConstraint("id", name="lineage_pkey"),
    )
    op.bulk_insert(table, [{"id": 1, "name": secrets.token_hex(6), "origin": None}])


def downgrade() -> None:
    op.drop_table("lineage")
