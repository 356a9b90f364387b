"""A node's rooms and connections: floors, what waits, what is merged (events/hub.py, events/outbox.py)."""

from dataclasses import replace

from .events import INF, POISON, Mark, clip, retold


class Hole(Exception):
    """What came is not next: something before it is missing."""


class Member:
    """A connection in a room: floors below which it has everything."""

    def __init__(self, conn, room):
        self.conn, self.room = conn, room
        self.pos = self.rev = self.seq = 0
        self.idx = {}
        self.seat = None  # Seat, as the connection's record holds it
        self.joining = True

    def stand(self, seat):
        self.pos, self.rev, self.seq, self.idx = seat.pos, seat.rev, seat.seq, dict(seat.idx)

    def take(self, event):
        """Raises Hole: it cannot be made whole from here."""
        conn, design = self.conn, self.conn.node.design
        if conn.held is not None and (self.joining or design.hold_connection):
            conn.held.append((self, event))
            return
        if event.pos and event.pos <= self.pos:
            return
        if event.durable:
            if event.rev <= self.rev and design.join_floor:
                return
            if 0 < event.seq <= self.seq and design.retold:
                event = retold(event)
            short = self.idx.get(event.row, event.final) not in (event.final, INF)
            if event.closed and event.text is None and design.end_with_text and short:
                raise Hole
            if event.stream:
                self.idx[event.row] = INF if event.closed else self.idx.get(event.row, 0)
            conn.give(event)
            return
        have = self.idx.get(event.row, 0)
        part = event
        if design.join_floor:
            if have == INF:
                return
            try:
                part = clip(event, have)
            except ValueError:
                raise Hole from None
        if part:
            self.idx[event.row] = max(have, event.index + len(event.items))
            conn.give(part)


class Room:
    def __init__(self, name):
        self.name = name
        self.members = {}  # conn -> Member
        self.ready = False  # known: up to where this node has delivered
        self.began = 0  # the cut it was begun with
        self.early = []  # bus messages before it was ready
        self.delivered = 0  # last revision delivered (or not wanted by anyone here)
        self.seq = 0  # every message up to this number was told of
        self.ahead = set()  # and these above it: an edit puts a message behind later ones
        self.have = {}  # open stream -> chunks delivered
        self.pos = 0  # position of the last entry taken from the bus or a cut

    @property
    def mark(self):
        return Mark(self.delivered, self.seq)

    def told(self, seq):
        """A message is told of; False if it was before."""
        if seq <= self.seq or seq in self.ahead:
            return False
        self.ahead.add(seq)
        while self.seq + 1 in self.ahead:
            self.seq += 1
            self.ahead.remove(self.seq)
        return True

    def give(self, event):
        for member in list(self.members.values()):
            try:
                member.take(event)
            except Hole:
                member.conn.cut()


class Conn:
    """The server's end of one connection."""

    def __init__(self, node, link):
        self.node, self.link = node, link
        self.pid, self.gen, self.version = None, 0, 0
        self.rooms = {}
        self.open, self.added = True, False
        self.spoiled = self.warned = False  # its offsets cannot be recovered from any more, and it knows
        self.held = None  # while a join or a recovery runs: what came for ANY of its rooms, in order
        self.outbox = []

    def __str__(self):
        return f"{self.link.client.name} on {self.node.name}"

    def cut(self):
        self.node.note(f"cuts {self.link.client.name}: it cannot be made whole from here")
        self.node.drop(self)

    def hold(self):
        if self.held is None:
            self.held = []

    def release(self):
        held, self.held = self.held or [], None
        if all(event.pos for _, event in held):
            held.sort(key=lambda each: (each[1].epoch, each[1].pos))
        for member in self.rooms.values():
            member.joining = False
        for member, event in held:
            if self.rooms.get(member.room.name) is member:
                try:
                    member.take(event)
                except Hole:
                    self.cut()

    def give(self, event):
        """With its position, unless that proves nothing."""
        offset = POISON if self.spoiled else (event.epoch, event.pos) if event.pos else None
        self.send(("event", event, offset))

    def send(self, frame):
        if not self.open:
            return
        if frame[0] == "event" and frame[1].kind == "chunk" and self._merge(frame):
            return
        self.outbox.append(frame)

    def _merge(self, frame):
        """Backpressure: merge a chunk into one that still waits. Only into the very last frame: an
        offset stands for everything before it."""
        event = frame[1]
        reach = 1 if self.node.design.merge_tail_only else len(self.outbox)
        for i in range(len(self.outbox) - 1, len(self.outbox) - 1 - reach, -1):
            if i < 0 or self.outbox[i][0] != "event":
                continue
            tail = self.outbox[i][1]
            if tail.kind == "chunk" and tail.row == event.row:
                merged = replace(tail, items=tail.items + event.items, pos=event.pos)
                self.outbox[i] = ("event", merged, frame[2])
                return True
        return False

    def writer(self):
        while True:
            yield lambda: self.outbox
            for _ in range(self.node.sim.rng.randint(1, len(self.outbox))):
                frame = self.outbox.pop(0)
                if self.link.server_open:
                    self.link.to_client.append(frame)
