"""The database: sessions with a gap-free revision, rows that keep only their newest state."""

from dataclasses import dataclass, replace

from .events import Event, Mark


class SqlDown(Exception):
    pass


@dataclass(frozen=True)
class Row:
    id: str
    seq: int
    rev: int
    stream: bool = False
    closed: bool = True
    text: tuple = ()

    @property
    def open(self):
        return self.stream and not self.closed


class Sql:
    def __init__(self, design, rooms):
        self.design = design
        self.up = True
        self.last = {room: 0 for room in rooms}  # sessions.last_revision
        self.seq = {room: 0 for room in rooms}  # sessions.last_seq
        self.rows = {room: {} for room in rooms}
        self.history = {room: [None] for room in rooms}  # for the checker alone: rev -> row id

    def check(self):
        if not self.up:
            raise SqlDown

    def commit(self, ops):
        """One transaction (row locks give each room's revisions in commit order). An op's result is its
        Event, None if it changes nothing (duplicate, or the stream is already closed)."""
        self.check()
        return [self._apply(*op) for op in ops]

    def _apply(self, what, room, row_id, more=None):
        more = more or {}
        row = self.rows[room].get(row_id)
        if what == "create":
            if row:
                return None
            rev = self._next(room, row_id)
            self.seq[room] += 1
            stream = more.get("stream", False)
            self.rows[room][row_id] = row = Row(row_id, self.seq[room], rev, stream, not stream)
            return Event(room, row_id, "created", rev, rev, row.seq, stream)
        if what == "edit":
            if not row or not row.closed or row.stream:
                return None
            rev = self._next(room, row_id)
            self.rows[room][row_id] = replace(row, rev=rev)
            return Event(room, row_id, "changed", rev, rev)
        if what == "end":
            if not row or row.closed:
                return None
            rev = self._next(room, row_id)
            text, final = more["text"], more["final"]
            self.rows[room][row_id] = replace(row, rev=rev, closed=True, text=text)
            return Event(room, row_id, "changed", rev, rev, 0, True, True, text if final < 0 else None, final)
        if what == "checkpoint":  # no revision: the text so far
            if row and not row.closed and len(more["text"]) >= len(row.text):
                self.rows[room][row_id] = replace(row, text=more["text"])
            return bool(row and not row.closed)
        raise AssertionError(what)

    def _next(self, room, row_id):
        self.last[room] += 1
        self.history[room].append(row_id)
        return self.last[room]

    def mark(self, room):
        self.check()
        return Mark(self.last[room], self.seq[room])

    def changes(self, room, base):
        """One statement: (mark, events for all that changed after `base`). A row gives one event, at its
        newest revision: the creation and the edits before it were overtaken and are covered. Rows do not
        say when they were created: one whose number is beyond the base's is told of as new."""
        self.check()
        events, before = [], base.rev
        for row in sorted(self.rows[room].values(), key=lambda r: r.rev):
            if row.rev > base.rev:
                new = row.seq > base.seq
                ended = row.stream and row.closed
                events.append(
                    Event(
                        room,
                        row.id,
                        "created" if new else "changed",
                        row.rev,
                        before + 1,
                        row.seq if new else 0,
                        row.stream,
                        ended,
                        row.text if ended else None,
                    )
                )
                before = row.rev
        return self.mark(room), events

    def snapshot(self, room):
        return self.mark(room), dict(self.rows[room])
