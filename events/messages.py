"""Messages: sending, editing, deleting, reading; and what SQL knows as events.

Knows no transport and no SQL.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from events import sessionview
from events.access import Caller, SessionRole, require
from events.bounds import SESSIONS
from events.clock import Clock, rfc3339, when
from events.delivery import Delivery
from events.errors import (
    ChatError,
    Conflict,
    FileNotFound,
    Forbidden,
    MessageNotFound,
    SessionArchived,
    SessionExpired,
    SessionNotFound,
    StreamClosed,
    StreamOpen,
    Unavailable,
    ValidationFailed,
)
from events.event import Event, Kind, to_json
from events.ids import new_id
from events.schema import Delete, Edit, File, FileInfo, History, Message, PostFile, SendMessage
from events.tails import Found
from storage import errors as storage_errors
from storage.files import Files
from storage.interfaces import Mark
from storage.messages import Messages as Store
from storage.ops import Committed, DeleteMessage, EditMessage, EndStream, NewMessage
from storage.participants import Participants
from storage.records import FileRecord, MessageRecord, SessionRecord
from storage.sessions import Sessions
from storage.writer import Owner, Writer

#: Bytes of a page, whatever its limit says (contract, section 3).
PAGE_BYTES = 256 * 1024
#: Who may delete another's message.
MAY_DELETE_ANY = frozenset({"owner", "service"})

_NAMES: dict[type[Exception], Callable[[Exception], ChatError]] = {
    storage_errors.Unavailable: lambda e: Unavailable(),
    storage_errors.CapReached: lambda e: SESSIONS.error(getattr(e, "most", 0)),
    storage_errors.SessionMissing: lambda e: SessionNotFound(),
    storage_errors.SessionEnded: lambda e: (
        SessionExpired() if getattr(e, "status", "") == "expired" else SessionArchived()
    ),
    storage_errors.MessageMissing: lambda e: MessageNotFound(),
    storage_errors.FileMissing: lambda e: FileNotFound(),
    storage_errors.NotAllowed: lambda e: Forbidden("only its sender may edit a message"),
    storage_errors.AlreadyExists: lambda e: Conflict(),
    storage_errors.Superseded: lambda e: Conflict("a later change was made meanwhile"),
    storage_errors.StreamStillOpen: lambda e: StreamOpen(),
    storage_errors.StreamNotOpen: lambda e: StreamClosed(details={"status": getattr(e, "status", None)}),
}


def translate(error: BaseException) -> ChatError | None:
    """What a storage error means to a client; None if it is none of those."""
    for kind, make in _NAMES.items():
        if isinstance(error, kind):
            return make(error)
    return None


def file_view(record: FileRecord) -> File:
    return File(
        record.file_id,
        record.file_url,
        record.thumbnail_url,
        FileInfo(record.file_name, record.file_type, record.file_size),
    )


def view(
    record: MessageRecord, files: Sequence[FileRecord] = (), timestamp: str | UnsetType = UNSET
) -> Message:
    """A message as clients see it. A tombstone has no content."""
    metadata = record.metadata
    if record.tokens_used is not None or record.latency_ms is not None:
        # Older clients look there.
        metadata = {**metadata, "tokens_used": record.tokens_used, "latency_ms": record.latency_ms}
    return Message(
        message_id=record.message_id,
        session_id=record.session_id,
        seq=record.seq,
        revision=record.revision,
        sender_type=record.sender_type,  # type: ignore[arg-type]
        sender_id=record.sender_id,
        message_type=record.message_type,  # type: ignore[arg-type]
        content=None if record.deleted_at else record.content,
        metadata=metadata,
        status=record.status,  # type: ignore[arg-type]
        created_at=rfc3339(record.created_at),
        is_edited=record.is_edited,
        client_message_id=record.client_message_id,
        reply_to=record.reply_to,
        tokens_used=record.tokens_used,
        latency_ms=record.latency_ms,
        error=record.error,
        edited_at=rfc3339(record.edited_at) if record.edited_at else None,
        deleted_at=rfc3339(record.deleted_at) if record.deleted_at else None,
        files=[file_view(f) for f in files] or UNSET,
        timestamp=timestamp,
    )


def event_of(
    record: MessageRecord,
    timestamp: str,
    *,
    created: bool,
    files: Sequence[FileRecord] = (),
    frm: int = 0,
    final: int = -1,
    own: bool = False,
) -> Event:
    """The durable event that tells of a message's newest change. `created`: the room has not heard of it.

    A stream's end carries the text unless `final` (its number of chunks) says that the log has it all.
    """
    seq = record.seq if created else 0
    is_stream = record.message_type == "stream"
    if is_stream and record.status == "streaming" and not record.deleted_at:
        payload = {
            "session_id": record.session_id,
            "message_id": record.message_id,
            "seq": record.seq,
            "revision": record.revision,
            "sender_type": record.sender_type,
            "sender_id": record.sender_id,
            "metadata": record.metadata,
            "reply_to": record.reply_to,
            "timestamp": timestamp,
        }
        data = to_json(payload)
        return Event(
            record.session_id, "stream_start", data, Kind.DURABLE, rev=record.revision, frm=frm, seq=seq,
            stream=record.message_id,
        )  # fmt: skip
    if is_stream and not created and not record.is_edited and not record.deleted_at:
        payload = {
            "session_id": record.session_id,
            "message_id": record.message_id,
            "status": record.status,
            "tokens_used": record.tokens_used,
            "latency_ms": record.latency_ms,
            "revision": record.revision,
            "timestamp": timestamp,
        }
        if record.error:
            payload["error"] = record.error
        if final < 0:
            payload["content"] = record.content
        return Event(
            record.session_id, "stream_end", to_json(payload), Kind.DURABLE, rev=record.revision, frm=frm,
            stream=record.message_id, closed=True, final=final, own=own,
        )  # fmt: skip
    if created:
        name = "message"
    elif record.deleted_at:
        name = "message_deleted"
    else:
        name = "message_updated"
    # A stream that ended by being deleted, or whose start was never told: nothing of it any more.
    return Event(
        record.session_id, name, to_json(view(record, files, timestamp)), Kind.DURABLE, rev=record.revision,
        frm=frm, seq=seq, stream=record.message_id if is_stream else "", closed=is_stream,
    )  # fmt: skip


def read_event(room: str, user: str, seq: int, now: float) -> Event:
    """A read mark that moved."""
    payload = {"session_id": room, "user_id": user, "seq": seq, "timestamp": rfc3339(when(now))}
    return Event(room, "read", to_json(payload), Kind.LOGGED, id=f"read:{user}:{seq}")


class Changes:
    """What SQL knows of a room, as events (`events.delivery.Changes`)."""

    def __init__(
        self, sessions: Sessions, messages: Store, files: Files, participants: Participants, clock: Clock
    ) -> None:
        self._sessions, self._messages, self._files = sessions, messages, files
        self._participants, self._clock = participants, clock

    async def mark(self, room: str) -> Mark | None:
        record = await self._sessions.get(room)
        return Mark(record.last_revision, record.last_seq) if record else None

    async def since(self, room: str, base: Mark, limit: int) -> tuple[Mark, list[Event]]:
        mark = await self.mark(room)
        if mark is None or mark.rev <= base.rev:
            return base, []
        if mark.rev - base.rev > limit:
            return mark, [Event(room, "", b"", Kind.DURABLE, rev=mark.rev)]  # too much: its reader resets
        events: list[Event] = []
        before, now = base.rev, rfc3339(when(self._clock()))
        told: set[int] = set()  # a message that changes while pages are read is on two of them
        more = True
        while more:
            records, more, _ = await self._messages.changes(room, before, 500, PAGE_BYTES)
            files = await self._files_of(records)
            for record in records:
                events.append(
                    event_of(
                        record,
                        now,
                        created=record.seq > base.seq and record.seq not in told,
                        files=files.get(record.message_id, ()),
                        frm=before + 1,
                    )
                )
                before = record.revision
                told.add(record.seq)
            if not records:
                break
        return mark, events

    async def revisions(self, message_ids: Sequence[str]) -> Mapping[str, Found]:
        """The newest revision of each of these messages that is there."""
        found = await self._messages.revisions(message_ids)
        return {id: Found(rev, rfc3339(edited) if edited else None) for id, (rev, edited) in found.items()}

    async def read_marks(self, rooms: Collection[str]) -> list[Event]:
        """How far each has read in these rooms; of many in one room, those who are furthest."""
        now = self._clock()
        found = await self._participants.marks(rooms)
        return [
            read_event(room, user, seq, now)
            for room, marks in found.items()
            for user, seq in sessionview.marks(marks).items()
        ]

    async def _files_of(self, records: Sequence[MessageRecord]) -> Mapping[str, Sequence[FileRecord]]:
        ids = [r.message_id for r in records if r.message_type == "file"]
        return await self._messages.files_of(ids) if ids else {}


class MessageService:
    """Commands on messages. Writes go to the group-commit writer; `on_committed` takes them to the room."""

    def __init__(
        self,
        writer: Writer,
        store: Store,
        files: Files,
        participants: Participants,
        delivery: Delivery,
        clock: Clock,
    ) -> None:
        self.writer = writer
        self._store, self._files, self._participants = store, files, participants
        self._delivery, self._clock = delivery, clock
        self._posted: dict[str, FileRecord] = {}  # message id -> its file, from submit to commit
        self.on_message: Callable[[Committed], None] = lambda committed: None
        self.final_of: Callable[[str], int] = lambda message_id: -1
        self.lineage_of: Callable[[str], str] = lambda trace_id: ""

    # --- commands

    def send(
        self,
        caller: Caller,
        command: SendMessage,
        conn: Owner | None = None,
        *,
        begins: SessionRecord | None = None,
        most: int | None = None,
    ) -> "asyncio.Future[Committed]":
        """Take a place in the order of commits. `begins`: the session, made with its first message; its owner
        may have `most`. Errors come through the future (see `translate`)."""
        if command.message_type == "system" and caller.role != "service":
            raise Forbidden("only a service may send system messages")
        return self.writer.submit(
            NewMessage(
                session_id=command.session_id,
                message_id=new_id("msg"),
                client_message_id=command.client_message_id,
                sender_type=caller.sender_type,
                sender_id=caller.sub,
                message_type=command.message_type or "text",
                content=command.content,
                metadata=command.metadata or {},
                reply_to=command.reply_to,
                begins=begins,
                most=most,
            ),
            conn,
        )

    def edit(self, caller: Caller, command: Edit, conn: Owner | None = None) -> "asyncio.Future[Committed]":
        return self.writer.submit(
            EditMessage(
                command.session_id,
                command.message_id,
                command.content,
                caller.sender_type,
                caller.sub,
                when(self._clock()),
            ),
            conn,
        )

    async def may_delete(self, caller: Caller, role: SessionRole, command: Delete) -> MessageRecord:
        """Raises MessageNotFound, Forbidden."""
        record = await self._store.get(command.message_id)
        if record is None or record.session_id != command.session_id or record.deleted_at:
            raise MessageNotFound
        if (record.sender_type, record.sender_id) != (caller.sender_type, caller.sub):
            require(role, MAY_DELETE_ANY)
        return record

    def delete(self, command: Delete, conn: Owner | None = None) -> "asyncio.Future[Committed]":
        accepted = when(self._clock())
        return self.writer.submit(
            DeleteMessage(command.session_id, command.message_id, accepted=accepted), conn
        )

    async def post_file(self, caller: Caller, command: PostFile) -> "asyncio.Future[Committed]":
        """Raises FileNotFound: not uploaded by this caller to this session, or posted already."""
        record = await self._files.get(command.file_id)
        if record is None or record.session_id != command.session_id or record.uploaded_by != caller.key:
            raise FileNotFound
        message_id = new_id("msg")
        self._posted[message_id] = record
        future = self.writer.submit(
            NewMessage(
                session_id=command.session_id,
                message_id=message_id,
                client_message_id=command.client_message_id,
                sender_type=caller.sender_type,
                sender_id=caller.sub,
                message_type="file",
                content=command.message or "",
                file_id=command.file_id,
            )
        )
        future.add_done_callback(lambda _: self._posted.pop(message_id, None))
        return future

    async def get(self, session_id: str, message_id: str) -> MessageRecord:
        """Raises MessageNotFound."""
        record = await self._store.get(message_id)
        if record is None or record.session_id != session_id:
            raise MessageNotFound
        return record

    async def history(self, command: History, trace_id: str) -> dict[str, Any]:
        """A page, oldest first unless `order` says otherwise. Raises ValidationFailed, Unavailable."""
        lineage = self.lineage_of(trace_id)
        after = command.after_revision
        if after is not None:
            _, _, last_revision = await self._store.counts(command.session_id)
            reset = after > last_revision or command.lineage not in (None, lineage)
        if after is not None and not reset:
            records, has_more, _ = await self._store.changes(
                command.session_id, after, command.limit, PAGE_BYTES
            )
        else:
            records, has_more = await self._store.page(
                command.session_id,
                before_seq=command.before_seq,
                after_seq=command.after_seq,
                before=_time(command.before, "before"),
                after=_time(command.after, "after"),
                order=command.order,
                limit=command.limit,
                max_bytes=PAGE_BYTES,
            )
        total, last_seq, last_revision = await self._store.counts(command.session_id)
        page = {
            "messages": await self.views(records),
            "has_more": has_more,
            "total": total,
            "last_seq": last_seq,
            "last_revision": last_revision,
            "lineage": lineage,
        }
        if after is not None and reset:
            page["reset"] = True
        return page

    async def views(self, records: Sequence[MessageRecord]) -> list[Message]:
        ids = [r.message_id for r in records if r.message_type == "file" and not r.deleted_at]
        files = await self._store.files_of(ids) if ids else {}
        return [view(r, files.get(r.message_id, ())) for r in records]

    async def mark_read(self, caller: Caller, session_id: str, seq: int) -> int:
        """The unread count that remains. Tells the room if the mark moved."""
        before = await self._participants.get(session_id, caller.key)
        read_seq = await self._participants.mark_read(session_id, caller.key, seq)
        if before is None or read_seq > before.read_seq:
            self._delivery.logs.log_event(read_event(session_id, caller.key, read_seq, self._clock()))
        return await self._participants.unread(session_id, caller.key, read_seq)

    # --- after the commit

    def on_committed(self, batch: Sequence[Committed]) -> None:
        """Called by the writer once per batch, right after COMMIT."""
        now = rfc3339(when(self._clock()))
        rooms: dict[str, list[Event]] = {}
        for done in batch:
            if done.duplicate:
                continue
            record, op = done.record, done.op
            posted = self._posted.pop(record.message_id, None) if self._posted else None
            ended = isinstance(op, EndStream)
            event = event_of(
                record,
                now,
                created=isinstance(op, NewMessage),
                files=(posted,) if posted else (),
                final=self.final_of(record.message_id) if ended else -1,
                own=ended,
            )
            rooms.setdefault(record.session_id, []).append(event)
            self.on_message(done)
        for room, events in rooms.items():
            self._delivery.logs.announce(room, events)


def _time(text: str | None, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        time = msgspec.convert(text, datetime)
        # Without a zone: UTC, as all our times are, whatever zone the server's machine is in.
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise ValidationFailed("an RFC 3339 time", field=field) from error
