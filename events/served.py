"""How far a room was served on this node: its log's positions, its revisions, the chunks of open streams.

All of it is written here, but for `pos`, which moves with each event that the bus brings. Knows no member.
"""

from collections.abc import Iterable, Sequence

from events.event import Event, clip, retold
from events.seat import Hole
from storage.interfaces import UNCOUNTED, Cut, Mark, RoomState
from storage.records import OpenStream


class Served:
    """The base of `Room`, and not a part of it: every event passes here."""

    __slots__ = (
        "ahead",
        "began",
        "chars",
        "delivered",
        "doubt",
        "early",
        "have",
        "pos",
        "ready",
        "seq",
        "tail",
    )

    def __init__(self) -> None:
        self.ready = False  # `pos` and `delivered` are known
        self.began = 0  # the cut it was begun with
        self.early: list[Event] = []  # what the bus brought before it was ready
        self.pos = 0  # of the last event that the bus brought, or of a later cut
        self.delivered = 0  # last revision delivered
        self.tail: Event | None = None  # the event that told of it, where it was one
        self.doubt: Event | None = None  # one before it that is to be found in the database, too
        self.seq = 0  # every message up to this number was told of
        self.ahead: set[int] = set()  # and these above it: an edit puts a message behind later ones
        self.have: dict[str, int] = {}  # open stream -> chunks delivered
        self.chars: dict[str, int] = {}  # the same in characters, of all parts

    @property
    def mark(self) -> Mark:
        """How far durable events were delivered here."""
        return Mark(self.delivered, self.seq)

    # --- where it begins

    def begin(self, cut: Cut, state: RoomState, open_streams: Iterable[OpenStream]) -> Sequence[Event]:
        """With the first cut of its log on this node; later ones change nothing. The answer is what the bus
        brought before: it is to be delivered now."""
        if self.ready:
            return ()
        self.ready, self.began, self.pos = True, cut.pos, cut.pos
        self.delivered, self.seq = state.last.rev, state.last.seq
        for stream, text in state.streams.items():
            self.have[stream], self.chars[stream] = text.next_index, text.characters
        for row in open_streams:
            if row.revision <= state.last.rev and row.message_id not in self.have:
                self.have[row.message_id] = self.chars[row.message_id] = 0
        early, self.early = self.early, []
        return early

    def begin_from_sql(self, mark: Mark, streams: Iterable[tuple[str, int, int]]) -> None:
        """Without a log, while the bus is away. `streams`: open ones, with their chunks and characters."""
        if self.ready:
            return
        self.ready, self.delivered, self.seq = True, mark.rev, mark.seq
        for stream, chunks, characters in streams:
            self.have[stream], self.chars[stream] = chunks, characters
        self.early.clear()

    def advance(self, cut: Cut, state: RoomState) -> None:
        """A room that was served all that its log held at a cut is served up to the cut: who begins there is
        level with it, and need not be guarded until something is logged."""
        if self.pos >= state.pos:
            self.pos = max(self.pos, cut.pos)

    def resume(self, cut: Cut) -> None:
        """The bus is back, and everything up to this cut was delivered."""
        self.pos, self.began = cut.pos, 0

    # --- what is delivered

    def take_chunks(self, event: Event, have: int) -> Event | None:
        """Chunks of an open stream, of which `have` were delivered: the part that is new. Raises Hole."""
        if event.index > have:
            raise Hole
        if event.index < have:
            part = clip(event, have)
            if part is None:
                return None
            event = part
        sizes = event.sizes
        self.have[event.stream] = event.index + len(sizes)
        self.chars[event.stream] += sizes[0] if len(sizes) == 1 else sum(sizes)
        return event

    def take_durable(self, event: Event) -> Event:
        """The next revision, as members are to be told of it. Raises Hole if something is missing before."""
        if (event.first_rev or event.rev) > self.delivered + 1:
            raise Hole
        if event.closed and event.final != UNCOUNTED and self.have.get(event.stream) != event.final:
            raise Hole
        if event.seq and not self.told(event.seq):
            event = retold(event)  # this node told of it from SQL, the log only of what became of it
        self.delivered, self.tail = event.rev, event
        if event.stream:
            if event.closed:
                self.have.pop(event.stream, None)
                self.chars.pop(event.stream, None)
            else:
                # Also one that is written on after it has waited: it is told from its beginning.
                self.have[event.stream] = self.chars[event.stream] = 0
        return event

    def told(self, seq: int) -> bool:
        """A message is told of; False if it was before."""
        if seq <= self.seq or seq in self.ahead:
            return False
        self.ahead.add(seq)
        while self.seq + 1 in self.ahead:
            self.seq += 1
            self.ahead.remove(self.seq)
        return True

    # --- what is held against the database

    def tails(self) -> list[Event]:
        """What was told last, the oldest first: a history that has it not is another one."""
        return [event for event in (self.doubt, self.tail) if event is not None]

    def suspect(self) -> bool:
        """The log brought a revision that is known: this node had it from the database, or it is given out a
        second time. Whether what was told last is to be looked up for that."""
        if self.tail is None or self.doubt is self.tail:
            return False
        self.doubt = self.tail
        return True

    def found(self, tail: Event | None, looked_up: Sequence[Event]) -> None:
        """The database has these. `tail`, the last of them, is looked up again next time, whatever comes
        behind it."""
        if self.doubt in (None, *looked_up):
            self.doubt = tail

    def put_back(self, mark: Mark, gone: Iterable[str]) -> None:
        """What was delivered above is of a history that is lost, and so are these open streams."""
        for stream in gone:
            self.have.pop(stream), self.chars.pop(stream, None)
        self.delivered, self.seq, self.tail, self.doubt = mark.rev, mark.seq, None, None
        self.ahead.clear()
