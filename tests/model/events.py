"""What travels: events as they stand in the log, on the bus and on the wire."""

from dataclasses import dataclass, replace

POISON = "-"  # the offset that can never be recovered from
INF = 1 << 30  # a stream floor: nothing of this stream any more


@dataclass(frozen=True)
class Mark:
    """How far durable events reach: a revision, and every message up to a number."""

    rev: int
    seq: int


@dataclass(frozen=True)
class Event:
    """One entry. Durable: `rev` set. Chunk: `items` set."""

    room: str
    row: str  # message_id
    kind: str  # created | changed | chunk | base (a log begins anew at `rev`; never logged)
    rev: int = 0  # durable: this change's revision
    frm: int = 0  # durable: first revision it covers (frm < rev: the others were overtaken)
    seq: int = 0  # created: the message's number
    stream: bool = False  # created: stream_start; changed with `closed`: stream_end
    closed: bool = False  # a stream that takes no more chunks; created: told of as a whole
    text: tuple | None = None  # of a closed stream; None: the reader has it
    final: int = -1  # stream_end without text: its length in chunks
    index: int = 0
    items: tuple = ()
    # stamped by the append script:
    epoch: int = 0
    pos: int = 0
    prev: int = 0  # position of the room's entry before this one

    @property
    def durable(self):
        return self.kind != "chunk"

    def __str__(self):
        at = f"@{self.epoch}.{self.pos}" if self.pos else "@SQL"
        if self.durable:
            what = ("stream_start" if self.kind == "created" else "stream_end") if self.stream else self.kind
            return f"{self.room}.r{self.rev} {what}{' whole' * (self.text is not None)} {self.row} {at}"
        return f"{self.room} chunk {self.row}[{self.index}:{self.index + len(self.items)}] {at}"


def clip(event, have):
    """The part of a chunk event a reader at `have` lacks; None if nothing; ValueError on a hole."""
    if event.index > have:
        raise ValueError("hole")
    if event.index + len(event.items) <= have:
        return None
    return replace(event, index=have, items=event.items[have - event.index :])


def retold(event):
    """For readers who know the message already: the change that it tells of."""
    return replace(event, kind="changed", seq=0)
