"""Keeps streams that are written here, ends those whose producer is gone. Called from time to time."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

from events.chunks import Chunks
from events.clock import Clock
from events.delivery import Delivery
from events.parts import Made
from events.stream import Stream
from events.streams import Streams
from events.tasks import Tasks
from storage.errors import StorageUnavailable
from storage.interfaces import StreamLog
from storage.messages import Messages as Store

#: Seconds for which a stream has to be without a lease: it may be new, or the log may have lost its leases.
GRACE = 5.0
#: Bytes that are saved in one statement, which is made ready in one turn of the loop; and at a time of
#: one account: all of a text is written again for each new letter, and a user may have twenty texts.
TOGETHER, EACH = 512 * 1024, 1024 * 1024


class Elsewhere(Protocol):
    """Where streams are held while the log cannot be reached."""

    async def hold_streams(self, streams: Sequence[str]) -> None:
        """Raises Unavailable."""

    async def live_streams(self, streams: Sequence[str]) -> Collection[str]:
        """Those that some node holds there."""


class Leases:
    """`lease` is how long a producer may be silent, `held` how long its node may be, in seconds."""

    def __init__(
        self,
        streams: Streams,
        chunks: Chunks,
        store: Store,
        log: StreamLog,
        delivery: Delivery,
        clock: Clock,
        monotonic: Clock,
        tasks: Tasks,
        *,
        lease: float,
        held: float,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._streams, self._chunks, self._store = streams, chunks, store
        self._log, self._delivery, self._clock, self._monotonic = log, delivery, clock, monotonic
        self._tasks, self._lease, self._held = tasks, lease, held
        self._elsewhere = elsewhere
        self._suspects: dict[str, float] = {}  # streams without a lease, and since when that is known
        # When a producer was heard last, as its stream has it, and since when (monotonic) that is so.
        self._heard: dict[str, tuple[float, float]] = {}

    async def tick(self) -> None:
        """Called at least every `checkpoint` seconds: leases, checkpoints, producers that fell silent."""
        now = self._clock()
        live = [s for s in self._streams.open.values() if s.ending is None]
        self._heard = {s.message_id: self._still(s) for s in live}
        for stream in live:
            if stream.agent_task is None and self._is_silent(stream):
                self._tasks.spawn(self._silent(stream))
            elif self._delivery.live:
                self._chunks.rest(stream, now)
        live = [s for s in live if s.ending is None]
        if not live:
            return
        try:
            # A node that dies leaves the lease to lapse; the producer's own silence is counted above.
            await self._log.renew({s.message_id: self._held for s in live})
        except StorageUnavailable:
            self._delivery.lost()
            if self._elsewhere is not None:
                await self._elsewhere.hold_streams([s.message_id for s in live])
        await self._save(live)

    def _still(self, stream: Stream) -> tuple[float, float]:
        known = self._heard.get(stream.message_id)
        return known if known and known[0] == stream.idle_since else (stream.idle_since, self._monotonic())

    def _is_silent(self, stream: Stream) -> bool:
        return self._monotonic() - self._still(stream)[1] > self._lease

    async def _silent(self, stream: Stream) -> None:
        """Its producer is not heard any more, here."""
        try:
            text = await self._log.read(stream.room, stream.message_id, len(stream.pieces))
        except StorageUnavailable:
            text = None
        if text is not None and text.next_index > len(stream.pieces):
            self._streams.forget(stream)  # it goes on elsewhere, and that was not heard
        elif stream.ending is None and self._is_silent(stream):
            self._streams.tell_producer(stream)
            self._streams.end(stream, "interrupted")

    async def _save(self, streams: Sequence[Stream], *, everything: bool = False) -> None:
        """What is new. Who has much of it has a part of it saved at a time, by turns, unless it is the last
        time. Raises StorageUnavailable."""
        due: list[tuple[Stream, int, Made]] = []
        size, of_account = 0, Counter[str]()
        for stream in sorted(streams, key=_saved_at):
            beyond = of_account[stream.account] >= EACH and not everything
            if beyond or not stream.to_be_saved:
                continue
            due.append((stream, len(stream.pieces), stream.made()))
            size += stream.bytes
            if stream.account:  # not answers of this node's agents
                of_account[stream.account] += stream.bytes
            if size >= TOGETHER:
                await self._save_together(due)
                due, size = [], 0
        await self._save_together(due)

    async def _save_together(self, due: Sequence[tuple[Stream, int, Made]]) -> None:
        if not due:
            return
        still_open = await self._store.checkpoint([(s.message_id, *made) for s, _, made in due])
        now = self._monotonic()
        for stream, pieces, _ in due:
            if stream.message_id in still_open:
                stream.saved, stream.saved_at = pieces, now
            elif stream.ending is None:
                self._streams.ended_elsewhere(stream.message_id)

    async def interrupt_lapsed(self, grace: float = GRACE) -> None:
        """End streams whose producer's lease has lapsed, whatever node it was on. `grace` in seconds: one
        that has just begun may not have its lease yet."""
        here = self._streams.open
        open_elsewhere = [name for name in await self._store.open_stream_ids() if name not in here]
        lapsed = await self._log.lapsed(open_elsewhere) if open_elsewhere else ()
        # After the log's data was lost all leases are gone, until their nodes are back and renew them.
        now = self._monotonic()
        self._suspects = {name: self._suspects.get(name, now) for name in lapsed}
        due = [name for name, since in self._suspects.items() if now - since >= grace]
        # A node that is cut off from the log says in the database what it still writes.
        alive = await self._elsewhere.live_streams(due) if due and self._elsewhere is not None else ()
        for name in due:
            if name not in alive:
                record = await self._store.get(name)
                if record is not None and record.status == "streaming":
                    await self._streams.end_for(record, "interrupted")

    async def finish(self, grace: float) -> None:
        """Drain: running agents' answers get so many seconds; what then is open is checkpointed."""
        tasks = [s.agent_task for s in self._streams.open.values() if s.agent_task is not None]
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        for stream in list(self._streams.open.values()):
            if stream.agent_task is not None and not stream.agent_task.done():
                stream.agent_task.cancel()
                self._streams.end(stream, "interrupted")
        self._streams.stop_waiting()
        ending = [s.ending for s in self._streams.open.values() if s.ending is not None]
        if ending:
            await asyncio.wait([asyncio.ensure_future(end) for end in ending], timeout=5.0)
        await self._save([s for s in self._streams.open.values() if s.ending is None], everything=True)

    async def on_live(self) -> None:
        """The bus is back."""
        self._suspects.clear()
        for stream in list(self._streams.open.values()):
            if stream.ending is None:
                self._chunks.look(stream)


def _saved_at(stream: Stream) -> float:
    return stream.saved_at
