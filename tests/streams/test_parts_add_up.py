"""Whatever a producer says in parts: who reads it, from whatever piece on, ends with the same, and so does
the history; also where another node goes on with it, or ends it."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from unittest.mock import Mock

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from events.event import Event, chunk_event, goes_on, merge
from events.parts import Made, Part, Text, Tool, made_of, shown
from events.stream import Stream
from events.writing import PieceWriter
from storage.interfaces import StreamText
from storage.pieces import Pieces, is_whole
from storage.records import MessageRecord
from tests.support.saying import Message, Said, say
from tests.support.shown import Shown, parts_of

#: Label and text.
Piece = tuple[str, str]
WRITER = PieceWriter(Mock(), lambda: 1.0, max_size=1 << 20, bind=Mock(), overflow=Mock())
SAID = st.builds(say, st.builds(random.Random, st.integers()), st.just("s"), st.integers(0, 16))


def new_stream() -> Stream:
    record = MessageRecord(
        "room", "stream", 1, 1, None, "user", "alice", "stream", "streaming", "", {}, None, datetime.now(UTC)
    )
    return Stream(record, ("user", "alice"), 0.0, "")


def write(stream: Stream, said: Sequence[Said], begin: int = 0) -> None:
    for index, (command, payload) in enumerate(said[begin:], begin):
        if command == "stream_chunk":
            answer = WRITER.chunk(stream, payload["content"], index, part=payload.get("part"))
        elif command == "stream_delta":
            answer = WRITER.delta(stream, payload["part"], payload["content"], index)
        else:
            answer = WRITER.part(stream, msgspec.convert(payload["part"], Part), index)
        assert answer == stream.next_index == index + 1


def pieces_of(stream: Stream) -> list[Piece]:
    return [(stream.run_at(index)[0], text) for index, text in enumerate(stream.pieces)]


def logged(pieces: Sequence[Piece]) -> StreamText:
    """So far as a log has them."""
    kept = Pieces()
    for label, text in pieces:
        if label != kept.part or is_whole(label):
            kept.turn(label)
        kept.pieces.append(text)
    text, runs = kept.text_from(0)
    return StreamText(text, len(pieces), 1, False, False, runs)


def so_far(pieces: Sequence[Piece]) -> Made:
    text = logged(pieces)
    return made_of(text.text, text.runs)


def told(made: Made) -> dict[str, object]:
    """As snapshots, ends and history have it."""
    return {"content": made.content} | ({} if made.parts is None else {"parts": shown(made.parts)})


def events_of(pieces: Sequence[Piece], begin: int, rng: random.Random) -> list[Event]:
    """As they come to a reader: some of them waited, and were merged."""
    events: list[Event] = []
    for index, (label, text) in enumerate(pieces[begin:], begin):
        event = chunk_event("room", "stream", index, [text], 1.0, part=label)
        if events and goes_on(events[-1], event) and rng.random() < 0.6:
            events[-1] = merge([events[-1], event])
        else:
            events.append(event)
    return events


def hear(shown: Shown, events: Sequence[Event], end: dict[str, object]) -> Shown:
    for event in events:
        shown.take(event.name, msgspec.json.decode(event.data))
    shown.take("stream_end", end)
    return shown


def end_of(stream: Stream) -> dict[str, object]:
    """Of a stream that all readers have whole."""
    return told(stream.made()) if stream.taken_back else {}


@settings(max_examples=120)
@given(SAID, st.randoms(use_true_random=False))
def test_a_reader_from_any_piece_on_ends_with_what_was_said(said: list[Said], rng: random.Random) -> None:
    stream = new_stream()
    write(stream, said)
    pieces, expected = pieces_of(stream), Message(said).as_message
    stored = told(stream.made())
    assert (stored["content"], parts_of(stored)) == expected
    for begin in range(len(pieces) + 1):
        snapshot = told(so_far(pieces[:begin])) | {"next_index": begin}
        reader = hear(Shown(snapshot), events_of(pieces, begin, rng), end_of(stream))
        assert reader.as_message == expected
        rest = stream.rest(begin)
        assert rest.parts == stream.made().parts
        first = so_far(pieces[:begin]).content if rest.content_index else ""
        assert first + rest.content == expected[0]


@settings(max_examples=120)
@given(SAID, st.randoms(use_true_random=False))
def test_who_goes_on_after_any_piece_comes_to_the_same(said: list[Said], rng: random.Random) -> None:
    """A node may die between what the server put in and the part behind it. Readers have what was logged."""
    whole = new_stream()
    write(whole, said)
    for known in range(1, len(whole.pieces) + 1):
        stream = new_stream()
        stream.take_over(logged(pieces_of(whole)[:known]))
        WRITER.finish(stream)
        write(stream, said, stream.next_index)
        assert stream.made() == whole.made()
        pieces = pieces_of(whole)[:known] + pieces_of(stream)[known:]
        reader = hear(Shown(), events_of(pieces, 0, rng), end_of(stream))
        assert reader.as_message == Message(said).as_message


@settings(max_examples=60)
@given(SAID)
def test_the_text_so_far_is_what_its_chunks_add_up_to(said: list[Said]) -> None:
    """At every piece, also of those that the server puts in: whoever ends a stream there keeps that."""
    stream = new_stream()
    write(stream, said)
    pieces = pieces_of(stream)
    for known in range(1, len(pieces) + 1):
        part = new_stream()
        part.take_over(logged(pieces[:known]))
        if not part.taken_back:
            reader = hear(Shown(), events_of(pieces[:known], 0, random.Random(0)), {})
            assert reader.chunks.content == so_far(pieces[:known]).content == part.made().content


@given(SAID, st.integers(0, 16))
def test_a_repeat_adds_nothing(said: list[Said], begin: int) -> None:
    stream = new_stream()
    write(stream, said)
    before = pieces_of(stream)
    for index, (_, payload) in enumerate(said[begin:], begin):
        assert WRITER.chunk(stream, "again", index, part="x") == len(said)
        assert WRITER.delta(stream, "nobody's", "again", index) == len(said)
        if "part" in payload and isinstance(payload["part"], dict):
            assert WRITER.part(stream, msgspec.convert(payload["part"], Part), index) == len(said)
    assert pieces_of(stream) == before


def test_what_no_database_takes_is_left_out_of_a_whole_part() -> None:
    """A tool of this node may give anything."""
    stream = new_stream()
    tool = Tool(
        id="t",
        tool_call_id="c",
        name="n",
        state="output_available",
        output={"a\0": ["b\ud800", 2**70, "\\u0000"]},
    )
    WRITER.part(stream, tool, 0)
    WRITER.part(stream, Text(id="b", text="x\0y"), 1)
    made = stream.made()
    assert made.content == "xy"
    assert made.parts is not None and made.parts[0]["output"] == {"a": ["b?", 2.0**70, "\\u0000"]}
    reader = hear(Shown(), events_of(pieces_of(stream), 0, random.Random(0)), {})
    assert reader.as_message == (made.content, made.parts)
