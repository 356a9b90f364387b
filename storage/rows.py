"""The columns of each record, in its fields' order, for selecting rows that become records by position; and
which of a message's are written when."""

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from storage.records import (
    FIXED,
    PARENT,
    PLACE,
    AgentRecord,
    Draft,
    FeedbackRecord,
    FileRecord,
    MessageRecord,
    ParticipantRecord,
    SessionRecord,
    TurnRecord,
)
from storage.shape import names
from storage.tables import agents, feedback, files, messages, participants, sessions, turns
from storage.types import Time


def _columns(table: sa.Table, record: type[Struct]) -> tuple[sa.Column[Any], ...]:
    return tuple(table.c[name] for name in record.__struct_fields__)


SESSION = _columns(sessions, SessionRecord)
MESSAGE = _columns(messages, MessageRecord)
PARTICIPANT = _columns(participants, ParticipantRecord)
FILE = _columns(files, FileRecord)
AGENT = _columns(agents, AgentRecord)
#: Stored as they are; `brings` says whether there is what is read apart.
TURN_STORED = tuple(turns.c[name] for name in TurnRecord.__struct_fields__ if name != "brings")
TURN = (*TURN_STORED, turns.c.tools.is_not(None).label("brings"))
FEEDBACK = _columns(feedback, FeedbackRecord)
#: Turns that are not done. The word stands in the text: their index is not taken for a parameter.
IS_OPEN = turns.c.state != sa.literal_column("'done'")
#: By `TurnRecord.place`; what is asked again stands behind what was asked last, and what was asked again.
IN_LINE = (
    sa.case((turns.c.again_seq > turns.c.seq, turns.c.again_seq), else_=turns.c.seq),
    turns.c.again_seq,
    turns.c.again_order,
)

#: A message's first row; its other columns begin as the table has them.
NEW = tuple(name for name in names(MessageRecord) if name in (*PLACE, *PARENT) or name in names(Draft))
#: What a change of a message writes.
CHANGED = tuple(name for name in names(MessageRecord) if name not in FIXED)


def is_json(column: sa.Column[Any]) -> bool:
    """Whether PostgreSQL's own statements are given it as text."""
    return isinstance(column.type, sa.JSON)


def postgresql_type(column: sa.Column[Any]) -> str:
    """What a column's values are sent as to PostgreSQL, where a statement is written by hand."""
    for kind, name in _POSTGRESQL.items():
        if isinstance(column.type, kind):
            return name
    raise TypeError(column.name)


_POSTGRESQL: dict[type[sa.types.TypeEngine[Any]], str] = {
    sa.BigInteger: "bigint",
    sa.Boolean: "boolean",
    Time: "timestamptz",
    sa.String: "text",
    sa.JSON: "text",
}
