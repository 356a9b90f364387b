"""The commands: each authorises, then acts. One method a command, named as the command.

A command is a coroutine that answers with a dict, or with a `Pending` where its place in the order of commits
is taken and the reply follows the commit. Two have a plain twin for what need not be asked (docs/adr/0014).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from events import schema
from events.access import MAY_WRITE, Caller, SessionRole, require
from events.agents.replies import reply_key
from events.agentstatus import AgentStatuses
from events.answering import Answering
from events.branching import Branching, check_leads
from events.clock import rfc3339
from events.errors import (
    AgentNotFound,
    ChatError,
    Forbidden,
    MessageNotFound,
    SessionNotFound,
    StreamNotFound,
    Unavailable,
)
from events.feedback import FeedbackService
from events.interrupts import MAY_ANSWER, Interrupts, answer_given
from events.joining import Joined, Joining
from events.membership import Membership
from events.messages import MessageService
from events.parts import shown
from events.presence import Presence
from events.ratelimit import RateLimits
from events.room import Connection, Member
from events.schema import AgentStatus, StreamChunk, StreamDelta, StreamPart
from events.sessions import SessionManager
from events.stream import Stream
from events.streams import Streams
from events.typing import Typing
from storage.errors import StorageError
from storage.ops import Committed
from storage.patience import LEAST, WAIT, until
from storage.place import CommitPlace
from storage.records import Outcome, SessionRecord
from storage.shape import dict_maker, shared
from storage.waits import UNFINISHED

Refresh = Callable[[Caller, Connection | None, str], Awaitable[dict[str, Any]]]


class Pending:
    """A write that has its place. `reply` makes the reply of what was committed."""

    __slots__ = ("place", "reply")

    def __init__(self, place: CommitPlace[Committed], reply: Callable[[Committed], dict[str, Any]]) -> None:
        self.place, self.reply = place, reply


Done = dict[str, Any] | Pending | Joined
#: The next piece of a stream, or what its producer does meanwhile.
Piece = StreamChunk | StreamDelta | StreamPart | AgentStatus
Action = Done | Coroutine[Any, Any, Done]


def sent(done: Committed) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "message_id": done.record.message_id,
        "seq": done.record.seq,
        "created_at": rfc3339(done.record.created_at),
    }
    if done.duplicate:
        reply["duplicate"] = True
    return reply


def changed(done: Committed) -> dict[str, Any]:
    return {"message_id": done.record.message_id, "revision": done.record.revision}


def branched(done: Committed) -> dict[str, Any]:
    return changed(done) | sent(done)


def waits(done: Committed) -> dict[str, Any]:
    return changed(done) | {"status": done.record.status}


def _for_a_while(end: CommitPlace[Committed]) -> CommitPlace[Committed]:
    """A stream's end waits until the database takes it; its sender hears in time that it waits."""
    loop, told = asyncio.get_running_loop(), CommitPlace[Committed]()

    def give_up() -> None:
        told.set_exception(Unavailable("the database does not take the end yet; it is kept"))

    def done(end: CommitPlace[Committed]) -> None:
        timer.cancel()
        if not told.done():
            end.pass_on(told)

    # As long as what else the command had to wait for has left of it.
    timer = loop.call_at((until() or loop.time() + WAIT) + LEAST, give_up)
    end.add_done_callback(done)
    return told


#: Fields that a producer gives with a stream's end, besides status and error.
_said = dict_maker(shared(Outcome, schema.StreamEnd, "session_id", "message_id", "status", "error"))


class Commands:
    """`conn` is None for a request that is no connection (REST)."""

    def __init__(
        self,
        sessions: SessionManager,
        messages: MessageService,
        streams: Streams,
        statuses: AgentStatuses,
        answering: Answering,
        branching: Branching,
        interrupts: Interrupts,
        membership: Membership,
        joining: Joining,
        presence: Presence,
        typing: Typing,
        limits: RateLimits,
        feedback: FeedbackService,
        refresh: Refresh,
    ) -> None:
        self._sessions, self._messages, self._streams = sessions, messages, streams
        self._statuses, self._answering, self._branching = statuses, answering, branching
        self._interrupts = interrupts
        self._membership, self._joining = membership, joining
        self._presence, self._typing = presence, typing
        self._limits, self._feedback, self._refresh = limits, feedback, refresh

    @property
    def actions(self) -> dict[str, Callable[..., Any]]:
        """The method of each command, by the command's name in `events.catalog`."""
        return {
            "join": self.join,
            "leave": self.leave,
            "message": self.message,
            "edit": self.edit,
            "regenerate": self.regenerate,
            "select": self.select,
            "delete": self.delete,
            "file": self.file,
            "typing": self.typing,
            "presence": self.presence,
            "read": self.read,
            "history": self.history,
            "turns": self.turns,
            "feedback": self.feedback,
            "stream_start": self.stream_start,
            "stream_chunk": self.stream_chunk,
            "stream_delta": self.stream_delta,
            "stream_part": self.stream_part,
            "stream_wait": self.stream_wait,
            "answer": self.answer,
            "agent_status": self.agent_status,
            "stream_end": self.stream_end,
            "stream_cancel": self.stream_cancel,
            "stream_resume": self.stream_resume,
            "auth_refresh": self.auth_refresh,
        }

    # --- access

    def _member(self, conn: Connection | None, session_id: str) -> Member | None:
        return conn.member(session_id) if conn is not None else None

    async def _writable(
        self, caller: Caller, session_id: str, count: int = 0
    ) -> tuple[int | None, SessionRole]:
        """`count`: of commands, besides those that a commit counts."""
        record, role = await self._sessions.writable(caller, session_id)
        self._sessions.touches.touch(session_id, record.ttl_hours, record.last_activity.timestamp(), count)
        return record.agent_id, role

    async def _readable(self, caller: Caller, session_id: str) -> SessionRole:
        return (await self._read(caller, session_id))[1]

    async def _read(self, caller: Caller, session_id: str) -> tuple[SessionRecord, SessionRole]:
        record, role = await self._sessions.readable(caller, session_id)
        if record.status == "active" and record.expires_at.timestamp() > self._sessions.now():
            self._sessions.touches.touch(session_id, record.ttl_hours, record.last_activity.timestamp())
        return record, role

    def _member_writes(self, member: Member, count: int = 0) -> None:
        """`count` as for `_writable`."""
        now = self._sessions.now()
        self._sessions.member_may_write(member, now)
        self._sessions.touches.touch_live(member.room, now, count)

    async def _may_write(
        self, caller: Caller, conn: Connection | None, session_id: str, count: int = 0
    ) -> None:
        """A member of the room waits for nothing here. `count` as for `_writable`."""
        member = self._member(conn, session_id)
        if member is not None:
            self._member_writes(member, count)
        else:
            await self._writable(caller, session_id, count)

    def _member_asks(self, member: Member) -> int | None:
        """A member of the room may write; the session's agent."""
        self._member_writes(member)
        live = member.room.live
        return live.agent_id if live else None

    # --- rooms

    def join(self, caller: Caller, conn: Connection | None, command: schema.Join) -> Action:
        # A twin, for set-up: a task for each join of a room at hand is a tenth of a connect.
        assert conn is not None
        joined = self._joining.at_once(
            conn, command.session_id, command.after_revision, command.limit, command.lineage
        )
        if joined is None:
            return self._join(conn, command)
        self._joined(conn, command.session_id)
        return joined

    async def _join(self, conn: Connection, command: schema.Join) -> Joined:
        joined = await self._joining.join(
            conn, command.session_id, command.after_revision, command.limit, command.lineage
        )
        self._joined(conn, command.session_id)
        return joined

    def _joined(self, conn: Connection, session_id: str) -> None:
        member = conn.member(session_id)
        if member is not None:
            self._sessions.touches.touch_live(member.room, self._sessions.now())

    async def leave(self, caller: Caller, conn: Connection | None, command: schema.Leave) -> Done:
        if conn is not None:
            member = conn.member(command.session_id)
            if member is not None:
                self._sessions.touches.touch_live(member.room, self._sessions.now())
            await self._membership.leave(conn, command.session_id)
        return {}

    # --- messages

    async def message(self, caller: Caller, conn: Connection | None, command: schema.SendMessage) -> Done:
        session_id = command.session_id
        member = self._member(conn, session_id)
        agent_id = self._member_asks(member) if member else (await self._writable(caller, session_id))[0]
        asks = self._answering.asks(caller, agent_id, command.reply, command.when_busy, command.tools)
        place = self._messages.send(caller, command, conn, asks=asks)
        self._typing.clear(session_id, caller.key)
        return Pending(place, sent)

    async def edit(self, caller: Caller, conn: Connection | None, command: schema.Edit) -> Done:
        session_id = command.session_id
        if command.branch:
            member = self._member(conn, session_id)
            agent_id = self._member_asks(member) if member else (await self._writable(caller, session_id))[0]
            check_leads(caller)
            asks = self._answering.asks(caller, agent_id, command.reply, command.when_busy, command.tools)
            place = self._messages.branch(caller, command, conn, asks)
            self._typing.clear(session_id, caller.key)
            return Pending(place, branched)
        await self._may_write(caller, conn, session_id)
        return Pending(self._messages.edit(caller, command, conn), changed)

    async def regenerate(self, caller: Caller, conn: Connection | None, command: schema.Regenerate) -> Done:
        agent_id, _ = await self._writable(caller, command.session_id)
        check_leads(caller)
        if agent_id is None:
            raise AgentNotFound("the session has no agent")
        asks = self._answering.asks_of(caller, agent_id, command.when_busy, command.tools)
        return await self._branching.regenerate(command.session_id, command.message_id, asks)

    async def select(self, caller: Caller, conn: Connection | None, command: schema.Select) -> Done:
        await self._may_write(caller, conn, command.session_id, 1)
        check_leads(caller)
        return await self._branching.select(command.session_id, command.message_id, command.exact)

    async def delete(self, caller: Caller, conn: Connection | None, command: schema.Delete) -> Done:
        _, role = await self._writable(caller, command.session_id)
        record = await self._messages.may_delete(caller, role, command)
        if record.status in UNFINISHED:
            await self._streams.cancel(command.session_id, command.message_id)
        return Pending(self._messages.delete(command, conn), changed)

    async def file(self, caller: Caller, conn: Connection | None, command: schema.PostFile) -> Done:
        agent_id, _ = await self._writable(caller, command.session_id)
        asks = self._answering.asks(caller, agent_id, command.reply, command.when_busy)
        return Pending(self._messages.post_file(caller, command, asks), sent)

    async def read(self, caller: Caller, conn: Connection | None, command: schema.Read) -> Done:
        await self._readable(caller, command.session_id)
        await self._sessions.speaks_for_itself(caller, command.session_id)
        unread = await self._messages.mark_read(caller, command.session_id, command.seq)
        return {"unread_count": unread}

    async def history(self, caller: Caller, conn: Connection | None, command: schema.History) -> Done:
        record, role = await self._read(caller, command.session_id)
        page = await self._messages.history(command, record)
        seqs = [m.seq for m in page["messages"] or [node["message"] for node in page.get("tree", ())]]
        if record.rated:
            page["messages"] = await self._feedback.shown(page["messages"], caller, role, record.session_id)
        if record.agent_id is None:
            return page | {"turns": []}
        changes = command.after_revision is not None
        return page | await self._answering.shown(command.session_id, seqs, changes=changes)

    async def turns(self, caller: Caller, conn: Connection | None, command: schema.Turns) -> Done:
        await self._readable(caller, command.session_id)
        return await self._answering.page(command.session_id, command.before_seq, command.limit)

    async def feedback(self, caller: Caller, conn: Connection | None, command: schema.GiveFeedback) -> Done:
        record, _ = await self._read(caller, command.session_id)
        return await self._feedback.give(caller, record, command)

    # --- typing and presence

    async def typing(self, caller: Caller, conn: Connection | None, command: schema.Typing) -> Done:
        session_id = command.session_id
        member = conn.member(session_id) if conn is not None else None
        if member is not None:  # as `_may_write`, without a coroutine of its own
            self._member_writes(member, 1)
        else:
            await self._writable(caller, session_id, 1)
        source = conn.id if conn is not None else self._membership.event_stream_of(caller, session_id)
        self._typing.set(session_id, source, caller.key, command.is_typing)
        return {}

    async def presence(self, caller: Caller, conn: Connection | None, command: schema.Presence) -> Done:
        if conn is None:
            for stream in self._membership.event_streams(caller):
                self._presence.set_status(stream, command.status)
        elif self._presence.set_status(conn, command.status) and conn.pid is not None:
            await self._membership.remember(conn)
        return {}

    # --- streams

    async def stream_start(
        self, caller: Caller, conn: Connection | None, command: schema.StreamStart
    ) -> Done:
        await self._may_write(caller, conn, command.session_id)
        if caller.role == "agent" and command.reply_to and command.client_message_id is None:
            # A message is answered once: a request that came twice goes on with the first answer.
            command.client_message_id = reply_key(command.reply_to)
        stream, done = await self._streams.start(caller, command, conn)
        if stream is not None:
            stream.allow(caller)
        reply: dict[str, Any] = {
            "message_id": done.record.message_id,
            "seq": done.record.seq,
            "revision": done.record.revision,
            "next_index": stream.next_index if stream is not None else 0,
        }
        if done.duplicate:
            reply |= {"duplicate": True, "status": done.record.status}
        return reply

    def stream_chunk(self, caller: Caller, conn: Connection | None, command: Piece) -> Action:
        # A twin, for chunks: whether a question is needed shows only when the stream is found.
        stream = self._streams.find(caller, conn, command.session_id, command.message_id)
        if stream is None:
            return self._adopted_piece(caller, conn, command)
        if stream.writer is not caller:
            return self._others_piece(caller, conn, stream, command)
        return self._piece(stream, conn, command)

    #: They differ in what is written alone.
    stream_delta = stream_part = agent_status = stream_chunk

    def _piece(self, stream: Stream, conn: Connection | None, command: Piece) -> dict[str, Any]:
        if stream.room != command.session_id:
            raise StreamNotFound
        if stream.refusal is not None:
            raise stream.refusal.with_traceback(None)  # the same one each time
        now = self._sessions.now() if conn is None else conn.heard_at
        self._limits.check_chunk(stream.pace, now)
        stream.uncounted += 1
        if type(command) is StreamChunk:
            written = self._streams.chunk(stream, command.content, command.index, conn, now, command.part)
        elif type(command) is StreamDelta:
            written = self._streams.delta(stream, command.part, command.content, command.index, conn, now)
        elif type(command) is StreamPart:
            written = self._streams.part(stream, command.part, command.index, conn, now)
            return {"next_index": written, "part_id": command.part.id}
        else:
            assert type(command) is AgentStatus
            self._streams.chunk(stream, "", None, conn, now)  # a sign of life
            self._statuses.say(stream, command.status, command.detail)
            return {}
        return {"next_index": written}

    async def _others_piece(
        self, caller: Caller, conn: Connection | None, stream: Stream, command: Piece
    ) -> Done:
        """Its producer goes on by another connection, or with another token."""
        await self._look_up(caller)
        await self._writable(caller, stream.room)
        stream.allow(caller)
        return self._piece(stream, conn, command)

    async def _look_up(self, caller: Caller) -> None:
        """A chunk has its stream's pace; one whose stream is asked for in SQL counts as other calls do."""
        waiting = self._limits.check(caller, "stream")
        if waiting is not None:
            await waiting

    async def _count_chunks(self, caller: Caller, stream: Stream) -> None:
        """Chunks are activity. Raises as `_writable`."""
        count, stream.uncounted = stream.uncounted, 0
        record, _ = await self._sessions.writable(caller, stream.room)
        self._sessions.touches.touch(stream.room, record.ttl_hours, record.last_activity.timestamp(), count)

    async def _adopted_piece(self, caller: Caller, conn: Connection | None, command: Piece) -> Done:
        assert command.message_id is not None
        await self._look_up(caller)
        await self._writable(caller, command.session_id)
        stream = await self._streams.find_or_adopt(caller, command.session_id, command.message_id)
        stream.allow(caller)
        return self._piece(stream, conn, command)

    async def stream_end(self, caller: Caller, conn: Connection | None, command: schema.StreamEnd) -> Done:
        stream, adopted = await self._to_end(caller, conn, command)
        if not await self._still_writes(caller, stream):
            return Pending(_for_a_while(self._streams.end(stream, "interrupted")), changed)
        error = {"code": command.error.code, "message": command.error.message} if command.error else None
        status = "failed" if error and command.status == "complete" else command.status
        if status == "complete":
            self._streams.writing.check_whole(stream, command.index, adopted=adopted)
        said = _said(command)
        if command.usage is not None:
            said["usage"] = msgspec.to_builtins(command.usage) or None
        end = self._streams.end(stream, status, error=error, **said)
        return Pending(_for_a_while(end), changed)

    async def stream_wait(self, caller: Caller, conn: Connection | None, command: schema.StreamWait) -> Done:
        stream, adopted = await self._to_end(caller, conn, command)
        self._streams.writing.check_whole(stream, command.index, adopted=adopted)
        await self._count_chunks(caller, stream)
        asked = await self._interrupts.asked(stream, command.interrupts)
        end = self._streams.end(stream, "waiting", interrupts=asked)
        return Pending(_for_a_while(end), waits)

    async def answer(self, caller: Caller, conn: Connection | None, command: schema.GiveAnswer) -> Done:
        _, role = await self._writable(caller, command.session_id)
        require(role, MAY_ANSWER)
        return Pending(await self._interrupts.answer(caller, command, conn), answer_given)

    async def _to_end(
        self, caller: Caller, conn: Connection | None, command: schema.StreamEnd | schema.StreamWait
    ) -> tuple[Stream, bool]:
        """The stream that is to end, and whether it was taken over for that."""
        stream = self._streams.find(caller, conn, command.session_id, command.message_id)
        adopted = stream is None
        if stream is None:
            assert command.message_id is not None
            stream = await self._own_stream(caller, command.session_id, command.message_id)
        if stream.room != command.session_id:
            raise StreamNotFound
        return stream, adopted

    async def _own_stream(self, caller: Caller, session_id: str, message_id: str) -> Stream:
        """A stream that is not written here. Only those who may see the session learn that it is
        another's."""
        try:
            return await self._streams.find_or_adopt(caller, session_id, message_id)
        except (StreamNotFound, Forbidden):
            await self._sessions.readable(caller, session_id)
            raise

    async def _still_writes(self, caller: Caller, stream: Stream) -> bool:
        """A producer may always end its stream, whatever has become of the session; but only one that may
        still write there decides how it ended."""
        try:
            await self._count_chunks(caller, stream)
        except (SessionNotFound, Forbidden):
            return False
        except (ChatError, StorageError):
            return stream.refusal is None or not isinstance(stream.refusal, SessionNotFound | Forbidden)
        return True

    async def stream_cancel(
        self, caller: Caller, conn: Connection | None, command: schema.StreamCancel
    ) -> Done:
        record, role = await self._sessions.readable(caller, command.session_id)
        require(role, MAY_WRITE)
        stream = self._streams.open.get(command.message_id)
        if stream is not None and stream.room == command.session_id:
            chunks, stream.uncounted = stream.uncounted, 0
            written = record.last_activity.timestamp()
            self._sessions.touches.touch(command.session_id, record.ttl_hours, written, chunks)
        return {"status": await self._answering.stop(command.session_id, command.message_id)}

    async def stream_resume(
        self, caller: Caller, conn: Connection | None, command: schema.StreamResume
    ) -> Done:
        await self._readable(caller, command.session_id)
        try:
            record = await self._messages.get(command.session_id, command.message_id)
        except MessageNotFound as error:
            raise StreamNotFound from error
        if record.message_type != "stream":
            raise StreamNotFound
        rest = await self._streams.read(record, command.from_index)
        reply: dict[str, Any] = {
            "content": rest.content,
            "index": rest.content_index,
            "next_index": rest.next_index,
            "status": rest.status,
        }
        if rest.parts is not None:
            reply["parts"] = shown(rest.parts)
        return reply

    # --- the connection itself

    async def auth_refresh(
        self, caller: Caller, conn: Connection | None, command: schema.AuthRefresh
    ) -> Done:
        return await self._refresh(caller, conn, command.token)
