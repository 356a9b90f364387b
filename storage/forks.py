"""Where the branches of a session fork, and where its path ends (`storage.tree`).

A session without branches has no head, and nothing here is asked. Forks never change once they are stored,
so a path to a message is what it was, whenever it is read.
"""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from storage.batch import Batch, Needs
from storage.database import Database, Row, SqlConnection
from storage.parts import file_ids, taken_up
from storage.records import FileRecord, MessageRecord
from storage.rows import FILE
from storage.statement import Statement, among
from storage.tables import files, messages, sessions
from storage.tally import Grafts, Tally
from storage.tree import Tree
from storage.waits import UNFINISHED

_SESSION = messages.c.session_id == sa.bindparam("session_id", type_=sa.String)
#: As the index has it: the number stands in the text.
_IS_FORK = messages.c.parent_seq != messages.c.seq - sa.literal_column("1")
FORKS_IN = sa.select(messages.c.seq, messages.c.parent_seq).where(_SESSION, _IS_FORK)
_FORKS = Statement(FORKS_IN)
_IDS = Statement(
    sa.select(messages.c.seq, messages.c.message_id).where(_SESSION, among(messages.c.seq, "numbers"))
)
_FILES = Statement(sa.select(*FILE).where(among(files.c.file_id, "ids")))
_MOVE = Statement(
    sessions.update()
    .where(sessions.c.session_id == sa.bindparam("which"))
    .values(head_seq=sa.bindparam("seq", type_=sa.BigInteger), head_id=sa.bindparam("id", type_=sa.String))
)


async def tree_of(connection: SqlConnection | Database, session_id: str, last: int) -> Tree:
    """As it was when the session had its message `last`."""
    return tree_from(await connection.fetch_all(_FORKS, session_id=session_id), last)


def tree_from(rows: Iterable[Row], last: int) -> Tree:
    """The same of rows of `FORKS_IN`."""
    return Tree([(row[0], row[1]) for row in rows if row[0] <= last], last)


async def ids_of(
    connection: SqlConnection | Database, session_id: str, seqs: Iterable[int]
) -> dict[int, str]:
    """Of messages by their numbers."""
    wanted = list(seqs)
    if not wanted:
        return {}
    rows = await connection.fetch_all(_IDS, session_id=session_id, numbers=wanted)
    return {row[0]: row[1] for row in rows}


async def move_heads(connection: SqlConnection, heads: Iterable[tuple[str, int | None, str | None]]) -> None:
    """Of sessions: (session_id, number and id of the message)."""
    rows = [{"which": session_id, "seq": seq, "id": message_id} for session_id, seq, message_id in heads]
    if rows:
        await connection.execute_many(_MOVE, rows)


# --- with a batch of messages


async def read_grafts(
    connection: SqlConnection, needs: Needs, sessions: Iterable[Tally], messages: Sequence[MessageRecord]
) -> None:
    """Of those sessions in which a branch may begin."""
    for session in sessions:
        if session.head_seq is None and not needs.beside:
            continue
        mine = [message for message in messages if message.session_id == session.session_id]
        others = [message for message in mine if message.message_id in needs.beside]
        asked = [message.seq for message in mine if message.message_id in needs.questions]
        looks = asked or session.session_id in needs.steering or session.head_seq != session.last_seq
        looks = looks or any(message.status in UNFINISHED and taken_up(message.parts) for message in mine)
        if others or (session.head_seq is not None and looks):
            session.grafts = await _grafts(connection, session, others, asked)


async def _grafts(
    connection: SqlConnection, session: Tally, others: Sequence[MessageRecord], asked: Iterable[int]
) -> Grafts:
    tree, head = Tree((), session.last_seq), session.head_seq
    if head is not None:
        tree = await tree_of(connection, session.session_id, session.last_seq)
    followed = {tree.parent(message.seq) for message in others}
    if head is not None:
        followed |= {tree.newest_under(seq) for seq in asked if not tree.is_on(seq, head)}
    ids = await ids_of(connection, session.session_id, followed - {0})
    named = [file_id for message in others for file_id in file_ids(message.parts)]
    rows = await connection.fetch_all(_FILES, ids=named) if named else []
    return Grafts(tree, ids, [FileRecord(*row) for row in rows])


async def write_heads(connection: SqlConnection, batch: Batch) -> None:
    moved = [session for session in batch.sessions.values() if session.moved]
    await move_heads(connection, [(s.session_id, s.head_seq, s.head_id) for s in moved])
