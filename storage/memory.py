"""The one-node side of every interface: rooms, logs, records and presence in this process.

A product feature (`REDIS_URL` not set), not a test double. The rules of the log and of records are
those of `storage/redis/`; what travels there happens at once here.
"""

import secrets
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import msgspec

from storage.interfaces import (
    NO_ENTRIES,
    NOT_GIVEN,
    UNBOUNDED,
    Appended,
    Beat,
    Changed,
    ChunkAnswer,
    Clock,
    Cut,
    Event,
    Given,
    Kind,
    Mark,
    News,
    Presences,
    Receiver,
    RecordAnswer,
    RoomState,
    StreamText,
    log_began,
)
from storage.pieces import Pieces


def new_epoch(now: float) -> str:
    """Positions of a later epoch sort after those of an earlier one."""
    return f"{int(now):08x}{secrets.token_hex(2)}"


class Memory:
    """Bus, room log, stream log and records of one process. `window` in seconds, `log_bytes` per room."""

    shared = False

    def __init__(self, clock: Clock, *, window: float, log_size: int, log_bytes: int) -> None:
        self._clock = clock
        self._window, self._log_size, self._log_bytes = window, log_size, log_bytes
        self.epoch = new_epoch(clock())
        self._pos = 0
        self._lineage = ""
        self._logs: dict[str, _Log] = {}
        self._streams: dict[str, _Stream] = {}
        self._streams_of: dict[str, set[str]] = {}
        self._records: dict[str, _Record] = {}
        self._gone: OrderedDict[str, float] = OrderedDict()  # pid -> when its record goes
        self._receiver: Receiver | None = None

    # --- Bus

    async def connect(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Nothing to do: the one node hears everything, and knows itself whom it has."""

    def unsubscribe(self, channel: str) -> None:
        """See `subscribe`."""

    def publish(self, channel: str, *events: Event) -> None:
        if self._receiver is not None:
            self._receiver.on_volatile(events)

    def signal(self, channel: str, name: str, body: bytes) -> None:
        if self._receiver is not None:
            self._receiver.on_signal(channel, name, body)

    async def echo(self) -> str:
        return self.epoch

    async def agree(self) -> str:
        return self.epoch

    async def close(self) -> None:
        self._receiver = None

    # --- RoomLog

    def append(self, room: str, events: Sequence[Event], fresh: bool = False) -> Appended:
        log = self._logs.get(room)
        for event in events:
            if event.stream and event.kind == Kind.DURABLE:
                stream = self._stream(room, event.stream)
                if event.closed:
                    stream.closed, stream.over = True, max(stream.over, event.rev)
                else:
                    stream.begin_anew(event.rev)
                    stream.start = event.rev
        if log is None:
            return Appended("nobody")
        told, known = log.seq, 0
        for event in events:
            if event.kind == Kind.DURABLE:
                if event.rev <= log.rev:
                    known += 1
                    continue
                # A message that is told of already (whoever fills was overtaken) is a change now.
                if (event.first_rev or event.rev) > log.rev + 1 or 0 < event.seq <= told:
                    return Appended("gap", Mark(log.rev, log.seq))
                if event.stream and not event.closed:
                    self._stream(room, event.stream).restart()
                if event.closed:
                    self._stream(room, event.stream).ended = True
                log.rev = event.rev
                log.seq = max(log.seq, event.seq)
            elif event.id:
                if event.id in log.ids:
                    continue
                if not log.ids:
                    log.ids = set()
                log.ids.add(event.id)
            self._log(log, event)
        return Appended("ok", Mark(log.rev, log.seq), known if fresh else 0)

    def _log(self, log: "_Log", event: Event) -> None:
        pos = self._pos = self._pos + 1
        event.epoch, event.pos, event.prev = self.epoch, pos, log.pos
        log.pos = pos
        now = log.touched = self._clock()
        entries = log.entries
        if not entries:
            entries = log.entries = deque()
        entries.append((now, event))
        log.bytes += len(event.data)
        if len(entries) > self._log_size or log.bytes > self._log_bytes:
            self._trim(log, now)  # by age when it is read, and with every poll
        if self._receiver is not None:
            self._receiver.on_event(event)

    def _trim(self, log: "_Log", now: float) -> None:
        entries = log.entries
        while (
            isinstance(entries, deque)
            and entries
            and (
                len(entries) > self._log_size
                or log.bytes > self._log_bytes
                or entries[0][0] < now - self._window
            )
        ):
            _, event = entries.popleft()
            log.bytes -= len(event.data)
            log.trim = event.pos
            if event.id:
                log.ids.discard(event.id)

    async def past(self, rooms: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        logs = {room: self._logs[room] for room in rooms if room in self._logs}
        return {room: [event for _, event in log.entries] for room, log in logs.items()}

    async def renew(self, lineage: str) -> None:
        if self._lineage not in ("", lineage):
            self.epoch = new_epoch(max(self._clock(), int(self.epoch[:8], 16) + 1))
            for kept in (self._logs, self._streams, self._streams_of, self._records, self._gone):
                kept.clear()
        self._lineage = lineage

    async def read(
        self,
        asks: Mapping[str, int],
        own_cut: bool = False,
        given: Given = NOT_GIVEN,
        limit: int = UNBOUNDED,
    ) -> Cut:
        if own_cut:
            self._pos += 1
        now = self._clock()
        return Cut(
            self.epoch, self._pos, {room: self._state(room, after, now) for room, after in asks.items()}
        )

    def at_hand(self, room: str) -> Cut:
        return Cut(self.epoch, self._pos, {room: self._state(room, NO_ENTRIES, self._clock())})

    def _state(self, room: str, after: int, now: float) -> RoomState | None:
        log = self._logs.get(room)
        if log is None:
            return None
        self._trim(log, now)
        log.touched = now
        entries: list[Event] = []
        for _, event in reversed(log.entries):
            if event.pos <= after:
                break
            entries.append(event)
        entries.reverse()
        streams = {
            name: self._streams[name].as_text()
            for name in self._streams_of.get(room, ())
            if self._streams[name].start <= log.rev and not self._streams[name].ended
        }
        return RoomState(Mark(log.rev, log.seq), log.pos, after >= log.trim, entries, streams)

    async def last(self, rooms: Sequence[str]) -> Mapping[str, Mark | None]:
        now = self._clock()
        found: dict[str, Mark | None] = {}
        for room in rooms:
            log = self._logs.get(room)
            if log is not None:
                log.touched = now
                self._trim(log, now)
            found[room] = Mark(log.rev, log.seq) if log else None
        self._sweep(now)
        return found

    def _sweep(self, now: float) -> None:
        """Forget what nobody has asked for within the window."""
        for room in [r for r, log in self._logs.items() if log.touched < now - self._window]:
            del self._logs[room]
        for name in [n for n, s in self._streams.items() if s.closed and s.touched < now - self._window]:
            self._drop_stream(name)
        while self._gone and next(iter(self._gone.values())) < now:
            pid, _ = self._gone.popitem(last=False)
            self._records.pop(pid, None)

    async def open(self, room: str, base: Mark) -> None:
        if room not in self._logs:
            self._base(room, base)

    async def reset(self, room: str, last: Mark) -> None:
        log = self._logs.get(room)
        if log is not None and log.rev < last.rev:
            self._base(room, last)

    def _base(self, room: str, base: Mark) -> None:
        """A log begins at a position of its own, and says so: no offset from before reaches past it."""
        self._pos += 1
        self._logs[room] = _Log(base, self._pos, self._clock())
        if self._receiver is not None:
            event = log_began(room, base)
            event.epoch, event.pos = self.epoch, self._pos
            self._receiver.on_event(event)

    def forget(self, room: str) -> None:
        self._logs.pop(room, None)
        for name in list(self._streams_of.get(room, ())):
            self._drop_stream(name)

    # --- StreamLog (its methods have names of their own: see `MemoryStreams`)

    def _stream(self, room: str, name: str) -> "_Stream":
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream(room)
            self._streams_of.setdefault(room, set()).add(name)
        stream.touched = self._clock()
        return stream

    def _drop_stream(self, name: str) -> None:
        stream = self._streams.pop(name)
        names = self._streams_of.get(stream.room, set())
        names.discard(name)
        if not names:
            self._streams_of.pop(stream.room, None)

    def chunk(self, event: Event, start: int, pieces: Sequence[str]) -> ChunkAnswer:
        log = self._logs.get(event.room)
        if log is None:
            return ChunkAnswer("nobody", 0)
        if log.rev < start:
            return ChunkAnswer("gap", log.rev)
        stream = self._streams.get(event.stream) or self._stream(event.room, event.stream)
        if stream.closed:
            stream.begin_anew(start)
        stream.start = start
        if stream.closed:
            return ChunkAnswer("closed", stream.next_index)
        if event.index == stream.next_index:
            if event.part != stream.part:
                stream.turn(event.part)
            stream.pieces.extend(pieces)
            stream.next_index += len(pieces)
            self._log(log, event)
            stream.touched = log.touched
        return ChunkAnswer("next", stream.next_index)

    # --- Records

    async def put(self, pid: str, epoch: str, generation: int, version: int, record: bytes) -> RecordAnswer:
        old = self._records.get(pid)
        if old is not None:
            if old.generation > generation:
                return "taken"
            if old.generation == generation and old.version > version:
                return "late"
        if epoch != self.epoch:
            return "late"
        self._records[pid] = _Record(generation, version, record)
        self._gone.pop(pid, None)
        return "ok"

    async def take(self, pid: str, owner: bytes) -> tuple[str, int, bytes] | None:
        self._sweep(self._clock())
        record = self._records.get(pid)
        if record is None or not record.data.startswith(owner):
            return None
        record.generation += 1
        record.version = 0  # the new owner counts its own writes
        self._gone.pop(pid, None)
        self.signal("all", "takeover", msgspec.json.encode([pid, record.generation]))
        return self.epoch, record.generation, record.data

    async def generations(self, pids: Sequence[str]) -> Mapping[str, int]:
        return {pid: self._records[pid].generation for pid in pids if pid in self._records}

    async def expire(self, pids: Sequence[str], seconds: float) -> None:
        for pid in pids:
            if seconds <= 0:
                self._records.pop(pid, None)
            elif pid in self._records:
                self._gone[pid] = self._clock() + seconds
                self._gone.move_to_end(pid)


class MemoryStreams:
    """`StreamLog` over `Memory`'s clock and logs."""

    def __init__(self, memory: Memory, clock: Clock) -> None:
        self._memory, self._clock = memory, clock
        self._leases: dict[str, float] = {}
        self.append = memory.chunk

    def note(self, stream: str, status: str) -> None:
        if (found := self._memory._streams.get(stream)) is not None:
            found.status = status

    async def close(self, room: str, stream: str) -> StreamText:
        found = self._memory._stream(room, stream)
        found.closed = True
        self._leases.pop(stream, None)
        return found.as_text()

    async def read(self, room: str, stream: str, from_index: int = 0) -> StreamText | None:
        found = self._memory._streams.get(stream)
        return found.as_text(from_index) if found else None

    async def renew(self, leases: Mapping[str, float]) -> None:
        now = self._clock()
        for stream, seconds in leases.items():
            self._leases[stream] = now + seconds

    async def lapsed(self, streams: Sequence[str]) -> Sequence[str]:
        now = self._clock()
        return [s for s in streams if self._leases.get(s, 0.0) < now]


class MemoryPresence:
    """Presence of one node: what it says of itself is all there is. `kept` in seconds: how long somebody may
    have heard nothing and ask what has changed."""

    def __init__(self, clock: Clock, *, kept: float) -> None:
        """`clock` is a monotonic one."""
        self._clock, self._kept = clock, kept
        self._online: dict[str, dict[str, _Alone]] = {}
        self._left: dict[str, dict[str, float]] = {}
        self._leavings: deque[tuple[float, str, str]] = deque()  # the oldest first

    def enter(self, room: str, user: str, status: str) -> bool:
        users = self._online.setdefault(room, {})
        before = users.get(user)
        if before is None or before[0] != status:
            users[user] = _alone(status, int(self._clock() // _STEP))
        return before is None

    async def leave(self, room: str, user: str) -> bool:
        users = self._online.get(room, {})
        gone = users.pop(user, None) is not None
        if not users:
            self._online.pop(room, None)
        if gone:
            self._remember(room, user, self._clock())
        return gone

    def _remember(self, room: str, user: str, now: float) -> None:
        self._left.setdefault(room, {})[user] = now
        self._leavings.append((now, room, user))
        while self._leavings[0][0] < now - self._kept:
            at, room, user = self._leavings.popleft()
            left = self._left[room]
            if left.get(user) == at:
                del left[user]
                if not left:
                    del self._left[room]

    async def online(self, room: str) -> Mapping[str, tuple[str, int]]:
        return self.at_hand(room)

    async def changed(self, room: str, listed: int) -> Changed | int:
        users, since = self._online.get(room, {}), self._clock() - self._kept
        if len(users) > listed:
            return len(users)
        left = [user for user, at in self._left.get(room, {}).items() if at >= since]
        found: dict[str, tuple[str, int, News]] = {
            user: ("offline", 0, News.CHANGED) for user in left[-listed:]
        }
        for user, here in users.items():
            news = News.CHANGED if (here.step + 1) * _STEP >= since else News.NONE
            found[user] = (*here, News.CAME_BACK if user in found else news)
        return found

    def at_hand(self, room: str) -> Mapping[str, tuple[str, int]]:
        return self._online.get(room, {})

    async def beat(self, counts: Mapping[str, Presences], *, doubtful: bool = False) -> Beat:
        return Beat()

    async def goodbye(self) -> None:
        """There is nobody else."""

    async def look(
        self, rooms: Collection[str], again: Collection[str], listed: int
    ) -> Mapping[str, Presences | int]:
        return {}


#: Seconds: when somebody came is known by so much.
_STEP = 30.0


class _Alone(tuple[str, int]):
    """A status, and one connection; since when."""

    step: int


@lru_cache(maxsize=64)
def _alone(status: str, step: int) -> _Alone:
    """One object for all who came at about the same time."""
    made = _Alone((status, 1))
    made.step = step
    return made


#: Never added to.
_NO_IDS: set[str] = set()


class _Log:
    __slots__ = ("bytes", "entries", "ids", "pos", "rev", "seq", "touched", "trim")

    def __init__(self, base: Mark, pos: int, now: float) -> None:
        self.rev, self.seq = base.rev, base.seq
        self.trim = self.pos = pos  # everything of the room above `trim` is in the log
        # Most rooms are silent most of the time: a deque and a set when there is something to hold.
        self.entries: deque[tuple[float, Event]] | tuple[()] = ()
        self.ids: set[str] = _NO_IDS
        self.bytes = 0
        self.touched = now


class _Stream(Pieces):
    __slots__ = ("closed", "ended", "next_index", "over", "room", "start", "status", "touched")

    def __init__(self, room: str) -> None:
        super().__init__()
        self.room = room
        self.start = 0
        self.next_index = 0
        self.closed = self.ended = False
        self.over = 0  # revision of its end; 0: not known
        self.touched = 0.0
        self.status = ""

    def begin_anew(self, start: int) -> None:
        """It is written on after its end: a start later than that end, or, where its revision is not known,
        one that has room for it behind the last start."""
        if self.closed and 0 < (self.over or (self.start and self.start + 1)) < start:
            self.closed = self.ended = False
            self.restart()

    def restart(self) -> None:
        """Its start is logged (anew): its chunks, if any, were in a log that is gone."""
        super().__init__()
        self.next_index = 0

    def as_text(self, from_index: int = 0) -> StreamText:
        text, runs = self.text_from(from_index)
        whole = tuple(self.runs_from(0)) if from_index and self.turns else ()
        return StreamText(
            text, self.next_index, self.start, self.closed, self.ended, runs, whole, self.status
        )


class _Record:
    __slots__ = ("data", "generation", "version")

    def __init__(self, generation: int, version: int, data: bytes) -> None:
        self.generation, self.version, self.data = generation, version, data
