"""The writer alone: group commit beside one transaction per message, and beside pgbench.

python -m bench.writer [--seconds 5] [--postgres URL]     prints JSON

The same work is done by both: the session's row lock, the duplicate check, the next number, the row,
the session's counters, COMMIT. One transaction per message goes through a `databases` pool of the same
size, as its documentation has it.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import uvloop
from databases import Database as Databases

from migrations.run import upgrade
from storage.database import Database
from storage.ops import NewMessage
from storage.records import SessionRecord
from storage.sessions import Sessions
from storage.url import plain
from storage.writer import Writer
from tests.support.services import Postgres, program

SENDERS = 200
SESSIONS = 100
POOL = 20
CONTENT = "x" * 100

_LOCK = (
    "SELECT status, last_seq, last_revision FROM chat_sessions WHERE session_id = :session FOR NO KEY UPDATE"
)
_REPEAT = (
    "SELECT message_id, seq FROM chat_messages WHERE session_id = :session AND sender_type = 'user'"
    " AND sender_id = :sender AND client_message_id = :key"
)
_INSERT = (
    "INSERT INTO chat_messages (session_id, message_id, seq, revision, client_message_id, sender_type,"
    " sender_id, message_type, status, content, metadata, created_at)"
    " VALUES (:session, :key, :seq, :revision, :key, 'user', :sender, 'text', 'complete', :content,"
    " '{}', :now)"
)
_ADVANCE = (
    "UPDATE chat_sessions SET last_seq = :seq, last_revision = :revision, message_count = message_count + 1,"
    " request_count = request_count + 1, last_activity = :now WHERE session_id = :session"
)
# One row in one transaction: of a table with a key and nothing else, and of our own with all its indexes.
_BARE_ROW = "INSERT INTO one_row (session_id, content) VALUES ('s' || :client_id, repeat('x', 100));\n"
_MESSAGE_ROW = (
    "\\set n :n + 1\n"
    "INSERT INTO chat_messages (session_id, message_id, seq, revision, client_message_id, sender_type,"
    " sender_id, message_type, status, content, metadata, created_at) VALUES ('s' || :client_id % 100,"
    " 'p' || :client_id || '_' || :n, (:client_id + 1) * 1000000000::bigint + :n,"
    " (:client_id + 1) * 1000000000::bigint + :n,"
    " 'p' || :n, 'user', 'u' || :client_id, 'text', 'complete', repeat('x', 100), '{}', now());\n"
)

Send = Callable[[int, str], Awaitable[object]]


async def fill(db: Database) -> None:
    sessions, now = Sessions(db), datetime.now(UTC)
    for n in range(SESSIONS):
        await sessions.create(
            SessionRecord(
                session_id=f"s{n}",
                trace_id=f"t{n}",
                user_id="bench",
                agent_id=None,
                title=None,
                status="active",
                metadata={},
                ttl_hours=24,
                created_at=now,
                updated_at=now,
                last_activity=now,
                expires_at=now + timedelta(hours=24),
            )
        )


async def rate(send: Send, seconds: float) -> dict[str, float]:
    """Messages per second with SENDERS that each wait for their answers, and our CPU for each message."""
    numbers = count()
    # Connections, prepared statements, caches.
    await asyncio.gather(*(send(n, f"warm{next(numbers)}") for n in range(SENDERS)))
    end = time.monotonic() + seconds
    sent = 0

    async def sender(number: int) -> None:
        nonlocal sent
        while time.monotonic() < end:
            await send(number, f"m{next(numbers)}")
            sent += 1

    wall, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*map(sender, range(SENDERS)))
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return {"messages": sent, "per_second": round(sent / wall), "cpu_us": round(cpu / sent * 1e6, 1)}


async def grouped(url: str, seconds: float) -> dict[str, float]:
    db = Database(url, pool_size=POOL, max_overflow=0)
    await db.connect()
    await fill(db)
    batches = 0

    def committed(_: object) -> None:
        nonlocal batches
        batches += 1

    writer = Writer(db, lambda: datetime.now(UTC), committed)
    writer.start()

    def send(number: int, key: str) -> Awaitable[object]:
        return writer.submit(
            NewMessage(f"s{number % SESSIONS}", f"w{key}", key, "user", f"u{number}", "text", CONTENT)
        )

    result = await rate(send, seconds)
    await writer.stop()
    await db.disconnect()
    return result | {"mean_batch": round((result["messages"] + SENDERS) / batches, 1)}


async def one_by_one_postgresql(url: str, seconds: float) -> dict[str, float]:
    db = Databases(plain(url), min_size=POOL, max_size=POOL)
    await db.connect()

    async def send(number: int, key: str) -> None:
        session, sender, now = f"s{number % SESSIONS}", f"u{number}", datetime.now(UTC)
        key = f"o{key}"
        async with db.transaction():
            row: Any = await db.fetch_one(_LOCK, {"session": session})
            seq, revision = row["last_seq"] + 1, row["last_revision"] + 1
            if await db.fetch_one(_REPEAT, {"session": session, "sender": sender, "key": key}) is not None:
                return
            await db.execute(
                _INSERT,
                {
                    "session": session,
                    "seq": seq,
                    "revision": revision,
                    "key": key,
                    "sender": sender,
                    "content": CONTENT,
                    "now": now,
                },
            )
            await db.execute(_ADVANCE, {"session": session, "seq": seq, "revision": revision, "now": now})

    result = await rate(send, seconds)
    await db.disconnect()
    return result


def dollars(sql: str) -> tuple[str, list[str]]:
    """The statement as asyncpg takes it, and its parameters' names in order."""
    names = list(dict.fromkeys(re.findall(r":(\w+)", sql)))
    return re.sub(r":(\w+)", lambda found: f"${names.index(found[1]) + 1}", sql), names


async def one_by_one_raw(url: str, seconds: float) -> dict[str, float]:
    """The same by the cheapest way the pool offers: prepared statements on the raw connection."""
    db = Databases(plain(url), min_size=POOL, max_size=POOL)
    await db.connect()
    statements = {sql: dollars(sql) for sql in (_LOCK, _REPEAT, _INSERT, _ADVANCE)}

    async def send(number: int, key: str) -> None:
        values: dict[str, Any] = {"session": f"s{number % SESSIONS}", "sender": f"u{number}"}
        values |= {"key": f"r{key}", "content": CONTENT, "now": datetime.now(UTC)}

        async def run(sql: str) -> Any:
            text, names = statements[sql]
            return await raw.fetchrow(text, *(values[name] for name in names))

        async with db.connection() as connection, connection.transaction():
            raw: Any = connection.raw_connection
            row = await run(_LOCK)
            if await run(_REPEAT) is not None:
                return
            values |= {"seq": row["last_seq"] + 1, "revision": row["last_revision"] + 1}
            await run(_INSERT)
            await run(_ADVANCE)

    result = await rate(send, seconds)
    await db.disconnect()
    return result


async def one_by_one_sqlite(url: str, seconds: float) -> dict[str, float]:
    """The same connection as the writer's, one message at a time."""
    db = Database(url)
    await db.connect()
    writer = Writer(db, lambda: datetime.now(UTC), lambda _: None)
    writer.start()
    turn = asyncio.Lock()

    async def send(number: int, key: str) -> None:
        async with turn:
            await writer.submit(
                NewMessage(
                    f"s{number % SESSIONS}", f"o{key}", f"o{key}", "user", f"u{number}", "text", CONTENT
                )
            )

    result = await rate(send, seconds)
    await writer.stop()
    await db.disconnect()
    return result


def pgbench(url: str, seconds: float) -> dict[str, int]:
    """Transactions per second of one row each, from as many clients as there are senders and, for the bare
    table, from as many as the pool has connections. Raises RuntimeError where it is not installed."""
    command = program("pgbench", "/usr/lib/postgresql/*/bin")
    psql = program("psql", "/usr/lib/postgresql/*/bin")
    table = "CREATE TABLE one_row (id bigserial PRIMARY KEY, session_id text, content text)"
    subprocess.run([psql, "-q", "-c", table, url], check=True)

    def run(sql: str, clients: int) -> int:
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(sql)
            script.flush()
            length = ["-D", "n=0", "-j", "2", "-T", str(max(1, round(seconds)))]
            done = subprocess.run(
                [command, "-n", "-f", script.name, "-c", str(clients), *length, url],
                check=True,
                capture_output=True,
                text=True,
            )
        return round(float(re.search(r"^tps = ([\d.]+)", done.stdout, re.M)[1]))  # type: ignore[index]

    return {
        "message_row": run(_MESSAGE_ROW, SENDERS),
        "bare_row": run(_BARE_ROW, SENDERS),
        "bare_row_few_clients": run(_BARE_ROW, POOL),
    }


@contextmanager
def database(kind: str, given: str | None) -> Iterator[str]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
            yield f"sqlite:///{Path(folder) / 'bench.db'}"
    elif given is not None:
        yield given
    else:
        with Postgres() as postgres:
            yield postgres.url(postgres.create_database())


def measure(seconds: float, given: str | None = None) -> dict[str, Any]:
    """Figures of both kinds; `given` is an empty PostgreSQL database, else one is started."""
    results: dict[str, Any] = {"senders": SENDERS, "sessions": SESSIONS, "pool": POOL}
    with database("postgresql", given) as url:
        upgrade(url)
        ours = uvloop.run(grouped(url, seconds))
        single = uvloop.run(one_by_one_postgresql(url, seconds))
        raw = uvloop.run(one_by_one_raw(url, seconds))
        results["postgresql"] = {
            "writer": ours,
            "one_transaction_each": single,
            "one_transaction_each_raw": raw,
            "times_as_many": round(ours["per_second"] / single["per_second"], 1),
            "times_as_many_as_raw": round(ours["per_second"] / raw["per_second"], 1),
            "share_of_cpu": round(ours["cpu_us"] / single["cpu_us"], 3),
            "share_of_raw_cpu": round(ours["cpu_us"] / raw["cpu_us"], 3),
            "pgbench": pgbench(url, seconds),
        }
    with database("sqlite", None) as url:
        upgrade(url)
        ours = uvloop.run(grouped(url, seconds))
        single = uvloop.run(one_by_one_sqlite(url, seconds))
        results["sqlite"] = {
            "writer": ours,
            "one_transaction_each": single,
            "times_as_many": round(ours["per_second"] / single["per_second"], 1),
        }
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.writer", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument(
        "--postgres", metavar="URL", help="an empty database; else a private server is started"
    )
    given = parser.parse_args()
    print(json.dumps(measure(given.seconds, given.postgres), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
