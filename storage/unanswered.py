"""Questions that came to an end before their answer began: nothing among the messages says so."""

import sqlalchemy as sa
from msgspec import Struct

from storage.tables import turns

#: Of a session, with one page of it: the newest.
MOST = 100

#: As the index has it: the words stand in the text. A deleted one is its own mark.
UNANSWERED_IN = (
    sa.select(turns.c.question_id, turns.c.seq, turns.c.outcome)
    .where(
        turns.c.session_id == sa.bindparam("session_id", type_=sa.String),
        turns.c.state == sa.literal_column("'done'"),
        turns.c.answer_id.is_(None),
        turns.c.outcome != sa.literal_column("'deleted'"),
    )
    .order_by(turns.c.seq.desc())
    .limit(MOST)
)


class Unanswered(Struct, frozen=True):
    question_id: str
    seq: int
    outcome: str
