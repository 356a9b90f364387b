"""Redis: one clock (epoch, position), bounded room logs, stream texts, connection records, pub/sub.

Every method named in SCRIPTS is one Lua script: atomic, and it may be executed though its caller
was told of a timeout, late or never."""

from collections import deque
from copy import deepcopy
from dataclasses import dataclass, field, replace

from .design import LOG_SIZE
from .events import Event, Mark


class Timeout(Exception):
    pass


@dataclass
class Meta:
    """A room's log."""

    last: int  # last revision in the log
    seq: int  # and the last number of a message that it has told of
    trim: int  # everything of this room above this position is in the log
    pos: int = 0  # position of the last entry
    entries: list = field(default_factory=list)


@dataclass
class Stream:
    """A stream's text: exactly what its logged chunks add up to."""

    room: str
    start: int = 0  # revision of its stream_start
    text: tuple = ()
    closed: bool = False  # takes no more chunks
    ended: bool = False  # its end is logged


@dataclass
class Seat:
    """A room in a connection's record: where its membership begins."""

    pos: int
    rev: int  # durable events above it
    idx: dict = field(default_factory=dict)  # stream -> chunks from here on
    seq: int = 0  # messages up to it are known


@dataclass
class Record:
    epoch: int
    gen: int  # counts the takeovers
    version: int = 0  # counts this node's writes of it
    rooms: dict = field(default_factory=dict)


@dataclass
class Info:
    """A room as of a cut position."""

    last: Mark
    pos: int  # of its last entry, or where it began
    complete: bool
    entries: list
    streams: dict  # row -> Stream whose end is not logged


class Data:
    def __init__(self, epoch=None, run=None):
        self.epoch, self.run, self.pos = epoch, run, 0  # ONE key: they are lost together or not at all
        self.metas, self.streams, self.records = {}, {}, {}


class Sub:
    """One subscriber connection of one node."""

    def __init__(self, node):
        self.node = node
        self.channels = {}
        self.queue = deque()
        self.eof = False  # the node knows it is broken
        self.deaf = False  # broken (half-open): nothing arrives, the node does not know

    def put(self, message):
        if not (self.eof or self.deaf):
            self.queue.append(message)


def _copy(args):
    """What goes over the network shares nothing."""
    return [a if isinstance(a, Sub) else deepcopy(a) for a in args]


class Redis:
    def __init__(self, sim, design):
        self.sim, self.design = sim, design
        self.up, self.hung = True, False
        self.cut_off = {}  # nodes that cannot reach it
        self.run = 1
        self.data = Data()
        self.saved = Data()  # the last snapshot on disk
        self.subs = []

    # --- the network

    def reachable(self, node):
        return self.up and node.name not in self.cut_off

    def call(self, node, script, *args):
        """Generator: a command on the node's connection, with a time limit."""
        run = self.run
        yield
        if not self.reachable(node) or run != self.run:
            raise Timeout
        if self.hung:
            if self.sim.chance(0.6):
                self.sim.spawn(self._late(run, script, args))
            raise Timeout
        if self.sim.chance(node.world.chaos):
            raise Timeout  # the request was lost
        answer = getattr(self, script)(*_copy(args))
        yield
        if not self.reachable(node) or run != self.run or self.sim.chance(node.world.chaos):
            raise Timeout  # executed, and the caller cannot know
        return answer

    def _late(self, run, script, args):
        yield lambda: not self.hung
        if self.run == run:
            getattr(self, script)(*_copy(args))

    def restart(self, how):
        """Killed and back: with nothing, or with its last snapshot."""
        self.run += 1
        self.data = Data() if how == "empty" else deepcopy(self.saved)
        for sub in self.subs:
            sub.eof = True
        self.subs = []

    # --- scripts

    def _clock(self):
        data = self.data
        stale = self.design.run_in_epoch and data.run != self.run  # run: INFO server's run_id
        if data.epoch is None or stale:
            self.data = data = Data(self.sim.new_id(), self.run)
        return data

    def append(self, room, events):
        """Durable events, in order. Answers ok | gap | nobody."""
        data = self._clock()
        meta = data.metas.get(room)
        for event in events:
            if event.stream:  # whatever becomes of the entry
                key = data.streams.setdefault(event.row, Stream(room))
                if event.closed:
                    key.closed |= self.design.close_first
                else:
                    key.start = event.rev
        if meta is None:
            if self.design.log_base:
                return "nobody"  # no member, no record anywhere: nothing to keep
            meta = data.metas[room] = Meta(events[0].rev - 1, events[0].seq - 1, data.pos)
        told = meta.seq
        for event in events:
            if event.rev <= meta.last:
                continue  # already there
            if event.frm > meta.last + 1 and self.design.gap_answer:
                return "gap"
            if 0 < event.seq <= told and self.design.stale_fill:
                return "gap"
            if event.closed:
                data.streams[event.row].ended = True
            elif event.stream and self.design.text_is_log:
                data.streams[event.row].text = ()  # its chunks, if any, were in a log that is gone
            meta.last, meta.seq = event.rev, max(meta.seq, event.seq)
            self._log(data, meta, event)
        return "ok"

    def _log(self, data, meta, event):
        data.pos += 1
        event = replace(event, epoch=data.epoch, pos=data.pos, prev=meta.pos)
        meta.pos = data.pos
        meta.entries.append(event)
        while len(meta.entries) > LOG_SIZE:
            meta.trim = meta.entries.pop(0).pos
        self.sim.note(f"redis   : {event} appended and published")
        self._publish(event)

    def _publish(self, event):
        for sub in self.subs:
            if event.room in sub.channels:
                sub.put(event)

    def chunk(self, room, row, start_rev, index, items):
        """Answers (next|gap|closed|nobody, number)."""
        data = self._clock()
        meta = data.metas.get(room)
        if meta is None and self.design.text_is_log:
            return "nobody", 0
        if meta and meta.last < start_rev and self.design.start_before_chunk:
            return "gap", meta.last
        key = data.streams.setdefault(row, Stream(room))
        key.start = start_rev
        if key.closed:
            return "closed", len(key.text)
        if index == len(key.text) and items:
            key.text += tuple(items)
            if meta:
                self._log(data, meta, Event(room, row, "chunk", index=index, items=tuple(items)))
        return "next", len(key.text)

    def close(self, room, row):
        """No more chunks; the text that was logged."""
        key = self._clock().streams.setdefault(row, Stream(room))
        key.closed = True
        return key.text

    def last(self, room):
        meta = self._clock().metas.get(room)
        return meta and Mark(meta.last, meta.seq)

    def open(self, room, base):
        """A log for a room that has none: complete from here on, next revision base + 1."""
        data = self._clock()
        if room not in data.metas:
            self._base(data, room, base)

    def reset(self, room, last):
        """Too much is missing to fill: forget the log, go on at `last`."""
        data = self._clock()
        meta = data.metas.get(room)
        if meta and meta.last < last.rev:
            self._base(data, room, last)

    def _base(self, data, room, base):
        """A log begins at a position of its own, and says so: no offset from before reaches past it,
        and no node that lacks what it leaves out gives out offsets after it."""
        if self.design.base_told:
            data.pos += 1
        data.metas[room] = Meta(base.rev, base.seq, data.pos, data.pos)
        if self.design.base_told:
            self._publish(Event(room, "", "base", base.rev, epoch=data.epoch, pos=data.pos))

    def read(self, asks, returning=False):
        """Many rooms as of one cut: (epoch, cut, {room: Info of what lies above its position, or None}).
        A node that returns gets a cut of its own: who has seen it has seen all before the return."""
        data = self._clock()
        if returning and self.design.own_cut:
            data.pos += 1
        out = {}
        for room, after in asks.items():
            meta = data.metas.get(room)
            if meta is None:
                out[room] = None
                continue
            entries = [e for e in meta.entries if e.pos > after]
            streams = {
                row: s
                for row, s in data.streams.items()
                if s.room == room and not s.ended and (s.start <= meta.last or not self.design.text_is_log)
            }
            mark = Mark(meta.last, meta.seq)
            out[room] = Info(mark, meta.pos, after >= meta.trim, entries, deepcopy(streams))
        return data.epoch, data.pos, out

    def put(self, pid, record):
        """(epoch, "ok"); not in another epoch, not over another node's, not over a newer one of this node."""
        data = self._clock()
        old = data.records.get(pid)
        if old and old.gen > record.gen and self.design.fence:
            return data.epoch, "taken"
        newer = old and old.gen == record.gen and old.version > record.version
        if self.design.ordered_records and (data.epoch != record.epoch or newer):
            return data.epoch, "late"
        record.epoch = data.epoch
        data.records[pid] = record
        return data.epoch, "ok"

    def take(self, pid):
        """Take a connection over: (epoch, its record with the new generation, or None)."""
        data = self._clock()
        record = data.records.get(pid)
        if record is None or record.epoch != data.epoch:
            return data.epoch, None
        record.gen += 1
        record.version = 0  # the new owner counts its own writes
        for sub in self.subs:
            sub.put(("takeover", pid, record.gen))
        return data.epoch, deepcopy(record)

    def subscribe(self, sub, room):
        if sub not in self.subs:
            self.subs.append(sub)
        sub.channels[room] = True

    def marker(self, sub, token):
        if sub in self.subs:
            sub.put(("marker", token))
        return self._clock().epoch
