"""The session manager: chat sessions as stored conversations, and who takes part in them.

Knows no transport and no SQL. Times are epoch seconds inside, RFC 3339 outside.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from events import sessionview
from events.access import MAY_MANAGE, MAY_WRITE, Caller, SessionRole, require, role_in
from events.bounds import OPERATORS, SESSIONS
from events.clock import Clock, stamp, when
from events.delivery import Delivery
from events.errors import (
    AgentNotFound,
    ChatError,
    Conflict,
    Forbidden,
    SessionArchived,
    SessionNotFound,
    Unavailable,
    ValidationFailed,
)
from events.event import Kind, make
from events.identity import canonical
from events.ids import new_id
from events.live import Ending, LiveSession
from events.ratelimit import RateLimits
from events.room import Member, Room
from events.touches import Touches
from storage import errors as storage_errors
from storage.agents import Agents
from storage.participants import Participants
from storage.records import AgentRecord, FileRecord, SessionRecord, SessionState
from storage.sessions import Sessions

#: Purges and endings per step, so that none holds the database for long.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a session was created from; shown to its owner and to `service` alone."""

    via: str
    ip_address: str | None = None
    user_agent: str | None = None


class SessionManager:
    """The operations of the contract's section 2, by their names. Used by every transport."""

    def __init__(
        self,
        sessions: Sessions,
        participants: Participants,
        agents: Agents,
        delivery: Delivery,
        clock: Clock,
        *,
        ttl_hours: float,
        limits: RateLimits,
        on_purged: Callable[[Sequence[FileRecord]], Awaitable[None]] | None = None,
    ) -> None:
        """`on_purged` sees to the contents of files whose rows went with their sessions."""
        self._limits = limits
        self._sessions, self._participants, self._agents = sessions, participants, agents
        self._delivery, self._clock = delivery, clock
        self.now = clock
        self._ttl_hours = ttl_hours
        self.touches = Touches(sessions, clock)
        self._polled_at = clock()
        self._on_purged = on_purged or _nothing

    # --- the eight operations

    async def create_session(self, caller: Caller, origin: Origin, **given: Any) -> SessionRecord:
        """`new_session`, stored. Raises Conflict (the id is taken), LimitReached, too."""
        record = await self.new_session(caller, origin, **given)
        try:
            return await self._sessions.create(record, self.most_of(caller))
        except storage_errors.AlreadyExists as error:
            raise Conflict("this session id is in use") from error
        except storage_errors.CapReached as error:
            raise SESSIONS.error(error.most) from error

    def most_of(self, caller: Caller) -> int | None:
        """How many sessions a caller may own; None: as many as he likes."""
        return None if caller.role in OPERATORS else self._limits.most(SESSIONS) or None

    async def new_session(
        self,
        caller: Caller,
        origin: Origin,
        *,
        agent_id: int | None = None,
        title: str | None = None,
        metadata: dict[str, Any] | None = None,
        ttl_hours: float | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> SessionRecord:
        """What is to be stored for one. Raises Forbidden, AgentNotFound, ValidationFailed, Unavailable."""
        if caller.role == "agent" or caller.sessions is not None:
            raise Forbidden
        if user_id is not None and caller.role != "service":
            raise Forbidden("only a service may name the owner")
        ttl = ttl_hours or self._ttl_hours
        if ttl > self._ttl_hours and caller.role != "service":
            raise ValidationFailed(f"at most {self._ttl_hours:g}", field="ttl_hours")
        if agent_id is not None:
            agent = await self._agents.get(agent_id)
            if agent is None or not agent.is_active:
                raise AgentNotFound
        now = when(self._clock())
        return SessionRecord(
            session_id=session_id or new_id("sess"),
            trace_id=new_id("trace"),
            user_id=caller.key if user_id is None else canonical(user_id),
            agent_id=agent_id,
            title=title,
            status="active",
            metadata=metadata or {},
            ttl_hours=ttl,
            created_at=now,
            updated_at=now,
            last_activity=now,
            expires_at=when(now.timestamp() + ttl * 3600),
            created_via=origin.via,
            ip_address=(origin.ip_address or "")[:100] or None,
            user_agent=(origin.user_agent or "")[:500] or None,
        )

    async def validate_session(self, session_id: str) -> SessionRecord:
        """A session that can be joined and written to.

        Raises SessionNotFound, SessionExpired, SessionArchived, Unavailable: four different things.
        """
        record = await self.existing(session_id)
        LiveSession.of(record).check(self._clock())
        return record

    async def get_session(self, caller: Caller, session_id: str) -> tuple[SessionRecord, SessionRole]:
        """A session the caller may see, whatever its status. Raises SessionNotFound, Unavailable."""
        if caller.role != "user":
            record = await self.existing(session_id)
            return record, role_in(caller, record, None)
        found, participant = await self._sessions.get_for(session_id, caller.key)
        record = self.as_of_now(found)
        return record, role_in(caller, record, participant.standing if participant else None)

    async def delete_session(self, caller: Caller, session_id: str) -> SessionRecord:
        """Archive. Raises SessionNotFound, Forbidden, Unavailable."""
        record, role = await self.get_session(caller, session_id)
        require(role, MAY_MANAGE)
        if record.status == "archived":
            return record
        return await self._set_status(session_id, "archived")

    async def cleanup_expired_sessions(self) -> int:
        """Mark what has expired as ended and tell its members; how many."""
        ended = 0
        while batch := await self._sessions.end_expired(when(self._clock()), BATCH):
            for session_id in batch:
                self._end(session_id, Ending.EXPIRED)
            ended += len(batch)
            if len(batch) < BATCH:
                break
        return ended

    async def extend_session(self, caller: Caller, session_id: str, hours: float | None) -> SessionRecord:
        """`hours` from now; its own TTL where None. Brings an expired session back.

        Raises SessionNotFound, SessionArchived, Forbidden, ValidationFailed, Unavailable.
        """
        record, role = await self.get_session(caller, session_id)
        require(role, MAY_MANAGE)
        if record.status != "active":
            raise SessionArchived
        if hours is not None and hours > max(self._ttl_hours, record.ttl_hours) and role != "service":
            raise ValidationFailed(f"at most {max(self._ttl_hours, record.ttl_hours):g}", field="hours")
        extended = await self._sessions.extend(session_id, hours, when(self._clock()))
        if extended is None:
            raise SessionNotFound
        if record.expires_at.timestamp() <= self._clock():
            self.tell(session_id, "updated")
        self._refresh_live(extended)
        return extended

    async def get_active_session_count(self) -> int:
        return await self._sessions.count_active(when(self._clock()))

    async def health_check(self) -> None:
        """Raises Unavailable if the database does not answer, or takes no writes."""
        found = await self._sessions.health()
        if found != "ok":
            raise Unavailable(f"the database is {found}")

    # --- access

    async def existing(self, session_id: str) -> SessionRecord:
        """Whatever its status. Raises SessionNotFound, Unavailable."""
        return self.as_of_now(await self._sessions.get(session_id))

    def as_of_now(self, record: SessionRecord | None) -> SessionRecord:
        """As it was read, with activity that is not yet written. Raises SessionNotFound."""
        if record is None or record.status == "deleted":
            raise SessionNotFound
        expires_at = self.touches.expires_at(record.session_id)
        if expires_at > record.expires_at.timestamp():
            record = msgspec.structs.replace(record, expires_at=when(expires_at))
        return record

    async def readable(self, caller: Caller, session_id: str) -> tuple[SessionRecord, SessionRole]:
        """For history and the like. Raises SessionNotFound, Unavailable."""
        return await self.get_session(caller, session_id)

    async def writable(self, caller: Caller, session_id: str) -> tuple[SessionRecord, SessionRole]:
        """Raises SessionNotFound, Forbidden, SessionExpired, SessionArchived, Unavailable."""
        record, role = await self.get_session(caller, session_id)
        require(role, MAY_WRITE)
        LiveSession.of(record).check(self._clock())
        return record, role

    async def speaks_for_itself(self, caller: Caller, session_id: str) -> None:
        """A share link changes nothing that is kept for one who takes part without it: its holder need not be
        that one. Raises Forbidden, Unavailable."""
        if caller.role != "user" or caller.sessions is None:
            return
        record, participant = await self._sessions.get_for(session_id, caller.key)
        if participant is not None or (record is not None and record.user_id == caller.key):
            raise Forbidden("not with a token for named sessions: its user takes part without it")

    async def still_writable(self, asked: Sequence[tuple[Caller, str]]) -> list[SessionRecord | ChatError]:
        """`writable` for many at once: the session, or what refuses it. Raises Unavailable."""
        records = await self._sessions.get_all([session_id for _, session_id in asked])
        users = [(session_id, caller.key) for caller, session_id in asked if caller.role == "user"]
        participants = await self._participants.get_all(users) if users else {}
        answers: list[SessionRecord | ChatError] = []
        for caller, session_id in asked:
            try:
                record = self.as_of_now(records.get(session_id))
                participant = participants.get((session_id, caller.key))
                require(role_in(caller, record, participant.standing if participant else None), MAY_WRITE)
                LiveSession.of(record).check(self._clock())
                answers.append(record)
            except ChatError as refusal:
                answers.append(refusal)
        return answers

    async def joinable(self, caller: Caller, session_id: str) -> tuple[SessionRecord, SessionRole]:
        """Raises SessionNotFound, SessionExpired, SessionArchived, Unavailable."""
        record, role = await self.get_session(caller, session_id)
        LiveSession.of(record).check(self._clock())
        return record, role

    @staticmethod
    def member_may_write(member: Member, now: float) -> None:
        """The same as `writable` for one that has joined, from memory. Raises Forbidden, SessionExpired,
        SessionArchived."""
        require(member.role, MAY_WRITE)
        live = member.room.live
        if live is not None:
            live.check(now)

    # --- changes

    async def patch(
        self,
        caller: Caller,
        session_id: str,
        title: str | None,
        metadata: dict[str, Any] | None,
        status: str | None,
    ) -> tuple[SessionRecord, SessionRole]:
        """Title, metadata, archive and restore. Raises SessionNotFound, Forbidden, Unavailable."""
        record, role = await self.get_session(caller, session_id)
        require(role, MAY_MANAGE)
        if title is not None or metadata is not None:
            changed = await self._sessions.update(
                session_id, title=title, metadata=metadata, now=when(self._clock())
            )
            if changed is None:
                raise SessionNotFound
            record = changed
            self.tell(session_id, "updated", title=record.title)
        if status == "archived" and record.status != "archived":
            record = await self._set_status(session_id, "archived")
        elif status == "active" and (
            record.status != "active" or record.expires_at.timestamp() <= self._clock()
        ):
            record = await self._set_status(session_id, "active")
        return record, role

    async def _set_status(self, session_id: str, status: str) -> SessionRecord:
        now = when(self._clock())
        ended = now if status != "active" else None
        record = await self._sessions.update(session_id, status=status, ended_at=ended, now=now)
        if record is None:
            raise SessionNotFound
        if status == "active":
            # Restoring is an activity: its time begins anew.
            record = await self._sessions.extend(session_id, None, now) or record
            self.tell(session_id, "updated")
        else:
            self._end(session_id, Ending(status))
        self._refresh_live(record)
        return record

    # --- views

    async def participants(self, record: SessionRecord) -> dict[str, Any]:
        """Who takes part, the owner first, with their roles and their number."""
        found, count = await self._named(record)
        return sessionview.named(sessionview.roles(record, found), count)

    async def _named(self, record: SessionRecord) -> tuple[dict[str, str], int]:
        """user id -> role, of as many as are named; and how many there are, if there are more."""
        found = await self._participants.list(record.session_id, sessionview.NAMED)
        count = 0
        if len(found) == sessionview.NAMED:
            count = 1 + await self._participants.count(record.session_id, 2**31 - 1, besides=record.user_id)
        return {p.user_id: p.role for p in found}, count

    def brief(self, record: SessionRecord) -> dict[str, Any]:
        """What creation answers."""
        return sessionview.brief(record, self._clock())

    async def full(self, record: SessionRecord, role: SessionRole) -> dict[str, Any]:
        """The session as `GET` shows it."""
        agent = await self._agents.get(record.agent_id) if record.agent_id is not None else None
        found, count = await self._named(record)
        return self.view(record, role, agent, found, count)

    def view(
        self,
        record: SessionRecord,
        role: SessionRole,
        agent: AgentRecord | None,
        participants: Mapping[str, str],
        count: int = 0,
    ) -> dict[str, Any]:
        """The session as a caller in this role sees it. `participants`: user id -> role; `count` of them, if
        these are not all."""
        unwritten = self.touches.count(record.session_id)
        return sessionview.whole(record, role, agent, participants, unwritten, self._clock(), count)

    def activity(self, record: SessionRecord, room: Room) -> dict[str, Any]:
        """What moves in that view while the session is live here."""
        live = room.live or LiveSession.of(record)
        last = live.expires_at - live.ttl_hours * 3600.0
        return {
            "request_count": record.request_count + self.touches.count(room.name),
            "last_activity": stamp(max(record.last_activity.timestamp(), last)),
            "expires_at": stamp(live.expires_at),
        }

    async def list_sessions(
        self,
        caller: Caller,
        status: str | None,
        agent_id: int | None,
        limit: int,
        offset: int,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """A page. By `cursor` it costs the same wherever it is, and has no `total`. Raises ValidationFailed,
        Unavailable."""
        behind = sessionview.place(cursor)
        if behind is not None and offset:
            raise ValidationFailed("not with a cursor", field="offset")
        rows, total, end = await self._sessions.list_for(
            caller.key,
            status=status,
            agent_id=agent_id,
            limit=limit,
            offset=offset,
            behind=behind,
            now=when(self._clock()),
            everything=caller.role == "service",
            as_agent=caller.agent_id,
            session_ids=sorted(caller.sessions) if caller.sessions is not None else None,
        )
        return {
            "sessions": [sessionview.line(row, self._clock()) for row in rows],
            **({"total": total} if total is not None else {}),
            "has_more": end is not None,
            "cursor": sessionview.cursor(end) if end is not None else None,
        }

    # --- what SQL says of live rooms (events.healing.LiveRooms)

    async def poll(self, rooms: Sequence[str]) -> Mapping[str, SessionState]:
        """Ends what has ended in SQL, whoever did it, and tells who was removed meanwhile."""
        now = self._clock()
        # Clocks of nodes differ and a transaction takes its time: look back a little further.
        since = when(self._polled_at - 10.0)
        states, removed = await self._sessions.poll(rooms, since)
        self._polled_at = now
        for name in rooms:
            state = states.get(name)
            room = self._delivery.hub.rooms.get(name)
            if room is None or room.live is None:
                continue
            if state is None or state.status == "deleted":
                self.end_here(room, Ending.ARCHIVED)
                continue
            expires = max(state.expires_at.timestamp(), self.touches.expires_at(name))
            room.live.expires_at = expires
            if state.status != room.live.status and state.status != "active":
                room.live.status = state.status
                self.end_here(room, Ending.ARCHIVED)
            elif expires <= now:
                self.end_here(room, Ending.EXPIRED)
        for session_id, user_id in removed:
            self._delivery.on_signal(f"session:{session_id}", "access", user_id.encode())
        return states

    async def remade(self, room: Room) -> bool:
        """Whether another session has this room's id now; ends the memberships of the one before here."""
        record = await self._sessions.get(room.name)
        if room.live is None or record is None or record.trace_id == room.live.trace_id:
            return False
        self.end_here(room, Ending.ARCHIVED)
        return True

    def end_here(self, room: Room, ending: Ending) -> None:
        """End the membership of everyone on this node; the bus need not be there."""
        event = make(room.name, "session", Kind.DIRECT, {"event": ending}, self._clock())
        for member in list(room.members.values()):
            member.conn.send(event)
        self._delivery.on_session(room, event)

    def _end(self, session_id: str, ending: Ending) -> None:
        self.tell(session_id, ending)
        self.touches.ended(session_id)

    def tell(self, session_id: str, what: str, **more: Any) -> None:
        """A `session` event to the room's members everywhere."""
        told = {"event": what, **more}
        event = make(session_id, "session", Kind.LOGGED, told, self._clock(), id=new_id("ev"))
        self._delivery.logs.log_event(event)

    def _refresh_live(self, record: SessionRecord) -> None:
        room = self._delivery.hub.rooms.get(record.session_id)
        if room is not None and room.live is not None:
            room.know_anew(record)

    # --- erasing

    async def purge_session(self, caller: Caller, session_id: str) -> None:
        """Erase with messages and files. Raises SessionNotFound, Forbidden, Unavailable."""
        _, role = await self.get_session(caller, session_id)
        require(role, MAY_MANAGE)
        self._end(session_id, Ending.ARCHIVED)
        await self.purge([session_id])

    async def purge(self, session_ids: Sequence[str]) -> None:
        files = await self._sessions.purge(session_ids)
        for session_id in session_ids:
            self._delivery.log.forget(session_id)
        await self._on_purged(files)

    # --- for others of the domain

    async def retain(self, days: float) -> list[str]:
        """A batch of sessions that ended more than `days` ago."""
        if days <= 0:
            return []
        return list(await self._sessions.purgeable(when(self._clock() - days * 86400), BATCH))


async def _nothing(files: Sequence[FileRecord]) -> None:
    """Where nobody keeps files."""
