"""Questions that ended without an answer are found at once.

Revision: 0017, after 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

UNANSWERED = sa.text("state = 'done' AND answer_id IS NULL")


def upgrade() -> None:
    op.create_index(
        "chat_turns_unanswered_idx",
        "chat_turns",
        ["session_id", "seq"],
        postgresql_where=UNANSWERED,
        sqlite_where=UNANSWERED,
    )


def downgrade() -> None:
    op.drop_index("chat_turns_unanswered_idx", "chat_turns")
