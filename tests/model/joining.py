"""Connections: connect, join, leave, recover. A connection's record and what its client may rely on
(events/joining.py, events/membership.py, events/recovery.py, events/snapshots.py)."""

from .events import INF, POISON, clip, retold
from .hub import Conn, Member, Room
from .redis import Record, Seat, Timeout
from .sql import SqlDown


class Gone(Exception):
    """The connection went away in the middle."""


class Joining:
    def accept(self, link, pid, offset):
        conn = Conn(self, link)
        self.conns[conn] = True
        self.spawn(conn.writer())
        self.spawn(self.serve(conn, pid, offset))

    def serve(self, conn, pid, offset):
        recovered = False
        if pid and self.mode == "live":
            try:
                recovered = yield from self.recover(conn, pid, offset)
            except Timeout:
                self.lost()
            except (SqlDown, Gone):
                pass
            if not recovered:
                for room in list(conn.rooms):
                    self.part(conn, room)
                conn.release()
        if not recovered and conn.open:
            yield from self.connected(conn)
            conn.send(("connect", conn.pid))
        while conn.open:
            yield lambda: conn.link.to_server or not conn.open
            if conn.open:
                command, ref, body = conn.link.to_server.popleft()
                yield from getattr(self, "do_" + command)(conn, ref, body)

    def connected(self, conn):
        """A new connection with a record of its own, if the bus is there."""
        conn.added = True
        conn.pid = f"p{self.sim.new_id()}"
        if self.mode == "live":
            try:
                yield from self.save(conn, {})
                return
            except Timeout:
                self.lost()
        conn.pid = None

    def spoil(self, conn):
        """Its record or its offset cannot be trusted: make the offset unusable, and say so."""
        conn.spoiled = conn.spoiled or self.design.spoil
        if conn.spoiled and conn.pid and conn.rooms and not conn.warned and self.design.warn_at_once:
            conn.warned = True
            conn.send(("offset", POISON))

    def drop(self, conn):
        conn.open = conn.link.server_open = False
        self.conns.pop(conn, None)
        for room in list(conn.rooms):
            self.part(conn, room)

    def taken_over(self, pid, gen):
        for conn in [c for c in self.conns if c.pid == pid and c.gen < gen]:
            self.note(f"{conn.link.client.name}'s old connection here was taken over")
            conn.pid = None
            self.drop(conn)

    def part(self, conn, name):
        member = conn.rooms.pop(name, None)
        if conn.held:
            conn.held = [each for each in conn.held if each[0] is not member]
        room = self.rooms.get(name)
        if room and room.members.pop(conn, None) and not room.members:
            del self.rooms[name]
            if self.sub:
                # One connection, commands in order: a later SUBSCRIBE is confirmed after this.
                self.sub.channels.pop(name, None)

    def enter(self, conn, name):
        """A member that is not live yet: what comes meanwhile waits for its reply."""
        if not conn.open:
            raise Gone
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = Room(name)
        member = conn.rooms.get(name)
        if member is None:
            member = Member(conn, room)
            conn.rooms[name] = room.members[conn] = member
        member.joining = True
        return member

    def still(self, room, departures):
        return self.mode == "live" and self.departures == departures and self.rooms.get(room.name) is room

    def begin(self, room, cut, info):
        """A room's first cut on this node."""
        if room.ready:
            return
        room.ready, room.began, room.pos = True, cut, cut
        room.delivered, room.seq = info.last.rev, info.last.seq
        room.have = {row: len(s.text) for row, s in info.streams.items()}
        for row in self.sql.rows[room.name].values():
            if row.open and row.rev <= info.last.rev:
                room.have.setdefault(row.id, 0)
        early, room.early = room.early, []
        for event in early:
            if self.mode == "live":
                self.on_bus(event)
            elif self.mode == "sync":
                self.hold.append(event)

    def advance(self, room, cut, info):
        """Served all that its log held at a cut, a room is served up to the cut."""
        if room.pos >= info.pos:
            room.pos = max(room.pos, cut)

    # --- join

    def do_join(self, conn, ref, body):
        name, after = body
        was_member = name in conn.rooms
        conn.hold()
        try:
            while True:
                member = self.enter(conn, name)
                if self.mode == "live":
                    try:
                        reply = yield from self.seat_live(member)
                    except Timeout:
                        self.lost()
                        continue
                else:
                    reply = yield from self.seat_away(member)
                if reply is not None:
                    break
        except SqlDown:
            if not was_member:
                self.part(conn, name)
            conn.release()
            conn.send(("ack", ref, None))
            return
        except Gone:
            return
        if not conn.open:
            return
        if conn.spoiled and self.design.warn_who_joins:
            self.spoil(conn)
        newest, view = reply
        conn.send(
            ("ack", ref, (newest, {r: v for r, v in view.items() if v[0] > after or (v[1] and not v[2])}))
        )
        conn.release()

    def seat_live(self, member):
        """Cut, then snapshot: all that the log holds at the cut is in the snapshot. None: begin anew."""
        conn, room, name = member.conn, member.room, member.room.name
        departures = self.departures
        if name not in self.sub.channels:
            yield from self.subscribe(self.sub, name)
        while True:
            epoch, cut, infos = yield from self.call("read", {name: 1 << 60})
            info = infos[name]
            if info:
                break
            yield from self.open(room)
        if not self.still(room, departures):
            return None
        if epoch != self.epoch:
            self.lost()
            return None
        if cut < room.began and self.design.cut_after_begin:
            return None
        if not room.ready:
            self.sql.check()
            yield
            if not self.still(room, departures) and self.design.still_before_begin:
                return None
            self.begin(room, cut, info)
            if cut < room.began and self.design.cut_after_begin:
                return None  # somebody else was faster, with a later cut
        yield
        newest, view, floors = self.snapshot(name, info.streams)
        if not self.design.closed_floor:
            floors = {row: n for row, n in floors.items() if n != INF}
        seat = Seat(cut, newest.rev, floors, newest.seq)
        yield
        if self.design.record_before_ack:
            yield from self.save(conn, {**seats(conn), name: seat})
        else:

            def later():
                try:
                    yield from self.save(conn, {**seats(conn), name: seat})
                except Timeout:
                    self.lost()

            self.spawn(later())
        if not self.still(room, departures):
            return None
        self.advance(room, cut, info)
        member.stand(seat)
        member.seat = seat
        if conn.held:
            conn.held = [(m, e) for m, e in conn.held if m is not member or e.pos > cut]
        return newest.rev, view

    def snapshot(self, name, streams):
        """What a reader is shown, and from which chunk on it needs each stream. What SQL has saved of an
        open one does not say with which chunk it ends."""
        newest, rows = self.sql.snapshot(name)
        floors, view = dict.fromkeys(streams, INF), {}  # ended since the cut, unless it is still open
        for row in rows.values():
            text = row.text
            if row.open:
                text = streams[row.id].text if row.id in streams else ()
                floors[row.id] = len(text)
            elif row.stream:
                floors[row.id] = INF
            view[row.id] = (row.rev, row.stream, row.closed, text)
        return newest, view, floors

    def seat_away(self, member):
        """SQL alone. The connection's record does not hold this room: it cannot be recovered from."""
        room, conn, name = member.room, member.conn, member.room.name
        newest, view, floors = self.snapshot(
            name, {r: p for r, p in self.producers.items() if p.room == name}
        )
        yield
        if self.rooms.get(name) is not room or self.mode == "live":
            return None  # the bus is back, and may not know of the room
        if room.ready and room.delivered > newest.rev and self.design.away_not_behind:
            return None  # somebody else opened the room with a later snapshot
        if not room.ready:
            room.ready, room.delivered, room.seq = True, newest.rev, newest.seq
            room.have = {r: n for r, n in floors.items() if n != INF}
            room.early.clear()
        for row in room.have:
            floors.setdefault(row, INF)
        member.stand(Seat(0, newest.rev, floors, newest.seq))
        member.seat = None
        self.spoil(conn)
        return newest.rev, view

    # --- records

    def save(self, conn, rooms):
        """The record as it will be; the connection goes if another node has it."""
        if conn.pid is None or conn.spoiled:
            return
        if not conn.open and self.design.seal_on_close:
            return  # its rooms are being taken apart: the record stays as it is
        conn.version += 1
        _, answer = yield from self.call("put", conn.pid, Record(self.epoch, conn.gen, conn.version, rooms))
        if answer == "taken":
            self.note(f"{conn.link.client.name}'s record belongs to another node now")
            conn.pid = None
            self.drop(conn)
        elif answer != "ok":
            self.lost()

    def do_leave(self, conn, ref, name):
        if name in conn.rooms:
            self.part(conn, name)
            try:
                if self.mode != "live":
                    raise Timeout
                yield from self.save(conn, seats(conn))
            except Timeout:
                self.lost_if_live()
                self.spoil(conn)
        conn.send(("ack", ref, True))

    def lost_if_live(self):
        if self.mode == "live":
            self.lost()

    def do_write(self, conn, ref, op):
        try:
            event = yield from self.write(*op)
        except SqlDown:
            conn.send(("ack", ref, None))
            return
        conn.send(("ack", ref, True))
        if event and event.stream and event.kind == "created":
            self.produce(event.room, event.row, event.rev)

    # --- recovery

    def recover(self, conn, pid, offset):
        departures, epoch = self.departures, self.epoch
        if offset == POISON:
            return False
        _, record = yield from self.call("take", pid)
        if record is None:
            return False
        self.taken_over(pid, record.gen)
        if record.epoch != epoch or self.departures != departures or self.mode != "live" or not conn.open:
            return False
        mine = offset is not None and offset[0] == epoch
        if offset is not None and offset[0] > epoch:
            return False
        seen = offset[1] if mine else 0
        conn.hold()
        members, asks = {}, {}
        for name in record.rooms:
            self.sql.check()
            members[name] = self.enter(conn, name)
            yield
        for name, seat in record.rooms.items():
            if self.sub is None:
                return False
            if name not in self.sub.channels:
                yield from self.subscribe(self.sub, name)
            asks[name] = max(seen, seat.pos) if self.design.clamp_to_join else (seen or seat.pos)
        if self.design.replay_cut:
            while True:
                epoch2, cut, infos = yield from self.call("read", asks)
                if epoch2 != epoch or not all(self.still(m.room, departures) for m in members.values()):
                    return False
                ahead = [n for n, m in members.items() if infos[n] and m.room.delivered > infos[n].last.rev]
                if ahead and self.design.log_first:
                    for name in ahead:  # SQL delivered it here, and the log does not have it yet
                        yield from self.fill(name)
                    continue
                if (
                    all(not m.room.ready or cut >= m.room.began for m in members.values())
                    or not self.design.cut_after_begin
                ):
                    break
            cuts = dict.fromkeys(asks, cut)
        else:
            infos, cuts, epoch2, cut = {}, {}, epoch, 1 << 60
            for name in asks:
                epoch2, _, one = yield from self.call("read", {name: asks[name]})
                infos[name], cuts[name] = one[name], 0
        if epoch2 != epoch or self.departures != departures or self.mode != "live" or not conn.open:
            return False
        if seen > cut:
            return False
        if any(i is None or (not i.complete and self.design.trim_mark) for i in infos.values()):
            self.note(f"cannot recover {conn.link.client.name}: the log does not reach back")
            return False
        replay, floors = [], {}
        for name, info in infos.items():
            part = missed(info, at(record.rooms[name], asks[name]))
            if part is None:
                return False
            replay += part
            idx = {row: len(s.text) for row, s in info.streams.items()}
            idx.update({row: INF for row, n in record.rooms[name].idx.items() if n == INF})
            seat = record.rooms[name]
            floors[name] = Seat(cuts[name], max(seat.rev, info.last.rev), idx, max(seat.seq, info.last.seq))
        for name, member in members.items():
            if not member.room.ready:
                yield
                if not all(self.still(m.room, departures) for m in members.values()):
                    return False
                self.begin(member.room, cuts[name], infos[name])
        if (
            not all(self.still(m.room, departures) for m in members.values())
            or self.mode != "live"
            or not conn.open
        ):
            return False
        if any(cut < m.room.began for m in members.values()) and self.design.cut_after_begin:
            return False  # somebody else was faster, with a later cut
        for name, member in members.items():
            self.advance(member.room, cuts[name], infos[name])
        conn.pid, conn.gen, conn.added = pid, record.gen, True
        for name, member in members.items():
            member.seat = record.rooms[name]
            member.stand(floors[name])
        replay.sort(key=lambda e: e.pos)
        self.note(f"recovers {conn.link.client.name}: offset {offset}, {len(replay)} missed")
        if self.design.connect_first:
            conn.send(("connect", pid))
        for event in replay:
            conn.outbox.append(("event", event, (event.epoch, event.pos)))
        if not self.design.connect_first:
            conn.send(("connect", pid))
        conn.release()
        return True


def at(seat, pos):
    """A membership's floors as of a later position, up to which everything was had."""
    if pos <= seat.pos:
        return seat
    return Seat(pos, seat.rev, {row: n for row, n in seat.idx.items() if n == INF}, seat.seq)


def missed(info, seat):
    """What a log holds above the asked position, for one reader; None if a stream's end came short."""
    part, reach = [], dict(seat.idx)
    for event in info.entries:
        if event.durable:
            if event.rev <= seat.rev:
                continue
            if 0 < event.seq <= seat.seq:
                event = retold(event)
            if event.closed and event.text is None and reach.get(event.row, event.final) != event.final:
                return None
        else:
            have = reach.get(event.row, event.index)
            if have == INF:
                continue
            try:
                event = clip(event, have)
            except ValueError:
                return None
            if event is None:
                continue
            reach[event.row] = event.index + len(event.items)
        part.append(event)
    return part


def seats(conn):
    return {name: m.seat for name, m in conn.rooms.items() if m.seat is not None}
