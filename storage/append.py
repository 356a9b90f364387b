"""New messages that need nothing but a number, appended on PostgreSQL in one round trip: the lock of their
sessions, the counters, the rows and the commit.

What needs to be looked at first (an edit, a stream, a file, an answer to a message, a repeat, a session that
is not open or has branches), and what has parts, goes the longer way, `storage.batch`.
"""

from collections.abc import Sequence
from datetime import datetime

from storage.batch import new_record
from storage.database import SqlConnection
from storage.ops import LOOKS, OPEN_QUESTIONS, Committed, NewMessage, Op
from storage.records import PARENT
from storage.rows import NEW, is_json, postgresql_type
from storage.shape import dict_maker
from storage.statement import to_json
from storage.tables import messages

#: A plain message answers none, its only part is its text, and it follows the one before it.
_COLUMNS = tuple(name for name in NEW if name not in ("reply_to", "parts", *PARENT))
#: What is not given with each row.
_PLACED = {
    "seq": "last_seq + nth",
    "revision": "last_revision + nth",
    "status": "'complete'",
    "created_at": "at",
}
_GIVEN = tuple(name for name in _COLUMNS if name not in _PLACED)
_row = dict_maker(_GIVEN, "nth")
#: Of a question to an agent, for the row of its turn.
_ASKED = ("question_id", "session_id", "seq", "agent_id", "when_busy")


def _typed(name: str) -> str:
    column = messages.c[name]
    return f"{name} {'jsonb' if is_json(column) else postgresql_type(column)}"


# The locks are taken in one order, as everywhere, and `SELECT … FOR UPDATE` sees what their last holder
# committed. JSON and not arrays: asyncpg looks at each element of an array four times.
# What was given up, `clock_timestamp` keeps out: a server that hung finds the statement when it wakes.
# The expiry moves in steps, see `Batch.new_expiry`. Times never fall back along the numbers, whatever node's
# clock they are by: `at` is told where it is not what was given.
_ROWS = f"json_to_recordset($3::json) AS n (nth bigint, {', '.join(map(_typed, _GIVEN))})"
_SESSIONS = "json_to_recordset($1::json) AS n (session_id text, added bigint)"
_TURNS = f"""
, asked AS (
    INSERT INTO chat_turns ({", ".join(_ASKED)})
    SELECT message_id, session_id, last_seq + nth, agent_id, when_busy
    FROM json_to_recordset($3::json)
        AS n (nth bigint, message_id text, session_id text, agent_id integer, when_busy text)
    JOIN s USING (session_id)
    WHERE agent_id IS NOT NULL
)"""


#: Where so many questions are open that not all given go with them, the longer way looks at each.
_HAS_ROOM = """
        AND $5 >= (SELECT count(*) FROM chat_turns t
            WHERE t.session_id = chat_sessions.session_id AND t.state <> 'done')"""


def _append(turns: str, has_room: str) -> str:
    return f"""
WITH s AS (
    SELECT session_id, last_seq, last_revision, greatest($2, last_activity) AS at,
        least(interval '1 minute', ttl_hours * interval '6 minutes') AS step
    FROM chat_sessions
    WHERE session_id = ANY(ARRAY(SELECT session_id FROM {_SESSIONS})) AND status = 'active'
        AND ended_at IS NULL AND head_seq IS NULL AND expires_at > $2
        AND clock_timestamp() < to_timestamp($4){has_room}
    ORDER BY session_id
    FOR NO KEY UPDATE
), appended AS (
    INSERT INTO chat_messages ({", ".join(_COLUMNS)})
    SELECT {", ".join(_PLACED.get(name, name) for name in _COLUMNS)}
    FROM {_ROWS}
    JOIN s USING (session_id)
){turns}
UPDATE chat_sessions c
SET last_seq = s.last_seq + added, last_revision = s.last_revision + added,
    message_count = message_count + added, request_count = request_count + added,
    last_activity = at,
    expires_at = CASE WHEN $2 + ttl_hours * interval '1 hour' - expires_at >= step
        THEN $2 + ttl_hours * interval '1 hour' ELSE expires_at END
FROM s JOIN {_SESSIONS} USING (session_id)
WHERE c.session_id = s.session_id
RETURNING s.session_id, s.last_seq, s.last_revision, CASE WHEN at > $2 THEN at END
"""


#: By whether a question is among the messages.
_APPEND = {False: _append("", ""), True: _append(_TURNS, _HAS_ROOM)}


def is_plain(op: Op) -> bool:
    """Whether `append` may be asked to store it."""
    return (
        isinstance(op, NewMessage)
        and op.status == "complete"
        and op.reply_to is None
        and op.parts is None
        and op.begins is None
        and op.beside is None
        and (op.asks is None or (op.asks.when_busy not in LOOKS and op.asks.tools is None))
    )


async def append(
    connection: SqlConnection, ops: Sequence[NewMessage], now: datetime, deadline: float
) -> list[Committed | None]:
    """What was committed; None for the messages of sessions that take none, and after `deadline` (a time of
    the server's clock, known roughly: None is no failure).

    Raises AlreadyExists, and has stored nothing, where one of them may be a repeat.
    """
    added: dict[str, int] = {}
    places: list[int] = []
    asking: dict[str, int] = {}
    for op in ops:
        nth = added[op.session_id] = added.get(op.session_id, 0) + 1
        places.append(nth)
        if op.asks is not None:
            asking[op.session_id] = asking.get(op.session_id, 0) + 1
    given = [_row(op, nth) for op, nth in zip(ops, places, strict=True)]
    if asking:
        for row, op in zip(given, ops, strict=True):
            if op.asks is not None:
                row["agent_id"], row["when_busy"] = op.asks.agent_id, op.asks.when_busy
    rows = to_json(given)
    sessions = to_json([{"session_id": name, "added": count} for name, count in added.items()])
    others = [OPEN_QUESTIONS - max(asking.values())] if asking else []
    found = await connection.raw.fetch(_APPEND[bool(asking)], sessions, now, rows, deadline, *others)
    before = {session_id: (seq, revision, later or now) for session_id, seq, revision, later in found}
    return [
        _committed(op, before[op.session_id], nth) if op.session_id in before else None
        for op, nth in zip(ops, places, strict=True)
    ]


def _committed(op: NewMessage, before: tuple[int, int, datetime], nth: int) -> Committed:
    seq, revision = before[0] + nth, before[1] + nth
    return Committed(op, new_record(op, seq, revision, before[2]), False, seq, revision)
