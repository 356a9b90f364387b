"""Streams: a producer's text, its chunks to the log, its end, or another's (events/streams.py)."""

from .events import Event
from .redis import Timeout
from .sql import SqlDown


class Producer:
    def __init__(self, room, row, start_rev):
        self.room, self.row, self.start_rev = room, row, start_rev
        self.text, self.logged, self.stop = (), 0, False
        self.ask = False  # the bus was away: ask where the text ends there
        self.stuck = False  # the log took nothing: again with the next chunk, or the next poll


class Streams:
    def produce(self, room, row, start_rev):
        producer = self.producers[row] = Producer(room, row, start_rev)
        self.spawn(self.author(producer))
        self.spawn(self.pusher(producer))

    def author(self, p):
        for i in range(self.sim.rng.randint(1, 6)):
            for _ in range(self.sim.rng.randint(1, 6)):
                yield
            if p.stop:
                break
            p.text += (f"{p.row}.{i}",)
            p.stuck = False
            if self.mode != "live":
                self.deliver_here(p)
            saved = ("checkpoint", p.room, p.row, {"text": p.text})
            if self.sim.chance(0.3) and self.sql.up and self.sql.commit([saved]) == [False]:
                break  # another node has ended it
        limit = self.sim.rng.randint(0, 40)
        for _ in range(limit):  # SETTLE
            if p.stop or p.logged >= len(p.text) or self.mode != "live":
                break
            yield
        yield from self.end_own(p)
        p.stop = True
        self.producers.pop(p.row, None)

    def deliver_here(self, p):
        """The bus is away: members on this node see their own node's chunks; the log gets them later."""
        room = self.rooms.get(p.room)
        have = room.have.get(p.row) if room is not None and room.ready else None
        if have is not None and have < len(p.text):
            self.deliver(room, Event(p.room, p.row, "chunk", index=have, items=p.text[have:]))

    def pusher(self, p):
        """One append in flight; what arrives meanwhile leaves, merged, with the next."""
        while not p.stop:
            yield (
                lambda: (
                    p.stop or (self.mode == "live" and (p.ask or (p.logged < len(p.text) and not p.stuck)))
                )
            )
            if p.stop:
                return
            try:
                upto, index = len(p.text), p.logged
                if p.ask:
                    p.ask, index, upto = False, -1, -1  # no chunk has this index
                items = p.text[index:upto] if index >= 0 else ()
                answer, n = yield from self.call("chunk", p.room, p.row, p.start_rev, index, items)
                if answer == "gap":
                    yield from self.fill(p.room)
                    if (yield from self.call("last", p.room)) is None:
                        p.stuck = True
                elif answer == "nobody":
                    if self.sim.chance(0.5):
                        p.stuck = True
                    else:
                        yield from self.call("open", p.room, self.sql.mark(p.room))
                elif answer == "closed":
                    return  # ended by another; its end arrives as an event
                else:
                    p.logged = min(n, len(p.text))
            except Timeout:
                self.lost()
                self.deliver_here(p)
            except SqlDown:
                yield lambda: self.sql.up

    def tick_streams(self):
        for p in self.producers.values():
            p.stuck = False
        return
        yield

    def end_own(self, p):
        """By its producer: without the text only where the log has all of it."""
        whole = self.mode == "live" and p.logged == len(p.text)
        if self.design.close_first:
            try:
                logged = yield from self.call("close", p.room, p.row)
                whole = whole and len(logged) == len(p.text)
            except Timeout:
                self.lost()
                whole = False
        if not self.design.end_with_text:
            whole = True
        yield from self.commit_end(p.room, p.row, p.text, len(p.text) if whole else -1)

    def end_for(self, room, row, saved):
        """By a cancel or the janitor: with the longest text that is known."""
        text, final = saved, -1
        if self.mode == "live" and self.design.close_first:
            try:
                text = max(text, (yield from self.call("close", room, row)), key=len)
            except Timeout:
                self.lost()
        elif not self.design.close_first and row in self.redis.data.streams:
            text = max(text, self.redis.data.streams[row].text, key=len)
            yield
        if not self.design.own_end_only:
            final = len(text)
        yield from self.commit_end(room, row, text, final)

    def commit_end(self, room, row, text, final):
        while True:
            try:
                yield from self.write("end", room, row, {"text": text, "final": final})
                return
            except SqlDown:
                yield lambda: self.sql.up
