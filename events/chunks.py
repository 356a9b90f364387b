"""A stream's pieces on their way to the log, merged while one append is under way. Knows no caller."""

import asyncio
from functools import partial

from events.clock import Clock
from events.delivery import Delivery
from events.event import Event, Kind, chunk_event
from events.stream import Stream
from events.tasks import Tasks
from storage.errors import BusUnavailable, StorageUnavailable
from storage.interfaces import ASK_ONLY, ChunkAnswer, StreamAnswer, StreamLog
from storage.pieces import OWN

#: Seconds that an end waits for chunks under way to the log.
SETTLE = 2.0


class Chunks:
    """`push` may be called whenever a stream has pieces that the log has not, and none is under way; `rest`
    at any time."""

    def __init__(self, log: StreamLog, delivery: Delivery, clock: Clock, tasks: Tasks) -> None:
        self._log, self._delivery, self._clock, self._tasks = log, delivery, clock, tasks

    def push(self, stream: Stream, now: float) -> None:
        """One append in flight, of one part; what arrives meanwhile leaves, merged, with the next."""
        if not self._delivery.live:
            self._deliver_here(stream)
            return
        while True:
            turns = stream.turns
            if not turns:
                part, end = OWN, None
            elif turns[-1][0] <= stream.logged:  # most of them
                part, end = turns[-1][1], None
            else:
                part, end = stream.run_at(stream.logged)
            pieces = stream.pieces[stream.logged : end]
            event = chunk_event(
                stream.room, stream.message_id, stream.logged, pieces, now, stream.conn_id, part
            )
            answer = self._log.append(event, stream.start, pieces)
            whole = len(stream.pieces)
            if type(answer) is ChunkAnswer and answer.next_index == whole and answer.answer == "next":
                stream.logged = whole  # the ordinary case
                if stream.settled is not None:
                    stream.settled.set()
                return
            if end is None or answer != ChunkAnswer("next", end):
                self._take(stream, answer)
                return
            stream.logged = end  # the next run has its turn

    def rest(self, stream: Stream, now: float) -> None:
        """What the log lacks, if anything. A piece that is none would be told as a part without a word."""
        if not stream.flying and stream.logged < len(stream.pieces):
            self.push(stream, now)

    def look(self, stream: Stream) -> None:
        """The bus is back, maybe without what the log had: ask where the text ends there."""
        if not stream.flying:
            event = Event(stream.room, "", b"", Kind.LOGGED, stream=stream.message_id, index=ASK_ONLY)
            self._take(stream, self._log.append(event, stream.start, ()))

    def _take(self, stream: Stream, answer: "ChunkAnswer | asyncio.Future[ChunkAnswer]") -> None:
        if isinstance(answer, ChunkAnswer):
            self._answered(stream, answer)
        else:
            stream.flying = True
            answer.add_done_callback(partial(self._land, stream))  # no task: it is done for every chunk

    def _deliver_here(self, stream: Stream) -> None:
        """The bus is away: members on this node see their own node's chunks; the log gets them later."""
        room = self._delivery.hub.rooms.get(stream.room)
        have = room.have.get(stream.message_id) if room is not None and room.ready else None
        while room is not None and have is not None and have < len(stream.pieces):
            part, end = stream.run_at(have)
            pieces = stream.pieces[have:end]
            event = chunk_event(
                room.name, stream.message_id, have, pieces, self._clock(), stream.conn_id, part
            )
            self._delivery.deliver(room, event)
            have = end if end is not None else len(stream.pieces)

    def _land(self, stream: Stream, answer: "asyncio.Future[ChunkAnswer]") -> None:
        stream.flying = False
        try:
            result = answer.result()
        except StorageUnavailable:
            self._delivery.lost()
            self._deliver_here(stream)
            self._settle(stream)
        else:
            self._answered(stream, result)

    def _answered(self, stream: Stream, result: ChunkAnswer) -> None:
        if result.answer == "next":
            stream.logged = min(result.next_index, len(stream.pieces))
        elif result.answer == "closed":
            pass  # ended by another; its end arrives as an event
        else:
            stream.flying = True
            self._tasks.spawn(self._make_room(stream, result.answer))
            return
        if result.answer == "next" and stream.logged < len(stream.pieces):
            self.push(stream, self._clock())
        else:
            self._settle(stream)

    async def _make_room(self, stream: Stream, why: StreamAnswer) -> None:
        """The log lacks the stream's start ("gap"), or there is none ("nobody")."""
        again = True
        try:
            if why == "nobody":
                await self._delivery.logs.open(stream.room)
            else:
                await self._delivery.logs.fill(stream.room)
        except BusUnavailable:
            self._delivery.lost()
        except StorageUnavailable:
            again = False  # SQL is away: with the next chunk, or the next tick
        stream.flying = False
        if again and not stream.gone and self._delivery.live and stream.logged < len(stream.pieces):
            self.push(stream, self._clock())
        else:
            self._settle(stream)

    def _settle(self, stream: Stream) -> None:
        if stream.settled is not None:
            stream.settled.set()

    async def settled(self, stream: Stream) -> None:
        """Return when nothing of it is under way, or after `SETTLE`."""
        if stream.flying:
            stream.settled = asyncio.Event()
            try:
                async with asyncio.timeout(SETTLE):
                    await stream.settled.wait()
            except TimeoutError:
                pass  # its end carries the text
