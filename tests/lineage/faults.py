"""What can happen to the stores and nodes of a `Scene`. Each may take away what was said since it began."""

import asyncio
import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from tests.lineage.scene import Fault, Scene, Strike
from tests.support.past import Past, follow, go_back_to
from tests.support.proxy import Proxy
from tests.support.server import ROOT, Server
from tests.support.services import Postgres, Redis, Sentinel, Standby

#: Keys of one that is written nowhere else, by what is deleted of them.
KEYS = (
    "log:*", "entries:*", "streams:*", "stream:*", "lease:*", "record:*", "id:*", "clock", "clock:marks",
    "presence:*", "nodes", "lease-of:*", "rooms-of:*",
)  # fmt: skip


def at_once(strike: Callable[[], object]) -> Fault:
    """One that needs no preparation."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        async def begin() -> None:
            await asyncio.to_thread(strike)

        yield begin

    return fault


def together(*all_of_them: Fault) -> Fault:
    """A machine with several stores: one strike after the other."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        async with AsyncExitStack() as stack:
            strikes = [await stack.enter_async_context(each(at)) for each in all_of_them]

            async def strike() -> None:
                for each in strikes:
                    await each()

            yield strike

    return fault


# Redis.


def dump_is_put_back(redis: Redis) -> Fault:
    """An earlier state is loaded into the running server."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        past = await asyncio.to_thread(Past, redis)

        async def strike() -> None:
            await asyncio.to_thread(past.put_back)

        try:
            yield strike
        finally:
            past.close()

    return fault


def stale_replica_is_followed(redis: Redis) -> Fault:
    """And the server is a master again, under its old run id."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        with Redis() as replica:
            await asyncio.to_thread(follow, replica, redis)

            async def strike() -> None:
                await asyncio.to_thread(go_back_to, replica, redis)

            yield strike

    return fault


def snapshot_is_started(redis: Redis) -> Fault:
    """The server is killed, and begins with an older snapshot."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        redis.cli("SAVE")

        async def strike() -> None:
            redis.kill9()
            redis.start()

        yield strike

    return fault


def failover(sentinel: Sentinel) -> Fault:
    """Sentinel promotes a replica that was behind."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        await asyncio.to_thread(sentinel.fall_behind)

        async def strike() -> None:
            await asyncio.to_thread(sentinel.fail_over)

        yield strike

    return fault


def flush(redis: Redis) -> Fault:
    return at_once(lambda: redis.cli("FLUSHALL"))


def keys_are_deleted(redis: Redis, pattern: str) -> Fault:
    def delete() -> None:
        keys = redis.cli("KEYS", f"chat:{pattern}").split()
        assert keys, pattern
        redis.cli("DEL", *keys)

    return at_once(delete)


def evictions(redis: Redis, policy: str) -> Fault:
    """Memory is short, and others write: keys vanish one by one, for as long as the fault lasts."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        def ours() -> set[str]:
            return set(redis.cli("KEYS", "chat:*").split())

        def short() -> None:
            used = redis.cli("INFO", "memory").split("used_memory:")[1].split()[0]
            redis.cli("CONFIG", "SET", "maxmemory-policy", policy)
            redis.cli("CONFIG", "SET", "maxmemory", str(int(used) + 1_000_000))
            before = ours()
            while before <= ours():
                others_write(100)

        def others_write(count: int) -> None:
            """Keys of 2 kB, by names that no one had before."""
            words = "for i = 1, ARGV[2] do redis.call('SET', 'x:' .. ARGV[1] .. i, string.rep('x', 2000)) end"
            redis.cli("EVAL", words, "0", str(time.monotonic_ns()), str(count))

        async def go_on() -> None:
            while True:
                await asyncio.to_thread(others_write, 5)
                await asyncio.sleep(0.05)

        tasks: list[asyncio.Task[None]] = []

        async def strike() -> None:
            await asyncio.to_thread(short)
            tasks.append(asyncio.create_task(go_on()))

        try:
            yield strike
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            redis.cli("CONFIG", "SET", "maxmemory", "0")

    return fault


# The database.


async def backed_up(postgres: Postgres, copy: Path) -> None:
    """The data folder of a stopped cluster."""
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(subprocess.run, ["cp", "-a", str(postgres._data), str(copy)], check=True)
    await asyncio.to_thread(postgres.start)


def put_back(postgres: Postgres, copy: Path) -> None:
    """Before it is started again."""
    shutil.rmtree(postgres._data)
    subprocess.run(["cp", "-a", str(copy), str(postgres._data)], check=True)


async def go_back(postgres: Postgres, copy: Path) -> None:
    await asyncio.to_thread(postgres.kill9)
    await asyncio.to_thread(put_back, postgres, copy)
    await asyncio.to_thread(postgres.start)


def copy_is_put_back(postgres: Postgres, folder: Path) -> Fault:
    """A machine's snapshot."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        await backed_up(postgres, folder / "copy")

        async def strike() -> None:
            await go_back(postgres, folder / "copy")

        yield strike

    return fault


def documented() -> tuple[list[str], list[str]]:
    """The lines with which docs/operations.md backs up, and those with which it restores."""
    text = (ROOT / "docs" / "operations.md").read_text().partition("## Backing up and restoring")[2]
    backup, restore = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[:2]
    return backup.splitlines(), restore.splitlines()


def operator(node: Server, folder: Path, postgres: Postgres) -> Callable[..., Awaitable[str]]:
    """Somebody with a shell in a folder of the machine, with the node's settings; each line has to work."""
    programs = (str(Path(sys.executable).parent), str(Path(postgres.program("pg_dump")).parent))
    env = {**node.env, "PATH": os.pathsep.join([*programs, os.environ["PATH"]])}

    async def types(*lines: str) -> str:
        words = ["bash", "-ec", "\n".join(lines)]
        done = await asyncio.to_thread(
            subprocess.run, words, cwd=folder, env=env, check=True, capture_output=True, text=True
        )
        return str(done.stdout)

    return types


def restored(nodes: Sequence[Server], postgres: Postgres, folder: Path) -> Fault:
    """Nodes are stopped and a backup is restored, as docs/operations.md says."""
    types = operator(nodes[0], folder, postgres)
    backup, restore = documented()

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        await types(*[line for line in backup if not line.startswith("python")])

        async def strike() -> None:
            await asyncio.gather(*[node.stop_async() for node in nodes])
            await types(*restore)
            await asyncio.gather(*[node.start_async() for node in nodes])

        yield strike

    return fault


def promotion(standby: Standby, way: Proxy, lose: Callable[[], Awaitable[None]]) -> Fault:
    """An asynchronous standby that was behind takes over the address. `lose`: what becomes of the primary."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        await asyncio.to_thread(standby.fall_behind)

        async def strike() -> None:
            way.refusing = True  # nobody has the address
            await lose()
            await asyncio.to_thread(standby.promote)
            way.target, way.refusing = standby.port, False

        yield strike

    return fault


def address_moves(way: Proxy) -> Fault:
    """New connections are answered, the old ones are silent."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        async def strike() -> None:
            way.silence()

        yield strike

    return fault


def sqlite_is_put_back(file: Path, copy: Path) -> Fault:
    """Into the file that a node has open."""

    def copied(of: Path, to: Path) -> None:
        with closing(sqlite3.connect(of)) as source, closing(sqlite3.connect(to, timeout=20)) as target:
            source.backup(target)

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        await asyncio.to_thread(copied, file, copy)

        async def strike() -> None:
            await asyncio.to_thread(copied, copy, file)

        yield strike

    return fault


def takes_no_writes(begin: Callable[[], object], end: Callable[[], object], said: str) -> Fault:
    """Until the first node says so at /readyz (`said`), and goes by it no more."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:
        async def strike() -> None:
            await asyncio.to_thread(begin)
            try:
                async with at.nodes[0].api("alice") as api, asyncio.timeout(20):
                    while True:
                        long = {"content": secrets.token_hex(8000), "reply": False}
                        await api.post(f"/api/chat/sessions/{at.session}/messages", json=long)
                        if (await api.get("/readyz")).json()["checks"]["database"] == said:
                            return
            finally:
                await asyncio.to_thread(end)

        yield strike

    return fault


# Nodes.


def a_node_dies(node: Server) -> Fault:
    return at_once(node.kill9)


def a_node_sleeps(node: Server, seconds: float) -> Fault:
    """It has commands of bob's in hand, whom another node has taken over when it wakes."""

    @asynccontextmanager
    async def fault(at: Scene) -> AsyncIterator[Strike]:

        edit: dict[str, Any] = {"message_id": at.old, "content": "v2"}
        in_hand: dict[str, dict[str, Any]] = {
            "edit": edit,
            "message": {"content": "without a key", "reply": False},
            "typing": {"is_typing": True},
        }

        async def strike() -> None:
            stream = at.streams[-1]
            piece = {"message_id": stream.name, "index": stream.index, "content": "<never>"}
            in_hand["stream_chunk"] = piece
            node.pause()
            try:
                asked = [asyncio.create_task(at.bob.call(name, **words)) for name, words in in_hand.items()]
                await asyncio.sleep(seconds)  # the fault itself
                await at.bob.cut()
                await asyncio.gather(*asked, return_exceptions=True)
                await at.bob.come(at.nodes[0])
                assert (await at.bob.call("edit", **{**edit, "content": "v3"}))["ok"]
            finally:
                node.resume()

        yield strike
        contents = {name: message["content"] for name, message in (await at.stored()).items()}
        assert contents[at.old] == "v3" and "without a key" not in contents.values()

    return fault
