"""Fills an empty, migrated database straight through SQL: a few long sessions, and many short ones.

Writes only columns that every build since revision 0018 has, so that an earlier build's database is filled
the same way.
"""

import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Protocol

from bench.search_seed import copier, texts, vocabulary
from storage.candidates import session_token
from storage.types import _to_text as sqlite_time
from storage.url import sqlite_file
from storage.words import tokens

#: Words that a search is given: in every second message, and in one of a thousand.
COMMON, SELDOM = "harbour", "lighthouse"
#: Different messages; all others repeat one of these.
TEXTS = 2_000
#: Messages of each of the many sessions.
EACH = 20
LONG = "sess_long"
#: Who owns the long sessions and has written every third message of them; who takes part in them and has
#: written none; who owns the many sessions; and who takes part in these.
OWNER, VISITOR, MANY, GUEST = "owner", "visitor", "many", "guest"


@dataclass(frozen=True)
class Size:
    """Messages of the long session (two more have a sixtieth of them each), and sessions of `MANY`."""

    name: str
    messages: int
    sessions: int


SIZES = (Size("small", 100, 10), Size("middle", 10_000, 1_000), Size("large", 300_000, 20_000))
Row = tuple[Any, ...]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SESSION = _names(
    "id session_id trace_id user_id agent_id title status metadata ttl_hours created_at updated_at "
    "last_activity expires_at last_seq last_revision message_count"
)
_MESSAGE = _names(
    "id session_id message_id seq revision sender_type sender_id message_type status content metadata "
    "created_at"
)
_PARTICIPANT = _names("session_id user_id role read_seq joined_at")
_MARK = _names("id revision reach title")


class Store(Protocol):
    """One database that is being filled."""

    async def put(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None: ...

    async def index(self, entries: Iterable[tuple[int, int, int, str]]) -> None:
        """(number, session, revision, tokens) into the search index."""

    async def done(self) -> None: ...


class _Postgresql:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def put(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        await self._connection.copy_records_to_table(table, records=rows, columns=columns)

    async def index(self, entries: Iterable[tuple[int, int, int, str]]) -> None:
        one = self._connection
        indexes = await one.fetch(
            "SELECT indexname, indexdef FROM pg_indexes "
            "WHERE tablename = 'chat_search' AND indexname NOT LIKE '%pkey'"
        )
        for name, _ in indexes:
            await one.execute(f"DROP INDEX {name}")
        await one.execute(
            "CREATE TEMP TABLE seeded (id bigint, session bigint, revision bigint, tokens text)"
        )
        await one.copy_records_to_table("seeded", records=entries)
        await one.execute(
            "INSERT INTO chat_search (id, session, revision, tokens) "
            "SELECT id, session, revision, array_to_tsvector(string_to_array(tokens, ' ')) FROM seeded"
        )
        await one.execute("DROP TABLE seeded")
        for _, definition in indexes:
            await one.execute(definition)

    async def done(self) -> None:
        for table in ("chat_sessions", "chat_messages"):
            await self._connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
            )
        await self._connection.execute("VACUUM ANALYZE")


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def put(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        with self._connection as one:
            one.executemany(sql, (tuple(map(_plain, row)) for row in rows))

    async def index(self, entries: Iterable[tuple[int, int, int, str]]) -> None:
        rows = ((number, place, f"{session_token(place)} {words}") for number, place, _, words in entries)
        await self.put("chat_search", ("rowid", "session", "tokens"), rows)

    async def done(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _plain(value: Any) -> Any:
    return sqlite_time(value) if isinstance(value, datetime) else value


@asynccontextmanager
async def store(url: str) -> Any:
    """A `Store` of the database at this address."""
    if url.startswith("sqlite"):
        with _file(url) as file:
            yield _Sqlite(file)
        return
    connection = await copier(url)
    try:
        yield _Postgresql(connection)
    finally:
        await connection.close()


@contextmanager
def _file(url: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(sqlite_file(url))
    connection.execute("PRAGMA journal_mode = WAL")
    try:
        yield connection
    finally:
        connection.close()


class _Said:
    """Texts, with their tokens."""

    def __init__(self) -> None:
        chance = random.Random(1)
        plain = islice(texts(chance, vocabulary(chance), TEXTS), TEXTS)
        self.texts = [
            text + f" {COMMON}" * (at % 2) + f" {SELDOM}" * (at % 1000 == 7) for at, text in enumerate(plain)
        ]
        self.tokens = [" ".join(tokens(text)) for text in self.texts]


@dataclass(frozen=True)
class _Session:
    place: int
    name: str
    owner: str
    messages: int
    active: datetime
    first: int
    """The number of its first message."""

    def row(self, now: datetime) -> Row:
        made, ends = self.active - timedelta(days=1), now + timedelta(days=30)
        times = (made, made, self.active, ends)
        counts = (self.messages,) * 3
        title = f"about {self.name}"
        return (self.place, self.name, f"trace_{self.name}", self.owner, 1, title, "active", "{}", 720.0,
                *times, *counts)  # fmt: skip

    def said(self, texts: Sequence[str]) -> Iterator[Row]:
        for nth in range(self.messages):
            number, seq = self.first + nth, nth + 1
            sender = ("user", self.owner) if nth % 3 == 0 else ("agent", "1")
            sent = self.active - timedelta(seconds=self.messages - nth)
            text = texts[number % TEXTS]
            yield (
                number,
                self.name,
                f"msg_{number:020x}",
                seq,
                seq,
                *sender,
                "text",
                "complete",
                text,
                "{}",
                sent,
            )


def _planned(size: Size, now: datetime) -> list[_Session]:
    """The long one in the middle: a search in it has others' messages above and below, and so has one in the
    many."""
    planned: list[_Session] = []
    number = 1

    def plan(name: str, owner: str, messages: int, active: datetime) -> None:
        nonlocal number
        planned.append(_Session(len(planned) + 1, name, owner, messages, active, number))
        number += messages

    half = size.sessions // 2
    for nth in range(half):
        plan(f"sess_many{nth}", MANY, EACH, now - timedelta(minutes=size.sessions - nth))
    plan(LONG, OWNER, size.messages, now)
    for nth in range(half, size.sessions):
        plan(f"sess_many{nth}", MANY, EACH, now - timedelta(minutes=size.sessions - nth))
    for name in ("sess_b", "sess_c"):
        plan(name, OWNER, max(1, size.messages // 60), now)
    return planned


async def seed(url: str, size: Size) -> None:
    said, now = _Said(), datetime.now(UTC)
    planned = _planned(size, now)
    async with store(url) as to:
        await to.put("chat_sessions", _SESSION, [one.row(now) for one in planned])
        people = [
            (
                one.name,
                GUEST if one.owner == MANY else VISITOR,
                "member",
                EACH // 2 if one.owner == MANY else 0,
                now,
            )
            for one in planned
        ]
        # As marks of what they have read leave them.
        people += [(one.name, MANY, "owner", EACH // 2, now) for one in planned if one.owner == MANY]
        await to.put("chat_participants", _PARTICIPANT, people)
        await to.put("chat_messages", _MESSAGE, (row for one in planned for row in one.said(said.texts)))
        await to.index(_entries(planned, said))
        marks = [(one.place, one.messages, one.messages, f"about {one.name}") for one in planned]
        await to.put("search_marks", _MARK, marks)
        await to.done()


def _entries(planned: Iterable[_Session], said: _Said) -> Iterator[tuple[int, int, int, str]]:
    for one in planned:
        yield -one.place, one.place, 0, " ".join(tokens(f"about {one.name}"))
        for nth in range(one.messages):
            number = one.first + nth
            yield number, one.place, nth + 1, said.tokens[number % TEXTS]


async def load(url: str, owner: str, size: Size, place: int) -> str:
    """One more session with as many messages as the long one, as an import leaves it: not in the index. Its
    numbers follow `place`, which no session and, times a million, no message has. Returns its name."""
    now = datetime.now(UTC)
    one = _Session(place, f"sess_loaded{place}", owner, size.messages, now, place * 1_000_000)
    async with store(url) as to:
        await to.put("chat_sessions", _SESSION, [one.row(now)])
        await to.put("chat_messages", _MESSAGE, one.said(_Said().texts))
        if isinstance(to, _Postgresql):
            await to._connection.execute("ANALYZE chat_messages")
    return one.name
