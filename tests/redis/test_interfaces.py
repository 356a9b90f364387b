"""One suite for both sides of `storage.interfaces`: what holds in one process holds in the cluster."""

import asyncio
from collections.abc import Callable
from typing import Any

from storage.interfaces import NO_ENTRIES, Appended, Event, Kind, Mark, News
from tests.redis.conftest import Side, answer, chunk, durable, logged


async def append(side: Side, *events: Event, room: str = "A") -> Appended:
    found: Appended = await answer(side.log.append(room, events))
    return found


async def test_a_room_without_a_log_keeps_nothing(side: Side) -> None:
    assert (await append(side, durable(1))).answer == "nobody"
    cut = await side.log.read({"A": 0})
    assert cut.rooms["A"] is None
    assert await side.log.last(["A", "B"]) == {"A": None, "B": None}


async def test_durable_events_are_appended_once_and_published_in_order(side: Side) -> None:
    await side.log.open("A", Mark(4, 3))
    await side.log.open("A", Mark(9, 9))  # there is one already
    assert await append(side, durable(5), durable(6)) == Appended("ok", Mark(6, 6))
    assert await append(side, durable(5), durable(6), durable(7)) == Appended("ok", Mark(7, 7))
    await side.settled()
    base, *events = side.ears.events
    assert (base.name, base.rev, base.seq) == ("", 4, 3)
    assert [e.rev for e in events] == [5, 6, 7]
    assert [e.prev for e in events] == [base.pos, *[e.pos for e in events[:-1]]]
    assert all(e.epoch == base.epoch for e in events)
    assert [e.data for e in events] == [b'{"rev":5}', b'{"rev":6}', b'{"rev":7}']


async def test_a_hole_is_answered_and_what_covers_it_taken(side: Side) -> None:
    await side.log.open("A", Mark(1, 1))
    assert await append(side, durable(3)) == Appended("gap", Mark(1, 1))
    assert await append(side, durable(2), durable(4)) == Appended("gap", Mark(2, 2))
    assert await append(side, durable(5, first_rev=3)) == Appended("ok", Mark(5, 5))


async def test_logged_events_are_deduplicated_by_id(side: Side) -> None:
    await side.log.open("A", Mark(0, 0))
    for event in (logged("x"), logged("x"), logged("y"), logged(), logged()):
        await append(side, event)
    await side.settled()
    assert [e.id for e in side.ears.events[1:]] == ["x", "y", "", ""]
    assert (await side.log.last(["A"]))["A"] == Mark(0, 0)


async def test_every_field_of_an_event_comes_through(side: Side) -> None:
    await side.log.open("A", Mark(0, 0))
    sent = durable(1, stream="s", closed=True, final=7, not_to="conn", first_rev=1)
    await append(side, sent)
    await side.settled()
    heard = side.ears.events[-1]
    for name in (
        "room",
        "name",
        "data",
        "kind",
        "rev",
        "first_rev",
        "seq",
        "stream",
        "closed",
        "final",
        "not_to",
    ):
        assert getattr(heard, name) == getattr(sent, name), name
    assert (await side.log.read({"A": 0})).rooms["A"].entries == [heard]


async def test_a_read_is_of_one_cut(new_side: Callable[..., Any]) -> None:
    side = await new_side(("A", "B"))
    await side.log.open("A", Mark(0, 0))
    await side.log.open("B", Mark(0, 0))
    await append(side, durable(1))
    await append(side, durable(1, "B"), room="B")
    await append(side, durable(2))
    cut = await side.log.read({"A": 0, "B": NO_ENTRIES, "C": 0})
    a, b = cut.rooms["A"], cut.rooms["B"]
    assert [e.rev for e in a.entries] == [1, 2] and a.last == Mark(2, 2)
    assert a.entries[-1].pos == cut.pos
    assert list(b.entries) == [] and b.last == Mark(1, 1) and b.complete
    assert cut.rooms["C"] is None
    some = (await side.log.read({"A": a.entries[0].pos})).rooms["A"]
    assert [e.rev for e in some.entries] == [2] and some.complete
    own = await side.log.read({"A": 0}, True)
    assert own.pos == cut.pos + 1
    await append(side, durable(3))
    assert (await side.log.read({"A": own.pos})).rooms["A"].entries[0].pos == own.pos + 1


async def test_a_log_that_begins_anew_reaches_back_to_its_beginning(side: Side) -> None:
    await side.log.open("A", Mark(0, 0))
    await append(side, durable(1))
    before = await side.log.read({"A": 0})
    await side.log.reset("A", Mark(1, 1))  # not behind: nothing happens
    assert (await side.log.read({"A": 0})).pos == before.pos
    await side.log.reset("A", Mark(50, 40))
    await side.log.reset("B", Mark(50, 40))  # there is none
    after = await side.log.read({"A": before.pos, "B": 0})
    assert after.rooms["B"] is None
    state = after.rooms["A"]
    assert not state.complete and state.last == Mark(50, 40) and list(state.entries) == []
    assert (await side.log.read({"A": after.pos})).rooms["A"].complete
    assert (await append(side, durable(51))).answer == "ok"
    await side.settled()
    base, last = side.ears.events[-2:]
    assert (base.name, base.rev, base.seq, last.rev, last.prev) == ("", 50, 40, 51, base.pos)


async def test_a_log_is_bounded_by_count(new_side: Callable[..., Any]) -> None:
    side = await new_side(log_size=3)
    await side.log.open("A", Mark(0, 0))
    await append(side, *map(durable, range(1, 6)))
    state = (await side.log.read({"A": 0})).rooms["A"]
    assert [e.rev for e in state.entries] == [3, 4, 5] and not state.complete
    assert (await side.log.read({"A": state.entries[0].pos - 1})).rooms["A"].complete


async def test_a_log_is_bounded_by_bytes(new_side: Callable[..., Any]) -> None:
    side = await new_side(log_bytes=3000)
    await side.log.open("A", Mark(0, 0))
    for rev in range(1, 6):
        await append(side, durable(rev, data=b"x" * 1000))
    state = (await side.log.read({"A": 0})).rooms["A"]
    assert 1 <= len(state.entries) <= 3 and state.entries[-1].rev == 5 and not state.complete


async def test_an_erased_room_is_forgotten(side: Side) -> None:
    await side.log.open("A", Mark(0, 0))
    await append(side, durable(1, stream="s"))
    await answer(side.streams.append(chunk("s", 0, "one"), 1, ["one"]))
    side.log.forget("A")
    await side.settled()
    assert await side.log.last(["A"]) == {"A": None}
    assert await side.streams.read("A", "s") is None


# --- streams


async def push(side: Side, index: int, *pieces: str, start: int = 1, part: str = "") -> Any:
    return await answer(side.streams.append(chunk("s", index, *pieces, part=part), start, pieces))


async def test_chunks_are_logged_if_they_are_next(side: Side) -> None:
    assert (await push(side, 0, "a")).answer == "nobody"
    await side.log.open("A", Mark(0, 0))
    assert (await push(side, 0, "a")).answer == "gap"
    await append(side, durable(1, stream="s"))
    assert ((await push(side, 0, "a", "b")).next_index, (await push(side, 0, "a", "b")).next_index) == (2, 2)
    assert (await push(side, 5, "x")).next_index == 2
    assert (await push(side, 2, "ç")).next_index == 3
    await side.settled()
    assert [(e.index, e.sizes) for e in side.ears.events[2:]] == [(0, (1, 1)), (2, (1,))]
    text = await side.streams.read("A", "s")
    assert (text.text, text.next_index, text.start, text.closed, text.ended) == ("abç", 3, 1, False, False)
    assert (await side.streams.read("A", "s", 2)).text == "ç"
    assert (await side.streams.read("A", "s", 9)).text == ""
    state = (await side.log.read({"A": NO_ENTRIES})).rooms["A"]
    assert state.streams["s"].text == "abç" and state.streams["s"].next_index == 3


async def test_pieces_of_several_parts_keep_their_order_and_their_number(side: Side) -> None:
    await side.log.open("A", Mark(0, 0))
    await append(side, durable(1, stream="s"))
    said = [
        ("", "a", "b"),
        ("think", "hm ☃", "\n"),
        ("=tool", "{1}"),
        ("=tool", "{2}"),
        ("", "c"),
        ("think", "!"),
    ]
    index = 0
    for part, *pieces in said:
        index += len(pieces)
        assert (await push(side, index - len(pieces), *pieces, part=part)).next_index == index
    await side.settled()
    assert [e.part for e in side.ears.events[2:]] == [part for part, *_ in said]
    text = await side.streams.read("A", "s")
    assert (text.text, text.next_index) == ("abc", 8)
    assert [(run.part, run.text, run.count) for run in text.runs] == [
        ("", "ab", 2), ("think", "hm ☃\n", 2), ("=tool", "{1}", 1), ("=tool", "{2}", 1), ("", "c", 1),
        ("think", "!", 1),
    ]  # fmt: skip
    assert (await side.log.read({"A": NO_ENTRIES})).rooms["A"].streams["s"].runs == text.runs
    late = await side.streams.read("A", "s", 3)
    assert (late.whole, text.whole) == (text.runs, ()), "of one that is read from a piece on, the rest, too"
    assert [(run.part, run.text, run.count) for run in late.runs][:2] == [
        ("think", "\n", 1),
        ("=tool", "{1}", 1),
    ]
    assert (await side.streams.close("A", "s")).runs == text.runs
    await append(side, durable(2, stream="s"))
    assert (await push(side, 0, "anew", start=2)).answer == "closed"


async def test_a_text_that_begins_anew_has_the_parts_of_its_own_alone(side: Side) -> None:
    await side.log.open("A", Mark(0, 0))
    await append(side, durable(1, stream="s"))
    await push(side, 0, "a", part="think")
    await append(side, durable(2, stream="s"))
    assert (await push(side, 0, "b", "c", start=2)).next_index == 2
    text = await side.streams.read("A", "s")
    assert (text.text, text.runs) == ("bc", ())


async def test_a_closed_stream_takes_no_chunks(side: Side) -> None:
    await side.log.open("A", Mark(0, 0))
    await append(side, durable(1, stream="s"))
    await push(side, 0, "a")
    closed = await side.streams.close("A", "s")
    assert (closed.text, closed.next_index, closed.closed, closed.ended) == ("a", 1, True, False)
    assert (await push(side, 1, "b")).answer == "closed"
    assert (await side.log.read({"A": NO_ENTRIES})).rooms["A"].streams["s"].closed
    await append(side, durable(2, stream="s", closed=True, final=1))
    assert "s" not in (await side.log.read({"A": NO_ENTRIES})).rooms["A"].streams
    assert (await side.streams.read("A", "s")).ended


async def test_a_stream_that_is_unknown_can_be_closed(side: Side) -> None:
    await side.log.open("A", Mark(3, 3))
    assert (await side.streams.close("A", "s")).next_index == 0
    assert (await push(side, 0, "late", start=3)).answer == "closed"
    assert await side.streams.read("A", "other") is None


async def test_an_end_without_a_log_closes_all_the_same(side: Side) -> None:
    assert (await append(side, durable(2, stream="s", closed=True))).answer == "nobody"
    await side.log.open("A", Mark(2, 1))
    assert (await push(side, 0, "late")).answer == "closed"


async def test_a_start_that_is_logged_begins_the_text(side: Side) -> None:
    await side.log.open("A", Mark(0, 0))
    await append(side, durable(1, stream="s"))
    await push(side, 0, "a")
    await append(side, durable(2, stream="s"))
    assert (await push(side, 0, "A", start=2)).next_index == 1
    assert (await side.streams.read("A", "s")).text == "A"


async def test_a_stream_is_written_on_after_its_end(side: Side) -> None:
    """From its beginning: by the start that is later than the end, wherever it is heard of first."""
    await side.log.open("A", Mark(0, 0))
    await append(side, durable(1, stream="s"))
    await push(side, 0, "a")
    await side.streams.close("A", "s")
    assert (await push(side, 1, "b")).answer == "closed"
    await append(side, durable(2, stream="s", closed=True), durable(3, stream="s", closed=True))
    await append(side, durable(1, stream="s"))  # late
    assert (await push(side, 1, "b")).answer == "closed"
    await append(side, durable(4, stream="s"))
    assert (await push(side, 0, "a", "b", start=4)).next_index == 2
    text = (await side.log.read({"A": NO_ENTRIES})).rooms["A"].streams["s"]
    assert (text.text, text.start, text.closed, text.ended) == ("ab", 4, False, False)
    await append(side, durable(5, stream="s", closed=True))
    assert (await push(side, 2, "c", start=4)).answer == "closed"
    assert (await push(side, 0, "abc", start=6)).answer == "gap"
    await side.log.reset("A", Mark(6, 6))
    assert (await push(side, 0, "abc", start=6)).answer == "next"


async def test_leases_lapse(side: Side) -> None:
    await side.streams.renew({"s": 30.0, "t": 0.001})
    await side.streams.renew({})
    while list(await side.streams.lapsed(["s", "t", "u"])) != ["t", "u"]:
        pass
    await side.streams.close("A", "s")
    assert list(await side.streams.lapsed(["s"])) == ["s"]
    assert list(await side.streams.lapsed([])) == []


# --- records


async def test_records_have_one_owner(side: Side) -> None:
    epoch = await side.bus.echo()
    assert await side.records.take("p", b"") is None
    for version in (1, 2, 3):
        assert await side.records.put("p", epoch, 0, version, b"one\x00\xff") == "ok"
    for other in (b"two", b"one\x00\xfe", b"one\x00\xff and more"):
        assert await side.records.take("p", other) is None
    assert await side.records.put("p", epoch, 0, 3, b"one\x00\xff") == "ok", "nobody else has taken it"
    assert await side.records.take("p", b"one\x00\xff") == (epoch, 1, b"one\x00\xff")
    assert await side.records.put("p", epoch, 0, 4, b"old owner") == "taken"
    assert await side.records.put("p", epoch, 1, 1, b"its new owner counts anew") == "ok"
    assert await side.records.put("p", epoch, 1, 3, b"two") == "ok"
    assert await side.records.put("p", epoch, 1, 2, b"late") == "late"
    assert await side.records.put("p", "another", 1, 4, b"epoch") == "late"
    assert await side.records.take("p", b"") == (epoch, 2, b"two")
    await side.settled()
    assert side.ears.signals == [("all", "takeover", b'["p",1]'), ("all", "takeover", b'["p",2]')]


async def test_records_go(side: Side) -> None:
    epoch = await side.bus.echo()
    for pid in ("p", "q", "r"):
        await side.records.put(pid, epoch, 0, 1, b"")
    await side.records.expire([], 1)
    await side.records.expire(["p", "absent"], 0)
    await side.records.expire(["q"], 60)
    await side.records.expire(["r"], 0.001)
    assert await side.records.take("p", b"") is None
    assert await side.records.take("q", b"") is not None
    while await side.records.take("r", b"") is not None:
        await side.records.expire(["r"], 0.001)
        await asyncio.sleep(0.005)  # taking it is what keeps it


# --- bus


async def test_volatile_events_go_to_those_who_listen(side: Side) -> None:
    await side.bus.subscribe(["session:B", "user:alice"])
    side.bus.publish("session:B", Event("B", "typing", b"{}", Kind.VOLATILE, not_to="me"))
    side.bus.publish("user:alice", Event("C", "session", b"{}", Kind.VOLATILE, only_user="alice"))
    side.bus.unsubscribe("session:B")
    await side.bus.subscribe(["session:B"])
    side.bus.publish("session:B", Event("B", "system", b"{}", Kind.VOLATILE))
    await side.settled()
    assert [e.name for e in side.ears.events] == ["typing", "session", "system"]
    assert side.ears.events[0] == Event("B", "typing", b"{}", Kind.VOLATILE, not_to="me")


async def test_signals_reach_all_nodes(side: Side) -> None:
    side.bus.signal("all", "cancel", b"\x00msg")
    side.bus.signal("session:A", "access", b"bob")
    await side.settled()
    assert side.ears.signals == [("all", "cancel", b"\x00msg"), ("session:A", "access", b"bob")]


# --- presence and buckets


async def test_presence_of_one_node(side: Side) -> None:
    assert await answer(side.presence.enter("A", "alice", "online"))
    assert not await answer(side.presence.enter("A", "alice", "away"))
    assert await answer(side.presence.enter("A", "bob", "online"))
    assert dict(await side.presence.online("A")) == {"alice": ("away", 1), "bob": ("online", 1)}
    beat = await side.presence.beat({"A": {"alice": ("away", 1), "bob": ("online", 1)}})
    assert (list(beat.left), list(beat.joined)) == ([], [])
    assert await side.presence.leave("A", "alice")
    assert dict(await side.presence.online("A")) == {"bob": ("online", 1)}
    assert await side.presence.leave("A", "bob")
    assert dict(await side.presence.online("A")) == {}
    assert await side.presence.changed("A", 10) == {
        "alice": ("offline", 0, True),
        "bob": ("offline", 0, True),
    }
    await answer(side.presence.enter("A", "bob", "away"))
    assert (await side.presence.changed("A", 10))["bob"] == ("away", 1, News.CAME_BACK)
    assert await side.presence.changed("A", 0) == 1


async def test_a_bucket_holds_what_it_holds(side: Side) -> None:
    for _ in range(3):
        assert await answer(side.buckets.take("alice", 3.0, 0.01)) == 0.0
    assert 0 < await answer(side.buckets.take("alice", 3.0, 0.01)) <= 100.0
    assert await answer(side.buckets.take("bob", 1.0, 1000.0)) == 0.0
    while await answer(side.buckets.take("bob", 1.0, 1000.0)) != 0.0:
        pass
