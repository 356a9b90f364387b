"""What searching costs the writing: `python -m bench.search_writes [--seconds 5]`.

Group commit alone, and with this node's indexer at work on what was committed; then how fast the indexer is
when it has the time to itself. PostgreSQL, on a cluster of its own.
"""

import argparse
import random
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from itertools import count

import uvloop

from bench.search_seed import texts, vocabulary
from bench.writer import POOL, SESSIONS, fill, rate
from events.indexer import Indexer
from migrations.run import upgrade
from storage.database import Database
from storage.ops import NewMessage
from storage.search import Search
from storage.turns import Turns
from storage.writer import Writer
from tests.support.services import Postgres


async def measure(url: str, seconds: float, rounds: int) -> None:
    db = Database(url, pool_size=POOL, max_overflow=0)
    await db.connect()
    await fill(db)
    chance = random.Random(1)
    said = list(texts(chance, vocabulary(chance), 5000))
    numbers = count()
    search = Search(db, Turns())
    for with_indexer in (False, True) * rounds:
        indexer = Indexer(search)
        await indexer.start()
        writer = Writer(
            db, lambda: datetime.now(UTC), indexer.on_committed if with_indexer else lambda _: None
        )
        writer.start()

        def send(number: int, key: str, writer: Writer = writer) -> Awaitable[object]:
            room, key = f"s{number % SESSIONS}", f"m{next(numbers)}"
            text = said[len(key) * 7919 % 5000 - number]
            return writer.submit(NewMessage(room, key, key, "user", f"u{number}", "text", text))

        result = await rate(send, seconds)
        await writer.stop()
        await indexer.stop()
        print("with the indexer" if with_indexer else "alone", result, flush=True)
    taken, began, cpu = 0, time.perf_counter(), time.process_time()
    while taken < 20_000 and (behind := await search.behind(50)):
        taken += (await search.index(behind, 200))[0]
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"indexing: {taken / wall:,.0f} messages a second, {cpu / taken * 1e6:.0f} µs of our CPU each")
    await db.disconnect()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with Postgres() as cluster:
        url = cluster.url(cluster.create_database())
        upgrade(url)
        uvloop.run(measure(url, given.seconds, given.rounds))


if __name__ == "__main__":
    main()
