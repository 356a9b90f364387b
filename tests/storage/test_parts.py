"""What messages are made of besides text, stored and read back on both databases."""

from typing import Any

import pytest
import sqlalchemy as sa

from events.stream_events import ended
from events.views import told_to_agents, view
from storage.ops import DeleteMessage, EndStream
from storage.partnames import preview
from storage.snapshot import SnapshotReader
from storage.statement import Statement
from storage.tables import messages
from tests.storage.conftest import Store, file_parts

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
    {
        "type": "file",
        "id": "f",
        "url": "https://example.org/f",
        "media_type": "application/pdf",
        "name": "forecast.pdf",
    },
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


async def test_what_a_tool_gave_takes_no_other_message_from_an_agent(store: Store) -> None:
    await store.session()
    sizes = {"first": 2000, "large": 20_000, "second": 4000, "newest": 3000}
    for name, size in sizes.items():
        await answer(store, name, name, [{"type": "data", "id": "d", "name": "n", "data": "x" * size}])
    await answer(store, "wordless", "", [{"type": "data", "id": "d", "name": "n", "data": "x" * 20_000}])
    found = await store.messages.context("s", 10, 10, 10_000)
    assert [(r.content, r.parts is not None) for r in found] == [
        ("first", False), ("large", False), ("second", True), ("newest", True)
    ]  # fmt: skip


async def test_an_answer_posts_its_senders_files(store: Store) -> None:
    await store.session()
    for name, user in (("its", "agent:1"), ("posted", "agent:1"), ("others", "alice")):
        await store.files.add(store.file(name, uploaded_by=user))
    sender = {"sender_type": "agent", "sender_id": "1"}
    await store.say(message_type="file", parts=file_parts("posted"), message_id="before", **sender)
    await store.say("", message_id="a", message_type="stream", status="streaming", **sender)
    parts = file_parts("its", "posted", "others", "nothing")
    done = await store.writer.submit(EndStream("s", "a", "complete", "", parts=parts))
    assert [(file.file_id, file.message_id) for file in done.files] == [("its", "a")]
    assert await store.messages.files_of(["a"]) == {"a": list(done.files)}
    assert done.record.parts == parts
    assert view(done.record, done.files).parts == parts


@pytest.mark.parametrize(
    ("content", "parts", "shown"),
    [
        ("x" * 600, None, "x" * 500),
        ("It is cold.", EVERY, "It is cold."),
        ("", EVERY, "The weather"),
        ("", EVERY[:2], ""),
        ("", [EVERY[2] | {"title": ""}], "weather"),
        ("", [EVERY[3]], "Ü"),
        ("", [EVERY[5], EVERY[4]], "forecast.pdf"),
        ("", [EVERY[4] | {"name": "n" * 255}], "n" * 255),
    ],
)
async def test_a_list_shows_what_people_read_first(
    store: Store, content: str, parts: list[dict[str, Any]] | None, shown: str
) -> None:
    await store.session()
    await answer(store, "a", content, parts)
    record = await store.messages.get("a")
    assert record is not None
    assert preview(record) == shown
    assert await listed(store) == shown


async def test_a_list_shows_files_of_before_there_were_parts(store: Store) -> None:
    await store.session()
    await store.files.add(store.file())
    await store.say("", message_type="file", parts=file_parts("f1"))
    assert await listed(store) == "a.png"
    await store.db.execute(Statement(sa.text("UPDATE chat_messages SET parts = NULL")))
    assert await listed(store) == "a.png"


async def listed(store: Store) -> str | None:
    (line,), _, _ = await store.sessions.list_for(
        "alice", status=None, agent_id=None, limit=9, offset=0, now=store.clock.now
    )
    return line.last_message
