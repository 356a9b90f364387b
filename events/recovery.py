"""A position to exactly what was missed. The merge is a pure function; connections' records are kept here.

Whole or not at all: whatever is not surely right is no recovery, and the client syncs by `after_revision`.
"""

from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec

from events.access import Caller
from events.event import POISON, Event, Kind, clip, retold
from events.ids import new_token
from events.room import Connection
from events.seat import ENDED, Seat
from storage.interfaces import UNCOUNTED, Cut, Given, RoomState
from storage.records import OpenStream


class Position(msgspec.Struct, frozen=True):
    """A position, read. `rev`: durable events up to it were had, though they may be logged later."""

    epoch: str
    pos: int
    rev: int = 0
    mark: str = ""

    @property
    def given(self) -> Given:
        return self.pos, self.mark


def parse_position(text: str) -> Position | None:
    """None for what we did not give out, or made unusable."""
    if text == POISON or len(text) > 64:
        return None
    text, _, rev = text.partition("~")
    epoch, dash, pos = text.rpartition("-")
    pos, mark = pos[:12], pos[12:]
    try:
        return Position(epoch, int(pos, 16), int(rev) if rev else 0, mark) if epoch and dash else None
    except ValueError:
        return None


def format_position(cut: Cut, rev: int, logged: int) -> str:
    """The position of a snapshot that was read after `cut` and shows revisions up to `rev`."""
    text = f"{cut.epoch}-{cut.pos:012x}{cut.mark}"
    return f"{text}~{rev}" if rev > logged else text


def new_pid(sid: str) -> str:
    """The secret name of a connection's record: its sid, a point, and 120 random bits."""
    return f"{sid}.{new_token()}"


def sid_of(pid: str) -> str:
    return pid.partition(".")[0]


class Record(msgspec.Struct, array_like=True):
    """The part of a connection that outlives it for the recovery window."""

    sid: str
    role: str
    sub: str
    rooms: dict[str, Seat]
    away: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode
#: Bytes of a record without rooms that are not its owner: an empty map, and `away`.
_REST = 2


def write_record(conn: Connection, rooms: Mapping[str, Seat]) -> bytes:
    return _encode(Record(conn.id, conn.caller.role, conn.caller.sub, dict(rooms), conn.away))


def owner(pid: str, caller: Caller) -> bytes:
    """How the record begins, if a connection of this caller wrote it: the `pid` alone takes nothing."""
    return _encode(Record(sid_of(pid), caller.role, caller.sub, {}))[:-_REST]


def read_record(data: bytes) -> Record:
    return _decode(data)


def seats(conn: Connection) -> dict[str, Seat]:
    return {m.room.name: m.seat for m in conn.rooms if m.seat is not None}


def doubtful(record: Record, pos: int) -> bool:
    """Whether the reply to a second join may have been lost with the connection: its client, which had all up
    to `pos`, shows the first one then, and lacks what lies between."""
    return any(seat.again and pos <= seat.pos for seat in record.rooms.values())


class Replay(msgspec.Struct):
    """The events that a connection missed, in order, and how far they bring it in each room."""

    events: list[Event]
    size: int
    floors: dict[str, Seat]


def missed(
    states: Mapping[str, RoomState | None],
    seats: Mapping[str, Seat],
    cut: int,
    conn_id: str,
    user: str,
) -> Replay | None:
    """Merge what the rooms' logs hold above the asked positions, for one connection.

    `states` as of `cut`; `seats` where each membership began. None if anything is missing: the log was
    trimmed or is gone, chunks have a hole, or a stream's end comes without all of its text.
    """
    events: list[Event] = []
    floors: dict[str, Seat] = {}
    size = 0
    for name, seat in seats.items():
        state = states.get(name)
        if state is None or not state.complete:
            return None
        part = _of_room(state.entries, seat, _had(seat, state), conn_id, user)
        if part is None:
            return None
        events.extend(part)
        size += sum(len(event.data) for event in part)
        idx = {stream: text.next_index for stream, text in state.streams.items()}
        idx.update({stream: n for stream, n in _had(seat, state).items() if n == ENDED})
        last = state.last
        floors[name] = Seat(cut, max(seat.rev, last.rev), idx or None, max(seat.seq, last.seq))
    events.sort(key=_position)
    return Replay(events, size, floors)


def lacks_text(begun: Set[str], state: RoomState) -> bool:
    """Whether the text of a stream that had begun before the cut is lost: it is logged anew then, and how
    much of it a connection had that was away is not known."""
    ended = {event.stream for event in state.entries if event.closed}
    return not begun <= state.streams.keys() | ended


def begun(rows: Iterable[OpenStream], state: RoomState) -> set[str]:
    """Of open streams that were read after the cut, those that had begun before it."""
    return {row.message_id for row in rows if row.revision <= state.last.rev}


def _position(event: Event) -> int:
    return event.pos


def _had(seat: Seat, state: RoomState) -> dict[str, int]:
    """Chunks of streams that a reader had. One that had ended may be written on since."""
    return {
        stream: n
        for stream, n in (seat.idx or {}).items()
        if n != ENDED or stream not in state.streams or state.streams[stream].start <= seat.rev
    }


def _of_room(
    entries: Sequence[Event], seat: Seat, reach: dict[str, int], conn_id: str, user: str
) -> list[Event] | None:
    """`reach`: of each stream, chunks had."""
    part: list[Event] = []
    for event in entries:
        if event.kind == Kind.DURABLE:
            if event.rev <= seat.rev:
                continue
            if event.seq and event.seq <= seat.seq:
                event = retold(event)
            if event.closed and event.final not in (UNCOUNTED, reach.get(event.stream, event.final)):
                return None  # its text would end short
            if event.stream and not event.closed:
                reach[event.stream] = 0
        elif event.sizes:
            have = reach.get(event.stream, event.index)
            if have == ENDED:
                continue
            try:
                clipped = clip(event, have)
            except ValueError:
                return None
            if clipped is None:
                continue
            reach[event.stream] = clipped.index + len(clipped.sizes)
            event = clipped
        if event.not_to == conn_id or (event.only_user and event.only_user != user):
            continue
        part.append(event)
    return part
