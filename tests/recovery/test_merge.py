"""The merge of what was missed is a pure function: no gap, no repeat, in order, or nothing at all."""

from hypothesis import given
from hypothesis import strategies as st

from events.event import Event, Kind, chunk_event, clip
from events.recovery import Position, missed, parse_position
from events.seat import ENDED, Seat, at
from storage.interfaces import Mark, RoomState, StreamText


def durable(room: str, rev: int, pos: int) -> Event:
    return Event(room, "message", b"{}", Kind.DURABLE, rev=rev, seq=rev, epoch="e", pos=pos)


def chunk(room: str, index: int, pieces: list[str], pos: int, not_to: str = "") -> Event:
    event = chunk_event(room, "s", index, pieces, 0.0, not_to)
    event.epoch, event.pos = "e", pos
    return event


def state(entries: list[Event], last: int, complete: bool = True, chunks: int = 0) -> RoomState:
    streams = {"s": StreamText("", chunks, 1, False, False)} if chunks else {}
    newest = entries[-1].pos if entries else 0
    return RoomState(Mark(last, last), newest, complete, entries, streams)


@given(
    st.lists(st.sampled_from("abc"), max_size=40),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 15), min_size=1),
    st.integers(0, 45),
)
def test_all_that_came_after_the_offset_once_and_in_order(
    rooms: list[str], floors: dict[str, int], offset: int
) -> None:
    revisions = dict.fromkeys("abc", 0)
    logs: dict[str, list[Event]] = {"a": [], "b": [], "c": []}
    for pos, room in enumerate(rooms, 1):
        revisions[room] += 1
        logs[room].append(durable(room, revisions[room], pos))
    seats = {room: Seat(0, floor) for room, floor in floors.items()}
    states = {room: state([e for e in logs[room] if e.pos > offset], revisions[room]) for room in seats}
    replay = missed(states, seats, len(rooms), "conn", "alice")
    assert replay is not None
    expected = [(pos, room) for pos, room in enumerate(rooms, 1) if room in seats and pos > offset]
    rev = {(e.room, e.pos): e.rev for log in logs.values() for e in log}
    assert [(e.pos, e.room) for e in replay.events] == [
        (pos, room) for pos, room in expected if rev[room, pos] > floors[room]
    ]
    for room, floor in replay.floors.items():
        assert floor.rev == max(floors[room], revisions[room])
        assert floor.pos == len(rooms)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 50))
def test_chunks_go_on_where_the_reader_was(counts: list[int], had: int) -> None:
    pieces = [f"<{i}>" for i in range(sum(counts))]
    had = min(had, len(pieces))
    entries, at = [], 0
    for pos, count in enumerate(counts, 1):
        entries.append(chunk("a", at, pieces[at : at + count], pos))
        at += count
    replay = missed({"a": state(entries, 1, chunks=at)}, {"a": Seat(0, 1, {"s": had})}, 99, "c", "u")
    assert replay is not None
    text = "".join(_content(e) for e in replay.events)
    assert text == "".join(pieces[had:])
    assert replay.floors["a"].idx == {"s": len(pieces)}


def _content(event: Event) -> str:
    import json

    return str(json.loads(event.data)["content"])


@given(st.integers(0, 9), st.integers(1, 9), st.integers(0, 12))
def test_a_clip_is_what_was_lacking(index: int, count: int, have: int) -> None:
    pieces = [chr(97 + index + i) * (i + 1) for i in range(count)]
    event = chunk("a", index, pieces, 1)
    if have < index:
        try:
            clip(event, have)
        except ValueError:
            return
        raise AssertionError("a hole was not seen")
    part = clip(event, have)
    rest = pieces[have - index :]
    assert (part is None) == (not rest)
    if part is not None:
        assert _content(part) == "".join(rest)
        assert (part.index, len(part.sizes)) == (have, len(rest))


def test_a_trimmed_or_missing_log_is_no_recovery() -> None:
    assert missed({"a": None}, {"a": Seat(0, 0)}, 1, "c", "u") is None
    assert missed({"a": state([], 3, complete=False)}, {"a": Seat(0, 0)}, 1, "c", "u") is None
    assert missed({}, {}, 1, "c", "u") is not None


def test_a_hole_in_a_stream_is_no_recovery() -> None:
    entries = [chunk("a", 2, ["x"], 1)]
    assert missed({"a": state(entries, 1)}, {"a": Seat(0, 1, {"s": 1})}, 9, "c", "u") is None


def test_an_end_without_all_of_its_text_is_no_recovery() -> None:
    end = Event("a", "stream_end", b"{}", Kind.DURABLE, rev=2, stream="s", closed=True, final=3, pos=2)
    assert missed({"a": state([end], 2)}, {"a": Seat(0, 1, {"s": 1})}, 9, "c", "u") is None
    whole = [chunk("a", 1, ["x", "y"], 1), end]
    assert missed({"a": state(whole, 2)}, {"a": Seat(0, 1, {"s": 1})}, 9, "c", "u") is not None


def test_what_was_had_since_the_membership_began_is_no_hole() -> None:
    """Its floor is of the join; the client has seen chunks since, up to the position that it asks from."""
    entries = [chunk("a", 2, ["x"], 9)]
    seat = Seat(3, 1, {"s": 0, "over": ENDED}, 1)
    assert at(seat, 3) is seat and at(seat, 2) is seat
    assert at(seat, 8) == Seat(8, 1, {"over": ENDED}, 1)
    replay = missed({"a": state(entries, 1)}, {"a": at(seat, 8)}, 9, "c", "u")
    assert replay is not None and [e.index for e in replay.events] == [2]


def test_what_is_not_for_this_connection_is_left_out() -> None:
    mine = chunk("a", 0, ["x"], 1, not_to="me")
    other = Event("a", "session", b"{}", Kind.LOGGED, only_user="bob", pos=2)
    replay = missed({"a": state([mine, other], 0)}, {"a": Seat(0, 0)}, 9, "me", "alice")
    assert replay is not None
    assert replay.events == []


def test_a_stream_that_ended_before_the_snapshot_sends_nothing_more() -> None:
    entries = [chunk("a", 0, ["x"], 1)]
    replay = missed({"a": state(entries, 1, chunks=1)}, {"a": Seat(0, 1, {"s": ENDED})}, 9, "c", "u")
    assert replay is not None
    assert replay.events == []
    assert replay.floors["a"].idx == {"s": ENDED}


@given(st.text(max_size=80))
def test_any_text_is_a_position_or_none(text: str) -> None:
    parse_position(text)


def test_positions_are_read_back() -> None:
    event = durable("a", 1, 255)
    assert parse_position(event.position) == Position("e", 255)
    assert parse_position(event.position + "~7") == Position("e", 255, 7)
    assert parse_position("-") is None
