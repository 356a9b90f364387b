"""What branches cost one who joins: two sessions of 10,000 messages, one of them with 500 branches.

    python -m bench.branches                            in SQLite
    python -m bench.branches postgresql://…/empty

Joins go in turns to one and the other, each to a room that nobody is in.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from msgspec import structs

from bench.turns.world import store_rows, stored_message, stored_session
from migrations.run import upgrade
from storage.database import Database
from storage.records import MessageRecord, SessionRecord
from storage.tables import messages, sessions
from tests.support.rawclient import RawClient
from tests.support.server import Server

MESSAGES, BRANCHES, JOINS = 10_000, 500, 300
PLAIN, BRANCHED = "sess_plain", "sess_with_branches"


def _followed(seq: int) -> int | None:
    """Of every twenty messages one stands beside the path, and the next goes on from the one before it."""
    every = MESSAGES // BRANCHES
    return seq - 2 if seq % every == 2 and seq > 2 else None


async def _seed(url: str) -> None:
    database = Database(url, limit=120)
    await database.connect()
    async with database.transaction(limit=600) as connection:
        counted = {"last_seq": MESSAGES, "last_revision": MESSAGES, "message_count": MESSAGES}
        plain = structs.replace(stored_session(PLAIN), **counted)
        head = {"head_seq": MESSAGES, "head_id": f"msg_{BRANCHED}_{MESSAGES}"}
        branched = structs.replace(stored_session(BRANCHED), **counted, **head)
        await store_rows(connection, sessions, SessionRecord, [plain, branched])
        for name in (PLAIN, BRANCHED):
            said = [
                stored_message(name, seq, "m" * 200, parent_seq=_followed(seq) if name == BRANCHED else None)
                for seq in range(1, MESSAGES + 1)
            ]
            await store_rows(connection, messages, MessageRecord, said)
    await database.disconnect()


async def _join(server: Server, token: str, name: str) -> float:
    """Milliseconds from the connection's beginning to the snapshot."""
    began = time.perf_counter()
    async with RawClient(server.ws_url, name, token) as client:
        welcome = await client.welcome()
        taken = time.perf_counter() - began
    assert len(welcome["messages"]) == 50, welcome
    return taken * 1000


async def measured(server: Server) -> dict[str, float]:
    token = server.token("owner")
    times: dict[str, list[float]] = {PLAIN: [], BRANCHED: []}
    for number in range(JOINS + 20):
        for name, taken in times.items():
            once = await _join(server, token, name)
            if number >= 20:
                taken.append(once)
    return {name: median(taken) for name, taken in times.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/parley.db"
        upgrade(url)
        asyncio.run(_seed(url))
        settings = {"LOG_LEVEL": "WARNING", "DEBUG": "true"}
        with Server(Path(folder), url, **settings) as server:
            found = asyncio.run(measured(server))
    print(
        f"join, median of {JOINS}: {found[PLAIN]:.2f} ms without branches, {found[BRANCHED]:.2f} ms with "
        f"{BRANCHES}: {found[BRANCHED] / found[PLAIN]:.2f}"
    )


if __name__ == "__main__":
    main()
