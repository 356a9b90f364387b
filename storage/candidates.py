"""Which messages a search may find: the newest that have its tokens, a window at a time.

What is found here has all the tokens asked for; whether it matches is decided above, on the message itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import orjson
import sqlalchemy as sa

from storage.database import Database, SqlConnection
from storage.partnames import NAMES
from storage.records import MessageRecord
from storage.rows import MESSAGE
from storage.sizes import bytes_of
from storage.statement import Statement, to_json
from storage.tables import messages

#: Limit in seconds of one query: a search is worth less than what else the database has to do.
LIMIT = 5.0
#: Numbers that one look brings at most: for the window that is asked for, and those after it.
AHEAD = 1_000
#: Sessions that are named in the index query itself. With more of them the index is asked for the words
#: alone, and what it finds is compared with the sessions.
NAMED = 500
#: A name costs more the more messages are compared with it, comparing costs more the smaller the part of all
#: messages that is theirs: the two meet where sessions * their messages² is so many times all messages.
BALANCE = 100_000
#: Messages in one band of the PostgreSQL index, as a power of two (`migrations`, revision 0004).
BAND = 13
#: Bands of the first look, and of any; and the messages of the caller's that the first one should meet.
FIRST, MOST, MET = 2, 64, 600
#: Where no more than so many rows are expected below, the bands are left: they are all fetched at once. Where
#: sessions are named: so many times what is wanted, because these the index compares in every band.
REST, REST_NAMED = 3_000, 2

#: Sessions of a caller whose messages are walked through, on PostgreSQL; for who sees everything it is all
#: messages. Rows of the first walk, and of any: what is in one message of five is found by the first.
FEW, STROLL, WALK = 8, 1_000, 8_000
#: Numbers that the first walk goes through where the caller's sessions are too many to go from one to the
#: other.
REACH = 2 << BAND
#: What fetching a row by its words costs, compared with walking by it.
FETCHED = 2

_EXTENT = """
SELECT (SELECT max(id) FROM chat_search), reltuples::bigint FROM pg_class WHERE oid = 'chat_search'::regclass
"""
#: Titles have ids below zero. With `id + 0` PostgreSQL does not walk down the primary key past all messages
#: that lack the words.
_POSTGRESQL = """
SELECT id FROM chat_search WHERE tokens @@ $1::text::tsquery AND id + 0 BETWEEN 1 AND $2 {more}
ORDER BY id + 0 DESC LIMIT {limit}
"""
_IN_BANDS = f"AND ARRAY[id >> {BAND}] && ${{}}::bigint[]"
_NAMED = "AND ARRAY[session] && ${}::text::bigint[]"
#: Written so that PostgreSQL builds a hash table for it, whatever size the planner expects.
COMPARED = "AND (session IN (SELECT unnest(${}::text::bigint[]))) IS TRUE"
#: The newest rows of these sessions, or of all: how many there are, the last of them, those with the words.
_WALK = """
SELECT count(*), min(id), array_agg(id ORDER BY id DESC) FILTER (WHERE tokens @@ $1::text::tsquery)
FROM ({rows}) walked
"""
_OF_ALL = "SELECT id, tokens FROM chat_search WHERE id BETWEEN 1 AND $2 ORDER BY id DESC LIMIT $3"
_OF_SESSIONS = """
SELECT each.id, each.tokens FROM unnest($4::text::bigint[]) theirs (session) CROSS JOIN LATERAL (
    SELECT id, tokens FROM chat_search c
    WHERE c.session = theirs.session AND c.id BETWEEN 1 AND $2 ORDER BY c.id DESC LIMIT $3
) each ORDER BY each.id DESC LIMIT $3
"""
_OF_MANY = """
SELECT id, tokens FROM chat_search
WHERE id BETWEEN greatest(1, $2::bigint - $5::bigint + 1) AND $2::bigint
    AND (session IN (SELECT unnest($4::text::bigint[]))) IS TRUE
ORDER BY id DESC LIMIT $3
"""
_SQLITE = """
SELECT rowid FROM chat_search WHERE chat_search MATCH ? AND rowid BETWEEN 1 AND ? {more}
ORDER BY rowid DESC LIMIT {limit}
"""
COMPARED_SQLITE = "AND session IN (SELECT value FROM json_each(?))"


#: A search shows no metadata and no parts, which may be larger than the message: in their place stand an
#: empty object, and nothing.
_NOTHING = {"postgresql": "'{}'::jsonb", "sqlite": "'{}'"}
#: The searched text of a message: its content, then the names in its parts, or of its files where it is of a
#: version that stored no parts.
_WITH_NAMES = """
CASE WHEN {{of}}.parts IS NULL AND {{of}}.message_type <> 'file' THEN {{of}}.content
ELSE trim({{of}}.content || {end} || coalesce(CASE WHEN {{of}}.parts IS NULL THEN (
    SELECT {files} FROM chat_files named WHERE named.message_id = {{of}}.message_id
) ELSE {parts} END, ''), {end}) END
"""


def _searched(dialect: str, end: str, files: str) -> str:
    return _WITH_NAMES.format(end=end, files=files, parts=NAMES[dialect].format(of="{of}.parts"))


SEARCHED = {
    "postgresql": _searched("postgresql", "chr(10)", "string_agg(named.file_name, chr(10))"),
    "sqlite": _searched("sqlite", "char(10)", "group_concat(named.file_name, char(10))"),
}


def _messages(dialect: str, numbers: str) -> Statement:
    """The newest of them that fill `most` bytes, or the first if it is larger. Each row ends with how many
    there would have been without the bound."""
    size = bytes_of("content") + bytes_of("parts")
    found = (
        sa.select(
            messages.c.id, *(column for column in MESSAGE if column.name != "metadata"), size.label("size")
        )
        .where(
            sa.text(numbers).bindparams(sa.bindparam("numbers", type_=sa.types.NullType())),
            messages.c.deleted_at.is_(None),
            messages.c.status != "streaming",
        )
        .subquery("found")
    )
    newest = found.c.id.desc()
    sized = sa.select(
        *found.c,
        sa.func.count().over().label("available"),
        (sa.func.sum(found.c.size).over(order_by=newest, rows=(None, 0)) - found.c.size).label("preceding"),
    ).subquery("sized")
    # Of those that are taken alone, because names have to be looked for in all of a message's parts.
    made: dict[str, sa.ColumnElement[Any]] = {
        "content": sa.literal_column(SEARCHED[dialect].format(of="sized"), sa.Text),
        "metadata": sa.literal_column(_NOTHING[dialect], messages.c.metadata.type),
        "parts": sa.literal_column("NULL", messages.c.parts.type),
    }
    shown = [made[column.name] if column.name in made else sized.c[column.name] for column in MESSAGE]
    return Statement(
        sa.select(sized.c.id, *shown, sized.c.available)
        .where(sized.c.preceding < sa.bindparam("most", type_=sa.BigInteger))
        .order_by(sized.c.id.desc())
    )


_MESSAGES = {
    "postgresql": _messages("postgresql", "chat_messages.id = ANY (CAST(:numbers AS bigint[]))"),
    "sqlite": _messages("sqlite", "chat_messages.id IN (SELECT value FROM json_each(:numbers))"),
}


_HIGHEST = (1 << 62) - 1
#: A message's number, and the message.
Found = tuple[int, MessageRecord | None]


@dataclass(frozen=True, slots=True)
class Seen:
    """The sessions that a caller sees: how many, their numbers (as an array or a list in the database's own
    text), their ids, how many messages they have, which of them have changes that the index lacks, and
    their titles by their ids, where they are few."""

    count: int
    numbers: str
    names: frozenset[str]
    messages: int
    behind: Sequence[str]
    titles: Sequence[tuple[str, str]] | None


class Candidates:
    """Of one search. `seen`: None for who sees everything. Every method raises StorageUnavailable."""

    def __init__(
        self, db: Database, having: Iterable[str], lacking: Iterable[str], seen: Seen | None
    ) -> None:
        self._db, self.seen = db, seen
        self.having, self.lacking = list(having), list(lacking)
        #: What was found so far, the newest first; what comes next is not above `_place`.
        self._numbers: list[int] = []
        self._place: int | None = None
        self._whole = seen is not None and not seen.count
        #: Whether the index query names the sessions, and whether a window was asked for. On PostgreSQL: how
        #: many messages there are, what is the caller's part of them, and how many bands were looked at.
        self._named, self._asked = False, False
        self._count, self._part, self._walked = 0, 1.0, 0
        #: Rows of the next walk, and how many were walked through; 0: the index is asked for the words.
        self._stride, self._passed, self._rest = 0, 0, False
        self._reach = REACH
        #: The lowest number of the window that is known whole, where the index lacks something below it.
        self.whole_above = 0

    @property
    def behind(self) -> Sequence[str]:
        return self.seen.behind if self.seen is not None else ()

    async def newest(self, limit: int) -> list[int]:
        """The numbers of the first window, without its messages."""

        async def look(connection: SqlConnection) -> list[int]:
            return await self._numbered(connection, _HIGHEST, limit)

        return await self._db.use(look, limit=LIMIT)

    async def _numbered(self, connection: SqlConnection, up_to: int, limit: int) -> list[int]:
        if self._place is None and not self._whole:
            await self._begin(connection, up_to)
        numbers = self._known(up_to)
        while len(numbers) < limit and not self._whole:
            # A caller that asks for a second window found little in the first one, and now gets more bands.
            await self._look(connection, AHEAD if self._asked else limit - len(numbers))
            numbers = self._known(up_to)
        return numbers[:limit]

    async def window(self, up_to: int, limit: int, most: int) -> tuple[list[Found], bool]:
        """The newest `limit` messages with all tokens and without those that must not be there, newest
        first, each with its number, which is not above `up_to`; and whether there may be more. They are
        fewer if they have more than `most` bytes together. Windows are asked for from new to old.

        None stands for a message that was deleted since it was indexed.
        """

        async def look(
            connection: SqlConnection,
        ) -> tuple[Sequence[int], Mapping[int, MessageRecord], int]:
            numbers = await self._numbered(connection, up_to, limit)
            self._asked = True
            return numbers, *await self._records(connection, numbers, most)

        numbers, records, lowest = await self._db.use(look, limit=LIMIT)
        kept = [(number, records.get(number)) for number in numbers if number >= lowest]
        return kept, len(numbers) == limit or len(kept) < len(numbers)

    def _known(self, up_to: int) -> list[int]:
        return [number for number in self._numbers if number <= up_to]

    async def _records(
        self, connection: SqlConnection, numbers: list[int], most: int
    ) -> tuple[dict[int, MessageRecord], int]:
        """Those that fill `most` bytes, and the lowest number up to which they are all there."""
        if not numbers:
            return {}, 0
        dialect = self._db.dialect
        given = numbers if dialect == "postgresql" else to_json(numbers)
        rows = await connection.fetch_all(_MESSAGES[dialect], numbers=given, most=most)
        lowest = rows[-1][0] if rows and len(rows) < rows[0][-1] else 0
        # The message itself says whose it is: the index could hold a coincidence.
        names = self.seen.names if self.seen is not None else None
        found = {number: MessageRecord(*row) for number, *row, _ in rows if names is None or row[0] in names}
        return found, lowest

    async def _begin(self, connection: SqlConnection, up_to: int) -> None:
        self._place = up_to
        sessions = self.seen.count if self.seen is not None else 0
        self._named = 0 < sessions <= NAMED
        if self._db.dialect == "sqlite":
            return
        highest, count = await connection.raw.fetchrow(_EXTENT)
        highest = highest or 0
        self._place = min(up_to, highest)
        # A table that was never counted has a negative count.
        self._count = count if count > 0 else highest
        self._whole = highest == 0
        if self.seen is not None:
            theirs = max(1, self.seen.messages)
            self._part = min(1.0, theirs / max(1, self._count))
            self._named = self._named and sessions * theirs**2 <= BALANCE * max(theirs, self._count)
        if sessions <= FEW or sessions > NAMED:
            self._stride = STROLL

    async def _look(self, connection: SqlConnection, wanted: int) -> None:
        """At the next part of the index."""
        assert self._place is not None
        sessions = self.seen.numbers if self.seen is not None else ""
        asked = (self.having, self.lacking, self._place)
        if self._stride:
            await self._walk(connection, wanted)
            return
        bands: list[int] = []
        if self._db.dialect == "sqlite":
            rows = await connection.raw.execute_fetchall(*sqlite(*asked, sessions, named=self._named))
        else:
            bands = self._bands(wanted)
            sql, arguments = postgresql(*asked, bands, sessions, named=self._named)
            rows = await connection.raw.fetch(sql, *arguments)
        self._numbers += [row[0] for row in rows]
        if len(rows) == AHEAD:
            self._place = rows[-1][0] - 1
        else:
            self._place = (bands[0] << BAND) - 1 if bands else 0
        self._whole = self._place < 1

    async def _walk(self, connection: SqlConnection, wanted: int) -> None:
        """Through the newest of the caller's messages, whatever they say: a common word is soon found often
        enough, in a time that does not depend on how often it is elsewhere."""
        assert self._place is not None
        arguments: list[Any] = [tsquery(self.having, self.lacking), self._place, self._stride]
        rows = _OF_ALL
        if self.seen is not None:
            arguments.append(self.seen.numbers)
            rows = _OF_SESSIONS
            if self.seen.count > FEW:
                rows = _OF_MANY
                arguments.append(self._reach)
        count, last, found = await connection.raw.fetchrow(_WALK.format(rows=rows), *arguments)
        self._numbers += found or ()
        if count == self._stride:
            self._place = last - 1
        else:
            self._place = max(0, self._place - self._reach) if rows is _OF_MANY else 0
            # Others' messages stand there, and may be many.
            self._reach *= 4
        self._whole = self._place < 1
        self._passed += count
        self._stride = self._stride_on(wanted - len(found or ()))

    def _stride_on(self, wanted: int) -> int:
        """Of the next walk; 0 where it is quicker to fetch what has the words, as of those that are rare."""
        met = len(self._numbers)
        theirs = self.seen.messages if self.seen is not None else self._count
        length = self._passed * max(0, wanted) // max(1, met)
        elsewhere = met * max(0, theirs - self._passed) // max(1, self._passed)
        if length > FETCHED * elsewhere:
            # So few are left of a few sessions that the index has them together, without bands.
            self._named = self._rest = self.seen is not None and self.seen.count <= FEW
            return 0
        return min(WALK, max(STROLL, length * 6 // 5))

    def _bands(self, wanted: int) -> list[int]:
        """The next ones, as many as should hold what is wanted; none: all that is left.

        In a band the index meets only the words' rows of that band, however common the words are. Without
        bands it has to meet, fetch and sort all of them, which is right for few.
        """
        assert self._place is not None
        if self._rest:
            return []
        newest = self._place >> BAND
        left = min(newest, self._count >> BAND) + 1
        if self._walked:
            # A word that was not met yet may still be there.
            expected = (len(self._numbers) + 3) * left / self._walked
            width = ceil(1.2 * wanted * self._walked / max(1, len(self._numbers)))
        else:
            expected = self._part * (left << BAND) if self._named else REST + 1
            width = ceil(MET * left / max(1.0, expected)) if self._named else FIRST
        # Rows of others' are fetched as well where the index query does not name the sessions.
        if expected <= (REST_NAMED * wanted if self._named else REST * self._part):
            return []
        oldest = max(0, newest + 1 - min(MOST, max(FIRST, width)))
        self._walked += newest - oldest + 1
        return list(range(oldest, newest + 1))


def tsquery(having: Iterable[str], lacking: Iterable[str]) -> str:
    """Tokens are letters, digits and symbols other than quotes: nothing in them is syntax."""
    return " & ".join([*(f"'{token}'" for token in having), *(f"!'{token}'" for token in lacking)])


def postgresql(
    having: Iterable[str],
    lacking: Iterable[str],
    up_to: int,
    bands: Sequence[int] = (),
    sessions: str = "",
    *,
    named: bool = False,
) -> tuple[str, list[Any]]:
    """The query of one look and its arguments."""
    arguments: list[Any] = [tsquery(having, lacking), up_to]
    more = []
    for given, condition in ((bands, _IN_BANDS), (sessions, _NAMED if named else COMPARED)):
        if given:
            arguments.append(given)
            more.append(condition.format(len(arguments)))
    return _POSTGRESQL.format(more=" ".join(more), limit=AHEAD), arguments


def fts5(having: Iterable[str], lacking: Iterable[str], sessions: str = "") -> str:
    """As `tsquery`; with `sessions` in these alone."""
    query = " AND ".join(f'"{ascii_token(token)}"' for token in having)
    if sessions:
        among = " OR ".join(f'"{session_token(number)}"' for number in orjson.loads(sessions))
        query = f"({query}) AND ({among})"
    for token in lacking:
        query = f'({query}) NOT "{ascii_token(token)}"'
    return query


def sqlite(
    having: Iterable[str],
    lacking: Iterable[str],
    up_to: int,
    sessions: str = "",
    *,
    named: bool = False,
) -> tuple[str, list[Any]]:
    arguments: list[Any] = [fts5(having, lacking, sessions if named else ""), up_to]
    more = ""
    if sessions and not named:
        arguments.append(sessions)
        more = COMPARED_SQLITE
    return _SQLITE.format(more=more, limit=AHEAD), arguments


def ascii_token(token: str) -> str:
    """SQLite's own splitting into words shall not touch a token."""
    return token if token.isascii() and token.isalnum() else "x" + token.encode().hex()


def session_token(number: int) -> str:
    """FTS5 indexes text alone: there a session is one more word, which no message can have."""
    return ascii_token(f"#{number}")
