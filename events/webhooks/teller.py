"""Tells webhooks what is committed: which sessions this node tells, and what it writes down of it.

The truth is in SQL (`storage.telling`): how far each session was told. A commit on this node is told from
memory, where it follows what was told last; all else, of other nodes and of those that died, is read.
"""

import asyncio
import logging
import ssl
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from events.agents.network import Admits
from events.agents.upstreams import split
from events.clock import Clock, when
from events.observer import Observer
from events.tasks import Tasks
from events.webhooks.envelopes import Change, change_of
from events.webhooks.lanes import Lane
from events.webhooks.outlet import Letter, Outlet, Sender
from events.webhooks.requests import HookTarget
from storage.errors import StorageError
from storage.messages import Messages
from storage.notes import Notes
from storage.ops import Committed
from storage.records import MessageRecord
from storage.telling import Pair, TellingStore, ToldCursor, ToldMark
from storage.webhooks import WebhookRecord, Webhooks

log = logging.getLogger("parley.webhooks")

#: Seconds in which what is to be claimed and written gathers: one statement for many sessions.
TOGETHER: Final = 0.05
#: Seconds that a session stays a node's when all is told: what is said next needs no claim.
LINGERS: Final = 2.0
#: Seconds between marks of how far a session was told. A node that dies tells again what it told in them.
MARKS: Final = 0.5
#: Seconds that a claim outlasts a request: who has it writes a mark in between.
CLAIM: Final = 5.0
#: Seconds between looks for sessions that nobody tells, and the pause where there are more.
SWEEP, SOON = 10.0, 1.0
#: Seconds that `listed_at` may be behind (`storage.recency`), and between writings of how far a sweep came.
BEHIND, SWEPT = 660.0, 60.0
#: Changes of a session that are read at once, bytes of them; sessions that are read at a time; notes of one.
CHANGES, CHANGES_BYTES, READERS, NOTES = 50, 256 * 1024, 8, 50
#: Sessions of which one is tried, where an address fails, besides those that were; and with these.
TRIED, MOST_TRIED = 100, 10_000
#: Sessions of one statement.
STATEMENT: Final = 500
#: Dead letters that are kept of a webhook.
LETTERS: Final = 1000


class Teller:
    """One per node."""

    def __init__(
        self,
        store: Webhooks,
        telling: TellingStore,
        notes: Notes,
        messages: Messages,
        admits: Admits,
        clock: Clock,
        observer: Observer,
        *,
        seconds: float,
        longest: float,
        patience: float,
    ) -> None:
        """`seconds` of a request; `longest` pause between tries; `patience`: seconds of failures after which
        a webhook is disabled."""
        self._store, self._telling, self._notes, self._messages = store, telling, notes, messages
        self._admits, self._clock, self._observer = admits, clock, observer
        self._seconds, self._longest, self._patience = seconds, longest, patience
        self.outlets: dict[str, Outlet] = {}
        self._of_all: list[Outlet] = []
        self._of_session: dict[str, list[Outlet]] = {}
        self._woken = asyncio.Event()
        self._tasks, self._requests = Tasks("webhooks"), Tasks("requests to webhooks")
        self._running: asyncio.Task[None] | None = None
        self._letters: list[Letter] = []
        notes.on_noted = self._noted

    # --- its life

    async def start(self) -> None:
        await self.refresh()

    async def stop(self) -> None:
        await self._tasks.stop()
        for outlet in self.outlets.values():
            outlet.close()
        await self._requests.stop()
        lanes = [(outlet, lane) for outlet in self.outlets.values() for lane in outlet.lanes.values()]
        try:
            await self._mark([(outlet, lane, False) for outlet, lane in lanes if lane.fence])
        except StorageError as error:  # the claims end by themselves
            log.info("webhooks: %s", error or type(error).__name__)

    async def refresh(self) -> None:
        """Which webhooks there are. Raises StorageUnavailable."""
        records = {record.webhook_id: record for record in await self._store.all() if record.is_active}
        for id, outlet in list(self.outlets.items()):
            record = records.get(id)
            if record is None or not outlet.follow(record):
                outlet.close()
                del self.outlets[id]
                await self._mark([(outlet, lane, False) for lane in outlet.lanes.values() if lane.fence])
        for id, record in records.items():
            if id in self.outlets:
                continue
            try:
                self.outlets[id] = self._made(record)
            except ValueError as error:  # a row that somebody else wrote; the others are told all the same
                log.warning("webhook %s cannot be told: %s", id, error)
        self._of_all = [o for o in self.outlets.values() if o.record.session_id is None]
        self._of_session = {}
        for outlet in self.outlets.values():
            if outlet.record.session_id is not None:
                self._of_session.setdefault(outlet.record.session_id, []).append(outlet)
        self._notes.on = any(outlet.of_notes for outlet in self.outlets.values())
        if self.outlets and (self._running is None or self._running.done()):
            self._running = self._tasks.spawn(self._run())
        self._wake()

    def _made(self, record: WebhookRecord) -> Outlet:
        origin, path = split(record.url)
        address = HookTarget(origin, path, self._admits, self._requests, _context)
        loop = asyncio.get_running_loop()
        sender = Sender(
            loop.time,
            self._clock,
            self._wake,
            self._bury,
            self._end,
            self._observer,
            self._seconds,
            self._longest,
        )
        return Outlet(record, address, sender)

    # --- what happens on this node

    def on_committed(self, batch: Sequence[Committed]) -> None:
        """After a commit; does not block and does not raise."""
        if not self.outlets:
            return
        for done in batch:
            if not done.duplicate:
                self._changed(done.record.session_id, change_of(done.record, done.files))

    def on_changed(self, records: Iterable[MessageRecord]) -> None:
        """Messages that were changed past the writer."""
        if self.outlets:
            for record in records:
                self._changed(record.session_id, change_of(record))

    def _changed(self, room: str, change: Change) -> None:
        for outlet in self._of_all:
            if outlet.of_revisions:
                outlet.note(room, change)
        for outlet in self._of_session.get(room, ()):
            if outlet.of_revisions:
                outlet.note(room, change)

    def _noted(self, room: str) -> None:
        for outlet in (*self._of_all, *self._of_session.get(room, ())):
            if outlet.of_notes:
                outlet.note(room, None)

    def again(self, webhook_id: str, room: str) -> None:
        """From where SQL says, whatever is known here."""
        outlet = self.outlets.get(webhook_id)
        if outlet is not None and not outlet.failing:
            if room in outlet.lanes:
                outlet.drop(outlet.lanes[room])
            outlet.take_on(room).lacks = True

    def _wake(self) -> None:
        self._woken.set()

    # --- rounds

    async def _run(self) -> None:
        while self.outlets:
            try:
                async with asyncio.timeout(self._pause()):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                await self._round()
            except StorageError as error:
                log.info("webhooks: %s", error or type(error).__name__)
                await asyncio.sleep(SOON)
            except Exception:
                log.exception("webhooks could not be told")
                await asyncio.sleep(SOON)
            await asyncio.sleep(TOGETHER)

    def _pause(self) -> float:
        """Seconds until something is to be done, whatever happens."""
        now, found = asyncio.get_running_loop().time(), [SWEEP]
        for outlet in self.outlets.values():
            if outlet.lanes or outlet.behind or outlet.elsewhere:
                found.append(MARKS)
            found.append(max(outlet.resting - now, 0.0) or SWEEP)
            found += [lane.next_at - now for lane in outlet.lanes.values() if lane.next_at > now]
        return min(found)

    async def _round(self) -> None:
        await self._write_states()
        for outlet in tuple(self.outlets.values()):
            await self._sweep(outlet)
        await self._claim()
        await self._read()
        await self._write()
        now = asyncio.get_running_loop().time()
        for outlet in self.outlets.values():
            for lane in tuple(outlet.lanes.values()):
                if lane.fence and (lane.waiting or lane.notes) and lane.next_at <= now:
                    outlet.ready(lane)
            outlet.pump()

    async def _sweep(self, outlet: Outlet) -> None:
        """Sessions that nobody tells: of nodes that died, or that had no room for them."""
        now = asyncio.get_running_loop().time()
        for room_id in [id for id, until in outlet.elsewhere.items() if until <= now]:
            del outlet.elsewhere[room_id]
            if outlet.has_room() > 0 and room_id not in outlet.lanes:
                outlet.take_on(room_id).lacks = True
        room = outlet.has_room()
        if room <= 0 or now < outlet.swept_at + (SOON if outlet.behind else SWEEP):
            return
        outlet.swept_at, outlet.behind = now, False
        at, most = self._clock(), min(room, STATEMENT)
        if outlet.failing:
            most = min(TRIED + len(outlet.tried), MOST_TRIED)
        found: list[str] = []
        since = None if outlet.record.session_id is not None else when(outlet.since - BEHIND)
        if outlet.of_revisions:
            found = [id for id, _ in await self._telling.behind(outlet.id, since, when(at), most)]
        if outlet.of_notes:
            found += await self._telling.untold(outlet.id, since, when(at), most)
        outlet.behind = len(found) >= most or (outlet.failing and bool(found))
        if outlet.failing:
            found = outlet.next_tried(found)
        for room_id in found:
            if room_id not in outlet.lanes:
                outlet.take_on(room_id).lacks = True
        if since is not None and now >= outlet.kept_at + SWEPT:
            outlet.kept_at = now
            oldest = await self._telling.oldest(outlet.id, since, outlet.of_revisions, outlet.of_notes)
            outlet.since = min(at, oldest.timestamp()) if oldest is not None else at
            await self._store.update(outlet.id, swept_at=when(outlet.since))

    async def _claim(self) -> None:
        loop = asyncio.get_running_loop()
        wanted: dict[Pair, tuple[Outlet, Lane]] = {}
        for outlet in self.outlets.values():
            for lane in outlet.due.values():
                if not lane.fence and len(wanted) < STATEMENT:
                    wanted[outlet.id, lane.room] = outlet, lane
        if not wanted:
            return
        lasts = self._seconds + CLAIM
        until, at = loop.time() + lasts, self._clock()
        firsts = {pair: lane.first() for pair, (_, lane) in wanted.items()}
        found = await self._telling.claim(firsts, when(at), when(at + lasts))
        for pair, (outlet, lane) in wanted.items():
            self._claimed(outlet, lane, found.get(pair), until)
        if len(wanted) >= STATEMENT:
            self._wake()

    def _claimed(self, outlet: Outlet, lane: Lane, cursor: ToldCursor | None, until: float) -> None:
        if cursor is None:  # another node tells it
            outlet.drop(lane)
            outlet.elsewhere[lane.room] = asyncio.get_running_loop().time() + SOON
            return
        lane.claimed(cursor, until)
        lane.moved = asyncio.get_running_loop().time()
        if not outlet.of_revisions:
            lane.without_changes()

    async def _read(self) -> None:
        """What is not here of sessions that are this node's."""
        now = asyncio.get_running_loop().time()
        lanes = [
            (outlet, lane)
            for outlet in self.outlets.values()
            for lane in outlet.due.values()
            if lane.fence and not lane.busy and lane.next_at <= now
        ]
        for start in range(0, len(lanes), READERS):
            some = [each for each in lanes[start : start + READERS] if not each[0].load.full]
            await asyncio.gather(*(self._read_one(*each) for each in some))

    async def _read_one(self, outlet: Outlet, lane: Lane) -> None:
        outlet.due.pop(lane.room, None)
        try:
            if lane.looks and not lane.notes:
                lane.looks = False
                since = outlet.record.created_at
                notes, more = await self._telling.events(
                    lane.room, lane.event_id, since, NOTES, CHANGES_BYTES
                )
                lane.noted(notes, more=more)
            if lane.lacks and not lane.waiting:
                lane.missed = 0
                records, more, _ = await self._messages.changes(
                    lane.room, lane.revision, CHANGES, CHANGES_BYTES
                )
                files = await self._messages.files_with(records)
                lane.read([change_of(r, files.get(r.message_id, ())) for r in records], more=more)
        except StorageError:
            lane.looks = lane.looks or outlet.of_notes
            outlet.due[lane.room] = lane
            raise
        if lane.waiting or lane.notes:
            outlet.ready(lane)
        elif lane.lacks or lane.looks:
            outlet.due[lane.room] = lane

    # --- what is written

    async def _write(self) -> None:
        while self._letters:
            await self._buried(self._letters[0])
            self._letters.pop(0)
        now, marks = asyncio.get_running_loop().time(), []
        for outlet in self.outlets.values():
            for lane in outlet.lanes.values():
                if not lane.fence or lane.busy:
                    # One that is under way is written when it has been answered, within the claim.
                    continue
                rests = lane.parked or (lane.idle and now - lane.moved >= LINGERS)
                renews = lane.until - now < self._seconds + CLAIM / 2
                if rests or renews or (lane.dirty and now - lane.marked >= MARKS):
                    marks.append((outlet, lane, not rests))
        for start in range(0, len(marks), STATEMENT):
            await self._mark(marks[start : start + STATEMENT])

    async def _mark(self, lanes: Sequence[tuple[Outlet, Lane, bool]]) -> None:
        if not lanes:
            return
        loop, at, lasts = asyncio.get_running_loop(), self._clock(), self._seconds + CLAIM
        now, marks = loop.time(), []
        for outlet, lane, keep in lanes:
            marks.append(lane.mark(outlet.id, keep=keep))
            lane.dirty = lane.told = False
            lane.marked = now
        try:
            mine = await self._telling.mark(marks, when(at), when(at + lasts))
        except StorageError:
            for mark, (_, lane, _) in zip(marks, lanes, strict=True):
                lane.dirty, lane.told = True, lane.told or mark.told
            raise
        for mark, (outlet, lane, keep) in zip(marks, lanes, strict=True):
            self._marked(outlet, lane, mark, (mark.hook, mark.room) in mine, keep=keep, until=now + lasts)

    @staticmethod
    def _marked(outlet: Outlet, lane: Lane, mark: ToldMark, mine: bool, *, keep: bool, until: float) -> None:
        if mine and keep:
            lane.until = until
        elif lane.parked or (mine and lane.idle):
            outlet.drop(lane)
        elif mine:  # something came meanwhile
            lane.fence = 0
            outlet.due[lane.room] = lane
        else:
            outlet.drop(lane)
            outlet.behind = True

    # --- webhooks that fail

    async def _write_states(self) -> None:
        for outlet in tuple(self.outlets.values()):
            record, now = outlet.record, self._clock()
            if outlet.failing and record.failing_since is None:
                changed = await self._store.update(
                    record.webhook_id, failing_since=when(now), error=outlet.error
                )
                log.warning("webhook %s fails: %s", record.webhook_id, outlet.error)
            elif outlet.works and record.failing_since is not None:
                changed = await self._store.update(record.webhook_id, failing_since=None, error=None)
                log.info("webhook %s takes events again", record.webhook_id)
            elif (
                outlet.failing
                and record.failing_since is not None
                and (now - record.failing_since.timestamp() > self._patience)
            ):
                self._end(outlet.id, f"it failed for {self._patience / 86400.0:g} days: {outlet.error}")
                continue
            else:
                continue
            if changed is not None:
                outlet.follow(changed)

    def _end(self, webhook_id: str, why: str) -> None:
        """It takes nothing any more, until somebody enables it again: then it goes on from where it was."""
        self._tasks.spawn(self._ended(webhook_id, why))

    async def _ended(self, webhook_id: str, why: str) -> None:
        log.warning("webhook %s is disabled: %s", webhook_id, why)
        await self._store.update(webhook_id, is_active=False, error=why[:200])
        await self.refresh()

    def _bury(self, letter: Letter) -> None:
        """Written before the mark that goes beyond it."""
        log.warning("webhook %s: %s is given up: %s", letter.hook, letter.envelope.name, letter.error)
        self._letters.append(letter)

    async def _buried(self, letter: Letter) -> None:
        await self._telling.bury(
            LETTERS,
            webhook_id=letter.hook,
            session_id=letter.room,
            name=letter.envelope.name,
            event=letter.envelope.event,
            revision=letter.envelope.revision,
            attempts=letter.attempts,
            error=letter.error[:200],
            at=when(self._clock()),
        )


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
