"""What only several nodes, or a Redis with a life of its own, can show."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from storage.errors import StorageUnavailable
from storage.interfaces import NO_ENTRIES, Event, Kind, Mark
from storage.redis import Cluster
from storage.redis.buckets import AHEAD
from tests.redis.conftest import Ears, Side, answer, chunk, durable, in_redis, logged
from tests.support.services import Redis

NewNode = Callable[..., Awaitable[Side]]


async def until(true: Callable[[], Any], timeout: float = 10) -> Any:
    async with asyncio.timeout(timeout):
        while not (found := true()):
            await asyncio.sleep(0.005)
    return found


async def test_all_nodes_hear_the_same_in_the_same_order(new_node: NewNode) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    await one.log.open("A", Mark(0, 0))
    for rev in range(1, 50):
        node = one if rev % 2 else two
        await node.log.append("A", [durable(rev)])
        node.log.append("A", [logged(f"x{rev}")])
    await one.settled()
    await two.settled()
    assert one.ears.events == two.ears.events
    positions = [event.pos for event in one.ears.events]
    assert positions == sorted(set(positions))


async def test_appends_of_one_turn_leave_together(new_node: NewNode, redis: Redis) -> None:
    side = await new_node("n1")
    await side.log.open("A", Mark(0, 0))
    link = side.cluster.client._link
    writes: list[int] = []
    real = link._flush
    link._flush = lambda: (writes.append(len(link._out)), real())
    await asyncio.gather(*[side.log.append("A", [durable(rev)]) for rev in range(1, 101)])
    assert writes == [100]


async def test_a_node_hears_only_its_rooms(new_node: NewNode) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    await one.bus.subscribe(["session:B"])
    await one.log.open("B", Mark(0, 0))
    await one.log.append("B", [durable(1, "B")])
    await two.settled()
    assert two.ears.events == []


async def test_subscribing_and_leaving_in_one_turn_ends_as_said_last(new_node: NewNode) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    for _ in range(20):
        waiting = asyncio.ensure_future(one.bus.subscribe(["session:B"]))
        await asyncio.sleep(0)
        one.bus.unsubscribe("session:B")
        await one.bus.subscribe(["session:B"])
        mark = len(one.ears.events)
        two.bus.publish("session:B", Event("B", "ticker", b"{}", Kind.VOLATILE))
        await two.settled()
        await one.settled()
        assert len(one.ears.events) == mark + 1
        await waiting
        one.bus.unsubscribe("session:B")
    two.bus.publish("session:B", Event("B", "ticker", b"{}", Kind.VOLATILE))
    await two.settled()
    await one.settled()
    assert len(one.ears.events) == mark + 1


async def test_a_restarted_redis_begins_a_new_epoch(own_redis: Redis) -> None:
    side = in_redis(own_redis)
    await side.bus.connect(side.ears)
    before = await side.bus.echo()
    await side.records.put("p", before, 0, 1, b"")
    own_redis.kill9()
    await until(lambda: side.ears.lost)
    with pytest.raises(StorageUnavailable):
        await side.log.last(["A"])
    own_redis.start()

    async def again() -> bool:
        try:
            await side.bus.connect(side.ears)
        except StorageUnavailable:
            return False
        return True

    while not await again():
        await asyncio.sleep(0.02)
    after = await side.bus.echo()
    assert after > before
    assert await side.records.put("p", before, 0, 2, b"") == "late"
    await side.close()


async def test_data_of_another_life_counts_as_absent(new_node: NewNode, redis: Redis) -> None:
    """A snapshot, or a promoted replica, brings back keys under another run id."""
    side = await new_node("n1")
    await side.log.open("A", Mark(0, 0))
    await side.log.append("A", [durable(1, stream="s")])
    await side.streams.append(chunk("s", 0, "text"), 1, ["text"])
    epoch = await side.bus.echo()
    await side.records.put("p", epoch, 0, 1, b"")
    redis.cli("HSET", "test:clock", "run", "another")
    assert (await side.log.last(["A"]))["A"] is None
    assert await side.bus.echo() != epoch
    assert await side.records.take("p", b"") is None
    assert await side.streams.read("A", "s") is None
    await side.log.open("A", Mark(1, 1))
    state = (await side.log.read({"A": 0})).rooms["A"]
    assert not state.complete and list(state.entries) == [] and not state.streams


async def test_half_a_log_is_no_log(new_node: NewNode, redis: Redis) -> None:
    """Evicted, or deleted by hand."""
    side = await new_node("n1")
    await side.log.open("A", Mark(0, 0))
    await side.log.append("A", [durable(1)])
    redis.cli("DEL", "test:entries:A")
    assert (await side.log.read({"A": 0})).rooms["A"] is None


async def test_old_entries_are_dropped_by_age(new_node: NewNode) -> None:
    side = await new_node("n1", window=1.0)
    await side.log.open("A", Mark(0, 0))
    await side.log.append("A", [durable(1)])

    async def aged() -> bool:
        state = (await side.log.read({"A": 0})).rooms["A"]
        return state is not None and not state.entries

    async with asyncio.timeout(10):
        while not await aged():
            await asyncio.sleep(0.05)
    state = (await side.log.read({"A": 0})).rooms["A"]
    assert not state.complete and state.last == Mark(1, 1)


async def test_every_key_has_an_expiry(new_node: NewNode, redis: Redis) -> None:
    side = await new_node("n1")
    await side.log.open("A", Mark(0, 0))
    await side.log.append("A", [durable(1, stream="s"), logged("x")])
    await side.log.append("B", [durable(1, "B", stream="t")])
    await side.streams.append(chunk("s", 0, "text"), 1, ["text"])
    await side.streams.renew({"s": 5.0})
    await side.streams.close("A", "u")
    await side.records.put("p", await side.bus.echo(), 0, 1, b"")
    await side.presence.enter("A", "alice", "online")
    await side.presence.beat({"A": {"alice": ("online", 1)}})
    await side.buckets.take("k", 5.0, 1.0)
    keys = redis.cli("KEYS", "*").split()
    assert len(keys) >= 11
    assert all(key.startswith("test:") for key in keys)
    forever = [key for key in keys if int(redis.cli("TTL", key)) < 0]
    assert forever == []


async def test_a_hung_redis_keeps_nobody_waiting(own_redis: Redis) -> None:
    side = in_redis(own_redis, timeout=0.3)
    await side.bus.connect(side.ears)
    await side.log.open("A", Mark(0, 0))
    own_redis.pause()
    loop = asyncio.get_running_loop()
    began = loop.time()
    calls = [side.log.append("A", [durable(rev)]) for rev in range(1, 5)]
    taken = await side.buckets.take("k", 5.0, 1.0)
    assert taken == 0.0 and loop.time() - began < 1.0
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, StorageUnavailable) for result in results)
    assert loop.time() - began < 2.0
    began = loop.time()
    with pytest.raises(StorageUnavailable):
        await side.log.last(["A"])
    assert side.buckets.take("k", 5.0, 1.0) == 0.0
    assert loop.time() - began < 0.1
    own_redis.resume()
    await side.cluster.client.up()
    assert (await side.log.last(["A"]))["A"] is not None
    await side.close()


async def test_a_deaf_subscriber_is_found_out(new_node: NewNode, redis: Redis) -> None:
    side = await new_node("n1", timeout=0.3)
    real, side.cluster.bus._pushed = side.cluster.bus._link._on_push, None
    side.cluster.bus._link.push_to(lambda reply: None)
    with pytest.raises(StorageUnavailable):
        await side.bus.echo()
    side.cluster.bus._link.push_to(real)
    await side.bus.echo()


async def test_what_is_no_message_of_ours_is_dropped(new_node: NewNode, redis: Redis) -> None:
    side = await new_node("n1")
    for junk in ("", "E", "E" + "x" * 40, "V\x01", "Z", "\x80\x04"):
        redis.cli("PUBLISH", "test:session:A", junk)
    side.bus.publish("session:A", Event("A", "ticker", b"{}", Kind.VOLATILE))
    await side.settled()
    assert [event.name for event in side.ears.events] == ["ticker"]


# --- presence


async def test_what_no_node_wrote_stops_no_heartbeat(new_node: NewNode) -> None:
    one = await new_node("n1")
    client = one.cluster.client
    for key in ("rooms-of:n1", "nodes"):
        await client.call("SADD", f"{client.prefix}:{key}", b"\xff")
    await client.call("HSET", f"{client.prefix}:presence:A", b"\xff", b"\x80")  # nobody, on no node
    assert await answer(one.presence.enter("A", "alice", "online"))
    await one.presence.beat({"A": {"alice": ("online", 1)}}, doubtful=True)
    assert dict(await one.presence.online("A"))["alice"] == ("online", 1)


async def test_presence_is_counted_over_nodes(new_node: NewNode) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    await one.presence.beat({})
    await two.presence.beat({})
    assert await one.presence.enter("A", "alice", "away")
    assert not await two.presence.enter("A", "alice", "online")
    await two.presence.beat({"A": {"alice": ("online", 3)}})
    assert dict(await one.presence.online("A")) == {"alice": ("online", 4)}
    assert not await two.presence.leave("A", "alice")
    assert dict(await two.presence.online("A")) == {"alice": ("away", 1)}
    assert await one.presence.leave("A", "alice")
    assert dict(await one.presence.online("A")) == {}


async def test_who_is_named_before_the_first_heartbeat_is_there(new_node: NewNode, redis: Redis) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    assert await one.presence.enter("A", "alice", "online")
    assert dict(await two.presence.online("A")) == {"alice": ("online", 1)}
    await two.presence.beat({})
    assert await two.presence.look(["A"], [], 10) == {"A": {"alice": ("online", 1)}}
    assert list((await two.presence.beat({})).left) == []
    # The same after Redis was emptied under a node that had its lease.
    beat = await one.presence.beat({"A": {"alice": ("online", 1)}, "B": {"bob": ("online", 1)}})
    redis.cli("FLUSHALL")
    assert await one.presence.enter("A", "carol", "online")
    assert set(await two.presence.online("A")) == {"carol"}
    # Its first word is no heartbeat: what was lost is said again with that one.
    beat = await one.presence.beat(
        {"A": {"alice": ("online", 1), "carol": ("online", 1)}, "B": {"bob": ("online", 1)}}
    )
    assert list(beat.left) == []
    assert set(await two.presence.online("A")) == {"alice", "carol"}
    assert set(await two.presence.online("B")) == {"bob"}


async def test_a_node_that_dies_before_its_first_heartbeat_is_buried(new_node: NewNode) -> None:
    one, two = await new_node("n1", node_lease=1.0), await new_node("n2", node_lease=1.0)
    await one.presence.enter("A", "alice", "online")
    left: list[tuple[str, str]] = []
    async with asyncio.timeout(10):
        while not left:
            left += (await two.presence.beat({})).left
            await asyncio.sleep(0.1)
    assert left == [("A", "alice")]


async def test_who_says_goodbye_is_not_remembered_as_dead(new_node: NewNode) -> None:
    one = await new_node("n1", node_lease=1.0)
    for name, in_order in (("n2", True), ("n3", False)):
        node = await new_node(name, node_lease=1.0)
        await node.presence.beat({})
        await node.presence.enter("A", "alice", "online")
        if in_order:
            await node.presence.goodbye()
        async with asyncio.timeout(10):
            while not (beat := await one.presence.beat({})).left:
                await asyncio.sleep(0.1)
        # One that starts now knows of it, too: somebody may come back to it.
        newer = await (await new_node(f"after-{name}")).presence.beat({})
        later = await one.presence.beat({})
        assert beat.buried == "" and newer.buried == later.buried == ("" if in_order else name)


async def test_what_one_who_was_away_does_not_know(new_node: NewNode, redis: Redis) -> None:
    one, two = await new_node("n1"), await new_node("n2", window=-59.5)  # remembers for one second
    for user in ("alice", "bob", "carol"):
        await two.presence.enter("A", user, "online")
    assert await one.presence.leave("A", "carol") is False
    assert await two.presence.leave("A", "carol")
    changed = await one.presence.changed("A", 10)
    assert changed == {
        "alice": ("online", 1, True), "bob": ("online", 1, True), "carol": ("offline", 0, True),
    }  # fmt: skip
    assert await one.presence.changed("A", 1) == 2
    # Who lives on a node that is dead and not buried yet is gone, too.
    redis.cli("DEL", "test:lease-of:n2")
    assert (await one.presence.changed("A", 10))["bob"] == ("offline", 0, True)
    await one.presence.enter("A", "bob", "away")
    assert (await one.presence.changed("A", 10))["bob"] == ("away", 1, True)
    # What is older than any absence is no news.
    async with asyncio.timeout(10):
        while (await two.presence.changed("A", 10)).get("carol") is not None:
            await asyncio.sleep(0.05)


async def test_exactly_one_survivor_announces_the_dead(new_node: NewNode) -> None:
    nodes = [await new_node(f"n{n}", node_lease=1.0) for n in range(4)]
    counts: dict[str, dict[str, tuple[str, int]]] = {"A": {"alice": ("online", 1), "bob": ("online", 1)}}
    dead, *alive = nodes
    for node in nodes:
        await node.presence.beat(counts if node is dead else {"A": {"bob": ("online", 1)}})
    left: list[tuple[str, str]] = []
    async with asyncio.timeout(10):
        while not left:
            beats = await asyncio.gather(*(n.presence.beat({"A": {"bob": ("online", 1)}}) for n in alive))
            for beat in beats:
                left += beat.left
            await asyncio.sleep(0.1)
    assert left == [("A", "alice")]
    assert set(await alive[0].presence.online("A")) == {"bob"}
    # It was only standing still: it says so again, and is told to announce it.
    beat = await dead.presence.beat(counts)
    assert list(beat.joined) == [("A", "alice", "online")]
    assert set(await alive[0].presence.online("A")) == {"alice", "bob"}


async def test_who_has_just_lost_its_own_lease_judges_nobody(new_node: NewNode, redis: Redis) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    await one.presence.beat({"A": {"alice": ("online", 1)}})
    await two.presence.beat({"A": {"bob": ("online", 1)}})
    redis.cli("DEL", "test:lease-of:n1", "test:lease-of:n2")  # Redis stood still for longer than a lease
    assert list((await two.presence.beat({"A": {"bob": ("online", 1)}})).left) == []
    assert list((await one.presence.beat({"A": {"alice": ("online", 1)}})).left) == []
    assert list((await two.presence.beat({"A": {"bob": ("online", 1)}})).left) == []
    assert set(await one.presence.online("A")) == {"alice", "bob"}


async def test_presence_is_said_again_when_redis_lost_it(new_node: NewNode, redis: Redis) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    counts: dict[str, dict[str, tuple[str, int]]] = {"A": {"alice": ("online", 1)}}
    await one.presence.beat(counts)
    redis.cli("FLUSHALL")
    beat = await one.presence.beat(counts)
    assert (list(beat.left), list(beat.joined)) == ([], [])
    assert set(await two.presence.online("A")) == {"alice"}


async def test_a_look_finds_what_has_changed_and_mends_what_was_lost(new_node: NewNode, redis: Redis) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    alice: dict[str, dict[str, tuple[str, int]]] = {"A": {"alice": ("online", 1)}}
    bob: dict[str, dict[str, tuple[str, int]]] = {"A": {"bob": ("away", 2)}}
    await one.presence.beat(alice)
    await two.presence.beat(bob)
    both = {"alice": ("online", 1), "bob": ("away", 2)}
    assert await one.presence.look(["A"], [], 10) == {"A": both}
    assert await one.presence.look(["A"], [], 10) == {}
    assert await one.presence.look(["A"], ["A"], 10) == {"A": both}
    await two.presence.leave("A", "bob")
    assert await one.presence.look(["A"], [], 10) == {"A": alice["A"]}
    await two.presence.enter("A", "bob", "away")
    await two.presence.look(["A"], [], 10)
    redis.cli("DEL", "test:presence:A")  # evicted: each node says its part again
    assert await one.presence.look(["A"], [], 10) == {"A": {}}
    assert await two.presence.look(["A"], [], 10) == {"A": alice["A"]}
    assert set((await one.presence.look(["A"], [], 10))["A"]) == {"alice", "bob"}
    # Beyond the limit nothing but the number travels.
    assert await one.presence.look(["A"], ["A"], 1) == {"A": 2}


async def test_a_node_that_somebody_vouches_for_is_not_taken_for_dead(
    new_node: NewNode, redis: Redis
) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    counts: dict[str, dict[str, tuple[str, int]]] = {"A": {"alice": ("online", 1)}}
    await one.presence.beat(counts)
    await two.presence.beat({"A": {"bob": ("online", 1)}})
    asked: list[str] = []

    async def vouch(nodes: Sequence[str]) -> Sequence[str]:
        asked.extend(nodes)
        return nodes if len(asked) == 1 else ()

    two.presence.vouch = vouch
    redis.cli("DEL", "test:lease-of:n1")
    assert list((await two.presence.beat({"A": {"bob": ("online", 1)}})).left) == []
    assert asked == ["n1"] and set(await two.presence.online("A")) == {"alice", "bob"}
    redis.cli("DEL", "test:lease-of:n1")
    assert list((await two.presence.beat({"A": {"bob": ("online", 1)}})).left) == []
    assert list((await two.presence.beat({"A": {"bob": ("online", 1)}})).left) == [("A", "alice")]


async def test_a_node_whose_lease_was_lost_is_not_taken_for_dead(new_node: NewNode, redis: Redis) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    await one.presence.beat({"A": {"alice": ("online", 1)}})
    await two.presence.beat({})
    for _ in range(3):
        redis.cli("DEL", "test:lease-of:n1")  # evicted
        assert list((await two.presence.beat({})).left) == []
        assert list((await one.presence.beat({"A": {"alice": ("online", 1)}})).joined) == []
        assert list((await two.presence.beat({})).left) == []
    assert set(await two.presence.online("A")) == {"alice"}


async def test_nodes_say_where_they_are(redis: Redis) -> None:
    cluster = Cluster(
        redis.url, "n1", lambda: 0.0, key=b"k" * 32, now=time.time, prefix="test", timeout=2.0, window=60.0,
        log_size=10, log_bytes=1000, node_lease=5.0, address="http://10.0.0.1:8003",
    )  # fmt: skip
    await cluster.bus.connect(Ears())
    assert await cluster.presence.address("n1") is None
    await cluster.presence.beat({})
    assert await cluster.presence.address("n1") == "http://10.0.0.1:8003"
    assert await cluster.presence.address("n2") is None
    await cluster.close()


async def test_a_read_beyond_its_limit_is_not_read_to_its_end(new_node: NewNode) -> None:
    """Two hundred rooms may be asked for at once, each with a log of a megabyte."""
    side = await new_node("n1")
    rooms = [f"R{n}" for n in range(10)]
    for room in rooms:
        await side.log.open(room, Mark(0, 0))
    opened = (await side.log.read(dict.fromkeys(rooms, NO_ENTRIES))).rooms
    asks = {room: state.pos for room, state in opened.items() if state is not None}
    for room in rooms:
        for rev in range(1, 11):
            await side.log.append(room, [durable(rev, room, data=b"x" * 1000)])
    whole = await side.log.read(asks, limit=1_000_000)
    assert all(state.complete and len(state.entries) == 10 for state in whole.rooms.values())
    cut = await side.log.read(asks, limit=25_000)
    assert [len(cut.rooms[room].entries) for room in rooms] == [10, 10, 10, *[0] * 7]
    assert [cut.rooms[room].complete for room in rooms] == [True, True, *[False] * 8]
    assert all(state.last == Mark(10, 10) for state in cut.rooms.values())


async def test_who_has_many_tokens_does_not_wait_for_redis_to_count(new_node: NewNode) -> None:
    """And few more pass than there are, however many nodes count at the same time."""
    nodes = [await new_node(f"n{number}") for number in range(3)]
    assert await answer(nodes[0].buckets.take("alice", 64.0, 0.01)) == 0.0
    assert nodes[0].buckets.take("alice", 64.0, 0.01) == 0.0  # at once
    assert await answer(nodes[1].buckets.take("alice", 64.0, 0.01)) == 0.0
    taken, asked = 3, 0
    while asked < 50:
        answers = [node.buckets.take("alice", 64.0, 0.01) for node in nodes]
        taken += sum([await answer(each) == 0.0 for each in answers])
        asked += 1
    assert 64 <= taken <= 64 + len(nodes) * 64 // AHEAD
    for node in nodes:
        assert await answer(node.buckets.take("alice", 64.0, 0.01)) > 0.0
    # Of few tokens every one is asked for.
    assert await answer(nodes[0].buckets.take("bob", 6.0, 0.01)) == 0.0
    assert not isinstance(coming := nodes[0].buckets.take("bob", 6.0, 0.01), float)
    assert await coming == 0.0
