"""The writing end of one socket: one write per loop turn, and backpressure by class.

Knows bytes and events' classes, nothing of rooms or protocols.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from events.event import Codec, Event, Kind, goes_on, merge
from events.held import SMALL, Held
from events.observer import Observer

log = logging.getLogger("parley.outbox")

#: Sinks flushed in one turn of the loop: a system call costs about 5 µs, so that others wait some 2 ms.
FLUSH_BUDGET = 400
#: Most bytes that are joined for one write: copying more saves no time, and bytes that wait to be joined are
#: not counted as backlog.
FULL = 16384
#: Seconds for which the loop lets chunks gather while they, and nothing else, come faster than that: to wake
#: for each costs as much as to carry it. Why it may: docs/adr/0007.
PAUSE = 0.0005
#: With more sinks than this a turn is long enough without.
LONG = 64
#: Events of presence: nobody waits for them, and when many users come at once they are most of the writes.
PATIENT = frozenset({"presence", "system"})
#: Seconds for which these wait for something to leave with.
PATIENCE = 0.25


class Flusher:
    """Writes once per turn of the loop what was pushed to each sink in it."""

    __slots__ = (
        "_chunks", "_dirty", "_flushed", "_loop", "_others", "_patient", "_scheduled", "held", "observer",
    )  # fmt: skip

    def __init__(self, observer: Observer | None = None, held: Held | None = None) -> None:
        """`held` is what all sinks hold together."""
        self.observer = observer or Observer()
        self.held = Held() if held is None else held
        self._dirty: list[Sink] = []
        self._patient: list[Sink] = []  # those that have something that waits
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._chunks = 0  # that this turn brought
        self._others = False  # whether it brought anything else
        self._flushed = 0.0  # when chunks left last

    def add(self, sink: "Sink") -> None:
        self._others = True
        self._dirty.append(sink)
        if not self._scheduled:
            self._schedule()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, asked for once: `get_running_loop` makes a system call each time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _schedule(self) -> None:
        self._scheduled = True
        self.loop.call_soon(self._flush)

    def fan_out(
        self, sinks: list["Sink"], data: bytes, event: Event | None = None, codec: Codec | None = None
    ) -> None:
        """Push the same bytes to many; with `event` and `codec`, what is slow treats it by its class. Nobody
        else has the list: whoever is cut off on the way leaves its room at once."""
        patient = False
        if event is None:
            self._others = True
        elif event.sizes:
            self._chunks += 1
        elif event.name in PATIENT:
            patient = True
        else:
            self._others = True
        # The members of a room mostly share what is in `out`: the joined bytes are made once.
        before = both = None
        slow: list[Backlog] | None = None
        add = self._dirty.append
        for sink in sinks:
            backlog = sink.backlog
            if backlog is not None:
                if slow is None:
                    slow = []
                slow.append(backlog)
                continue
            out = sink.out
            if out is None:
                if patient:
                    self._let_wait(sink, data)
                else:
                    sink.out = data
                    add(sink)
            elif out is before:
                sink.out = both
            elif len(out) < FULL:
                before = out
                sink.out = both = out + data
            else:
                self.leave(sink)
                if event is None or codec is None:
                    sink.push(data)
                else:
                    sink.give(event, codec, data)
        if slow is not None:
            # What waits is one frame for them all.
            each = len(data) // len(slow)
            for backlog in slow:
                if event is None or codec is None:
                    backlog.add(data, each)
                else:
                    backlog.give(event, codec, data, each)
        if self._dirty and not self._scheduled:
            self._schedule()

    def _let_wait(self, sink: "Sink", data: bytes) -> None:
        """It leaves before the next that is pushed, or in a moment."""
        if sink.waits is not None:
            sink.waits.append(data)
            return
        sink.waits = [data]
        if not self._patient:
            self.loop.call_later(PATIENCE, self._waited)
        self._patient.append(sink)

    def _waited(self) -> None:
        patient, self._patient = self._patient, []
        for sink in patient:
            if sink.waits is not None:
                self.add(sink)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        if len(dirty) > FLUSH_BUDGET:
            # A large fan-out yields. Order holds: a sink that waits collects what comes in its `out`.
            self._dirty = dirty[FLUSH_BUDGET:]
            del dirty[FLUSH_BUDGET:]
            self._schedule()
        else:
            self._scheduled = False
        write = os.write
        for sink in dirty:
            if sink.waits is None:
                out, sink.out = sink.out, None
            else:
                out = sink.leaving()
            if out:
                try:
                    sent = write(sink.fd, out) if sink.fd >= 0 else 0
                except OSError:
                    sent = 0  # it takes no more, or never will: its transport finds out
                if sent != len(out):
                    # not a copy: all slow members share the waiting bytes of a room's frame
                    self._write(sink, memoryview(out)[sent:] if sent else out)
        chunks, others = self._chunks, self._others
        self._chunks, self._others = 0, False
        if chunks and not others and len(dirty) <= LONG:
            self._gather(chunks)

    def leave(self, sink: "Sink") -> None:
        """What was pushed to a sink leaves before the turn has ended."""
        out = sink.leaving()
        if out:
            self._write(sink, out)

    @staticmethod
    def _write(sink: "Sink", data: Any) -> None:
        try:
            sink.write(data)
        except Exception:  # one that cannot must not take along those behind it
            log.exception("a write failed")

    def _gather(self, chunks: int) -> None:
        """Nobody waits for more than the next chunk: if it will be here in a moment, others will, too."""
        now = monotonic()
        if chunks > 1 or now - self._flushed < PAUSE:
            sleep(PAUSE)
            now += PAUSE
        self._flushed = now


class Sink:
    """The end of a connection that writes. `out` leaves at the end of this turn, what `waits` before it or in
    a moment; `backlog` is there only while the peer reads slower than we write. A subclass gives `write`
    (bytes to the wire) and `cut`. `fd` is the socket's descriptor while bytes may go to it past `write`,
    which takes the rest then (docs/adr/0009); else -1. `unsent` is what `holds` knows of bytes that were
    written, are nobody else's, and have not left."""

    __slots__ = ("backlog", "fd", "flusher", "out", "unsent", "waits")

    def __init__(self, flusher: Flusher) -> None:
        self.flusher = flusher
        self.fd = -1
        self.out: bytes | None = None
        self.waits: list[bytes] | None = None
        self.backlog: Backlog | None = None
        self.unsent = 0

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    @property
    def written(self) -> int:
        """Bytes that were written and have not left, where this end can tell."""
        return 0

    def cut(self) -> None:
        """The backlog passed its limit: drop the connection, now, with SLOW_CONSUMER."""
        raise NotImplementedError

    @property
    def account(self) -> str | None:
        """Whose it is; None when it is over."""
        return ""

    def holds(self, by: int) -> None:
        """So many bytes more, or fewer, wait: of a message that has not ended, or in its backlog."""
        self.flusher.held.change(self, by)

    def crowded(self) -> None:
        """There is no room for what it holds: drop the connection."""
        self.flusher.observer.cut("CROWDED")
        self.cut()

    def push(self, data: bytes) -> None:
        """Frames that are not an event of a room: acks, pings, replies."""
        if self.backlog is not None:
            self.backlog.add(data)
            return
        out = self.out
        if out is None:
            self.out = data
            self.flusher.add(self)
        elif len(out) < FULL:
            self.out = out + data
        else:
            self.flusher.leave(self)
            self.push(data)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may wait besides what waits; beside nothing any number may (`push_whole`)."""
        return self.may_push(size) or (self.backlog is not None and not self.backlog.size)

    def may_push(self, size: int) -> bool:
        """Whether an event of so many bytes may be pushed: its reader is not cut off for it."""
        return self.backlog is None or self.backlog.size + size <= self.backlog.limit

    def push_whole(self, data: bytes) -> None:
        """A frame for which there is room."""
        if self.backlog is not None and not self.backlog.size:
            self.backlog.put_first(data)
        else:
            self.push(data)

    def push_large(self, data: bytes) -> None:
        """The same for a reply of many bytes, which its reader may leave where they are."""
        if self.backlog is not None:
            self.backlog.add(data)
        else:
            self.flusher.leave(self)
            self._write_own(data, len(data))

    def _write_own(self, data: bytes, own: int) -> None:
        """`own`: how many of the bytes are in nobody else's backlog as well."""
        self.write(data)
        if own > SMALL:
            self.count_unsent(own)

    def count_unsent(self, own: int) -> None:
        """Of what was written `own` bytes are nobody else's: what of them waits for a slow reader counts."""
        if self.backlog is not None and self.backlog.paused and (waits := min(own, self.written)):
            self.unsent += waits
            self.holds(waits)

    def sent(self) -> None:
        """Nearly all that was written has left."""
        unsent, self.unsent = self.unsent, 0
        if unsent:
            self.holds(-unsent)

    def leaving(self) -> bytes | None:
        """All that has not left, in its order; from here on it is the caller's."""
        out, self.out = self.out, None
        if self.waits is None:
            return out
        waits, self.waits = self.waits, None
        if out is not None:
            waits.append(out)
        return b"".join(waits)

    def give(self, event: Event, codec: Codec, data: bytes) -> None:
        """An event that is already encoded."""
        if self.backlog is not None:
            self.backlog.give(event, codec, data)
        else:
            self.push(data)

    def pause(self, limit: int) -> None:
        """The peer reads slower than we write; `limit` bytes may wait for it."""
        if self.backlog is None:
            self.backlog = Backlog(limit, self.cut, self.flusher.observer, self.holds)
        self.backlog.paused = True

    def resume(self) -> None:
        """The peer caught up: what waited leaves, in pieces, until it is slow again."""
        backlog = self.backlog
        if backlog is None:
            return
        backlog.paused = False
        out = self.leaving()
        if out:  # pushed before the pause, and its flush has not come yet: it goes first
            self.write(out)
        own = backlog.own
        while not backlog.paused and (data := backlog.take()):
            self._write_own(data, own - backlog.own)  # may pause it anew
            own = backlog.own
        if not backlog.paused:
            self.backlog = None


class Backlog:
    """What waits for a slow reader: no volatile events, chunks merged into the last frame that waits,
    and past the limit (bytes) a cut."""

    __slots__ = ("_cut", "_holds", "_items", "_observer", "_told", "limit", "own", "paused", "size")

    def __init__(
        self, limit: int, cut: Callable[[], None], observer: Observer, holds: Callable[[int], None]
    ) -> None:
        self.limit, self._cut, self._observer, self._holds = limit, cut, observer, holds
        self.paused = True
        self.size = 0
        self.own = 0  # of its bytes those that nobody else's backlog has as well
        self._told = 0  # ... as `holds` knows
        # Frames; or a run of chunks of one stream, merged when their turn comes.
        self._items: deque[bytes | _Run] = deque()

    def add(self, data: bytes, own: int | None = None) -> None:
        """`own` is its part of what waits for others too."""
        if self._grow(len(data), own):
            self._items.append(data)

    def put_first(self, data: bytes) -> None:
        """Before everything that waits, and whatever the limit: an answer that must not be lost."""
        self.size += len(data)
        self.own += len(data)
        self._items.appendleft(data)
        self._tell()

    def give(self, event: Event, codec: Codec, data: bytes, own: int | None = None) -> None:
        if event.kind == Kind.VOLATILE:
            self._observer.dropped(event.name)
        elif not event.sizes:
            self.add(data, own)
        elif self._grow(len(data), own):
            # Only into the very last frame: a position stands for everything before it.
            last = self._items[-1] if self._items else None
            if isinstance(last, _Run) and last.codec is codec and goes_on(last.events[-1], event):
                last.events.append(event)
                last.size += len(data)
            else:
                self._items.append(_Run(codec, [event], len(data)))

    def keep(self, wanted: Callable[[bytes], bool]) -> None:
        """Forget the frames that are not wanted; chunks are."""
        kept = [item for item in self._items if isinstance(item, _Run) or wanted(item)]
        self._items = deque(kept)
        self._shrink(sum(item.size if isinstance(item, _Run) else len(item) for item in kept))

    def _grow(self, size: int, own: int | None) -> bool:
        self.size += size
        self.own += size if own is None else own
        if self.size <= self.limit:
            if self.own - self._told > SMALL:
                self._tell()
            return True
        self._items.clear()
        self._observer.cut("SLOW_CONSUMER")
        self._cut()
        return False

    def _shrink(self, size: int) -> None:
        self.own = self.own * size // self.size if self.size else 0
        self.size = size
        self._tell()

    def _tell(self) -> None:
        own = self.own if self.own > SMALL else 0
        if own != self._told:
            by, self._told = own - self._told, own
            self._holds(by)

    def take(self, most: int = 65536) -> bytes:
        """The next frames, about `most` bytes of them; empty when none is left."""
        parts, size, left = [], 0, self.size
        while self._items and size < most:
            item = self._items.popleft()
            part = item.encode() if isinstance(item, _Run) else item
            left -= item.size if isinstance(item, _Run) else len(item)
            parts.append(part)
            size += len(part)
        if left != self.size:
            self._shrink(left)
        return b"".join(parts)


class _Run:
    """Chunks that go on with each other, for one codec."""

    __slots__ = ("codec", "events", "size")

    def __init__(self, codec: Codec, events: list[Event], size: int) -> None:
        self.codec, self.events, self.size = codec, events, size

    def encode(self) -> bytes:
        return self.codec.encode(self.events[0] if len(self.events) == 1 else merge(self.events))
