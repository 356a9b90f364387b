"""Pieces of several parts under one index: told, clipped, merged or kept, they add up to the same."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from unittest.mock import Mock

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from events.chunks import Chunks
from events.event import Event, Kind, chunk_event, clip, goes_on, merge
from events.parts import TEXT, delta_label, event_name, text_label, whole_label
from events.stream import Stream
from events.tasks import Tasks
from storage.interfaces import Mark, StreamText
from storage.memory import Memory, MemoryStreams
from storage.pieces import OWN, Pieces, Run, is_whole, own_text, rest_of
from storage.records import MessageRecord

PARTS = (OWN, delta_label("thought"), text_label("second"), whole_label("tool"))
#: (label, text), as a stream has it.
Said = list[tuple[str, str]]


def said(part: str, text: str) -> tuple[str, str]:
    return part, f'{{"type":"tool","id":"tool","title":"{text}"}}' if is_whole(part) else text


SAID = st.lists(st.builds(said, st.sampled_from(PARTS), st.text("abç☃", min_size=1, max_size=4)), max_size=24)


def add(pieces: Pieces, part: str, text: str) -> None:
    if part != pieces.part:
        pieces.turn(part)
    pieces.pieces.append(text)


def kept(said: Said) -> Pieces:
    pieces = Pieces()
    for part, text in said:
        add(pieces, part, text)
    return pieces


def logged(pieces: Pieces) -> StreamText:
    """As the log answers."""
    text, runs = pieces.text_from(0)
    return StreamText(text, len(pieces.pieces), 1, False, False, runs)


def joined(said: Said) -> list[Run]:
    """By the rule as it is told: neighbours of one part are one run, but of a part that is told whole."""
    runs: list[Run] = []
    for part, text in said:
        if runs and runs[-1].part == part and not part.startswith("="):
            runs[-1] = Run(part, runs[-1].text + text, runs[-1].count + 1)
        else:
            runs.append(Run(part, text, 1))
    return runs


def events_of(pieces: Pieces, index: int = 0) -> list[Event]:
    """As they go to the log, all at once."""
    events = []
    while index < len(pieces.pieces):
        part, end = pieces.run_at(index)
        some = pieces.pieces[index:end]
        events.append(chunk_event("room", "stream", index, some, 0.0, part=part))
        index += len(some)
    return events


def told(events: Sequence[Event]) -> list[Run]:
    """What clients can read of them."""
    runs = []
    for event in events:
        payload = json.loads(event.data)
        assert event.name == event_name(event.part)
        if event.name == "stream_part":
            whole = msgspec.json.encode(payload["part"]).decode()
            runs.append(Run(whole_label(payload["part"]["id"]), whole, 1))
        else:
            label = delta_label if event.name == "stream_delta" else text_label
            runs.append(Run(label(payload.get("part", TEXT)), payload["content"], payload["count"]))
    return runs


@given(SAID, st.integers(0, 24))
def test_runs_are_neighbours_of_one_part(said: Said, index: int) -> None:
    pieces = kept(said)
    text, runs = pieces.text_from(index)
    expected = joined(said[index:])
    assert text == own_text(expected)
    assert list(runs) == (expected if any(part != OWN for part, _ in said) else [])
    assert told(events_of(pieces, index)) == expected


@given(SAID, st.integers(0, 24))
def test_a_clip_is_of_the_same_part(said: Said, have: int) -> None:
    parts = [clip(event, max(have, event.index)) for event in events_of(kept(said))]
    assert told([part for part in parts if part is not None]) == joined(said[have:])


@given(SAID)
def test_only_neighbours_of_one_part_merge(said: Said) -> None:
    """A slow reader's chunks came one by one."""
    runs: list[list[Event]] = []
    for index, (part, text) in enumerate(said):
        event = chunk_event("room", "stream", index, [text], 0.0, part=part)
        if runs and goes_on(runs[-1][-1], event):
            runs[-1].append(event)
        else:
            runs.append([event])
    merged = [run[0] if len(run) == 1 else merge(run) for run in runs]
    assert told(merged) == joined(said)
    assert [event.part for event in merged] == [run.part for run in joined(said)]


@given(SAID, st.integers(0, 24))
def test_who_has_a_part_of_it_gets_the_rest(said: Said, have: int) -> None:
    """By the text as the log tells it, which does not say where pieces end."""
    have = min(have, len(said))
    text = logged(kept(said))
    assert text.characters == sum(len(each) for _, each in said)
    rest = list(rest_of(text.all, have, sum(len(each) for _, each in said[:have])))
    assert [Run(part, "".join(pieces), len(pieces)) for _, part, pieces in rest] == joined(said[have:])
    assert [index for index, _, _ in rest] == [event.index for event in events_of(kept(said), have)]


@given(SAID.filter(len), SAID)
def test_who_takes_it_over_goes_on(said: Said, more: Said) -> None:
    pieces = Pieces()
    pieces.put(logged(kept(said)).all)
    for part, text in more:
        add(pieces, part, text)
    assert len(pieces.pieces) == len(said) + len(more)
    assert list(logged(pieces).all) == joined(said + more)


def test_a_text_without_parts_costs_nothing_more() -> None:
    event = chunk_event("room", "stream", 3, ["a", "b"], 0.0)
    assert event.data == (
        b'{"session_id":"room","message_id":"stream","content":"ab","index":3,"count":2,'
        b'"timestamp":"1970-01-01T00:00:00.000Z"}'
    )
    assert kept([(OWN, "a"), (OWN, "b")]).turns == []


async def test_thousands_of_turns_from_part_to_part_go_to_the_log_at_once() -> None:
    memory = Memory(lambda: 0.0, window=60.0, log_size=10, log_bytes=1000)
    await memory.open("room", Mark(0, 0))
    memory.append("room", [Event("room", "stream_start", b"{}", Kind.DURABLE, rev=1, seq=1, stream="stream")])
    record = MessageRecord(
        "room", "stream", 1, 1, None, "user", "alice", "stream", "streaming", "", {}, None, datetime.now(UTC)
    )
    stream, delivery = Stream(record, ("user", "alice"), 0.0, ""), Mock(live=True)
    for at in range(4000):
        add(stream, PARTS[at % 2 * 2], f"{at} ")
    chunks = Chunks(MemoryStreams(memory, lambda: 0.0), delivery, lambda: 0.0, Tasks("test"))
    chunks.push(stream, 0.0)
    assert (stream.logged, stream.flying) == (4000, False)
    text = await MemoryStreams(memory, lambda: 0.0).read("room", "stream")
    assert text is not None and len(text.runs) == text.next_index == 4000


def test_where_the_log_lacks_nothing_no_piece_is_told() -> None:
    """Also where what was lacking was logged by another while one looked: an answer that goes on."""
    log = Mock()
    record = MessageRecord(
        "room", "stream", 1, 1, None, "user", "alice", "stream", "streaming", "", {}, None, datetime.now(UTC)
    )
    stream = Stream(record, ("user", "alice"), 0.0, "")
    add(stream, "=pt", '{"type":"tool"}')
    stream.logged = 1
    Chunks(log, Mock(live=True), lambda: 0.0, Tasks("test")).rest(stream, 1.0)
    log.append.assert_not_called()
