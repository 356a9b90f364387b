"""What messages are made of besides text, stored and read back on both databases."""

from typing import Any

import sqlalchemy as sa

from events.stream_events import ended
from events.views import told_to_agents, view
from storage.ops import DeleteMessage, EndStream
from storage.snapshot import SnapshotReader
from storage.statement import Statement
from storage.tables import messages
from tests.storage.conftest import Store

PAGE = 256 * 1024
SECRET = {"signature": "sig"}
#: One of each type, as a stream's end stores them.
EVERY: list[dict[str, Any]] = [
    {"type": "step", "id": "s1"},
    {"type": "reasoning", "id": "r", "text": "hm\n\U0001f914", "provider_metadata": SECRET},
    {
        "type": "tool",
        "id": "t",
        "tool_call_id": "call_1",
        "name": "weather",
        "title": "The weather",
        "input_text": '{"in": "Ulm"}',
        "input": {"in": "Ulm"},
        "output": [{"degrees": 2.5}, None],
        "state": "output_available",
        "executed_by": "agent",
        "provider_metadata": SECRET,
    },
    {"type": "source", "id": "u", "url": "https://example.org/", "title": "Ü", "snippet": "…"},
    {"type": "file", "id": "f", "url": "https://example.org/a.png", "media_type": "image/png"},
    {"type": "data", "id": "d", "name": "chart", "data": {"y": [1, 2]}},
    {"type": "text", "id": "text", "text": "It is cold."},
]


def without_secrets(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: part[name] for name in part if name != "provider_metadata"} for part in parts]


async def answer(store: Store, message_id: str, content: str, parts: list[dict[str, Any]] | None) -> None:
    await store.say("", message_id=message_id, message_type="stream", status="streaming")
    await store.writer.submit(EndStream("s", message_id, "complete", content, parts=parts))


async def test_every_part_is_read_as_it_was_stored(store: Store) -> None:
    await store.session()
    await answer(store, "a", "It is cold.", EVERY)
    await answer(store, "b", "plain", None)
    (first, second), _ = await store.messages.page("s", limit=10, max_bytes=PAGE)
    assert (first.parts, second.parts) == (EVERY, None)
    assert await store.messages.changes("s", 0, 10, PAGE) == ([first, second], False, 4)
    snapshot = await SnapshotReader(store.db).read("s", None, 10, PAGE)
    assert snapshot is not None
    assert snapshot.messages == [first, second]


async def test_only_agents_are_told_what_is_for_models(store: Store) -> None:
    await store.session()
    await answer(store, "a", "It is cold.", EVERY)
    record = await store.messages.get("a")
    assert record is not None
    assert view(record).parts == without_secrets(EVERY)
    assert told_to_agents(record).parts == EVERY
    end = ended(record, "2026-03-01T12:00:00Z", whole=True)
    assert (end["content"], end["parts"]) == ("It is cold.", without_secrets(EVERY))
    assert not {"content", "parts"} & set(ended(record, "2026-03-01T12:00:00Z"))


async def test_an_end_without_text_keeps_the_parts_that_are_there(store: Store) -> None:
    await store.session()
    await store.say(
        "so far", message_id="a", message_type="stream", status="streaming", parts=EVERY[:2] + EVERY[-1:]
    )
    done = await store.writer.submit(EndStream("s", "a", "interrupted"))
    assert (done.record.content, done.record.parts) == ("so far", EVERY[:2] + EVERY[-1:])
    assert await store.messages.get("a") == done.record


async def test_parts_count_in_a_page(store: Store) -> None:
    await store.session()
    long = [{"type": "reasoning", "id": "r", "text": "\x01" * 17_000}]
    for name in "abcd":
        await answer(store, name, "", long)
    records, more = await store.messages.page("s", limit=50, max_bytes=PAGE)
    assert ([r.seq for r in records], more) == ([3, 4], True)


async def test_a_tombstone_has_no_parts(store: Store) -> None:
    await store.session()
    for name in "ab":
        await answer(store, name, "text", EVERY)
    deleted = await store.writer.submit(DeleteMessage("s", "a"))
    assert deleted.record.parts is None
    (erased,) = await store.messages.erase_user("alice", now=store.clock.now)
    assert (erased.message_id, erased.parts) == ("b", None)
    rows = await store.db.fetch_all(Statement(sa.select(messages.c.parts)))
    assert [row[0] for row in rows] == [None, None]


async def test_an_answer_without_text_is_told_to_agents(store: Store) -> None:
    await store.session()
    await answer(store, "tool", "", EVERY[:3])
    await answer(store, "empty", "", None)
    await answer(store, "text", "x", None)
    found = await store.messages.context("s", 10, 10, PAGE)
    assert [(r.message_id, r.parts) for r in found] == [("tool", EVERY[:3]), ("text", None)]
