"""Streams: messages being written. Their start, who writes them, their end (or another's).

`events.writing` takes their pieces. These never touch SQL one by one: what they add up to is checkpointed,
and committed at the end.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from events.access import Caller
from events.bounds import LINK
from events.chunks import Chunks
from events.clock import Clock
from events.delivery import Delivery
from events.errors import (
    ChatError,
    Forbidden,
    RateLimited,
    StreamClosed,
    StreamNotFound,
    Unavailable,
    ValidationFailed,
)
from events.event import Event, Kind, make
from events.failures import translate
from events.ids import new_id
from events.observer import Observer
from events.parts import NOTHING, Made, made_of
from events.rest import Rest
from events.resumption import before_it_waited
from events.room import Connection
from events.schema import StreamStart
from events.stream import Stream
from events.streamends import StreamEnds
from events.tasks import Tasks
from events.uncommitted import Uncommitted
from events.writing import PieceWriter
from storage.errors import MessageMissing, StorageError, StorageUnavailable, StreamNotOpen
from storage.interfaces import UNCOUNTED, StreamLog, StreamText
from storage.messages import Messages as Store
from storage.ops import Committed, EndStream, NewMessage, ResumeStream, WaitStream
from storage.place import CommitPlace
from storage.questions import Questions
from storage.records import MessageRecord
from storage.shape import maker
from storage.waits import STOPPED, WAITING
from storage.writer import Writer

#: Who was fenced off and wakes writes nothing.
NOT_CLAIMED = "another may write it now: stream_start with its fence claims it"

#: The row of a message that is about to be written.
_begun = maker(
    NewMessage, StreamStart, "message_id sender_type sender_id message_type content status metadata"
)


class Streams:
    """`held` is how long a lease holds without being renewed, in seconds; `max_size` in bytes of UTF-8;
    `people`: whether users may stream, whose words nobody judges before they are read.

    `open` has what is written through this node.
    """

    def __init__(
        self,
        writer: Writer,
        uncommitted: Uncommitted,
        store: Store,
        questions: Questions,
        log: StreamLog,
        chunks: Chunks,
        delivery: Delivery,
        observer: Observer,
        clock: Clock,
        tasks: Tasks,
        *,
        held: float,
        max_size: int,
        max_per_user: int,
        people: bool = True,
    ) -> None:
        self._writer, self._uncommitted, self._questions = writer, uncommitted, questions
        self._store, self._log, self._chunks = store, log, chunks
        self._delivery, self._observer, self._clock = delivery, observer, clock
        self._tasks, self._held, self.max_size = tasks, held, max_size
        self._max_per_user, self._people = max_per_user, people
        self.open: dict[str, Stream] = {}
        self._starting: Counter[str] = Counter()  # placeholders on their way to SQL, by account
        self._by_conn: dict[str, set[str]] = {}  # stays while a connection is away: it may come back
        self._here = new_id("streams")
        self._ends = StreamEnds(writer, store, clock)
        self._finals: dict[str, int] = {}  # message id -> pieces, from the end's submit to its commit
        #: Told of a session in which a stream has another producer.
        self.on_other_producer: Callable[[str], None] = lambda session_id: None
        self.writing = writing = PieceWriter(
            chunks, clock, max_size=max_size, bind=self._bind, overflow=self._overflow
        )
        self.chunk, self.delta, self.part = writing.chunk, writing.delta, writing.part
        delivery.on_stream_end = self._end_told

    def stop_waiting(self) -> None:
        """The node ends: the database is not waited for any more."""
        self._ends.stopping = True

    def count(self) -> int:
        """Streams being written through this node."""
        return len(self.open)

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

        Raises Forbidden, RateLimited, Conflict, SessionNotFound, ..., Unavailable.
        """
        if not isinstance(caller, Caller):
            return await self._start(caller, "", command, conn, adopt)
        if caller.role == "user" and not self._people:
            raise Forbidden("people may not stream here: their messages are judged first")
        if command.fence is not None and command.message_id is not None:
            record = await self._store.get(command.message_id)
            if record is not None and record.session_id == command.session_id and record.interrupts:
                owner = (caller.sender_type, caller.sub)
                claimed, done = await self.resume(owner, caller.account, record, command.fence)
                self._bind(claimed, conn)
                return claimed, done
        account = caller.account
        if caller.role == "user" and command.message_id not in self.open:
            self._check_number(account)
            if caller.link is not None:
                self._check_link(caller.link)
        self._starting[account] += 1
        try:
            return await self._start((caller.sender_type, caller.sub), account, command, conn, adopt)
        finally:
            self._starting[account] -= 1
            if not self._starting[account]:
                del self._starting[account]

    def _check_number(self, account: str) -> None:
        mine = self._starting[account] + sum(1 for stream in self.open.values() if stream.account == account)
        if mine >= self._max_per_user:
            raise RateLimited(f"at most {self._max_per_user} open streams", retry_after=1000)

    def _check_link(self, link: str) -> None:
        accounts = [*self._starting.elements(), *(stream.account for stream in self.open.values())]
        most = self._max_per_user * LINK
        if sum(account.startswith(f"{link}\0") for account in accounts) >= most:
            raise RateLimited(f"at most {most} open streams of a share link", retry_after=1000)

    async def _start(
        self,
        owner: tuple[str, str],
        account: str,
        command: StreamStart,
        conn: Connection | None,
        adopt: bool,
    ) -> tuple[Stream | None, Committed]:
        place = self._uncommitted.submit(
            account,
            _begun(
                command,
                message_id=command.message_id or new_id("msg"),
                sender_type=owner[0],
                sender_id=owner[1],
                message_type="stream",
                content="",
                status="streaming",
                metadata=command.metadata or {},
            ),
        )
        try:
            done = await place
        except StorageError as error:
            raise translate(error) or error from error
        record = done.record
        if done.duplicate:
            if record.status != "streaming":
                return None, done
            found = self.open.get(record.message_id)
            if found is None and not adopt:
                return None, done
            stream = found or await self._adopt(record, account)
        else:
            stream = Stream(record, owner, self._clock(), account)
            self.open[record.message_id] = stream
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
            if stream.steers and stream.conn_id != conn.id:
                self.on_other_producer(stream.room)
            stream.conn_id = conn.id
            self._by_conn.setdefault(conn.id, set()).add(stream.message_id)

    def _unbind(self, stream: Stream) -> None:
        mine = self._by_conn.get(stream.conn_id)
        if mine is not None:
            mine.discard(stream.message_id)
            if not mine:
                del self._by_conn[stream.conn_id]

    async def _adopt(self, record: MessageRecord, account: str, *, anew: bool = False) -> Stream:
        """Its producer goes on here, after what the log has; `anew`: it has just waited, and nobody has
        written it since. Raises Unavailable; StreamClosed where it was stopped meanwhile, or the log is gone:
        nobody can tell which chunk the text saved last ended with."""
        stream = Stream(record, (record.sender_type, record.sender_id), self._clock(), account)
        text = None
        if anew:
            await self._hold_lease(stream)
        else:
            try:
                text = await self._log.read(record.session_id, record.message_id)
                await self._log.renew({record.message_id: self._held})
            except StorageUnavailable as error:
                raise Unavailable from error
        written = await before_it_waited(self._questions, record, text)
        known = self.open.get(record.message_id)
        if known is not None:
            return known
        if written:
            stream.put_back(written)
        elif text is not None and text.next_index:
            stream.take_over(text)
        elif record.content or record.parts:
            status = await self.end_for(record, "interrupted")
            raise StreamClosed(details={"status": status})
        stream.floor = Made(record.content, record.parts).weight
        self.open[record.message_id] = stream
        self._delivery.bus.signal("all", "adopted", f"{self._here}:{record.message_id}".encode())
        await self._check_open(stream)
        self.writing.finish(stream)
        self.on_other_producer(stream.room)
        if written:
            self._chunks.rest(stream, self._clock())
        return stream

    async def _check_open(self, stream: Stream) -> None:
        """Whoever stopped it while it was about to be written here has told nobody. Raises StreamClosed."""
        record = await self._store.get(stream.message_id)
        status = record.status if record is not None and stream.ending is None else STOPPED
        if status != "streaming":
            self.ended_elsewhere(stream.message_id)
            raise StreamClosed(details={"status": status})

    async def resume(
        self, owner: tuple[str, str], account: str, record: MessageRecord, fence: int
    ) -> tuple[Stream, Committed]:
        """Write on a message that has waited. Raises Forbidden, Conflict, StreamClosed, ..."""
        if (record.sender_type, record.sender_id) != owner:
            raise Forbidden("only the caller that began a stream may write it")
        try:
            done = await self._writer.submit(ResumeStream(record.session_id, record.message_id, fence))
        except StorageError as error:
            raise translate(error) or error from error
        stream = self.open.get(record.message_id)
        if stream is None:
            stream = await self._adopt(done.record, account, anew=not done.duplicate)
        stream.fence = fence
        return stream, done

    def adopted(self, signal: str) -> None:
        """A node has the producer now; if it is another one, this one has not."""
        where, _, message_id = signal.partition(":")
        if where == self._here:
            return
        stream = self.open.get(message_id)
        if stream is not None and stream.ending is None and stream.agent_task is None:
            self.forget(stream)

    # --- who writes

    def find(
        self, caller: Caller, conn: Connection | None, session_id: str, message_id: str | None
    ) -> Stream | None:
        """The stream that a command means, if it is the caller's and written on this node. Of any other one
        not even that it is there is told here, where access was not asked yet.

        Raises StreamNotFound, ValidationFailed.
        """
        known = message_id is None
        if message_id is None:
            mine = self._by_conn.get(conn.id, set()) if conn is not None else set()
            if len(mine) != 1:
                raise (
                    ValidationFailed("needed with more than one stream open", field="message_id")
                    if mine
                    else StreamNotFound("no stream is open on this connection")
                )
            message_id = next(iter(mine))
        stream = self.open.get(message_id)
        if stream is None or stream.writer is caller:
            return stream
        if stream.room == session_id and stream.owner == (caller.sender_type, caller.sub):
            if stream.fence is not None and (conn is None or conn.id != stream.conn_id):
                raise StreamClosed(NOT_CLAIMED, details={"status": "streaming"})
            return stream
        if known:
            raise StreamNotFound
        return None

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
        if record.interrupts is not None:
            raise StreamClosed(NOT_CLAIMED, details={"status": "streaming"})
        return self.open.get(message_id) or await self._adopt(record, caller.account)

    # --- the end

    def end(self, stream: Stream, status: str, **said: Any) -> CommitPlace[Committed]:
        """Take no more chunks, commit the text. `said`: fields of `storage.records.Outcome`; where it waits,
        `interrupts`.

        A repeat gets the same place; it may raise StorageError.
        """
        if stream.ending is None:
            stream.ending = CommitPlace()
            work = self._end(stream, status, said)
            self._tasks.spawn(work)
        return stream.ending

    async def _end(self, stream: Stream, status: str, said: Mapping[str, Any]) -> None:
        end = stream.ending
        assert end is not None
        try:
            await self._chunks.settled(stream)
            made = stream.made()
            # Who knows `stream_chunk` alone may have added up something else.
            whole = self._delivery.live and stream.logged == len(stream.pieces) and not stream.taken_back
            whole = whole and not stream.resumed
            try:
                closed = await self._log.close(stream.room, stream.message_id)
                whole = whole and closed.next_index == len(stream.pieces)
            except StorageUnavailable:
                self._delivery.lost()
                whole = False
            if whole:
                self._finals[stream.message_id] = len(stream.pieces)
            fields = self._ends.counted(said, made.content, stream.started_at, stream.told)
            if status == WAITING:
                fields["written"] = stream.runs_from(0)
            op = (WaitStream if status == WAITING else EndStream)(
                session_id=stream.room,
                message_id=stream.message_id,
                status=status,
                content=made.content,
                parts=made.parts,
                **fields,
            )
            done = await self._ends.commit(op)
            end.set_result(done)
            self._observer.stream(status)
        except (StorageError, ChatError) as failure:
            # Where its start is not there, it was lost with a history of the database.
            end.set_exception(StreamNotFound() if isinstance(failure, MessageMissing) else failure)
        finally:
            self._finals.pop(stream.message_id, None)
            self.forget(stream)

    def final_of(self, message_id: str) -> int:
        """Pieces of a text that the log has whole; UNCOUNTED if its end must carry it."""
        return self._finals.get(message_id, UNCOUNTED)

    def _overflow(self, stream: Stream, error: ChatError) -> None:
        self._tasks.spawn(self._fail(stream, error))

    async def _fail(self, stream: Stream, error: ChatError) -> None:
        self.tell_producer(stream)
        self.end(stream, "failed", error={"code": error.code, "message": error.text})

    def forget(self, stream: Stream) -> None:
        """It is not written here any more."""
        stream.gone = True
        if self.open.get(stream.message_id) is stream:
            del self.open[stream.message_id]
        self._unbind(stream)

    def _end_told(self, event: Event) -> None:
        stream = self.open.get(event.stream)
        if stream is not None and event.rev > stream.start:  # else it was written on since
            self.ended_elsewhere(event.stream)

    def ended_elsewhere(self, message_id: str) -> None:
        """Its end was committed, by whomever. This may be known before the wish to stop it has come."""
        stream = self.open.get(message_id)
        if stream is not None and stream.ending is None:
            self.tell_producer(stream)
            if stream.agent_task is not None:
                stream.agent_task.cancel()
            self.forget(stream)

    # --- stop

    async def cancel(self, session_id: str, message_id: str) -> str:
        """Stop a stream wherever it is written, keep its text; its status.

        Raises StreamNotFound, Unavailable.
        """
        stream = self.open.get(message_id)
        if stream is not None and stream.room == session_id:
            self.tell_producer(stream)
            if stream.agent_task is not None:
                stream.agent_task.cancel()
            status = await self._wait(self.end(stream, STOPPED))
            if status != WAITING:
                return status
        record = await self._store.get(message_id)
        if record is None or record.session_id != session_id or record.message_type != "stream":
            raise StreamNotFound
        if record.status == WAITING:
            status = await self._wait(self._writer.submit(EndStream(session_id, message_id, STOPPED)))
        elif record.status != "streaming":
            return record.status
        else:
            self._tell_writers(message_id)
            status = await self.end_for(record, STOPPED)
        self._tell_writers(message_id)  # once more: somebody may have begun to write it meanwhile
        return status

    def _tell_writers(self, message_id: str) -> None:
        """Whoever writes it ends it, with all its text."""
        self._delivery.bus.signal("all", "cancel", message_id.encode())

    def cancelled(self, message_id: str) -> None:
        """Another node has ended it, on somebody's wish."""
        stream = self.open.get(message_id)
        if stream is not None:
            self.tell_producer(stream)
            if stream.agent_task is not None:
                stream.agent_task.cancel()
            if stream.ending is None:
                self.end(stream, "cancelled")

    async def _wait(self, end: CommitPlace[Committed]) -> str:
        try:
            return (await end).record.status
        except StreamNotOpen as error:
            return error.status
        except StorageError as error:
            raise translate(error) or error from error

    async def end_for(self, record: MessageRecord, status: str) -> str:
        """End a stream that is not written here: with what was saved of it, or with what was logged, unless
        that is less."""
        made = Made(record.content, record.parts)
        if self._delivery.live:
            try:
                closed = await self._log.close(record.session_id, record.message_id)
                if closed.next_index and closed.characters >= made.weight:
                    made = made_of(closed.text, closed.runs)
            except StorageUnavailable:
                self._delivery.lost()
        op = EndStream(
            session_id=record.session_id,
            message_id=record.message_id,
            status=status,
            content=made.content,
            parts=made.parts,
            **self._ends.counted({}, made.content, record.created_at.timestamp()),
        )
        self._observer.stream(status)
        return await self._wait(self._writer.submit(op))

    def tell_producer(self, stream: Stream) -> None:
        """`stream_cancel`, to the connection that writes it."""
        conn = self._delivery.hub.connections.get(stream.conn_id)
        if conn is not None:
            payload = {"message_id": stream.message_id}
            conn.send(make(stream.room, "stream_cancel", Kind.DIRECT, payload, self._clock()))

    # --- reading

    def local_text(self, message_id: str) -> StreamText | None:
        """What is known here of a stream that is written here; for readers who join while the bus is away."""
        stream = self.open.get(message_id)
        if stream is None:
            return None
        text, runs = stream.text_from(0)
        return StreamText(text, len(stream.pieces), stream.start, False, False, runs, status=stream.status)

    async def read(self, record: MessageRecord, from_index: int) -> Rest:
        """What a reader lacks who has the pieces before one. A message whose pieces are not known any more
        comes whole."""
        stream = self.open.get(record.message_id)
        if stream is not None and (from_index == 0 or from_index >= stream.adopted):
            return stream.rest(from_index)
        if record.interrupts is not None:
            from_index = 0  # where its pieces ended before it waited, nobody knows
        try:
            text = await self._log.read(record.session_id, record.message_id, from_index)
        except StorageUnavailable:
            text = None
        made = Made(record.content, record.parts)
        changed = record.is_edited or record.deleted_at is not None
        if (
            text is None
            or changed
            or (record.status != "streaming" and text.next_index == 0 and made != NOTHING)
        ):
            return Rest.of_record(made, record.status)
        return Rest.of_text(text, from_index, record.status)
