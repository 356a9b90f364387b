"""The writer: numbers without gaps, idempotency, order, and failures that stay where they belong."""

import asyncio
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from storage.errors import (
    AlreadyExists,
    FileMissing,
    MessageMissing,
    NotAllowed,
    SessionEnded,
    SessionMissing,
    StorageError,
    StorageUnavailable,
    StreamNotOpen,
    StreamStillOpen,
    Superseded,
)
from storage.ops import Committed, DeleteMessage, EditMessage, EndStream
from tests.storage.conftest import StillClock, Store, file_parts


def edit(message_id: str, content: str = "new", sender_id: str = "alice", **given: Any) -> EditMessage:
    return EditMessage(given.get("session_id", "s"), message_id, content, "user", sender_id)


async def begin_stream(store: Store, message_id: str, **given: Any) -> Committed:
    sender = {"sender_type": "agent", "sender_id": "1"}
    stream = {"message_id": message_id, "message_type": "stream", "status": "streaming"}
    return await store.say("", **(sender | stream | given))


async def test_a_message_is_stored_as_it_is_answered(store: Store, clock: StillClock) -> None:
    await store.session()
    metadata = {"a": [1, {"b": "ü\U0001f600"}], "none": None}
    done = await store.say("héllo\n\"'", metadata=metadata, client_message_id="c1")
    assert (done.record.seq, done.record.revision, done.duplicate) == (1, 1, False)
    assert (done.session_last_seq, done.session_last_revision) == (1, 1)
    assert done.record.created_at == clock.now
    assert await store.messages.get(done.record.message_id) == done.record


async def test_counters_have_no_gap_under_many_senders(store: Store) -> None:
    names = [f"s{n}" for n in range(10)]
    for name in names:
        await store.session(name)

    async def send(sender: int) -> list[Committed]:
        return [await store.say(f"{sender}/{n}", names[(sender + n) % 10]) for n in range(5)]

    done = [c for sent in await asyncio.gather(*map(send, range(200))) for c in sent]
    assert len(done) == 1000
    for name in names:
        mine = [c.record for c in done if c.record.session_id == name]
        assert sorted(r.seq for r in mine) == list(range(1, 101))
        assert sorted(r.revision for r in mine) == list(range(1, 101))
        session = await store.sessions.get(name)
        assert session is not None
        assert (session.last_seq, session.last_revision, session.message_count) == (100, 100, 100)
        assert session.request_count == 100
        stored, more = await store.messages.page(name, order="asc", limit=500, max_bytes=1 << 24)
        assert stored == sorted(mine, key=lambda r: r.seq)
        assert not more
    assert len(store.batches) < 100, "concurrent writes share transactions"


async def test_order_of_submission_is_order_of_effect(store: Store) -> None:
    await store.session()
    futures = [store.writer.submit(store.new(str(n))) for n in range(200)]
    finished: list[int] = []
    for n, future in enumerate(futures):
        future.add_done_callback(lambda _, n=n: finished.append(n))
    done = await asyncio.gather(*futures)
    assert [c.record.seq for c in done] == list(range(1, 201))
    assert finished == list(range(200))
    assert len(store.batches) <= 2


async def test_what_follows_a_commit_comes_before_its_answers(store: Store) -> None:
    await store.session()
    happened: list[str] = []
    store.follow = lambda batch: happened.append("followed")
    futures = [store.writer.submit(store.new(str(n))) for n in range(5)]
    for future in futures:
        future.add_done_callback(lambda _: happened.append("answered"))
    await asyncio.gather(*futures)
    assert happened == ["followed"] + ["answered"] * 5


async def test_a_repeat_gets_the_first_one(store: Store) -> None:
    await store.session()
    first = await store.say("one", client_message_id="c")
    again = await store.say("two", client_message_id="c")
    assert again.duplicate
    assert again.record == first.record
    other = await store.say("three", client_message_id="c", sender_id="bob")
    assert (other.duplicate, other.record.seq) == (False, 2)
    as_agent = await store.say("four", client_message_id="c", sender_type="agent")
    assert (as_agent.duplicate, as_agent.record.seq) == (False, 3)
    session = await store.sessions.get("s")
    assert session is not None
    assert (session.message_count, session.request_count) == (3, 4)


async def test_repeats_at_the_same_time_are_stored_once(store: Store, other_store: Store) -> None:
    await store.session()
    other_store._numbers = store._numbers
    sent = [
        (store if n % 2 else other_store).say(f"{n}", client_message_id=f"c{n % 7}", sender_id=f"u{n % 3}")
        for n in range(210)
    ]
    done = await asyncio.gather(*sent)
    seqs: dict[tuple[str, str | None], set[int]] = {}
    for one in done:
        seqs.setdefault((one.record.sender_id, one.record.client_message_id), set()).add(one.record.seq)
    assert len(seqs) == 21
    assert all(len(numbers) == 1 for numbers in seqs.values())
    assert sum(not one.duplicate for one in done) == 21
    stored, _ = await store.messages.page("s", limit=500, max_bytes=1 << 24)
    assert [r.seq for r in stored] == list(range(1, 22))


async def test_two_nodes_write_to_the_same_sessions(store: Store, other_store: Store) -> None:
    other_store._numbers = store._numbers
    names = [f"s{n}" for n in range(5)]
    for name in names:
        await store.session(name)
    chosen = random.Random(7)

    async def send(node: Store) -> list[Committed]:
        return [await node.say("x", chosen.choice(names)) for _ in range(15)]

    senders = [send(node) for node in (store, other_store) for _ in range(20)]
    done = [c for sent in await asyncio.gather(*senders) for c in sent]
    assert len(done) == 600
    per_session = Counter(c.record.session_id for c in done)
    for name in names:
        stored, _ = await store.messages.page(name, order="asc", limit=1000, max_bytes=1 << 24)
        assert [r.seq for r in stored] == list(range(1, per_session[name] + 1))
        assert [r.revision for r in stored] == [r.seq for r in stored]


async def test_a_failing_operation_does_not_fail_its_neighbours(store: Store, clock: StillClock) -> None:
    await store.session()
    await store.session("archived", status="archived")
    await store.session("deleted", status="deleted")
    await store.session("expired", expires_at=clock.now)
    await store.session("ended", ended_at=clock.now)
    ops = [
        store.new("1"),
        store.new(session_id="nowhere"),
        store.new(session_id="deleted"),
        store.new(session_id="archived"),
        store.new(session_id="expired"),
        store.new(session_id="ended"),
        store.new(reply_to="m999"),
        edit("m999"),
        store.new("2", reply_to="m1"),
    ]
    outcomes = await asyncio.gather(*map(store.writer.submit, ops), return_exceptions=True)
    kinds = [type(o) for o in outcomes]
    assert kinds == [
        Committed,
        SessionMissing,
        SessionMissing,
        SessionEnded,
        SessionEnded,
        SessionEnded,
        MessageMissing,
        MessageMissing,
        Committed,
    ]
    assert [o.status for o in outcomes if isinstance(o, SessionEnded)] == ["archived", "expired", "expired"]
    assert [o.record.seq for o in outcomes if isinstance(o, Committed)] == [1, 2]
    assert len(store.batches) == 1


@pytest.mark.parametrize("hostile", ["\ud800", "a\x00b"])
async def test_what_cannot_be_stored_fails_alone(store: Store, hostile: str) -> None:
    await store.session()
    ops = [store.new(str(n)) for n in range(5)]
    bad = [store.new("x", metadata={"k": hostile}), store.new(hostile)]
    sent = [store.writer.submit(op) for op in (*ops[:2], *bad, *ops[2:])]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    good = [o for o in outcomes if isinstance(o, Committed)]
    failed = [o for o in outcomes if not isinstance(o, Committed)]
    assert all(isinstance(o, StorageError) and not isinstance(o, StorageUnavailable) for o in failed)
    contents = [o.record.content for o in good]
    assert [c for c in contents if c in "01234"] == list("01234")
    assert [o.record.seq for o in good] == list(range(1, len(good) + 1))


async def test_an_id_that_is_taken(store: Store) -> None:
    await store.session()
    await store.session("t")
    await store.say(message_id="mine", session_id="t")
    sent = [store.writer.submit(store.new(message_id=name)) for name in ("a", "mine", "b")]
    a, mine, b = await asyncio.gather(*sent, return_exceptions=True)
    assert isinstance(mine, AlreadyExists)
    assert isinstance(a, Committed)
    assert isinstance(b, Committed)
    assert (a.record.seq, b.record.seq) == (1, 2)


async def test_edit_and_delete(store: Store, clock: StillClock) -> None:
    await store.session()
    one, two = await store.say("one", metadata={"k": 1}), await store.say("two")
    later = clock.advance(seconds=5)
    done = await store.writer.submit(edit("m1", "ONE"))
    assert (done.record.content, done.record.revision, done.record.seq) == ("ONE", 3, 1)
    assert (done.record.is_edited, done.record.edited_at) == (True, later)
    assert done.record.created_at == one.record.created_at
    assert await store.messages.get("m1") == done.record
    with pytest.raises(NotAllowed):
        await store.writer.submit(edit("m1", sender_id="bob"))
    gone = await store.writer.submit(DeleteMessage("s", "m1"))
    assert (gone.record.content, gone.record.metadata, gone.record.revision) == ("", {}, 4)
    assert gone.record.deleted_at == later
    assert await store.messages.get("m1") == gone.record
    for op in (DeleteMessage("s", "m1"), edit("m1")):
        with pytest.raises(MessageMissing):
            await store.writer.submit(op)
    assert await store.messages.get("m2") == two.record
    assert await store.messages.counts("s") == (2, 2, 4)


async def test_a_message_of_another_session_is_not_there(store: Store) -> None:
    await store.session()
    await store.session("t")
    await store.say(session_id="t", message_id="theirs")
    for op in (edit("theirs"), DeleteMessage("s", "theirs"), store.new(reply_to="theirs")):
        with pytest.raises(MessageMissing):
            await store.writer.submit(op)


async def test_changes_of_a_message_in_the_batch_that_creates_it(store: Store) -> None:
    await store.session()
    ops = [store.new("one", message_id="x"), edit("x", "two"), edit("x", "three"), store.new("next")]
    ops += [DeleteMessage("s", "x"), store.new("last", reply_to="x")]
    done = await asyncio.gather(*map(store.writer.submit, ops))
    assert [c.record.revision for c in done] == [1, 2, 3, 4, 5, 6]
    assert [c.record.content for c in done[:3]] == ["one", "two", "three"]
    assert len(store.batches) == 1
    assert await store.messages.get("x") == done[4].record
    assert (await store.messages.changes("s", 0, 10, 1 << 20))[0] == [c.record for c in done[3:]]


async def test_the_life_of_a_stream(store: Store) -> None:
    await store.session()
    begun = await begin_stream(store, "st", client_message_id="c")
    assert (begun.record.status, begun.duplicate) == ("streaming", False)
    assert (await begin_stream(store, "st")).duplicate, "the producer's repeat"
    assert (await begin_stream(store, "st2", client_message_id="c")).record.message_id == "st"
    with pytest.raises(AlreadyExists):
        await begin_stream(store, "st", sender_id="2")
    with pytest.raises(StreamStillOpen):
        await store.writer.submit(EditMessage("s", "st", "x", "agent", "1"))
    end = EndStream("s", "st", "complete", "the text", None, 12, 340)
    ended = await store.writer.submit(end)
    assert (ended.record.status, ended.record.content, ended.record.revision) == ("complete", "the text", 2)
    assert (ended.record.tokens_used, ended.record.latency_ms) == (12, 340)
    assert await store.messages.get("st") == ended.record
    with pytest.raises(StreamNotOpen) as closed:
        await store.writer.submit(end)
    assert closed.value.status == "complete"
    assert (await begin_stream(store, "st")).record.status == "complete"


async def test_a_stream_ends_also_when_its_session_has(store: Store, clock: StillClock) -> None:
    await store.session()
    await begin_stream(store, "st")
    assert await store.messages.checkpoint([("st", "so far", None)]) == {"st"}
    await store.sessions.update("s", status="archived", ended_at=clock.now, now=clock.now)
    error = {"code": "UNAVAILABLE", "message": "gone"}
    ended = await store.writer.submit(EndStream("s", "st", "failed", None, error))
    assert (ended.record.content, ended.record.error) == ("so far", error)
    assert await store.messages.get("st") == ended.record


async def test_deleting_an_open_stream_closes_it(store: Store) -> None:
    await store.session()
    await begin_stream(store, "st")
    gone = await store.writer.submit(DeleteMessage("s", "st"))
    assert gone.record.status == "cancelled"
    with pytest.raises(StreamNotOpen):
        await store.writer.submit(EndStream("s", "st", "complete", "late"))


async def test_a_file_is_posted_once(store: Store) -> None:
    await store.session()
    await store.session("t")
    await store.files.add(store.file())
    with pytest.raises(FileMissing):
        await store.say(message_type="file", parts=file_parts("f1"), session_id="t")
    posts = [store.say(message_type="file", parts=file_parts("f1"), message_id=f"p{n}") for n in range(2)]
    first, second = await asyncio.gather(*posts, return_exceptions=True)
    assert isinstance(first, Committed)
    assert isinstance(second, FileMissing)
    assert [f.file_id for f in await store.files.of_message("p0")] == ["f1"]
    with pytest.raises(FileMissing):
        await store.say(message_type="file", parts=file_parts("f1"))


async def test_activity_moves_with_the_message(store: Store, clock: StillClock) -> None:
    begun = await store.session(ttl_hours=2)
    clock.advance(seconds=30)
    await store.say()
    session = await store.sessions.get("s")
    assert session is not None
    assert session.last_activity == clock.now
    assert session.expires_at == begun.expires_at, "moved once a minute"
    clock.advance(minutes=90)
    await store.say()
    session = await store.sessions.get("s")
    assert session is not None
    assert (session.expires_at - clock.now).total_seconds() == 2 * 3600
    clock.advance(hours=2)
    with pytest.raises(SessionEnded):
        await store.say()


async def test_a_longer_life_is_not_shortened(store: Store, clock: StillClock) -> None:
    await store.session(ttl_hours=1)
    extended = await store.sessions.extend("s", 100, clock.now)
    assert extended is not None
    clock.advance(minutes=30)
    await store.say()
    session = await store.sessions.get("s")
    assert session is not None
    assert session.expires_at == extended.expires_at


async def test_large_messages_take_several_transactions(store: Store) -> None:
    await store.session()
    sent = [store.writer.submit(store.new("x" * 1_000_000)) for _ in range(12)]
    assert [c.record.seq for c in await asyncio.gather(*sent)] == list(range(1, 13))
    assert [len(batch) for batch in store.batches] == [5, 5, 2]


async def test_metadata_of_many_values_takes_several_transactions(store: Store) -> None:
    """Each value is encoded for the database and for the members, all of a batch in one turn of the loop."""
    await store.session()
    wide: list[dict[str, Any]] = [
        {"all": [{"a": 0}] * 5000},
        {"all": [0] * 60_000},
        {"a": {"b": ["x" * 200_000]}},
    ]
    sent = [store.writer.submit(store.new("x", metadata=wide[n % 3])) for n in range(30)]
    sent += [store.writer.submit(store.new("x", metadata={"a": [n]})) for n in range(100)]
    assert [c.record.seq for c in await asyncio.gather(*sent)] == list(range(1, 131))
    heavy = [sum(bool(c.record.metadata.get("all")) for c in batch) for batch in store.batches]
    assert max(heavy) <= 4
    assert max(map(len, store.batches)) >= 100, "what is light stays together"


async def test_stopping_answers_what_was_accepted(store: Store) -> None:
    await store.session()
    sent = [store.writer.submit(store.new(str(n))) for n in range(50)]
    await store.writer.stop()
    assert all(future.done() for future in sent)
    assert sent[-1].result().record.seq == 50
    with pytest.raises(StorageUnavailable):
        await store.writer.submit(store.new())


async def test_who_gives_up_waiting_undoes_nothing(store: Store) -> None:
    await store.session()
    sent = [store.writer.submit(store.new(str(n))) for n in range(3)]
    waiting = asyncio.ensure_future(sent[1])
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await sent[2]).record.seq == 3
    assert await store.messages.counts("s") == (3, 3, 3)


async def test_what_follows_a_commit_may_fail(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    await store.session()

    def fail(_: object) -> None:
        raise ValueError("told nobody")

    store.follow = fail
    assert (await store.say()).record.seq == 1
    assert "what follows a commit failed" in caplog.text


async def test_times_never_fall_back_along_the_numbers(store: Store, clock: StillClock) -> None:
    """Whatever becomes of the clock: it jumps, or another node's is behind."""
    await store.session()
    first = await store.say("first")
    stored = [first, await begin_stream(store, "long way")]
    clock.now -= timedelta(minutes=10)
    stored += [await store.say("plain"), await store.say("an answer", reply_to=first.record.message_id)]
    clock.now += timedelta(minutes=20)
    stored.append(await store.say("later"))
    times = [done.record.created_at for done in stored]
    assert times == sorted(times) and times[-1] == clock.now
    for done in stored:  # as it was answered, so it is stored
        record = await store.messages.get(done.record.message_id)
        assert record is not None and record.created_at == done.record.created_at


async def test_an_older_change_does_not_undo_a_later_one(store: Store, clock: StillClock) -> None:
    await store.session()
    await store.say("v1", message_id="m1")
    accepted = clock.now
    clock.advance(seconds=1)
    await store.writer.submit(edit("m1", "v3"))
    late = msgspec.structs.replace(edit("m1", "v2"), accepted=accepted)
    for op in (late, DeleteMessage("s", "m1", accepted=accepted)):
        with pytest.raises(Superseded):
            await store.writer.submit(op)
    again = msgspec.structs.replace(edit("m1", "v4"), accepted=clock.now)
    assert (await store.writer.submit(again)).record.content == "v4"


async def test_what_waits_of_one_who_was_taken_over_is_not_begun(store: Store) -> None:
    class Connection:
        fenced = False

    await store.session()
    taken, stayed = Connection(), Connection()
    sent = [store.writer.submit(store.new(name), owner) for name, owner in (("a", taken), ("b", stayed))]
    taken.fenced = True
    with pytest.raises(StorageUnavailable):
        await sent[0]
    assert (await sent[1]).record.content == "b"
    assert (await store.say("c")).record.seq == 2
