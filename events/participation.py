"""Who takes part in a session: adding and removing, and telling those whom it concerns. Knows no SQL."""

from typing import Any

from events import sessionview
from events.access import MAY_MANAGE, Caller, require
from events.bounds import PARTICIPANTS
from events.clock import Clock, when
from events.delivery import Delivery
from events.errors import Forbidden, ValidationFailed
from events.event import Kind, make
from events.identity import canonical, identity_of, key_of
from events.live import Ending
from events.names import Names
from events.ratelimit import RateLimits
from events.sessions import SessionManager
from storage import errors as storage_errors
from storage.participants import Participants


class Participation:
    """`owner_adds`: whether an owner may add anybody, and not a service alone."""

    def __init__(
        self,
        sessions: SessionManager,
        participants: Participants,
        names: Names,
        delivery: Delivery,
        limits: RateLimits,
        clock: Clock,
        *,
        owner_adds: bool = True,
    ) -> None:
        self._sessions, self._participants, self._names = sessions, participants, names
        self._delivery, self._limits, self._clock = delivery, limits, clock
        self._owner_adds = owner_adds

    async def put_participant(self, caller: Caller, session_id: str, user_id: str, role: str) -> None:
        """Raises SessionNotFound, Forbidden, ValidationFailed, LimitReached, Unavailable."""
        record, mine = await self._sessions.get_session(caller, session_id)
        require(mine, MAY_MANAGE)
        kind, sub = identity_of(user_id)
        if kind != "user":
            # An agent is in the sessions whose `agent_id` it is, a service in all: no row opens more to them.
            raise ValidationFailed("only users take part", field="user_id")
        user_id = key_of(kind, sub)
        if user_id == record.user_id:
            raise ValidationFailed("the owner's role cannot change", field="user_id")
        new = not await self._takes_part(session_id, user_id)
        if new and not self._owner_adds and mine != "service":
            raise Forbidden("only a service may add participants")
        most = self._limits.most(PARTICIPANTS)
        others = most - 1 if most else None  # the owner is one, too
        try:
            await self._participants.put(session_id, user_id, role, when(self._clock()), others)
        except storage_errors.CapReached as error:
            raise PARTICIPANTS.error(most) from error
        if new:
            person = (await self._names.of_all([user_id])).get(user_id)
            more = {"user": person} if person is not None else {}
            self._sessions.tell(session_id, "updated", user_id=user_id, **more)
            brief = sessionview.brief(record, self._clock())
            self._tell_user(session_id, user_id, event="added", title=record.title, role=role, session=brief)
        else:
            self._sessions.tell(session_id, "updated")
        self._changed(session_id, user_id)

    async def remove_participant(self, caller: Caller, session_id: str, user_id: str) -> None:
        """One who takes part may also remove oneself; with a share link, whose `sub` may be many people's,
        nobody may.

        Raises SessionNotFound, Forbidden, ValidationFailed, Unavailable.
        """
        record, mine = await self._sessions.get_session(caller, session_id)
        user_id = canonical(user_id)
        if user_id == record.user_id:
            raise ValidationFailed("the owner cannot be removed", field="user_id")
        if user_id != caller.key or caller.role != "user" or caller.sessions is not None:
            require(mine, MAY_MANAGE)
        took_part = await self._takes_part(session_id, user_id)
        await self._participants.remove(session_id, user_id, when(self._clock()))
        self._sessions.tell(session_id, "updated")
        if took_part:
            # Before those within leave: each is told once.
            self._tell_user(session_id, user_id, event=Ending.REMOVED, user_id=user_id)
        self._changed(session_id, user_id)

    async def _takes_part(self, session_id: str, user_id: str) -> bool:
        known = await self._participants.get(session_id, user_id)
        return known is not None and known.removed_at is None

    def _changed(self, session_id: str, user_id: str) -> None:
        """Every node looks what it means for its members."""
        self._delivery.bus.signal(f"session:{session_id}", "access", user_id.encode())

    def _tell_user(self, session_id: str, key: str, /, **told: Any) -> None:
        """By the user's channel, to the connections outside the room: those within are told of the change."""
        event = make(session_id, "session", Kind.VOLATILE, told, self._clock())
        event.room, event.not_to, event.only_user = "", session_id, key
        self._delivery.to_user(key, event)
