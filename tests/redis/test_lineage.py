"""Redis goes back within one process: whoever has seen more begins a new epoch in the same step."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator

import pytest

from storage.interfaces import Mark
from tests.redis.conftest import Side, chunk, durable, in_redis, logged
from tests.support.past import Past, follow, go_back_to
from tests.support.services import Redis

NewNode = Callable[..., Awaitable[Side]]


@pytest.fixture
def past(redis: Redis) -> Iterator[Callable[[], Past]]:
    made: list[Past] = []

    def take() -> Past:
        made.append(Past(redis))
        return made[-1]

    yield take
    for each in made:
        each.close()


async def filled(side: Side, upto: int) -> str:
    await side.log.open("A", Mark(0, 0))
    for rev in range(1, upto + 1):
        await side.log.append("A", [durable(rev)])
    epoch: str = await side.bus.echo()
    return epoch


async def test_a_store_that_is_behind_begins_anew(new_node: NewNode, past: Callable[[], Past]) -> None:
    one = await new_node("n1")
    epoch = await filled(one, 5)
    before = past()
    await one.log.append("A", [durable(6)])
    before.put_back()
    answer = await one.log.append("A", [durable(7)])
    assert answer.answer == "nobody"
    assert await one.bus.echo() > epoch


async def test_also_when_it_has_grown_past_what_was_seen(new_node: NewNode, past: Callable[[], Past]) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    epoch = await filled(one, 5)
    await two.bus.echo()
    before = past()
    await one.log.append("A", [logged("a")])
    await one.settled()
    before.put_back()
    stranger = await new_node("n3")  # has seen nothing, and appends past the old mark
    await stranger.log.open("B", Mark(0, 0))
    for number in range(20):
        await stranger.log.append("B", [logged(f"s{number}", "B")])
    assert await stranger.bus.echo() == epoch
    assert await one.bus.echo() > epoch


async def test_what_follows_names_what_was_lost(new_node: NewNode, past: Callable[[], Past]) -> None:
    """A node that only listens notices with the next event of a room."""
    one, two = await new_node("n1"), await new_node("n2")
    epoch = await filled(one, 5)
    before = past()
    await one.log.append("A", [logged("lost")])
    await two.settled()
    await one.close()
    before.put_back()
    stranger = await new_node("n3")
    await stranger.log.open("B", Mark(0, 0))
    await stranger.log.append("B", [logged("b", "B")])
    await stranger.log.append("A", [logged("new")])
    async with asyncio.timeout(5):
        while not two.ears.lost or await stranger.bus.echo() == epoch:
            await asyncio.sleep(0.005)


async def test_a_round_asks_those_who_have_seen_more(new_node: NewNode, past: Callable[[], Past]) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    epoch = await filled(one, 5)
    assert await two.bus.agree() == epoch
    before = past()
    await two.bus.echo()
    await one.log.open("B", Mark(0, 0))
    before.put_back()
    await two.log.read({"A": 0})
    assert await two.bus.agree() > epoch


async def test_a_flood_of_questions_costs_one_look_at_a_time(new_node: NewNode, redis: Redis) -> None:
    """Whoever can publish on the nodes' channel can ask as often as it likes."""

    def scripts() -> int:
        found = re.search(r"cmdstat_evalsha:calls=(\d+)", redis.cli("INFO", "commandstats"))
        return int(found[1]) if found else 0

    one, two = await new_node("n1"), await new_node("n2")
    epoch = await filled(one, 5)
    before = scripts()
    asks = "redis.call('PUBLISH', 'test:history', 'Q' .. 'whatever' .. 'test:node:nobody')"
    redis.cli("EVAL", f"for i = 1, 1000 do {asks} end", "0")
    assert await two.bus.agree() == epoch and await one.bus.agree() == epoch
    assert scripts() - before < 500, "of two nodes that were asked a thousand times each"


async def test_a_node_that_heard_of_it_has_seen_it(new_node: NewNode, past: Callable[[], Past]) -> None:
    """What was appended by one and delivered by another is known there, too."""
    one, two = await new_node("n1"), await new_node("n2")
    epoch = await filled(one, 3)
    before = past()
    await one.log.append("A", [logged("read")])
    await one.settled()
    await two.settled()
    heard = two.ears.events[-1]
    assert heard.id == "read"
    await one.close()
    before.put_back()
    assert await two.bus.echo() > epoch


async def test_a_clients_own_position_is_judged_by_itself(
    new_node: NewNode, past: Callable[[], Past]
) -> None:
    one = await new_node("n1")
    await filled(one, 5)
    before = past()
    await one.log.append("A", [logged("lost")])
    cut = await one.log.read({"A": 0})
    lost = cut.pos, cut.mark
    assert cut.genuine and (await one.log.read({}, given=lost)).genuine
    await one.close()
    before.put_back()
    two = await new_node("n2")
    epoch = await two.bus.echo()
    assert not (await two.log.read({}, given=lost)).genuine  # beyond what there is
    for number in range(5):
        await two.log.append("A", [logged(f"new{number}")])
    assert not (await two.log.read({}, given=lost)).genuine  # and where there is another one now
    kept = (await two.log.read({"A": 0})).rooms["A"].entries[3]
    assert (await two.log.read({}, given=(kept.pos, kept.mark))).genuine
    assert await two.bus.echo() == epoch


async def test_twice_back_over_an_epochs_begin(new_node: NewNode, past: Callable[[], Past]) -> None:
    one = await new_node("n1")
    epochs = [await filled(one, 2)]
    first = past()
    await one.log.append("A", [durable(3)])
    first.put_back()
    epochs.append(await one.bus.echo())
    first.put_back()
    epochs.append(await one.bus.echo())
    assert epochs == sorted(set(epochs))


async def test_what_was_logged_once_is_logged_again_in_another_epoch(new_node: NewNode) -> None:
    """A read mark that the database lost, and that moves to where it was."""
    one = await new_node("n1")
    await one.log.renew("before")
    await filled(one, 1)
    for _ in range(2):
        await one.log.append("A", [logged("read:ann:7")])
    await one.settled()
    assert [event.id for event in one.ears.events if event.name == "read"] == ["read:ann:7"]
    await one.log.renew("after")
    await one.log.open("A", Mark(1, 1))
    await one.log.append("A", [logged("read:ann:7")])
    await one.settled()
    assert [event.id for event in one.ears.events if event.name == "read"] == ["read:ann:7"] * 2


async def test_a_record_that_went_back(new_node: NewNode, past: Callable[[], Past]) -> None:
    """Nothing was logged since: a membership alone is lost, and its node knows."""
    one = await new_node("n1")
    epoch = await filled(one, 1)
    assert await one.records.put("pid", epoch, 0, 1, b"in no room") == "ok"
    before = past()
    assert await one.records.put("pid", epoch, 0, 2, b"in A") == "ok"
    before.put_back()
    assert await one.records.take("pid", b"") is None
    assert await one.bus.echo() > epoch


async def test_a_takeover_that_went_back(new_node: NewNode, past: Callable[[], Past]) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    epoch = await filled(one, 1)
    assert await one.records.put("pid", epoch, 0, 1, b"") == "ok"
    before = past()
    assert await two.records.take("pid", b"") == (epoch, 1, b"")
    before.put_back()
    assert await two.records.put("pid", epoch, 1, 1, b"") == "late"
    assert await one.bus.echo() > epoch


async def test_a_stale_replica_is_followed(own_redis: Redis) -> None:
    with Redis() as replica:
        one = in_redis(own_redis, timeout=5.0)
        await one.bus.connect(one.ears)
        epoch = await filled(one, 5)
        follow(replica, own_redis)
        await one.log.append("A", [durable(6)])
        go_back_to(replica, own_redis)
        assert await one.bus.echo() > epoch
        await one.close()


async def test_a_streams_key_is_lost(new_node: NewNode, redis: Redis) -> None:
    """Its text comes again from the beginning: nobody who asks for what was missed gets a piece twice."""
    side = await new_node("n1")
    await side.log.open("A", Mark(0, 0))
    await side.log.append("A", [durable(1, stream="s")])
    await side.streams.append(chunk("s", 0, "one "), 1, ["one "])
    away = (await side.log.read({"A": 0})).rooms["A"].pos
    redis.cli("DEL", "test:stream:s")
    answer = await side.streams.append(chunk("s", 1, "two"), 1, ["two"])
    assert (answer.answer, answer.next_index) == ("next", 0)
    await side.streams.append(chunk("s", 0, "one ", "two"), 1, ["one ", "two"])
    state = (await side.log.read({"A": away})).rooms["A"]
    assert not state.complete
    assert state.streams["s"].text == "one two"
    later = (await side.log.read({"A": state.pos})).rooms["A"]
    assert later.complete


async def test_the_clocks_marks_are_lost(new_node: NewNode, redis: Redis) -> None:
    one, two = await new_node("n1"), await new_node("n2")
    epoch = await filled(one, 5)
    await two.settled()
    redis.cli("DEL", "test:clock:marks")
    await one.log.append("A", [logged("x")])
    assert await two.bus.echo() >= epoch  # whoever cannot be sure begins anew
    await two.close()
