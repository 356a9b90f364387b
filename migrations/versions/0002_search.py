"""The search index, and how far it reaches in each session.

Revision: 0002, after 0001

The index's rows name messages without a foreign key: its check would write to each message a second time.
A trigger takes them away with their messages.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

POSTGRESQL_UP = (
    "CREATE TABLE chat_search "
    "(id bigint PRIMARY KEY, session bigint NOT NULL, revision bigint NOT NULL, tokens tsvector NOT NULL)",
    # Every statement is short, and goes to the index at once: a list of pending entries, which each search
    # would have to read through, is worth nothing here.
    "CREATE INDEX chat_search_tokens_idx ON chat_search USING gin (tokens) WITH (fastupdate = off)",
    # The plan depends on how common a word is: more of them are counted than by default.
    "ALTER TABLE chat_search ALTER COLUMN tokens SET STATISTICS 1000",
    """
    CREATE FUNCTION chat_search_forget_messages() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM chat_search s USING gone WHERE s.id = gone.id;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER chat_search_forget AFTER DELETE ON chat_messages REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION chat_search_forget_messages()
    """,
    """
    CREATE FUNCTION chat_search_forget_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM search_marks m USING gone WHERE m.id = gone.id;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER chat_search_forget AFTER DELETE ON chat_sessions REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION chat_search_forget_sessions()
    """,
)
POSTGRESQL_DOWN = (
    "DROP TRIGGER chat_search_forget ON chat_sessions",
    "DROP TRIGGER chat_search_forget ON chat_messages",
    "DROP FUNCTION chat_search_forget_sessions()",
    "DROP FUNCTION chat_search_forget_messages()",
    "DROP TABLE chat_search",
)
SQLITE_UP = (
    # Tokens come in letters and digits of ASCII (`storage.search`); which message has them is all we ask.
    "CREATE VIRTUAL TABLE chat_search "
    "USING fts5(tokens, session UNINDEXED, tokenize = 'ascii', detail = none, columnsize = 0)",
    """
    CREATE TRIGGER chat_search_forget_message AFTER DELETE ON chat_messages
    BEGIN DELETE FROM chat_search WHERE rowid = old.id; END
    """,
    """
    CREATE TRIGGER chat_search_forget_session AFTER DELETE ON chat_sessions
    BEGIN DELETE FROM search_marks WHERE id = old.id; END
    """,
)
SQLITE_DOWN = (
    "DROP TRIGGER chat_search_forget_session",
    "DROP TRIGGER chat_search_forget_message",
    "DROP TABLE chat_search",
)


def upgrade() -> None:
    op.create_table(
        "search_marks",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="search_marks_pkey"),
    )
    for statement in POSTGRESQL_UP if op.get_bind().dialect.name == "postgresql" else SQLITE_UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in POSTGRESQL_DOWN if op.get_bind().dialect.name == "postgresql" else SQLITE_DOWN:
        op.execute(statement)
    op.drop_table("search_marks")
