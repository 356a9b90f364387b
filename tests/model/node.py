"""A node: writes and their reply, the append, the bus, the one way to the members (events/delivery.py)."""

from collections import deque

from .design import FILL_MAX, HOLD_MAX
from .events import Event, retold
from .healing import Healing
from .hub import Hole
from .joining import Joining
from .redis import Timeout
from .sql import SqlDown
from .streams import Streams


class Node(Healing, Joining, Streams):
    def __init__(self, world, name):
        self.world, self.name = world, name
        self.sim, self.sql, self.redis, self.design = world.sim, world.sql, world.redis, world.design
        self.paused = self.killed = False
        self.rooms, self.conns, self.producers = {}, {}, {}
        self.queue = []  # group commit: what waits
        self.mode = "away"  # live | sync | away
        self.departures = 0  # from live
        self.epoch = None
        self.sub = None
        self.hold, self.overrun = deque(), False
        self.markers = {}
        self.owed = {}  # rooms whose append failed
        self.spawn(self.committer())
        self.spawn(self.keep_live())

    def spawn(self, generator):
        self.sim.spawn(generator, self)

    def note(self, line):
        self.sim.note(f"{self.name:8}: {line}")

    def call(self, script, *args):
        return self.redis.call(self, script, *args)

    # --- writes: the reply follows the commit, and nothing else

    def write(self, *op):
        """Generator: commit together with whatever else waits."""
        slot = [None]
        self.queue.append((op, slot))
        yield lambda: slot[0]
        if isinstance(slot[0], Exception):
            raise slot[0]
        return slot[0][0]

    def committer(self):
        while True:
            yield lambda: self.queue
            batch, self.queue = self.queue, []
            try:
                events = self.sql.commit([op for op, _ in batch])
            except SqlDown as error:
                for _, slot in batch:
                    slot[0] = error
                continue
            for event in events:
                if isinstance(event, Event):
                    self.note(f"commits {event.room}.r{event.rev} ({event.kind} {event.row})")
            yield  # committed; a crash here leaves it to the healing
            rooms = {}
            for (_, slot), event in zip(batch, events, strict=False):
                slot[0] = (event,)
                if isinstance(event, Event):
                    rooms.setdefault(event.room, []).append(event)
            for room, changed in rooms.items():
                self.spawn(self.announce(room, changed))

    def announce(self, room, events):
        yield
        if self.mode != "live":
            self.owed[room] = True
            yield from self.deliver_from_sql(room)
            return
        try:
            if (yield from self.call("append", room, events)) == "gap":
                self.note(f"append {room}.r{events[0].rev}: gap")
                yield from self.fill(room)
        except Timeout:
            self.owed[room] = True
            self.lost()
            yield from self.deliver_from_sql(room)
        except SqlDown:
            pass  # the healing will

    def fill(self, room):
        """Append from SQL what the log lacks. Anyone may, at any time; twice does nothing."""
        while True:
            last = yield from self.call("last", room)
            if last is None:
                mine = self.rooms.get(room)
                if mine is None or not mine.ready:
                    return
                yield from self.open(mine)
                continue
            newest, events = self.sql.changes(room, last)
            if not events:
                return
            yield
            if newest.rev - last.rev > FILL_MAX:
                self.note(f"resets the log of {room} at r{newest.rev}")
                yield from self.call("reset", room, newest)
                return
            if (yield from self.call("append", room, events)) == "ok":
                return

    def open(self, room):
        """A log for a room that has none. Its base is what SQL has: nothing published before comes again."""
        base = self.sql.mark(room.name)
        if room.ready and not self.design.base_from_sql:
            base = room.mark
        yield
        yield from self.call("open", room.name, base)

    # --- the bus

    def lost(self):
        """From here on SQL delivers, until a resync. The one answer to every doubt about the bus."""
        if self.mode == "live":
            self.note("the bus is away")
            self.departures += 1
        self.mode = "away"
        if self.sub in self.redis.subs:
            self.redis.subs.remove(self.sub)
        self.sub = None
        for conn in list(self.conns):
            if conn.added:
                self.spoil(conn)

    def pump(self, sub):
        while True:
            yield lambda: sub.queue or sub.eof or self.sub is not sub
            if self.sub is not sub:
                return
            if not sub.queue:
                self.lost()
                return
            message = sub.queue.popleft()
            if isinstance(message, tuple):
                {"marker": self.marked, "takeover": self.taken_over}[message[0]](*message[1:])
            elif self.mode == "live":
                self.on_bus(message)
            elif self.mode == "sync":
                self.hold.append(message)
                if len(self.hold) > HOLD_MAX:  # I6: start over rather than grow
                    self.hold.clear()
                    self.overrun = True

    def marked(self, token):
        self.markers[token] = True

    def on_bus(self, event):
        room = self.rooms.get(event.room)
        if room is None:
            return
        if not room.ready:
            room.early.append(event)
            return
        if event.epoch != self.epoch:
            self.note(f"epoch changed under it: {event}")
            self.lost()
            return
        if event.pos <= room.pos:
            return
        try:
            if self.design.hole_check and event.prev > room.pos:
                raise Hole
            if event.kind == "base":
                if event.rev > room.delivered:
                    raise Hole
            else:
                self.deliver(room, event)
            room.pos = event.pos
        except Hole:
            self.note(f"hole before {event}")
            self.lost()

    def deliver(self, room, event):
        """The one way to the members: in order, each thing once."""
        if event.kind == "chunk":
            have = room.have.get(event.row)
            if have is None:
                return  # its end was delivered
            if event.index > have and self.design.hole_check:
                raise Hole
            room.have[event.row] = max(have, event.index + len(event.items))
            room.give(event)  # each member takes what it lacks; a late one may lack more
            return
        if event.rev <= room.delivered:
            return
        if event.frm > room.delivered + 1 and self.design.hole_check:
            raise Hole
        short = room.have.get(event.row) != event.final
        if event.closed and event.text is None and self.design.end_with_text and short:
            raise Hole
        if event.seq and not room.told(event.seq) and self.design.retold:
            event = retold(event)  # this node told of it from SQL, the log only of what became of it
        room.delivered = event.rev
        if event.stream:
            if event.closed:
                room.have.pop(event.row, None)
                if event.row in self.producers:
                    self.producers[event.row].stop = True  # ended by another node
            else:
                room.have.setdefault(event.row, 0)
        room.give(event)

    def subscribe(self, sub, room):
        if self.design.subscribe_first:
            yield from self.call("subscribe", sub, room)
        else:

            def later():
                try:
                    yield from self.call("subscribe", sub, room)
                except Timeout:
                    self.lost()

            self.spawn(later())

    # --- away: SQL delivers

    def deliver_from_sql(self, name):
        """What SQL has beyond what was delivered here. Its position cannot be recovered from."""
        room, departures = self.rooms.get(name), self.departures
        if room is None or not room.ready or self.mode == "live":
            return
        while True:
            base = room.mark
            try:
                _, events = self.sql.changes(name, base)
            except SqlDown:
                return
            yield
            if self.mode == "live" or self.departures != departures or self.rooms.get(name) is not room:
                return
            if room.mark == base or not self.design.judge_by_mark:
                break
        self.deliver_healed(room, events)

    def deliver_healed(self, room, events):
        for event in events:
            if event.rev > room.delivered:
                self.note(f"delivers {event} from SQL")
                self.deliver(room, event)
