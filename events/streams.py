"""Streams: messages being written. A producer's text, its chunks to the log, its end (or another's).

Chunks never touch SQL one by one: the text is checkpointed, and committed at the end.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any

from events.access import Caller
from events.clock import Clock, new_id
from events.delivery import Delivery
from events.errors import (
    ChatError,
    Forbidden,
    IndexConflict,
    PayloadTooLarge,
    RateLimited,
    StreamClosed,
    StreamNotFound,
    Unavailable,
    ValidationFailed,
)
from events.event import Event, Kind, chunk_event, make
from events.hub import Connection
from events.messages import translate
from events.observer import Observer
from events.ratelimit import Pace
from events.schema import StreamStart
from storage.errors import StorageError, StreamNotOpen
from storage.errors import Unavailable as StorageUnavailable
from storage.interfaces import ChunkAnswer, StreamLog, StreamText
from storage.messages import Messages as Store
from storage.ops import Committed, EndStream, NewMessage
from storage.records import MessageRecord
from storage.writer import Writer

#: Seconds that an end waits for chunks under way to the log.
SETTLE = 2.0
#: Seconds between a stream's first row and its lease, at most.
GRACE = 5.0
#: Characters per token where the producer does not count: the usual rule of thumb for English.
CHARS_PER_TOKEN = 4


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARS_PER_TOKEN)


class Stream:
    """An open stream on its producer's node. `logged` counts the pieces that the log has."""

    __slots__ = (
        "adopted",
        "agent_task",
        "allowed_until",
        "bytes",
        "checkpointed",
        "conn_id",
        "ending",
        "flying",
        "idle_since",
        "logged",
        "message_id",
        "owner",
        "pace",
        "pieces",
        "room",
        "settled",
        "start",
        "started_at",
        "uncounted",
        "writer",
    )

    def __init__(self, record: MessageRecord, owner: tuple[str, str], now: float) -> None:
        self.room, self.message_id = record.session_id, record.message_id
        self.owner = owner  # (sender_type, sender_id)
        self.start = record.revision
        self.pieces: list[str] = []
        self.adopted = 0  # pieces whose boundaries only the log knows
        self.bytes = 0
        self.logged = 0
        self.flying = False
        self.settled: asyncio.Event | None = None
        self.ending: asyncio.Future[Committed] | None = None
        self.checkpointed = 0
        self.started_at = record.created_at.timestamp()
        self.idle_since = now
        self.conn_id = ""  # the connection that writes it
        self.allowed_until = 0.0  # when to look again whether its producer may write
        self.uncounted = 0  # chunks since then
        self.pace = Pace()
        self.writer: Caller | None = None  # who wrote last
        self.agent_task: asyncio.Task[None] | None = None  # its writer, where that runs here

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Streams:
    """Durations in seconds, `max_size` in bytes of UTF-8."""

    def __init__(
        self,
        writer: Writer,
        store: Store,
        log: StreamLog,
        delivery: Delivery,
        observer: Observer,
        clock: Clock,
        *,
        lease: float,
        checkpoint: float,
        max_size: int,
        max_per_user: int,
        node_lease: float,
    ) -> None:
        self._writer, self._store, self._log, self._delivery = writer, store, log, delivery
        self._observer, self._clock = observer, clock
        self._lease, self._checkpoint = lease, checkpoint
        # A silent producer is noticed by its live node; the lease in the log tells that the node is alive.
        self._held = min(lease, node_lease)
        self._max_size, self._max_per_user = max_size, max_per_user
        self._open: dict[str, Stream] = {}
        self._starting: Counter[tuple[str, str]] = Counter()  # owners of placeholders on their way to SQL
        self._by_conn: dict[str, set[str]] = {}  # stays while a connection is away: it may come back
        self._here = new_id("streams")
        self._stopping = False
        self._suspects: dict[str, float] = {}  # streams without a lease, and since when that is known
        self._finals: dict[str, int] = {}  # message id -> pieces, from the end's submit to its commit
        delivery.on_stream_end = lambda event: self._ended_elsewhere(event.stream)

    def count(self) -> int:
        """Streams being written through this node."""
        return len(self._open)

    # --- start

    async def start(
        self,
        caller: Caller | tuple[str, str],
        command: StreamStart,
        conn: Connection | None = None,
        *,
        adopt: bool = True,
    ) -> tuple[Stream | None, Committed]:
        """A committed placeholder; the stream, or None if a repeat finds it closed, or written elsewhere
        and it is not to be adopted.

        Raises RateLimited, Conflict, SessionNotFound, ..., Unavailable.
        """
        owner = (caller.sender_type, caller.sub) if isinstance(caller, Caller) else caller
        if isinstance(caller, Caller) and caller.role == "user" and command.message_id not in self._open:
            self._check_number(owner)
        self._starting[owner] += 1
        try:
            return await self._start(owner, command, conn, adopt)
        finally:
            self._starting[owner] -= 1
            if not self._starting[owner]:
                del self._starting[owner]

    def _check_number(self, owner: tuple[str, str]) -> None:
        mine = self._starting[owner] + sum(1 for stream in self._open.values() if stream.owner == owner)
        if mine >= self._max_per_user:
            raise RateLimited(f"at most {self._max_per_user} open streams", retry_after=1000)

    async def _start(
        self, owner: tuple[str, str], command: StreamStart, conn: Connection | None, adopt: bool
    ) -> tuple[Stream | None, Committed]:
        future = self._writer.submit(
            NewMessage(
                session_id=command.session_id,
                message_id=command.message_id or new_id("msg"),
                client_message_id=command.client_message_id,
                sender_type=owner[0],
                sender_id=owner[1],
                message_type="stream",
                content="",
                status="streaming",
                metadata=command.metadata,
                reply_to=command.reply_to,
            )
        )
        try:
            done = await future
        except StorageError as error:
            raise translate(error) or error from error
        record = done.record
        if done.duplicate:
            if record.status != "streaming":
                return None, done
            found = self._open.get(record.message_id)
            if found is None and not adopt:
                return None, done
            stream = found or await self._adopt(record)
        else:
            stream = Stream(record, owner, self._clock())
            self._open[record.message_id] = stream
            self._observer.stream("started")
            await self._hold_lease(stream)
        self._bind(stream, conn)
        return stream, done

    async def _hold_lease(self, stream: Stream) -> None:
        try:
            await self._log.renew({stream.message_id: self._held})
        except StorageUnavailable:
            self._delivery.lost()

    def _bind(self, stream: Stream, conn: Connection | None) -> None:
        if conn is not None:
            self._unbind(stream)
            stream.conn_id = conn.id
            self._by_conn.setdefault(conn.id, set()).add(stream.message_id)

    def _unbind(self, stream: Stream) -> None:
        mine = self._by_conn.get(stream.conn_id)
        if mine is not None:
            mine.discard(stream.message_id)
            if not mine:
                del self._by_conn[stream.conn_id]

    async def _adopt(self, record: MessageRecord) -> Stream:
        """Its producer goes on here, after what the log has. Raises Unavailable; StreamClosed where the log
        is gone: nobody can tell which chunk the text saved last ended with."""
        stream = Stream(record, (record.sender_type, record.sender_id), self._clock())
        try:
            text = await self._log.read(record.session_id, record.message_id)
            await self._log.renew({record.message_id: self._held})
        except StorageUnavailable as error:
            raise Unavailable from error
        known = self._open.get(record.message_id)
        if known is not None:
            return known
        if text is not None and text.next_index:
            stream.pieces = [text.text, *[""] * (text.next_index - 1)]
            stream.logged = stream.adopted = text.next_index
        elif record.content:
            status = await self.end_for(record, "interrupted")
            raise StreamClosed(details={"status": status})
        stream.bytes = len(stream.text.encode())
        stream.checkpointed = len(record.content)
        self._open[record.message_id] = stream
        self._delivery.bus.signal("all", "adopted", f"{self._here}:{record.message_id}".encode())
        return stream

    def adopted(self, signal: str) -> None:
        """A node has the producer now; if it is another one, this one has not."""
        where, _, message_id = signal.partition(":")
        if where == self._here:
            return
        stream = self._open.get(message_id)
        if stream is not None and stream.ending is None and stream.agent_task is None:
            self._forget(stream)

    # --- chunks

    def find(self, caller: Caller, conn: Connection | None, message_id: str | None) -> Stream | None:
        """The stream that a command means, if it is written on this node.

        Raises StreamNotFound, ValidationFailed, Forbidden.
        """
        if message_id is None:
            mine = self._by_conn.get(conn.id, set()) if conn is not None else set()
            if len(mine) != 1:
                raise (
                    ValidationFailed("needed with more than one stream open", field="message_id")
                    if mine
                    else StreamNotFound("no stream is open on this connection")
                )
            message_id = next(iter(mine))
        stream = self._open.get(message_id)
        if stream is not None and stream.writer is not caller:
            if stream.owner != (caller.sender_type, caller.sub):
                raise Forbidden("only the caller that began a stream may write it")
            stream.writer = caller  # known from now on
        return stream

    async def find_or_adopt(self, caller: Caller, session_id: str, message_id: str) -> Stream:
        """One that another node (or a connection that is gone) began. Raises StreamNotFound, StreamClosed,
        Forbidden, Unavailable."""
        record = await self._store.get(message_id)
        if record is None or record.session_id != session_id or record.message_type != "stream":
            raise StreamNotFound
        if (record.sender_type, record.sender_id) != (caller.sender_type, caller.sub):
            raise Forbidden("only the caller that began a stream may write it")
        if record.status != "streaming":
            raise StreamClosed(details={"status": record.status})
        return self._open.get(message_id) or await self._adopt(record)

    def chunk(self, stream: Stream, content: str, index: int | None, conn: Connection | None = None) -> int:
        """Accept a piece; the next index. Raises IndexConflict, PayloadTooLarge, StreamClosed."""
        if stream.ending is not None:
            raise StreamClosed
        stream.idle_since = self._clock()
        expected = len(stream.pieces)
        if index is not None and index < expected:
            return expected
        if index is not None and index > expected:
            raise IndexConflict(expected)
        if conn is not None and stream.conn_id != conn.id:
            self._bind(stream, conn)
        if not content:
            return expected
        size = len(content) if content.isascii() else len(content.encode())
        if stream.bytes + size > self._max_size:
            error = PayloadTooLarge(f"a stream holds at most {self._max_size} bytes")
            self._delivery.spawn(self._fail(stream, error))
            raise error
        stream.bytes += size
        stream.pieces.append(content)
        if not stream.flying:
            self._push(stream)
        return expected + 1

    def _push(self, stream: Stream) -> None:
        """One append in flight; what arrives meanwhile leaves, merged, with the next."""
        pieces = stream.pieces[stream.logged :]
        event = chunk_event(
            stream.room, stream.message_id, stream.logged, pieces, self._clock(), skip=stream.conn_id
        )
        if self._delivery.mode != "live":
            self._deliver_here(stream)
            return
        answer = self._log.append(event, stream.start, pieces)
        if isinstance(answer, ChunkAnswer):
            if answer.answer == "next" and answer.next_index == len(stream.pieces):
                stream.logged = answer.next_index
                if stream.settled is not None:
                    stream.settled.set()
            else:
                self._answered(stream, answer)
        else:
            stream.flying = True
            self._delivery.spawn(self._land(stream, answer))

    async def on_live(self) -> None:
        """The bus is back, maybe without what the log had: ask where each stream's text ends there."""
        self._suspects.clear()
        for stream in list(self._open.values()):
            if stream.ending is None and not stream.flying:
                # No chunk has this index: nothing is appended.
                event = Event(stream.room, "", b"", Kind.LOGGED, stream=stream.message_id, index=-1)
                answer = self._log.append(event, stream.start, ())
                if isinstance(answer, ChunkAnswer):
                    self._answered(stream, answer)
                else:
                    stream.flying = True
                    self._delivery.spawn(self._land(stream, answer))

    def _deliver_here(self, stream: Stream) -> None:
        """The bus is away: members on this node see their own node's chunks; the log gets them later."""
        room = self._delivery.hub.rooms.get(stream.room)
        have = room.have.get(stream.message_id) if room is not None and room.ready else None
        if room is not None and have is not None and have < len(stream.pieces):
            pieces = stream.pieces[have:]
            event = chunk_event(
                room.name, stream.message_id, have, pieces, self._clock(), skip=stream.conn_id
            )
            self._delivery.deliver(room, event)

    async def _land(self, stream: Stream, answer: Awaitable[ChunkAnswer]) -> None:
        try:
            result = await answer
        except StorageUnavailable:
            stream.flying = False
            self._delivery.lost()
            self._deliver_here(stream)
            self._settle(stream)
            return
        stream.flying = False
        self._answered(stream, result)

    def _answered(self, stream: Stream, result: ChunkAnswer) -> None:
        if result.answer == "next":
            stream.logged = min(result.next_index, len(stream.pieces))
        elif result.answer == "closed":
            pass  # ended by another; its end arrives as an event
        else:
            stream.flying = True
            self._delivery.spawn(self._make_room(stream, result.answer))
            return
        if result.answer == "next" and stream.logged < len(stream.pieces):
            self._push(stream)
        else:
            self._settle(stream)

    async def _make_room(self, stream: Stream, why: str) -> None:
        """The log lacks the stream's start ("gap"), or there is none ("nobody")."""
        try:
            if why == "nobody":
                await self._delivery.open(stream.room)
            else:
                await self._delivery.fill(stream.room)
        except StorageUnavailable:
            self._delivery.lost()
        stream.flying = False
        if stream.message_id in self._open and self._delivery.mode == "live":
            self._push(stream)
        else:
            self._settle(stream)

    def _settle(self, stream: Stream) -> None:
        if stream.settled is not None:
            stream.settled.set()

    # --- the end

    def end(
        self,
        stream: Stream,
        status: str,
        *,
        error: dict[str, Any] | None = None,
        tokens_used: int | None = None,
        latency_ms: int | None = None,
        own: bool = True,
    ) -> "asyncio.Future[Committed]":
        """Take no more chunks, commit the text. A repeat gets the same future; it may raise StorageError."""
        if stream.ending is None:
            stream.ending = asyncio.get_running_loop().create_future()
            work = self._end(stream, status, error, tokens_used, latency_ms, own)
            self._delivery.spawn(work)
        return stream.ending

    async def _end(
        self,
        stream: Stream,
        status: str,
        error: dict[str, Any] | None,
        tokens_used: int | None,
        latency_ms: int | None,
        own: bool,
    ) -> None:
        future = stream.ending
        assert future is not None
        try:
            await self._settled(stream)
            text = stream.text
            whole = own and self._delivery.mode == "live" and stream.logged == len(stream.pieces)
            try:
                closed = await self._log.close(stream.room, stream.message_id)
                whole = whole and closed.next_index == len(stream.pieces)
            except StorageUnavailable:
                self._delivery.lost()
                whole = False
            if whole:
                self._finals[stream.message_id] = len(stream.pieces)
            done = await self._commit_end(
                EndStream(
                    session_id=stream.room,
                    message_id=stream.message_id,
                    status=status,
                    content=text,
                    error=error,
                    tokens_used=_tokens(text) if tokens_used is None else tokens_used,
                    latency_ms=self._latency(stream.started_at) if latency_ms is None else latency_ms,
                )
            )
            if not future.done():
                future.set_result(done)
            self._observer.stream(status)
        except (StorageError, ChatError) as failure:
            if not future.done():
                future.set_exception(failure)
                future.exception()  # nobody may be waiting
        finally:
            self._finals.pop(stream.message_id, None)
            self._forget(stream)

    async def _commit_end(self, op: EndStream) -> Committed:
        """Until the database takes it: an answer that was given is not lost because SQL is away."""
        delay, doubtful = 0.1, False
        while True:
            try:
                return await self._writer.submit(op)
            except StorageUnavailable:
                if self._stopping:
                    raise
                doubtful = True
                await asyncio.sleep(delay)
                delay = min(2.0, delay * 2)
            except StreamNotOpen as error:
                # What failed may have been committed all the same.
                record = await self._store.get(op.message_id) if doubtful else None
                if record is None or (error.status, record.content) != (op.status, op.content):
                    raise
                return Committed(op, record, True, record.seq, record.revision)

    async def _settled(self, stream: Stream) -> None:
        if stream.flying:
            stream.settled = asyncio.Event()
            try:
                async with asyncio.timeout(SETTLE):
                    await stream.settled.wait()
            except TimeoutError:
                pass  # its end carries the text

    def final_of(self, message_id: str) -> int:
        """Pieces of a text that the log has whole; -1 if its end must carry it."""
        return self._finals.get(message_id, -1)

    async def _fail(self, stream: Stream, error: ChatError) -> None:
        self._tell_producer(stream)
        self.end(stream, "failed", error={"code": error.code, "message": error.text})

    def _forget(self, stream: Stream) -> None:
        if self._open.get(stream.message_id) is stream:
            del self._open[stream.message_id]
        self._unbind(stream)

    def _ended_elsewhere(self, message_id: str) -> None:
        stream = self._open.get(message_id)
        if stream is not None and stream.ending is None:
            if stream.agent_task is not None:
                stream.agent_task.cancel()
            self._forget(stream)

    # --- stop

    async def cancel(self, session_id: str, message_id: str) -> str:
        """Stop a stream wherever it is written, keep its text; its status.

        Raises StreamNotFound, Unavailable.
        """
        stream = self._open.get(message_id)
        if stream is not None and stream.room == session_id:
            self._tell_producer(stream)
            if stream.agent_task is not None:
                stream.agent_task.cancel()
            return await self._wait(self.end(stream, "cancelled"))
        record = await self._store.get(message_id)
        if record is None or record.session_id != session_id or record.message_type != "stream":
            raise StreamNotFound
        if record.status != "streaming":
            return record.status
        self._delivery.bus.signal("all", "cancel", message_id.encode())
        return await self.end_for(record, "cancelled")

    def cancelled(self, message_id: str) -> None:
        """Another node has ended it, on somebody's wish."""
        stream = self._open.get(message_id)
        if stream is not None:
            self._tell_producer(stream)
            if stream.agent_task is not None:
                stream.agent_task.cancel()
            if stream.ending is None:
                self.end(stream, "cancelled")

    async def _wait(self, future: "asyncio.Future[Committed]") -> str:
        try:
            return (await asyncio.shield(future)).record.status
        except StreamNotOpen as error:
            return error.status
        except StorageError as error:
            raise translate(error) or error from error

    async def end_for(self, record: MessageRecord, status: str) -> str:
        """End a stream that is not written here: with the longest text that is known."""
        text = record.content
        if self._delivery.mode == "live":
            try:
                closed = await self._log.close(record.session_id, record.message_id)
                text = max(text, closed.text, key=len)
            except StorageUnavailable:
                self._delivery.lost()
        op = EndStream(
            session_id=record.session_id,
            message_id=record.message_id,
            status=status,
            content=text,
            tokens_used=_tokens(text),
            latency_ms=self._latency(record.created_at.timestamp()),
        )
        self._observer.stream(status)
        return await self._wait(self._writer.submit(op))

    def _latency(self, started_at: float) -> int:
        return max(0, round((self._clock() - started_at) * 1000))

    def _tell_producer(self, stream: Stream) -> None:
        conn = self._delivery.hub.connections.get(stream.conn_id)
        if conn is not None:
            payload = {"message_id": stream.message_id}
            conn.send(make(stream.room, "stream_cancel", Kind.DIRECT, payload, self._clock()))

    # --- reading

    def local_text(self, message_id: str) -> StreamText | None:
        """What is known here of a stream that is written here; for readers who join while the bus is away."""
        stream = self._open.get(message_id)
        if stream is None:
            return None
        return StreamText(stream.text, len(stream.pieces), stream.start, False, False)

    async def read(self, record: MessageRecord, from_index: int) -> tuple[int, str, int, str]:
        """(first index, content from there, next index, status).

        A text whose chunks are not known any more comes whole, from index 0.
        """
        stream = self._open.get(record.message_id)
        if stream is not None and (from_index == 0 or from_index >= stream.adopted):
            return from_index, "".join(stream.pieces[from_index:]), len(stream.pieces), "streaming"
        try:
            text = await self._log.read(record.session_id, record.message_id, from_index)
        except StorageUnavailable:
            text = None
        if text is None or (record.status != "streaming" and text.next_index == 0 and record.content):
            return 0, record.content, 1 if record.content else 0, record.status
        return from_index, text.text, text.next_index, record.status

    # --- leases and checkpoints

    async def tick(self) -> None:
        """Called at least every `checkpoint` seconds: leases, checkpoints, producers that fell silent."""
        now = self._clock()
        live = [s for s in self._open.values() if s.ending is None]
        for stream in live:
            if stream.agent_task is None and now - stream.idle_since > self._lease:
                self._delivery.spawn(self._silent(stream))
            elif not stream.flying and stream.logged < len(stream.pieces) and self._delivery.mode == "live":
                self._push(stream)
        live = [s for s in live if s.ending is None]
        if not live:
            return
        try:
            # A node that dies leaves the lease to lapse; the producer's own silence is counted above.
            await self._log.renew({s.message_id: self._held for s in live})
        except StorageUnavailable:
            self._delivery.lost()
        await self._save(live)

    async def _silent(self, stream: Stream) -> None:
        """Its producer is not heard any more, here."""
        try:
            text = await self._log.read(stream.room, stream.message_id, len(stream.pieces))
        except StorageUnavailable:
            text = None
        if text is not None and text.next_index > len(stream.pieces):
            self._forget(stream)  # it goes on elsewhere, and that was not heard
        elif stream.ending is None and self._clock() - stream.idle_since > self._lease:
            self._tell_producer(stream)
            self.end(stream, "interrupted")

    async def _save(self, streams: Sequence[Stream]) -> None:
        due = [(s, text) for s in streams if len(text := s.text) > s.checkpointed]
        if not due:
            return
        still_open = await self._store.checkpoint([(s.message_id, text) for s, text in due])
        for stream, text in due:
            if stream.message_id in still_open:
                stream.checkpointed = len(text)
            elif stream.ending is None:
                self._ended_elsewhere(stream.message_id)

    async def interrupt_lapsed(self, grace: float = GRACE) -> None:
        """End streams whose producer's lease has lapsed, whatever node it was on. `grace` in seconds: one
        that has just begun may not have its lease yet."""
        begun = {name: at for name, at in await self._store.open_stream_ids() if name not in self._open}
        lapsed = await self._log.lapsed(list(begun)) if begun else ()
        # After the log's data was lost all leases are gone, until their nodes are back and renew them.
        now = self._clock()
        self._suspects = {name: self._suspects.get(name, now) for name in lapsed}
        for name, since in self._suspects.items():
            if now - max(since, begun[name].timestamp()) >= grace:
                record = await self._store.get(name)
                if record is not None and record.status == "streaming":
                    await self.end_for(record, "interrupted")

    async def finish(self, grace: float) -> None:
        """Drain: running agents' answers get so many seconds; what then is open is checkpointed."""
        tasks = [s.agent_task for s in self._open.values() if s.agent_task is not None]
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        for stream in list(self._open.values()):
            if stream.agent_task is not None and not stream.agent_task.done():
                stream.agent_task.cancel()
                self.end(stream, "interrupted")
        self._stopping = True
        ending = [s.ending for s in self._open.values() if s.ending is not None]
        if ending:
            await asyncio.wait(ending, timeout=5.0)
        await self._save([s for s in self._open.values() if s.ending is None])
