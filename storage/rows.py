"""The columns of each record, in its fields' order, for selecting rows that become records by position."""

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from storage.records import AgentRecord, FileRecord, MessageRecord, ParticipantRecord, SessionRecord
from storage.tables import agents, files, messages, participants, sessions


def _columns(table: sa.Table, record: type[Struct]) -> tuple[sa.Column[Any], ...]:
    return tuple(table.c[name] for name in record.__struct_fields__)


SESSION = _columns(sessions, SessionRecord)
MESSAGE = _columns(messages, MessageRecord)
PARTICIPANT = _columns(participants, ParticipantRecord)
FILE = _columns(files, FileRecord)
AGENT = _columns(agents, AgentRecord)
