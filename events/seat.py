"""Where a membership begins, and how far it has got. Knows no room and no connection."""

import msgspec

#: In place of a count of chunks: the stream is over, nothing of it comes any more.
ENDED = 1 << 62


class Seat(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a membership begins: all above `pos`, durable events above `rev`, chunks from `idx` on; it knows
    of the messages up to number `seq`. `again`: by another join of a member, which may lack the reply."""

    pos: int
    rev: int
    idx: dict[str, int] | None = None
    seq: int = 0
    again: bool = False


def at(seat: Seat, pos: int) -> Seat:
    """A membership's floors as of a later position, up to which everything was had."""
    if pos <= seat.pos:
        return seat
    ended = {stream: n for stream, n in (seat.idx or {}).items() if n == ENDED}
    return Seat(pos, seat.rev, ended or None, seat.seq)


class Hole(Exception):
    """An event came too early: one before it is missing."""
