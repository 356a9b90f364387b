"""One webhook on one node: its sessions, its connections, and what becomes of one that does not answer. Knows
no SQL: what is to be claimed and written is `events.webhooks.teller`'s.

An address that fails costs itself alone: so many requests at a time go to it, and while it fails one, with
pauses that grow, of another session each time: it may be the words of one that it fails on. What waits then
waits in SQL.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from events.observer import Observer
from events.webhooks.envelopes import OF_NOTES, OF_REVISIONS, Change, Envelope
from events.webhooks.lanes import Lane, Load
from events.webhooks.requests import Answered, HookTarget
from events.webhooks.signatures import key_of, signed
from storage.webhooks import WebhookRecord

#: Requests under way of one node to one address.
TOGETHER: Final = 16
#: Sessions of one webhook that a node has in hand: the others wait in SQL.
LANES: Final = 1000
#: Failures one after the other, of any sessions, from which on an address counts as failing.
FAILING: Final = 3
#: Tries of an event that is refused (4xx), and of one that fails while others are taken.
REFUSALS, TRIES = 8, 24
#: Characters that wait for another try of an event; where there are more, they are read again.
SMALL: Final = 4096
#: Answers that ask for another try.
AGAIN: Final = frozenset({408, 425, 429})
GONE: Final = 410


class Letter(Struct, frozen=True):
    """One that could not be told."""

    hook: str
    room: str
    envelope: Envelope
    attempts: int
    error: str


class Sender(Struct, frozen=True):
    """What an outlet is given. `time` is the loop's, `clock` the database's; `wake`: there is something to
    claim, to read or to write; `bury`: an event is given up; `ended`: it takes nothing any more, and why."""

    time: Callable[[], float]
    clock: Callable[[], float]
    wake: Callable[[], None]
    bury: Callable[[Letter], None]
    ended: Callable[[str, str], None]
    observer: Observer
    seconds: float
    longest: float


class Outlet:
    """`resting`: until then (the loop's time) one request at a time goes, as it failed."""

    def __init__(self, record: WebhookRecord, address: HookTarget, sender: Sender) -> None:
        self.record, self.address, self._sender = record, address, sender
        self.swept_at, self.kept_at = 0.0, 0.0
        self.since = record.swept_at.timestamp()
        self.id = record.webhook_id
        self.wanted = frozenset(record.events)
        self.of_revisions = bool(self.wanted & OF_REVISIONS)
        self.of_notes = bool(self.wanted & OF_NOTES)
        self.load = Load()
        self.lanes: dict[str, Lane] = {}
        #: Lanes that are to be claimed, or of which something is to be read.
        self.due: dict[str, Lane] = {}
        #: Sessions that another node tells, and until when (the loop's time) it is left alone.
        self.elsewhere: dict[str, float] = {}
        #: There are sessions with something to be told that are not here.
        self.behind = True
        self._ready: deque[Lane] = deque()
        self._busy = 0
        self.failures = 0
        #: Sessions that were tried since it fails.
        self.tried: set[str] = set()
        #: The last request was answered, and not with a failure.
        self.works = False
        self.resting = 0.0
        self.error: str | None = record.error
        self.closed = False
        self._keys: tuple[float | None, tuple[bytes, ...]] = (0.0, ())
        self._take_keys()

    @property
    def failing(self) -> bool:
        return self.failures >= FAILING

    def follow(self, record: WebhookRecord) -> bool:
        """What was changed of it; whether it goes on as it is."""
        if record.url != self.record.url or record.events != self.record.events:
            return False
        self.record = record
        self._take_keys()
        return True

    def _take_keys(self) -> None:
        record = self.record
        new = (key_of(record.secret),)
        if record.old_secret is not None and record.old_until is not None:
            self._keys = (record.old_until.timestamp(), (*new, key_of(record.old_secret)))
        else:
            self._keys = (None, new)

    # --- what there is to tell

    def note(self, room: str, change: Change | None) -> None:
        """A change was committed here; None: something that no revision tells of."""
        lane = self.lanes.get(room)
        if lane is None:
            if self.failing or len(self.lanes) >= LANES:
                self.behind = True
                return
            lane = self.take_on(room)
        if change is not None:
            lane.push(change)
        else:
            lane.looks = True
        if not lane.fence or lane.parked:
            return
        if lane.lacks or lane.looks:
            self.due[room] = lane
            self._sender.wake()
        elif not lane.busy and not lane.queued:
            self.ready(lane)

    def take_on(self, room: str) -> Lane:
        """To be claimed."""
        lane = self.lanes[room] = self.due[room] = Lane(room, self.load)
        lane.looks = self.of_notes
        self._sender.wake()
        return lane

    def has_room(self) -> int:
        return LANES - len(self.lanes) if not self.failing else (0 if self.lanes else 1)

    def drop(self, lane: Lane) -> None:
        """It is not this node's any more."""
        if self.lanes.get(lane.room) is lane:
            del self.lanes[lane.room]
            lane.forget()
        self.due.pop(lane.room, None)

    # --- telling it

    def ready(self, lane: Lane) -> None:
        if lane.busy or lane.queued or lane.parked or self.closed:
            return
        lane.queued = True
        self._ready.append(lane)
        self.pump()

    def pump(self) -> None:
        """Sends what may be sent now."""
        now = self._sender.time()
        while self._ready and not self.closed:
            if self._busy >= (1 if self.failures else TOGETHER) or now < self.resting:
                return
            lane = self._ready.popleft()
            lane.queued = False
            if self.lanes.get(lane.room) is not lane or lane.next_at > now:
                continue
            if lane.until < now + self._sender.seconds:
                lane.dirty = True  # the claim first
                self._sender.wake()
                continue
            envelope = lane.next(self.wanted)
            if envelope is not None:
                self._send(lane, envelope)
            elif lane.lacks or lane.looks:
                self.due[lane.room] = lane
                self._sender.wake()

    def _send(self, lane: Lane, envelope: Envelope) -> None:
        lane.busy = True
        self._busy += 1
        now = int(self._sender.clock())
        until, keys = self._keys
        if until is not None and now >= until:
            keys = keys[:1]
        head = (
            f"webhook-id: {envelope.name}\r\nwebhook-timestamp: {now}\r\n"
            f"webhook-signature: {signed(keys, envelope.name, now, envelope.body)}\r\n"
        )
        self.address.post(
            head.encode(),
            envelope.body,
            lambda answered: self._answered(lane, envelope, answered),
            self._sender.seconds,
        )

    def _answered(self, lane: Lane, envelope: Envelope, answered: Answered) -> None:
        self._busy -= 1
        lane.busy = False
        if self.closed or self.lanes.get(lane.room) is not lane:
            self.pump()
            return
        now, status = self._sender.time(), answered.status
        lane.dirty = True
        if 200 <= status < 300:
            self._sender.observer.webhook("told")
            self._recovered()
            lane.took(now)
            self.ready(lane)
            self.pump()
            if self.due and not self.load.full:
                self._sender.wake()
            return
        if status == GONE:
            self._sender.ended(self.id, "it answered 410 (gone)")
        elif 400 <= status < 500 and status not in AGAIN:
            self._sender.observer.webhook("refused")
            self._recovered()
            self._failed(lane, envelope, f"HTTP {status}", REFUSALS, now, answered.retry_after)
        else:
            self._sender.observer.webhook("failed")
            self.failures, self.works = self.failures + 1, False
            self.error = _why(answered)
            if self.failures == FAILING:
                self._rest_all()
            if self.failing:
                lane.parked = self.behind = True
                self.tried.add(lane.room)
                self.resting = now + max(self._pause(self.failures - FAILING), self._asked(answered))
                lane.error, lane.next_at = self.error, self.resting
                lane.attempts = max(lane.attempts, 1)
            else:
                self._failed(lane, envelope, self.error, TRIES, now, answered.retry_after)
        self._sender.wake()
        self.pump()

    def _recovered(self) -> None:
        self.works = True
        if self.failures:
            self.failures, self.resting, self.error = 0, 0.0, None
            self.tried.clear()
            self.behind = True
            for lane in self.lanes.values():
                lane.next_at = 0.0

    def _failed(
        self, lane: Lane, envelope: Envelope, error: str, tries: int, now: float, asked: float
    ) -> None:
        lane.attempts += 1
        if lane.attempts >= tries:
            self._sender.observer.webhook("dead")
            self._sender.bury(Letter(self.id, lane.room, envelope, lane.attempts, error))
            lane.took(now)
            self.ready(lane)
            return
        lane.error = error
        lane.next_at = now + max(self._pause(lane.attempts - 1), min(asked, self._sender.longest))
        if lane.held > SMALL:  # others need the room meanwhile
            lane.forget()
            lane.lacks, lane.looks = self.of_revisions, self.of_notes
            self.due[lane.room] = lane

    def _rest_all(self) -> None:
        """It fails: all sessions wait in SQL, from where one at a time is tried."""
        self._ready.clear()
        for lane in self.lanes.values():
            lane.queued, lane.parked = False, not lane.busy

    def next_tried(self, rooms: Sequence[str]) -> list[str]:
        """One of those that wait, while it fails: one that was not tried yet."""
        fresh = [room for room in rooms if room not in self.tried]
        if not fresh:
            self.tried.clear()
            fresh = list(rooms)
        return [random.choice(fresh)] if fresh else []

    def _pause(self, tries: int) -> float:
        """Seconds; twice as long each time, and nobody's at the same moment as another's."""
        return float(min(self._sender.longest, 2.0 ** min(tries, 30)) * random.uniform(0.5, 1.0))

    def _asked(self, answered: Answered) -> float:
        return min(answered.retry_after, self._sender.longest)

    def close(self) -> None:
        self.closed = True
        self.address.close()


def _why(answered: Answered) -> str:
    if 300 <= answered.status < 400:
        return f"HTTP {answered.status}: it redirects"
    return answered.error or f"HTTP {answered.status}"
