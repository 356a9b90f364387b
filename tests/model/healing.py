"""The way back to the bus, and the poll that compares a node's rooms with SQL (events/healing.py)."""

from .events import Event
from .redis import Sub, Timeout
from .sql import SqlDown


class Healing:
    def keep_live(self):
        while True:
            yield lambda: self.mode != "live"
            self.mode = "sync"
            try:
                done = yield from self.resync()
            except (Timeout, SqlDown):
                done = False
            if done:
                continue
            if self.mode == "sync":
                self.mode = "away"
            # a retry comes after a pause, as long as the bus cannot be reached
            yield lambda: self.redis.reachable(self) and not self.redis.hung and self.sql.up

    def resync(self):
        """Everything is held while the node catches up, for all its rooms as of one cut."""
        departures = self.departures
        self.hold.clear()
        self.overrun = False
        self.sub = sub = Sub(self)
        self.spawn(self.pump(sub))
        yield from self.call("marker", sub, None)  # connected
        if not self.design.resync_on_reconnect and self.epoch is not None:
            for name in list(self.rooms):
                yield from self.subscribe(sub, name)
            return self.go_live(self.epoch)
        while True:
            rooms = {name: room for name, room in self.rooms.items() if room.ready}
            for name in [n for n in self.rooms if n not in sub.channels]:
                yield from self.subscribe(sub, name)
            epoch, cut, infos = yield from self.call("read", dict.fromkeys(rooms, 1 << 60), True)
            missing = [name for name, info in infos.items() if info is None]
            for name in missing:
                yield from self.open(rooms[name])
            if self.mode != "sync" or self.departures != departures or sub.eof:
                return False
            if self.overrun:
                self.hold.clear()
                self.overrun = False
                continue
            if missing:
                continue
            changed = {}
            for name, room in rooms.items():
                changed[name] = room.mark, self.sql.changes(name, room.mark)[1]
                yield
            # A room may have come, or gone and come back, since the cut; or something was delivered in it.
            covered = all(rooms.get(n) is r for n, r in self.rooms.items() if r.ready)
            if self.design.judge_by_mark:
                covered &= all(room.mark == changed[name][0] for name, room in rooms.items())
            if self.mode != "sync" or self.departures != departures or sub.eof:
                return False
            if covered and not self.overrun:
                break
        # In one turn: the rest from SQL, open streams' texts, and live.
        for name, room in rooms.items():
            if self.rooms.get(name) is not room:
                continue
            self.deliver_healed(room, changed[name][1])
            for row, stream in infos[name].streams.items():
                self.catch_up(room, row, stream.text)
            room.pos, room.began = cut, 0
            if self.design.no_other_epoch:
                for member in room.members.values():
                    member.pos = 0  # the room's position holds for all; never one of another epoch
        if not self.go_live(epoch):
            return False
        if self.design.ask_again:
            for producer in self.producers.values():
                producer.ask = True
        yield from self.pay()
        return True

    def catch_up(self, room, row, text):
        """What an open stream's text has beyond what was delivered here, as one chunk."""
        have = room.have.get(row)
        if have is not None and len(text) > have:
            self.deliver(room, Event(room.name, row, "chunk", index=have, items=text[have:]))

    def go_live(self, epoch):
        if self.sub is None:
            return False
        self.epoch, self.mode = epoch, "live"
        self.note(f"live on the bus, epoch {epoch}")
        while self.hold and self.mode == "live":
            self.on_bus(self.hold.popleft())
        return self.mode == "live"

    def pay(self):
        """Fill the rooms whose appends failed here; others' polls would, later."""
        while self.owed and self.mode == "live":
            room, _ = self.owed.popitem()
            try:
                yield from self.fill(room)
            except (Timeout, SqlDown):
                self.owed[room] = True
                return

    # --- the poll

    def canary(self):
        """Through the bus and back."""
        sub, token = self.sub, self.sim.new_id()
        try:
            epoch = yield from self.call("marker", sub, token)
        except Timeout:
            self.lost()
            return
        yield lambda: token in self.markers or sub.deaf or sub.eof or self.sub is not sub
        if token not in self.markers and self.sub is sub:
            self.note("its canary does not come back: deaf")
            self.lost()
        self.markers.pop(token, None)
        if self.mode == "live" and epoch != self.epoch:
            self.lost()

    def tick(self):
        """A canary, and last_revision of all live rooms against SQL."""
        if not self.design.heal_poll:
            return
        try:
            if self.mode == "live":
                yield from self.canary()
            names = [name for name, room in self.rooms.items() if room.ready]
            self.sql.check()
            newest = {name: self.sql.last[name] for name in names}
            yield
            if self.mode == "live":
                # Keep the logs of rooms with members alive; one that is gone nevertheless is made anew.
                for name in names:
                    if (yield from self.call("last", name)) is None and name in self.rooms:
                        yield from self.open(self.rooms[name])
            for name in names:
                room = self.rooms.get(name)
                if room is None or not room.ready or room.delivered >= newest[name]:
                    continue
                self.note(f"poll: {name} is at r{newest[name]} in SQL, at r{room.delivered} here")
                if self.mode != "live":
                    yield from self.deliver_from_sql(name)
                else:
                    yield from self.heal(name, newest[name])
            yield from self.tick_streams()
        except Timeout:
            self.lost()
        except SqlDown:
            pass

    def heal(self, name, revision):
        yield from self.fill(name)
        if self.mode == "live":
            yield from self.canary()  # what was appended is here, if we are not deaf
        room = self.rooms.get(name)
        if self.mode == "live" and room is not None and room.ready and room.delivered < revision:
            self.note(f"{name}: still not here; resync")
            self.lost()
