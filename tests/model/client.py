"""The official Socket.IO client (4.8, read from its source) and an application that checks what it sees.

The application trusts the server: it never drops an event as old. That is the point of the model."""

from collections import deque

from .events import POISON
from .sim import Violation


class Link:
    """One socket. Either end may be gone without the other knowing."""

    def __init__(self, client):
        self.client = client
        self.to_client, self.to_server = deque(), deque()
        self.client_open = self.server_open = True


class Client:
    paused = False

    def __init__(self, world, name):
        self.world, self.sim, self.name = world, world.sim, name
        # the library
        self.pid = self.offset = None
        self.buffer = []  # receiveBuffer: survives a broken connection
        self.connected = False
        self.link = None
        # the application
        self.want = {}  # rooms it wants to be in
        self.joined = {}  # rooms whose join was answered
        self.have = {}  # room -> revision
        self.rows = {}  # room -> {row: revision}
        self.text = {}  # row -> [chunks, done]
        self.refs = {}  # ref -> command waiting for its ack
        self.unsent = []  # writes to (re)send
        self.acked = {}  # rows whose creation was acknowledged: (room, row)
        self.recoveries = self.refusals = 0
        self.top = None  # last good offset on this connection

    # --- the library

    def dial(self, node):
        self.link = link = Link(self)
        self.top = None
        node.accept(link, self.pid, self.offset)
        self.sim.note(f"{self.name:8}: connects to {node.name} with pid {self.pid}, offset {self.offset}")
        self.sim.spawn(self.reader(link), self)

    def hang_up(self, how):
        """clean: both ends know; half-open: the server's end lingers, and may still act on what it has."""
        link, self.link = self.link, None
        link.client_open = False
        if how == "clean":
            link.server_open = False
        self.connected = False
        for what, body in self.refs.values():
            if what == "write":
                self.unsent.append(body)
            elif what == "join":
                # Rule for applications: a join without its reply is repeated, recovered or not.
                self.joined.pop(body[0], None)
        self.refs = {}
        self.sim.note(f"{self.name:8}: its socket breaks ({how})")

    def reader(self, link):
        while link.client_open:
            yield lambda: link.to_client or not link.client_open
            if link.client_open:
                self.on_frame(link.to_client.popleft())

    def on_frame(self, frame):
        kind = frame[0]
        if kind == "connect":
            recovered = self.pid is not None and self.pid == frame[1]
            self.pid, self.connected = frame[1], True
            buffered, self.buffer = self.buffer, []
            for packet in buffered:
                self.on_event(packet)
            self.on_connect(recovered)
        elif kind == "ack":
            self.on_ack(frame[1], frame[2])
        elif self.connected:
            self.on_event(frame)
        else:
            self.buffer.append(frame)

    def on_event(self, frame):
        if frame[0] == "offset":
            offset = frame[1]
        else:
            offset = frame[2]
            self.on_room_event(frame[1], offset)
        if offset is not None and self.pid is not None:  # a last string argument
            self.offset = offset
            if offset != POISON:
                if self.top and self.top[0] == offset[0] and offset[1] < self.top[1]:
                    self.bad("I3", f"offset went back from {self.top} to {offset}")
                self.top = offset

    # --- the application

    def bad(self, which, why):
        raise Violation(f"{which} {self.name}: {why}")

    def emit(self, command, body):
        ref = self.sim.new_id()
        self.refs[ref] = (command, body)
        self.link.to_server.append((command, ref, body))

    def on_connect(self, recovered):
        self.sim.note(f"{self.name:8}: connected, recovered={recovered}")
        if recovered:
            self.recoveries += 1
        else:
            self.refusals += 1
            self.joined = {}
        for room in self.want:
            if room not in self.joined:
                self.emit("join", (room, self.have.get(room, 0)))
        for op in self.unsent:
            self.emit("write", op)
        self.unsent = []

    def join(self, room):
        self.want[room] = True
        if self.connected and room not in self.joined:
            self.emit("join", (room, self.have.get(room, 0)))

    def leave(self, room):
        self.want.pop(room, None)
        self.joined.pop(room, None)
        if self.connected:
            self.emit("leave", room)

    def write(self, op):
        if self.connected:
            self.emit("write", op)

    def on_ack(self, ref, body):
        command = self.refs.pop(ref, None)
        if command is None:
            return
        what, arg = command
        if what == "write":
            if body:
                self.acked[arg[1:3]] = True
            else:
                self.unsent.append(arg)
        elif what == "join":
            room = arg[0]
            if room not in self.want or ("leave", room) in self.refs.values():
                return
            if body is None:
                self.joined.pop(room, None)
                self.emit("join", (room, self.have.get(room, 0)))
                return
            self.on_snapshot(room, *body)

    def on_snapshot(self, room, newest, rows):
        if newest < self.have.get(room, 0):
            self.bad("I1", f"join {room} answers r{newest} after r{self.have[room]} was seen")
        known = self.rows.setdefault(room, {})
        for row, (rev, stream, closed, text) in rows.items():
            if rev > known.get(row, 0) or (stream and not closed):
                known[row] = rev
                if stream:
                    self.text[row] = [list(text), closed]
        self.have[room] = newest
        self.joined[room] = True
        self.sim.note(f"{self.name:8}: has joined {room} at r{newest}")

    def on_room_event(self, event, offset):
        room = event.room
        if room not in self.joined:
            return  # not answered yet: the reply will hold it
        self.sim.note(f"{self.name:8}: handler gets {event} (offset {offset})")
        known = self.rows.setdefault(room, {})
        if event.kind == "chunk":
            text = self.text.get(event.row)
            if text is None:
                self.bad("I4", f"{event} of an unknown stream")
            if text[1]:
                self.bad("I4", f"{event} after its end")
            if event.index != len(text[0]):
                self.bad("I4", f"{event} but has {len(text[0])} chunks")
            text[0].extend(event.items)
            return
        have = self.have.get(room, 0)
        if event.rev <= have:
            self.bad("I1", f"{event} again (has r{have})")
        history = self.world.sql.history[room]
        for missed in range(have + 1, event.rev):
            row = history[missed]
            if self.world.sql.rows[room][row].rev <= missed:
                self.bad("I1", f"{event} but r{missed} ({row}) never came, and nothing overtook it")
        if (event.kind == "created") == (event.row in known):
            self.bad("I1", f"{event}: the row is {'known' if event.row in known else 'unknown'}")
        known[event.row] = event.rev
        self.have[room] = event.rev
        if event.stream:
            if event.closed:
                text = self.text.setdefault(event.row, [[], False])
                if event.text is not None:
                    text[0] = list(event.text)
                text[1] = True
            else:
                self.text[event.row] = [[], False]

    def check(self):
        """At rest: everything is here."""
        sql = self.world.sql
        for room in self.want:
            if room not in self.joined:
                self.bad("liveness", f"never got into {room}")
            if self.have[room] != sql.last[room]:
                self.bad("I1", f"{room} is at r{sql.last[room]}, was shown r{self.have[room]}")
            for row in sql.rows[room].values():
                if self.rows[room].get(row.id) != row.rev:
                    self.bad("I1", f"{row} shown at r{self.rows[room].get(row.id)}")
                if row.stream and tuple(self.text[row.id][0]) != row.text:
                    self.bad("I4", f"text of {row.id}: {self.text[row.id][0]} is not {list(row.text)}")
        for room, row in self.acked:
            if row not in sql.rows[room]:
                self.bad("I1", f"{row} was acknowledged and is not there")
