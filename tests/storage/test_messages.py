"""Messages read back: pages, changes, open streams; files and agents beside them."""

import json
from datetime import timedelta
from typing import Any

import orjson
import pytest

from storage.errors import AlreadyExists, SessionMissing
from storage.ops import DeleteMessage, EditMessage, EndStream
from storage.records import AgentRecord
from storage.revocations import Revocations
from tests.storage.conftest import StillClock, Store, file_parts

PAGE = 256 * 1024


async def seqs(store: Store, **given: Any) -> tuple[list[int], bool]:
    records, more = await store.messages.page("s", **({"limit": 3, "max_bytes": PAGE} | given))
    return [r.seq for r in records], more


async def test_pages_by_number(store: Store) -> None:
    await store.session()
    await store.session("t")
    for n in range(7):
        await store.say(str(n))
    await store.say(session_id="t")
    assert await seqs(store) == ([5, 6, 7], True)
    assert await seqs(store, order="desc") == ([7, 6, 5], True)
    assert await seqs(store, order="asc") == ([1, 2, 3], True)
    assert await seqs(store, before_seq=5) == ([2, 3, 4], True)
    assert await seqs(store, before_seq=5, order="asc") == ([2, 3, 4], True)
    assert await seqs(store, before_seq=5, order="desc") == ([4, 3, 2], True)
    assert await seqs(store, before_seq=4) == ([1, 2, 3], False)
    assert await seqs(store, after_seq=2) == ([3, 4, 5], True)
    assert await seqs(store, after_seq=4) == ([5, 6, 7], False)
    assert await seqs(store, after_seq=2, order="desc") == ([7, 6, 5], True)
    assert await seqs(store, after_seq=1, before_seq=4) == ([2, 3], False)
    assert await seqs(store, after_seq=7) == ([], False)
    assert await seqs(store, before_seq=10**30, limit=7) == ([1, 2, 3, 4, 5, 6, 7], False)
    other = await store.messages.get("m8")
    assert await store.messages.page("t", limit=5, max_bytes=PAGE) == ([other], False)


async def test_pages_by_time(store: Store, clock: StillClock) -> None:
    await store.session()
    begun = clock.now
    for _ in range(5):
        await store.say()
        clock.advance(seconds=1)
    assert await seqs(store, after=begun + timedelta(seconds=1)) == ([3, 4, 5], False)
    assert await seqs(store, before=begun + timedelta(seconds=3)) == ([1, 2, 3], False)
    assert await seqs(store, after=begun, before=begun + timedelta(seconds=4), order="desc") == (
        [4, 3, 2],
        False,
    )


async def test_a_page_stops_at_its_size(store: Store) -> None:
    await store.session()
    for size in (100, 90_000, 100_000, 90_000, 300_000):
        await store.say("x" * size)
    assert await seqs(store, limit=50) == ([5], True), "at least one message"
    assert await seqs(store, limit=50, before_seq=5) == ([3, 4], True)
    assert await seqs(store, limit=50, after_seq=0) == ([1, 2, 3], True)
    assert await seqs(store, limit=50, before_seq=3) == ([1, 2], False)


@pytest.mark.parametrize("text", ["\n" * 20_000, "ü" * 20_000, "\U0001f600" * 10_000, "\x01" * 7000])
async def test_sizes_are_those_of_json(store: Store, text: str) -> None:
    await store.session()
    for _ in range(8):
        await store.say(text)
    kept, more = await seqs(store, limit=50)
    assert more
    assert 5 <= len(kept) <= 6
    # However the text is written, its whole page must fit.
    page, _ = await store.messages.page("s", limit=50, max_bytes=PAGE)
    assert sum(len(orjson.dumps(r.content)) for r in page) <= PAGE


async def test_metadata_counts_too(store: Store) -> None:
    await store.session()
    for _ in range(4):
        await store.say("x", metadata={"k": ["y" * 1000] * 100})
    kept, more = await seqs(store, limit=50)
    assert (kept, more) == ([3, 4], True)


async def test_what_changed_since(store: Store) -> None:
    await store.session()
    for n in range(4):
        await store.say(str(n))
    await store.writer.submit(EditMessage("s", "m2", "x", "user", "alice"))
    await store.writer.submit(DeleteMessage("s", "m1"))
    records, more, last = await store.messages.changes("s", 0, 3, PAGE)
    assert [(r.seq, r.revision) for r in records] == [(3, 3), (4, 4), (2, 5)]
    assert (more, last) == (True, 6)
    records, more, last = await store.messages.changes("s", 5, 3, PAGE)
    assert [(r.seq, r.deleted_at is not None) for r in records] == [(1, True)]
    assert (more, last) == (False, 6)
    assert await store.messages.changes("s", 6, 3, PAGE) == ([], False, 6)
    assert await store.messages.changes("s", 99, 3, PAGE) == ([], False, 6)
    assert await store.messages.changes("missing", 0, 3, PAGE) == ([], False, 0)
    assert await store.messages.counts("s") == (4, 4, 6)
    assert await store.messages.counts("missing") == (0, 0, 0)


async def test_revisions_that_some_message_has(store: Store) -> None:
    """The first message was changed since: nothing has its revision any more."""
    await store.session()
    for n in range(3):
        await store.say(str(n))
    await store.writer.submit(EditMessage("s", "m1", "x", "user", "alice"))
    assert await store.messages.taken("s", [1, 2, 3, 4, 5]) == {2, 3, 4}
    assert await store.messages.taken("s", []) == set()


async def test_open_streams_and_checkpoints(store: Store, clock: StillClock) -> None:
    await store.session()
    await store.session("t")
    for name, session_id in (("a", "s"), ("b", "s"), ("c", "t")):
        await store.say("", session_id, message_id=name, message_type="stream", status="streaming")
    await store.say("a text")
    assert [r.message_id for r in await store.messages.open_streams()] == ["a", "b", "c"]
    assert [r.message_id for r in await store.messages.open_streams("s")] == ["a", "b"]
    assert await store.messages.open_stream_ids() == ["a", "b", "c"]
    await store.writer.submit(EndStream("s", "b", "complete", "done"))
    batch = [(name, f"{name} so far", None) for name in ("b", "c", "a", "missing")]
    assert await store.messages.checkpoint(batch) == {"a", "c"}
    assert await store.messages.checkpoint([]) == set()
    texts = [(await store.messages.get(name)) for name in ("a", "b", "c")]
    assert [r.content for r in texts if r] == ["a so far", "done", "c so far"]
    assert await store.messages.counts("s") == (3, 3, 4), "a checkpoint moves no revision"


async def test_the_conversation_before_a_message(store: Store) -> None:
    await store.session()
    for text in ("one", "two", "three", "", "five", "six"):
        await store.say(text)
    await store.say("open", message_type="stream", status="streaming")
    await store.writer.submit(DeleteMessage("s", "m2"))
    assert [r.content for r in await store.messages.context("s", 6, 10, 5000)] == ["one", "three", "five"]
    assert [r.content for r in await store.messages.context("s", 100, 2, 5000)] == ["six", "open"]
    assert [r.content for r in await store.messages.context("s", 100, 10, 600)] == ["six", "open"]


async def test_erasing_a_user(store: Store, clock: StillClock) -> None:
    for name in ("s", "t", "archived"):
        await store.session(name)
        await store.say("mine", name, sender_id="bob")
        await store.say("others", name)
        await store.say("an agent's", name, sender_type="agent", sender_id="bob")
    await store.sessions.update("archived", status="archived", ended_at=clock.now, now=clock.now)
    await store.writer.submit(DeleteMessage("s", "m1"))
    erased = await store.messages.erase_user("bob", now=clock.now, limit=1)
    assert len(erased) == 1
    erased += await store.messages.erase_user("bob", now=clock.now)
    assert await store.messages.erase_user("bob", now=clock.now) == []
    assert sorted((r.session_id, r.seq, r.revision, r.content) for r in erased) == [
        ("archived", 1, 4, ""),
        ("t", 1, 4, ""),
    ]
    for record in erased:
        assert await store.messages.get(record.message_id) == record
        assert await store.messages.counts(record.session_id) == (3, 3, 4)


async def test_files(store: Store, clock: StillClock) -> None:
    await store.session()
    files = store.files
    for name in ("posted", "waiting", "deleted"):
        await files.add(store.file(name))
    await files.add(store.file("posted"))  # the same again: whoever tried had no answer
    with pytest.raises(AlreadyExists):
        await files.add(store.file("posted", file_size=7))
    posted = await store.say(message_type="file", parts=file_parts("posted"))
    gone = await store.say(message_type="file", parts=file_parts("deleted"))
    later = clock.advance(hours=1)
    await files.add(store.file("new"))
    await store.writer.submit(DeleteMessage("s", gone.record.message_id))
    record = await files.get("posted")
    assert record is not None
    assert record.message_id == posted.record.message_id
    assert await store.messages.files_of([posted.record.message_id, "x"]) == {record.message_id: [record]}
    assert await files.get("deleted") is None
    assert await files.get("missing") is None
    assert [f.file_id for f in await files.orphans(later, 9)] == ["waiting", "deleted"]
    assert len(await files.of_user("alice", 9)) == 4
    assert await files.known(["posted", "missing"]) == {"posted"}
    await files.delete(["waiting", "deleted"])
    assert await files.orphans(later, 9) == []


async def test_agents(store: Store) -> None:
    agents = store.agents
    echo = AgentRecord(1, "Echo", None, "echo", {}, True)
    assert await agents.list() == [echo]
    made = await agents.create(name="Helper", kind="remote", config={"a": [1]})
    assert made == AgentRecord(3, "Helper", None, "remote", {"a": [1]}, True)
    for name in ("OpenAI", "GPT"):
        await agents.ensure(2, name=name, kind="openai", config={"model": "m"})
    assert [a.id for a in await agents.list()] == [1, 2, 3]
    lines = await agents.lines(with_config=True)
    assert [(a.id, json.loads(a.config or "")) for a in lines] == [
        (a.id, a.config) for a in await agents.list()
    ]
    assert next((a.name, a.config) for a in await agents.lines(with_config=False)) == ("Echo", None)
    second = await agents.get(2)
    assert second is not None
    assert (second.name, second.config) == ("GPT", {"model": "m"})
    changed = await agents.update(3, is_active=False, config={})
    assert changed == AgentRecord(3, "Helper", None, "remote", {}, False)
    assert await agents.update(3) == changed
    assert await agents.update(9, name="x") is None
    await store.session(agent_id=3)
    assert await agents.delete(3)
    assert not await agents.delete(3)
    session = await store.sessions.get("s")
    assert session is not None
    assert session.agent_id is None
    assert (await agents.create(name="Next", kind="echo")).id == 4, "ids are not given twice"
    assert await agents.get(10**12) is None


async def test_revocations(store: Store, clock: StillClock) -> None:
    revocations = Revocations(store.db)
    assert await revocations.get("bob") is None
    now = clock.now
    for when in (now, now - timedelta(hours=1), now + timedelta(hours=1)):
        await revocations.put("bob", when)
    assert await revocations.get("bob") == now + timedelta(hours=1)
    await revocations.put("old", now - timedelta(days=2))
    assert set(await revocations.all()) == {"bob", "old"}
    assert set(await revocations.all(now)) == {"bob"}
    await revocations.drop(now - timedelta(days=1))
    assert set(await revocations.all()) == {"bob"}
    assert await revocations.all() == {"bob": now + timedelta(hours=1)}


async def test_nothing_of_a_missing_session(store: Store) -> None:
    assert await seqs(store) == ([], False)
    assert await store.messages.get("m") is None
    with pytest.raises(SessionMissing):
        await store.say()
