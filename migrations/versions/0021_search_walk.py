"""The search index also has a session's messages in their order, the newest first.

Revision: 0021, after 0020

Nobody's messages wait while it is made: nothing is taken into the index meanwhile. SQLite's FTS5 needs none.
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE INDEX IF NOT EXISTS chat_search_session_id_idx ON chat_search (session, id)")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP INDEX chat_search_session_id_idx")
