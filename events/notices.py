"""Tells participants who have not joined a session's room that something happened in it.

At most once a second per session. Knows no transport.
"""

from collections.abc import Iterable

import msgspec

from events.clock import Clock, rfc3339
from events.delivery import Delivery
from events.event import Event, Kind, make
from storage.ops import Committed, EndStream, NewMessage
from storage.participants import Participants
from storage.partnames import preview
from storage.records import MessageRecord
from storage.turns import in_steps

#: Sessions whose participants are read at once, and participants told in one turn of the loop: a session may
#: have thousands, and others wait meanwhile.
SESSIONS, STEP = 10, 50


class ActivityNotices:
    """`note` after each commit; `flush` once a second."""

    def __init__(self, participants: Participants, delivery: Delivery, clock: Clock) -> None:
        self._participants, self._delivery, self._clock = participants, delivery, clock
        self._newest: dict[str, MessageRecord] = {}

    def note(self, done: Committed) -> None:
        record, op = done.record, done.op
        if isinstance(op, EndStream) or (isinstance(op, NewMessage) and record.status == "complete"):
            known = self._newest.get(record.session_id)
            if known is None or known.seq <= record.seq:
                self._newest[record.session_id] = record

    async def flush(self) -> None:
        """A query for some sessions at a time. Raises Unavailable: activity is volatile."""
        newest, self._newest = self._newest, {}
        async for some in in_steps(newest, SESSIONS):
            for session_id, users in (await self._participants.of_sessions(some)).items():
                await self._tell(self._event(newest[session_id]), users)

    async def _tell(self, event: Event, users: Iterable[str]) -> None:
        async for step in in_steps(users, STEP):
            for user in step:
                self._delivery.to_user(user, msgspec.structs.replace(event, only_user=user))

    def _event(self, record: MessageRecord) -> Event:
        payload = {
            "event": "activity",
            "last_message": preview(record),
            "last_message_at": rfc3339(record.created_at),
            "last_seq": record.seq,
        }
        event = make(record.session_id, "session", Kind.VOLATILE, payload, self._clock())
        # By the user's channel, to the connections outside this room.
        event.room, event.not_to, event.seq = "", record.session_id, record.seq
        return event
