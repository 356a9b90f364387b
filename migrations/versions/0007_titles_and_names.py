"""Search also knows beginnings of words, titles and file names; and what people are called.

Revision: 0007, after 0006

`reach` is how far the index has a session in its new form. Nothing yet: the nodes make it anew, while nodes
of the version before go by `revision` as ever. A session's title is indexed under its number below zero.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FORGET_SESSIONS = """
CREATE OR REPLACE FUNCTION chat_search_forget_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM search_marks m USING gone WHERE m.id = gone.id;{titles}
    RETURN NULL;
END $$
"""
_AND_TITLES = "\n    DELETE FROM chat_search s USING gone WHERE s.id = -gone.id;"
_FORGET_TITLE = """
CREATE TRIGGER chat_search_forget_title AFTER DELETE ON chat_sessions
BEGIN DELETE FROM chat_search WHERE rowid = -old.id; END
"""


def upgrade() -> None:
    reach = sa.Column("reach", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("search_marks", reach)
    op.add_column("search_marks", sa.Column("title", sa.String(200), nullable=True))
    op.create_table(
        "people",
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="people_pkey"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_FORGET_SESSIONS.format(titles=_AND_TITLES))
    else:
        op.execute(_FORGET_TITLE)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_FORGET_SESSIONS.format(titles=""))
    else:
        op.execute("DROP TRIGGER chat_search_forget_title")
    op.drop_table("people")
    op.drop_column("search_marks", "title")
    op.drop_column("search_marks", "reach")
    # Words were tokens then, and not their beginnings: all entries are made anew.
    op.execute("DELETE FROM search_marks")
    op.execute("DELETE FROM chat_search")
