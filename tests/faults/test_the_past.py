"""The past changes: Redis and the database go back under running nodes. A row for each fault."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Nodes
from tests.cluster.conftest import new_cluster as new_cluster
from tests.lineage.test_redis_goes_back import Away, put_back
from tests.lineage.test_sql_goes_back import backed_up, go_back, say, told_again
from tests.support.doors import Door, enter, new_session
from tests.support.services import Postgres, Redis

NewCluster = Callable[..., Nodes]
Row = Callable[[str], None]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


def counts(doors: list[Door], sent: list[str]) -> tuple[int, int, int]:
    """(lost, doubled, reordered) over all readers."""
    lost = doubled = reordered = 0
    for door in doors:
        seen = [word for word in shown(door) if word in set(sent)]
        lost += len(set(sent) - set(seen))
        doubled += len(seen) - len(set(seen))
        places = [sent.index(word) for word in seen]
        reordered += sum(1 for at in range(1, len(places)) if places[at] < places[at - 1])
    return lost, doubled, reordered


def shown(door: Door) -> list[str]:
    """A client's messages: a reset takes away what is above its revision."""
    held: list[tuple[int, str]] = []
    for event in door.inbox.events:
        if event.name == "message":
            held.append((event.data["revision"], event.data["content"]))
        elif event.name == "session" and event.data["event"] == "reset":
            held = [(rev, word) for rev, word in held if rev <= event.data["last_revision"]]
    return [word for _, word in held]


async def until_right(writer: Door, doors: list[Door], word: str) -> float:
    began = time.monotonic()
    await say(writer, [word])
    for door in doors:
        await door.wait_event("message", lambda m: m["content"] == word, timeout=20)
    return time.monotonic() - began


@pytest.mark.parametrize("how", ["dump", "replica"])
async def test_redis_goes_back(new_cluster: NewCluster, own_redis: Redis, how: str, row: Row) -> None:
    nodes, rounds, wrong, slowest = new_cluster(own_redis.url, 2), 6, 0, 0.0
    session = await new_session(nodes[0], "alice", members=("bob", "carol", "dave"))
    async with (
        enter("socketio", nodes[0], "alice", session) as alice,
        enter("websocket", nodes[1], "bob", session) as bob,
        enter("rest", nodes[1], "carol", session) as carol,
    ):
        doors, sent = [alice, bob, carol], []
        for turn in range(rounds):
            away = Away(nodes[1], session, "dave")
            sent.append(f"seen {turn}")
            await away.go(alice, sent[-1])
            async with put_back(own_redis, how) as back:
                for number in range(10):
                    sent.append(f"{turn}.{number}")
                    await alice.message(sent[-1])
                    await alice.call("read", seq=len(sent))
                await asyncio.to_thread(back)
                wrong += sum(await away.recovered(nodes[1]))
                sent.append(f"after {turn}")
                slowest = max(slowest, await until_right(alice, doors, sent[-1]))
        lost, doubled, reordered = counts(doors, sent)
    row(
        f"{rounds} times, {len(sent)} acknowledged, {lost} lost, {doubled} doubled, {reordered} reordered, "
        f"{wrong} of {3 * rounds} wrong `recovered: true`, right after {slowest:.1f} s at most"
    )
    assert (lost, doubled, reordered, wrong) == (0, 0, 0, 0)
    assert slowest < 5


async def test_the_database_goes_back(
    new_cluster: NewCluster, redis: Redis, own_postgres: tuple[Postgres, str], tmp_path: Path, row: Row
) -> None:
    postgres, url = own_postgres
    nodes = new_cluster(redis.url, 2, database_url=url)
    session = await new_session(nodes[0], "alice", members=("bob", "carol"))
    async with (
        enter("socketio", nodes[0], "alice", session) as alice,
        enter("websocket", nodes[1], "bob", session) as bob,
        enter("rest", nodes[1], "carol", session) as carol,
    ):
        doors = [alice, bob, carol]
        kept, gone = [f"kept {n}" for n in range(20)], [f"gone {n}" for n in range(10)]
        await say(alice, kept)
        await backed_up(postgres, tmp_path / "copy")
        await say(alice, gone)
        await go_back(postgres, tmp_path / "copy")
        new = [f"new {n}" for n in range(25)]
        began = time.monotonic()
        await say(alice, new)
        for door in doors:
            await told_again(door, new[-1])
        right = time.monotonic() - began
        stored = [m["content"] for m in await alice.history()]
        lost, doubled, reordered = counts(doors, kept + new)
    row(
        f"{len(kept + gone + new)} acknowledged, {len(gone)} lost by the database, {lost} besides, "
        f"{doubled} doubled, {reordered} reordered, right after {right:.1f} s"
    )
    assert stored == kept + new
    assert (lost, doubled, reordered) == (0, 0, 0)
