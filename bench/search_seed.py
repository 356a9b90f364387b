"""A million messages, and how long searching them takes: `python -m bench.search_seed`.

Seeds a PostgreSQL of its own, or the empty, migrated database of --url, with people, sessions and messages
whose words are as unevenly common as words are; then asks as many different people would, and prints the
times and two plans. With --seeded the database of --url is one that was seeded before.
"""

import argparse
import asyncio
import os
import random
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg  # type: ignore[import-untyped]

from events.access import Caller
from events.search import SearchService
from events.signing import Signer
from migrations.run import upgrade
from storage.candidates import BAND, postgresql
from storage.database import Database
from storage.search import Search
from storage.turns import Turns
from storage.words import tokens
from tests.support.services import Postgres

PEOPLE, SESSIONS, PER_PERSON = 1_000, 10_000, 3
#: Sessions of people who take part in more than most.
MANY = (100, 200, 500, 1_000, 5_000)
VOCABULARY = 30_000
#: Chosen from the vocabulary by Zipf's law, some glued together as Korean does.
SYLLABLES = "가나다라마바사아자차카타파하고노도로모보소오조초코토포호"
SYLLABLES += "구누두루무부수우주추쿠투푸후기니디리미비시이지치키티피히"
LETTERS = "bcdfghjklmnprstvz", "aeiou"


def vocabulary(chance: random.Random) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        if len(words) % 2:
            word = "".join(chance.choice(LETTERS[i % 2]) for i in range(chance.randint(3, 9)))
        else:
            word = "".join(chance.choices(SYLLABLES, k=chance.randint(2, 5)))
        words[word] = None
    return list(words)


def texts(chance: random.Random, words: list[str], count: int) -> Iterator[str]:
    weights: list[float] = []
    total = 0.0
    for rank in range(len(words)):
        total += 1.0 / (rank + 2)
        weights.append(total)
    for _ in range(count):
        yield " ".join(chance.choices(words, cum_weights=weights, k=chance.randint(3, 25)))


async def copier(url: str) -> asyncpg.Connection:
    """A connection for rows that are copied in; JSON is given to it as text."""
    connection = await asyncpg.connect(url)
    # COPY is binary: a version byte, then the text.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda text: b"\x01" + text.encode(),
        decoder=lambda data: data[1:].decode(),
        format="binary",
    )
    return connection


async def seed(url: str, count: int, chance: random.Random) -> list[str]:
    """Returns the vocabulary, the most common word first."""
    words = vocabulary(chance)
    now = datetime.now(UTC)
    connection = await copier(url)
    rows: list[tuple[Any, ...]] = []
    rooms = [f"sess_{number:032x}" for number in range(SESSIONS)]
    titles = [" ".join(chance.choices(words[:3000], k=chance.randint(1, 4))) for _ in rooms]
    for number, room in enumerate(rooms):
        owner = f"user{number % PEOPLE}"
        times = (now, now, now, now + timedelta(days=1))
        rows.append(
            (number + 1, room, f"trace_{number}", owner, "active", "{}", 24.0, *times, titles[number])
        )
    columns = "id session_id trace_id user_id status metadata ttl_hours created_at updated_at last_activity"
    columns += " expires_at title"
    await connection.copy_records_to_table("chat_sessions", records=rows, columns=columns.split())
    people = {(room, f"user{chance.randrange(PEOPLE)}") for room in rooms for _ in range(PER_PERSON)}
    # Some who take part in many sessions.
    people |= {(room, f"in {many}") for many in MANY for room in rooms[:: SESSIONS // many]}
    await connection.copy_records_to_table(
        "chat_participants",
        records=[(room, user, "member", now) for room, user in people],
        columns=["session_id", "user_id", "role", "joined_at"],
    )
    definition = await connection.fetchval("SELECT pg_get_indexdef('chat_search_banded_idx'::regclass)")
    await connection.execute("DROP INDEX chat_search_banded_idx")
    await connection.execute(
        "CREATE TEMP TABLE seeded (id bigint, session bigint, revision bigint, tokens text)"
    )
    columns = (
        "id session_id message_id seq revision sender_type sender_id message_type status content metadata"
    )
    columns += " created_at"
    named = [(-at - 1, at + 1, 0, " ".join(tokens(title))) for at, title in enumerate(titles)]
    await connection.copy_records_to_table("seeded", records=named)
    last: dict[str, int] = {}
    source = texts(chance, words, count)
    for start in range(0, count, 20_000):
        batch, index = [], []
        for number in range(start, min(count, start + 20_000)):
            at = chance.randrange(SESSIONS)
            room, text = rooms[at], next(source)
            seq = last[room] = last.get(room, 0) + 1
            sent = now - timedelta(seconds=count - number)
            said = ("user", f"user{at % PEOPLE}", "text", "complete", text, "{}", sent)
            batch.append((number + 1, room, f"msg_{number:032x}", seq, seq, *said))
            index.append((number + 1, at + 1, seq, " ".join(tokens(text))))
        await connection.copy_records_to_table("chat_messages", records=batch, columns=columns.split())
        await connection.copy_records_to_table("seeded", records=index)
        print(f"\r{start + len(batch):,} messages", end="", flush=True)
    print()
    await connection.execute(
        "INSERT INTO chat_search "
        "SELECT id, session, revision, array_to_tsvector(string_to_array(tokens, ' ')) FROM seeded"
    )
    await connection.execute(definition)
    marks = list(last.items())
    await connection.execute(
        "UPDATE chat_sessions s SET last_seq = n.seq, last_revision = n.seq, message_count = n.seq "
        "FROM unnest($1::text[], $2::bigint[]) AS n (session_id, seq) WHERE s.session_id = n.session_id",
        [mark[0] for mark in marks],
        [mark[1] for mark in marks],
    )
    await connection.execute(
        "INSERT INTO search_marks (id, revision, reach, title) "
        "SELECT id, last_revision, last_revision, title FROM chat_sessions"
    )
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return words


def queries(chance: random.Random, words: list[str]) -> Iterator[tuple[str, str]]:
    """(kind, query) without end: common, rare and absent words, two syllables, phrases, exclusions."""
    while True:
        common, other = chance.choice(words[:50]), chance.choice(words[:2000])
        korean = chance.choice([word for word in words[:3000:2] if len(word) > 2])
        yield "a common word", common
        yield "a rare word", chance.choice(words[5000:])
        yield "an absent word", "zzzqqq"
        yield "two words", f"{common} {other}"
        yield "a phrase", f'"{common} {chance.choice(words[:50])}"'
        yield "without a word", f"{other} -{common}"
        yield "two syllables", korean[:2]
        yield "one syllable", korean[0]


async def measure(url: str, words: list[str], rounds: int, chance: random.Random) -> None:
    database = Database(url)
    await database.connect()
    turns = Turns()
    service = SearchService(Search(database, turns), cast(Any, None), Signer("s" * 40, "search"), turns)
    for who in ("a member", *(f"in {many}" for many in MANY), "service"):
        times: dict[str, list[float]] = {}
        busy: dict[str, list[float]] = {}
        source = queries(chance, words)
        processes = await ours_and_its(database)
        for _ in range(rounds * 8):
            kind, query = next(source)
            user = f"user{chance.randrange(PEOPLE)}" if who == "a member" else who
            caller = Caller("service", "bench") if who == "service" else Caller("user", user)
            before, began = cpu(processes), time.perf_counter()
            await service.search(caller, query, None, 20, None)
            times.setdefault(kind, []).append((time.perf_counter() - began) * 1000)
            busy.setdefault(kind, []).append(cpu(processes) - before)
        for each in (times, busy):
            each["all"] = [one for taken in each.values() for one in taken]
        print(
            f"\n{who + ', ms':<18}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}{'CPU p50':>12}{'p95':>8}{'p99':>8}"
        )
        for kind, taken in times.items():
            cuts, spent = (
                statistics.quantiles(each, n=100, method="inclusive") for each in (taken, busy[kind])
            )
            print(f"{kind:<18}{cuts[49]:>8.1f}{cuts[94]:>8.1f}{cuts[98]:>8.1f}{max(taken):>8.1f}", end="")
            print(f"{spent[49]:>12.1f}{spent[94]:>8.1f}{spent[98]:>8.1f}")
    await database.disconnect()


async def ours_and_its(database: Database) -> list[str]:
    """Where Linux says how long this process, and each of PostgreSQL's for it, had a CPU."""
    async with database.connection() as connection:
        rows = await connection.raw.fetch(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend'"
        )
    return [f"/proc/{number}/schedstat" for number in (os.getpid(), *(row[0] for row in rows))]


def cpu(processes: list[str]) -> float:
    """Milliseconds so far. A search goes from one process to the other and back: with nobody else on the
    machine its time is about the sum, which waiting for other work does not change."""
    return sum(int(Path(one).read_text().split()[0]) for one in processes) / 1e6


async def explain(url: str, words: list[str]) -> None:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT id FROM chat_sessions WHERE user_id = 'user7' OR session_id IN "
        "(SELECT session_id FROM chat_participants WHERE user_id = 'user7')"
    )
    theirs = "{" + ",".join(str(row[0]) for row in rows) + "}"
    highest = await connection.fetchval("SELECT max(id) FROM chat_search")
    for who, bands, sessions in ((f"a member of {len(rows)} sessions", 16, theirs), ("service", 2, "")):
        newest = list(range((highest >> BAND) + 1 - bands, (highest >> BAND) + 1))
        sql, arguments = postgresql(tokens(words[20]), (), highest, newest, sessions, named=True)
        print(f"\nA common word, {who}, the newest {bands} bands:")
        for row in await connection.fetch("EXPLAIN (ANALYZE, BUFFERS) " + sql, *arguments):
            print("  " + (row[0] if len(row[0]) < 150 else row[0][:147] + "..."))
    sizes = await connection.fetchrow(
        "SELECT pg_size_pretty(pg_relation_size('chat_search_banded_idx')) AS index, "
        "pg_size_pretty(pg_table_size('chat_search')) AS tokens, "
        "pg_size_pretty(pg_table_size('chat_messages')) AS messages"
    )
    print("\n" + ", ".join(f"{name} {size}" for name, size in sizes.items()))
    await connection.close()


async def run(url: str, count: int, rounds: int) -> None:
    """`count` 0: the database was seeded before."""
    chance = random.Random(1)
    began = time.perf_counter()
    words = await seed(url, count, chance) if count else vocabulary(chance)
    if count:
        print(f"seeded in {time.perf_counter() - began:.0f} s")
    await measure(url, words, rounds, chance)
    await explain(url, words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="an empty, migrated PostgreSQL database; by default one of its own")
    parser.add_argument("--seeded", action="store_true", help="the database of --url was seeded before")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=60, help="times eight queries for each kind of caller")
    given = parser.parse_args()
    if given.url:
        asyncio.run(run(given.url, 0 if given.seeded else given.messages, given.rounds))
        return
    with Postgres({"shared_buffers": "512MB", "maintenance_work_mem": "512MB"}) as cluster:
        url = cluster.url(cluster.create_database())
        upgrade(url)
        asyncio.run(run(url, given.messages, given.rounds))


if __name__ == "__main__":
    main()
