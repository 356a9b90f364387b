"""What readers think of messages: giving it, and who is told. Knows no transport and no SQL."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET

from events.access import MAY_MANAGE, Caller, SessionRole
from events.clock import Clock, rfc3339, when
from events.delivery import Delivery
from events.errors import Forbidden, MessageNotFound, ValidationFailed
from events.schema import FeedbackGiven, GiveFeedback, Message
from events.sessions import SessionManager
from storage.feedback import Feedbacks, Sums
from storage.messages import Messages as Store
from storage.records import FeedbackRecord, SessionRecord

#: Characters of comments on a page, besides its messages; where there are more, it has none.
COMMENTS = 64 * 1024

_CURSOR = re.compile(r"([0-9]{1,17})-([0-9]{1,18})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class FeedbackService:
    """One of each reader and message. Its giver is told of it with the message, in `join` and history;
    owner and service of the sums, a service of all in lists."""

    def __init__(
        self, store: Feedbacks, sessions: SessionManager, messages: Store, delivery: Delivery, clock: Clock
    ) -> None:
        self._store, self._sessions, self._messages = store, sessions, messages
        self._delivery, self._clock = delivery, clock

    async def give(self, caller: Caller, record: SessionRecord, command: GiveFeedback) -> dict[str, Any]:
        """In place of what the caller thought before, in a session that it may see.

        Raises MessageNotFound, Forbidden, ValidationFailed, Unavailable.
        """
        await self._sessions.speaks_for_itself(caller, record.session_id)
        comment = command.comment or None
        if comment is not None and command.value is None:
            raise ValidationFailed("comes with a value", field="comment")
        message = await self._messages.get(command.message_id)
        if message is None or message.session_id != record.session_id or message.deleted_at:
            raise MessageNotFound
        if (message.sender_type, message.sender_id) == (caller.sender_type, caller.sub):
            raise Forbidden("one's own message")
        if command.value is None:
            await self._store.take_back(
                record.session_id, command.message_id, caller.key, when(self._clock())
            )
        elif not await self._store.put(
            record.session_id, command.message_id, caller.key, command.value, comment, when(self._clock())
        ):
            raise MessageNotFound
        elif not record.rated:
            self._delivery.bus.signal(f"session:{record.session_id}", "rated", b"")
        return {"message_id": command.message_id, "value": command.value, "comment": comment}

    def first_given(self, session_id: str) -> None:
        """Somewhere: what is kept of the session for those who join says that there is none."""
        room = self._delivery.hub.rooms.get(session_id)
        if room is not None:
            room.changed()

    async def shown(
        self, messages: Sequence[Message], caller: Caller, role: SessionRole, session_id: str
    ) -> list[Message]:
        """Messages of a session in which there is some, as the caller sees them. Raises Unavailable."""
        ids = [message.message_id for message in messages if message.deleted_at is None]
        own: dict[str, tuple[str, str | None]] = {}
        sums: dict[str, Sums] = {}
        if ids and await self._has_own(caller, session_id):
            own = await self._store.of_reader(ids, caller.key)
        if ids and role in MAY_MANAGE:
            sums = await self._store.sums(ids)
        if sum(len(comment or "") for _, comment in own.values()) > COMMENTS:
            own = {id: (value, None) for id, (value, _) in own.items()}
        return [_with(m, own.get(m.message_id), sums.get(m.message_id)) for m in messages]

    async def _has_own(self, caller: Caller, session_id: str) -> bool:
        """A share link's holder sees nothing of one who takes part under the same `sub`."""
        try:
            await self._sessions.speaks_for_itself(caller, session_id)
        except Forbidden:
            return False
        return True

    async def page(self, session_id: str | None, cursor: str | None, limit: int) -> dict[str, Any]:
        """All that was given, the newest first. Raises ValidationFailed, Unavailable."""
        records, more = await self._store.page(session_id, _place(cursor), limit)
        return {
            "feedback": [_line(record) for record in records],
            "has_more": more,
            "cursor": _cursor(records[-1]) if more else None,
        }

    async def erase_user(self, key: str) -> None:
        """Raises Unavailable."""
        await self._store.erase_user(key)


def _with(message: Message, own: tuple[str, str | None] | None, sums: Sums | None) -> Message:
    if own is None and sums is None:
        return message
    given = FeedbackGiven()
    if own is not None:
        given.value = own[0]  # type: ignore[assignment]
        given.comment = own[1] if own[1] is not None else UNSET
    if sums is not None:
        given.up, given.down = sums.up, sums.down
    return msgspec.structs.replace(message, feedback=given)


def _line(record: FeedbackRecord) -> dict[str, Any]:
    return {
        "session_id": record.session_id,
        "message_id": record.message_id,
        "user_id": record.user_id,
        "value": record.value,
        "comment": record.comment,
        "given_at": rfc3339(record.given_at),
    }


def _cursor(record: FeedbackRecord) -> str:
    return f"{(record.given_at - _EPOCH) // _MICROSECOND}-{record.id}"


def _place(cursor: str | None) -> tuple[datetime, int] | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise ValidationFailed("is not one of ours", field="cursor")
    try:
        return _EPOCH + int(found[1]) * _MICROSECOND, int(found[2])
    except OverflowError as error:
        raise ValidationFailed("is not one of ours", field="cursor") from error
