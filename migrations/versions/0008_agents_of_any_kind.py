"""Which kinds of agents there are is the server's table alone: the database takes any.

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

Document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
KINDS = "kind IN ('echo', 'openai', 'remote')"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("agents_kind_check"), "agents", type_="check")
    else:
        _write_anew()


def downgrade() -> None:
    # The version before knows no other kinds. Such an agent stays, switched off.
    op.execute(f"UPDATE agents SET kind = 'remote', is_active = false WHERE NOT ({KINDS})")
    if op.get_bind().dialect.name == "postgresql":
        op.create_check_constraint(op.f("agents_kind_check"), "agents", KINDS)
    else:
        _write_anew(sa.CheckConstraint(KINDS, name=op.f("agents_kind_check")))


def _write_anew(*checks: sa.CheckConstraint) -> None:
    """SQLite drops no constraint. Sessions keep their agents: foreign keys are not looked at here."""
    # A definition begins no transaction of its own, a change of rows does: all of it happens, or nothing.
    op.execute("UPDATE agents SET kind = kind")
    op.create_table(
        "agents_anew",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("avatar_url", sa.String(length=2000), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("config", Document, nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        *checks,
        sa.PrimaryKeyConstraint("id", name="agents_pkey"),
        sqlite_autoincrement=True,
    )
    op.execute("INSERT INTO agents_anew SELECT id, name, avatar_url, kind, config, is_active FROM agents")
    # The id of a deleted agent is not given to another one: the count goes on where it was.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'agents_anew'")
    op.execute(
        "INSERT INTO sqlite_sequence (name, seq) "
        "SELECT 'agents_anew', seq FROM sqlite_sequence WHERE name = 'agents'"
    )
    op.drop_table("agents")
    op.rename_table("agents_anew", "agents")
