"""Messages: sending, editing, deleting, reading. Knows no transport and no SQL."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from events.access import Caller, SessionRole, require
from events.clock import Clock, rfc3339, when
from events.delivery import Delivery
from events.errors import Forbidden, MessageNotFound, ValidationFailed
from events.event import Event
from events.given import given
from events.ids import new_id
from events.introductions import Introductions
from events.names import Names
from events.parts import FilePart, GivenPart, Text, Tool
from events.schema import Delete, Edit, History, Message, PostFile, SendMessage
from events.uncommitted import Submits
from events.views import PAGE_BYTES, event_of, read_event, view
from storage.errors import StorageUnavailable
from storage.interfaces import UNCOUNTED
from storage.messages import Messages as Store
from storage.ops import Addressed, Committed, DeleteMessage, EditMessage, EndStream, NewMessage
from storage.participants import Participants
from storage.parts import file_ids
from storage.paths import Kin, Paths
from storage.place import CommitPlace
from storage.records import MessageRecord, SessionRecord
from storage.shape import maker
from storage.writer import Owner, Writer

#: Who may delete another's message.
MAY_DELETE_ANY = frozenset({"owner", "service"})

NO_KIN: Mapping[str, Kin] = {}

#: What a command says of a message, and what is known of it besides.
_said = maker(
    NewMessage,
    SendMessage,
    "message_id sender_type sender_id message_type content parts metadata begins most asks introduces",
)
#: The same of another version of a message.
_otherwise = maker(
    NewMessage, Edit, "message_id sender_type sender_id message_type content metadata asks beside introduces"
)


class SaidBefore(NamedTuple):
    """What was said before a session began, elsewhere: by its agent, which may have called tools, or by the
    one who brings it along."""

    by_agent: bool
    parts: Sequence[GivenPart | Tool]


class MessageService:
    """Commands on messages. Writes go to the group-commit writer; `on_committed` takes them to the room."""

    def __init__(
        self,
        writer: Writer,
        uncommitted: Submits,
        store: Store,
        paths: Paths,
        participants: Participants,
        names: Names,
        introductions: Introductions,
        delivery: Delivery,
        clock: Clock,
        *,
        final_of: Callable[[str], int],
        lineage_of: Callable[[str], str],
        on_message: Callable[[Committed], None],
    ) -> None:
        """`final_of` tells how many pieces a stream has that is being ended, `lineage_of` which history of a
        session a reply goes by; `on_message` hears of each committed message."""
        self.writer, self._uncommitted = writer, uncommitted
        self._store, self._paths, self._participants = store, paths, participants
        self._names, self._introductions = names, introductions
        self._delivery, self._clock = delivery, clock
        self._final_of, self._lineage_of, self._on_message = final_of, lineage_of, on_message

    # --- commands

    def send(
        self,
        caller: Caller,
        command: SendMessage,
        conn: Owner | None = None,
        *,
        begins: SessionRecord | None = None,
        most: int | None = None,
        asks: Addressed | None = None,
    ) -> CommitPlace[Committed]:
        """Take a place in the order of commits. `begins`: the session, made with its first message; its owner
        may have `most`. `asks`: the message is a question to an agent. Errors come through the place (see
        `events.failures`); raises ValidationFailed, Forbidden, RateLimited."""
        if command.message_type == "system" and caller.role != "service":
            raise Forbidden("only a service may send system messages")
        kind: str = command.message_type or "text"
        content, parts = command.content, None
        if command.parts is not None:
            content, parts = given(content, command.parts)
            if kind == "text" and file_ids(parts):
                kind = "file"
        elif content is UNSET:
            raise ValidationFailed("is required", field="content", joint=" ")
        return self._uncommitted.submit(
            caller.account,
            _said(
                command,
                message_id=new_id("msg"),
                sender_type=caller.sender_type,
                sender_id=caller.sub,
                message_type=kind,
                content=content,
                parts=parts,
                metadata=command.metadata or {},
                begins=begins,
                most=most,
                asks=asks,
                introduces=self._introductions.of(command.session_id, caller),
            ),
            conn,
        )

    def bring(
        self,
        caller: Caller,
        agent_id: int,
        begins: SessionRecord,
        most: int | None,
        said: SaidBefore,
        number: int,
    ) -> CommitPlace[Committed]:
        """The `number`th of the messages that a session begins with: it is stored once, and asks nobody.
        Raises as `send`."""
        content, parts = given(UNSET, said.parts)
        return self._uncommitted.submit(
            caller.account,
            NewMessage(
                session_id=begins.session_id,
                message_id=new_id("msg"),
                sender_type="agent" if said.by_agent else caller.sender_type,
                sender_id=str(agent_id) if said.by_agent else caller.sub,
                message_type="text",
                content=content,
                parts=parts,
                metadata={"brought": True},
                client_message_id=f"brought:{number}",
                begins=begins,
                most=most,
            ),
        )

    def edit(self, caller: Caller, command: Edit, conn: Owner | None = None) -> CommitPlace[Committed]:
        return self._uncommitted.submit(
            caller.account,
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

    def branch(
        self, caller: Caller, command: Edit, conn: Owner | None = None, asks: Addressed | None = None
    ) -> CommitPlace[Committed]:
        """Another version of one's own message beside it: the path leads to it from there on."""
        return self._uncommitted.submit(
            caller.account,
            _otherwise(
                command,
                message_id=new_id("msg"),
                sender_type=caller.sender_type,
                sender_id=caller.sub,
                message_type="text",
                content=command.content,
                metadata={},
                asks=asks,
                beside=command.message_id,
                introduces=self._introductions.of(command.session_id, caller),
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

    def delete(self, command: Delete, conn: Owner | None = None) -> CommitPlace[Committed]:
        accepted = when(self._clock())
        return self.writer.submit(
            DeleteMessage(command.session_id, command.message_id, accepted=accepted), conn
        )

    def post_file(
        self, caller: Caller, command: PostFile, asks: Addressed | None = None
    ) -> CommitPlace[Committed]:
        """A message of one file and, perhaps, a text. Its place raises FileMissing: not uploaded by this
        caller to this session, or posted already."""
        parts: list[GivenPart] = [FilePart(file_id=command.file_id)]
        if command.message:
            parts.append(Text(text=command.message))
        message = SendMessage(
            session_id=command.session_id, client_message_id=command.client_message_id, parts=parts
        )
        return self.send(caller, message, asks=asks)

    async def get(self, session_id: str, message_id: str) -> MessageRecord:
        """Raises MessageNotFound."""
        record = await self._store.get(message_id)
        if record is None or record.session_id != session_id:
            raise MessageNotFound
        return record

    async def history(self, command: History, session: SessionRecord) -> dict[str, Any]:
        """A page, oldest first unless `order` says otherwise. `session` was read just now: who goes on from
        what it says was last lacks nothing that was committed since. Raises ValidationFailed, Unavailable."""
        lineage = self._lineage_of(session.trace_id)
        after = command.after_revision
        if after is not None:
            _, _, last_revision = await self._store.counts(command.session_id)
            reset = after > last_revision or command.lineage not in (None, lineage)
        records: Sequence[MessageRecord]
        if after is not None and not reset:
            records, has_more, _ = await self._store.changes(
                command.session_id, after, command.limit, PAGE_BYTES
            )
            kin: Mapping[str, Kin] = NO_KIN
        else:
            records, has_more, kin = await self._page(command, session)
        (total, _, _), users = await self._names.of_page(command.session_id, records)
        page: dict[str, Any] = {
            "messages": await self.views(records, kin),
            "has_more": has_more,
            "total": total,
            "last_seq": session.last_seq,
            "last_revision": session.last_revision,
            "lineage": lineage,
        }
        if users:
            page["users"] = users
        if after is not None and reset:
            page["reset"] = True
        if session.head_id is not None:
            page["head_id"] = session.head_id
        if command.tree:
            await self._as_tree(page, session, records)
        return page

    async def newest(self, session: SessionRecord, limit: int) -> Sequence[MessageRecord]:
        """The last messages of its path, the newest first. Raises Unavailable."""
        records, _, _ = await self._page(History(session.session_id, limit=limit, order="desc"), session)
        return records

    async def _page(
        self, command: History, session: SessionRecord
    ) -> tuple[Sequence[MessageRecord], bool, Mapping[str, Kin]]:
        if session.head_seq is None or command.tree:
            records, has_more = await self._store.page(command.session_id, **_bounds(command))
            return records, has_more, NO_KIN
        found = await self._paths.page(session, **_bounds(command))
        return found.messages, found.has_more, found.kin

    async def _as_tree(
        self, page: dict[str, Any], session: SessionRecord, records: Sequence[MessageRecord]
    ) -> None:
        """All messages with what each follows, also where there are no branches."""
        parents = await self._paths.parents(session.session_id, records)
        page["tree"] = [
            {"message": message, "parent_id": parents[message.message_id]} for message in page["messages"]
        ]
        page["messages"] = []
        if session.head_id is None:
            page["head_id"] = await self._paths.message_at(session.session_id, session.last_seq)

    async def views(self, records: Sequence[MessageRecord], kin: Mapping[str, Kin] = NO_KIN) -> list[Message]:
        """`kin` by message_id, where the session has branches."""
        files = await self._store.files_with(records)
        if kin:
            return [view(r, files.get(r.message_id, ()), kin=kin.get(r.message_id)) for r in records]
        return [view(r, files.get(r.message_id, ())) for r in records]

    async def mark_read(self, caller: Caller, session_id: str, seq: int) -> int:
        """The unread count that remains. Tells the room if the mark moved."""
        before = await self._participants.get(session_id, caller.key)
        try:
            read_seq = await self._participants.mark_read(session_id, caller.key, seq)
        except (StorageUnavailable, asyncio.CancelledError):
            self._delivery.untold.unsure_of(session_id, caller.key)
            raise
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
            ended = isinstance(op, EndStream)
            introduces = op.introduces if isinstance(op, NewMessage) else None
            event = event_of(
                record,
                now,
                created=isinstance(op, NewMessage),
                files=done.files,
                final=self._final_of(record.message_id) if ended else UNCOUNTED,
                sender=introduces.person if introduces is not None else None,
                at_end=ended,
            )
            if introduces is not None:
                self._introductions.told(record.session_id, introduces)
            rooms.setdefault(record.session_id, []).append(event)
            self._on_message(done)
        for room, events in rooms.items():
            self._delivery.logs.announce(room, events)


def _bounds(command: History) -> dict[str, Any]:
    """Of a page."""
    return {
        "before_seq": command.before_seq,
        "after_seq": command.after_seq,
        "before": _time(command.before, "before"),
        "after": _time(command.after, "after"),
        "order": command.order,
        "limit": command.limit,
        "max_bytes": PAGE_BYTES,
    }


def _time(text: str | None, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        time = msgspec.convert(text, datetime)
        # Without a zone: UTC, as all our times are, whatever zone the server's machine is in.
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise ValidationFailed("an RFC 3339 time", field=field) from error
