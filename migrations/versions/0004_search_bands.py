"""The search index also knows how new a message is, in bands of 8,192 numbers, and whose.

Revision: 0004, after 0003

So the newest messages with a common word are found without meeting all the others. One index for the three,
because PostgreSQL then goes through them together. SQLite's FTS5 reads from the newest number down by itself.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# A list of pending entries makes filling the index half as dear; every search reads it, so it is to be the
# shortest there is: some 50 messages.
_UP = (
    "CREATE INDEX chat_search_banded_idx ON chat_search "
    "USING gin (tokens, (ARRAY[id >> 13]), (ARRAY[session])) "
    "WITH (fastupdate = on, gin_pending_list_limit = 64)"
)
_DOWN = "CREATE INDEX chat_search_tokens_idx ON chat_search USING gin (tokens) WITH (fastupdate = off)"
_STATISTICS = "ALTER TABLE chat_search ALTER COLUMN tokens SET STATISTICS {}"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_UP)
        op.execute("DROP INDEX chat_search_tokens_idx")
        # No plan depends any more on how common a word is.
        op.execute(_STATISTICS.format(-1))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_STATISTICS.format(1000))
        op.execute("DROP INDEX chat_search_banded_idx")
        # Sessions were tokens then: entries made since lack theirs, so all are made anew.
        op.execute("DELETE FROM search_marks")
        op.execute("TRUNCATE chat_search")
        op.execute(_DOWN)
