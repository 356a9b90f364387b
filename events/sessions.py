"""The session manager: chat sessions as stored conversations, and who takes part in them.

Knows no transport and no SQL. Times are epoch seconds inside, RFC 3339 outside.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from events.access import MAY_MANAGE, MAY_WRITE, Caller, SessionRole, require, role_in
from events.clock import Clock, new_id, rfc3339, when
from events.delivery import Delivery
from events.errors import (
    AgentNotFound,
    Conflict,
    Forbidden,
    SessionArchived,
    SessionExpired,
    SessionNotFound,
    ValidationFailed,
)
from events.event import Kind, make
from events.hub import Member, Room
from storage import errors as storage_errors
from storage.agents import Agents
from storage.participants import Participants
from storage.records import AgentRecord, FileRecord, ParticipantRecord, SessionRecord, SessionState
from storage.sessions import Sessions

#: Purges and endings per step, so that none holds the database for long.
BATCH = 500


@dataclass(slots=True)
class LiveSession:
    """What a node keeps of a session that has members here. `expires_at` in epoch seconds."""

    trace_id: str
    owner: str
    agent_id: int | None
    status: str
    expires_at: float
    ttl_hours: float

    @classmethod
    def of(cls, record: SessionRecord) -> "LiveSession":
        return cls(
            record.trace_id,
            record.user_id,
            record.agent_id,
            record.status,
            record.expires_at.timestamp(),
            record.ttl_hours,
        )

    def check(self, now: float) -> None:
        """Raises SessionExpired, SessionArchived."""
        if self.status != "active":
            raise SessionArchived
        if self.expires_at <= now:
            raise SessionExpired


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
    ) -> None:
        self._sessions, self._participants, self._agents = sessions, participants, agents
        self._delivery, self._clock = delivery, clock
        self._ttl_hours = ttl_hours
        self._touched: dict[str, _Touch] = {}
        self._polled_at = clock()
        self.on_purged: Callable[[Sequence[FileRecord]], Awaitable[None]] = _nothing

    # --- the eight operations

    async def create_session(
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
        """Raises Forbidden, AgentNotFound, Conflict (the id is taken), ValidationFailed, Unavailable."""
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
        record = SessionRecord(
            session_id=session_id or new_id("sess"),
            trace_id=new_id("trace"),
            user_id=user_id or caller.key,
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
        try:
            return await self._sessions.create(record)
        except storage_errors.AlreadyExists as error:
            raise Conflict("this session id is in use") from error

    async def validate_session(self, session_id: str) -> SessionRecord:
        """A session that can be joined and written to.

        Raises SessionNotFound, SessionExpired, SessionArchived, Unavailable: four different things.
        """
        record = await self.existing(session_id)
        LiveSession.of(record).check(self._clock())
        return record

    async def get_session(self, caller: Caller, session_id: str) -> tuple[SessionRecord, SessionRole]:
        """A session the caller may see, whatever its status. Raises SessionNotFound, Unavailable."""
        record = await self.existing(session_id)
        participant = None
        if caller.role == "user":
            participant = await self._participants.get(session_id, caller.key)
        return record, role_in(caller, record, participant)

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
                self._end(session_id, "expired")
            ended += len(batch)
            if len(batch) < BATCH:
                break
        return ended

    async def extend_session(self, caller: Caller, session_id: str, hours: float | None) -> SessionRecord:
        """`hours` from now; its own TTL where None.

        Raises SessionNotFound, SessionExpired, SessionArchived, Forbidden, ValidationFailed, Unavailable.
        """
        record, role = await self.writable(caller, session_id)
        if hours is not None and hours > max(self._ttl_hours, record.ttl_hours) and role != "service":
            raise ValidationFailed(f"at most {max(self._ttl_hours, record.ttl_hours):g}", field="hours")
        extended = await self._sessions.extend(session_id, hours, when(self._clock()))
        if extended is None:
            raise SessionNotFound
        self._refresh_live(extended)
        return extended

    async def get_active_session_count(self) -> int:
        return await self._sessions.count_active(when(self._clock()))

    async def health_check(self) -> None:
        """Raises Unavailable if the database does not answer."""
        await self._sessions.count_active(when(self._clock()))

    # --- access

    async def existing(self, session_id: str) -> SessionRecord:
        """Whatever its status. Raises SessionNotFound, Unavailable."""
        record = await self._sessions.get(session_id)
        if record is None or record.status == "deleted":
            raise SessionNotFound
        touch = self._touched.get(session_id)
        if touch is not None and touch.expires_at > record.expires_at.timestamp():
            # Activity that is not yet written counts.
            record = msgspec.structs.replace(record, expires_at=when(touch.expires_at))
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

    async def joinable(self, caller: Caller, session_id: str) -> tuple[SessionRecord, SessionRole]:
        """Raises SessionNotFound, SessionExpired, SessionArchived, Unavailable."""
        record, role = await self.get_session(caller, session_id)
        LiveSession.of(record).check(self._clock())
        return record, role

    def member_may_write(self, member: Member) -> None:
        """The same as `writable` for one that has joined, from memory. Raises Forbidden, SessionExpired,
        SessionArchived."""
        require(member.role, MAY_WRITE)
        self.member_may_read(member)

    def member_may_read(self, member: Member) -> None:
        live = member.room.live
        if live is not None:
            live.check(self._clock())

    def now(self) -> float:
        return self._clock()

    # --- activity

    def touch(self, session_id: str, ttl_hours: float, written: float, count: int = 1) -> None:
        """An accepted command. Written at most once a minute or a tenth of the TTL (`flush_touches`)."""
        now = self._clock()
        touch = self._touched.get(session_id)
        if touch is None:
            due = max(now, written + min(60.0, ttl_hours * 360.0))
            touch = self._touched[session_id] = _Touch(due)
        touch.count += count
        touch.last_activity = now
        touch.expires_at = now + ttl_hours * 3600.0

    def touch_live(self, room: Room, count: int = 1) -> None:
        live = room.live
        if live is not None:
            written = live.expires_at - live.ttl_hours * 3600.0
            self.touch(room.name, live.ttl_hours, written, count)
            live.expires_at = max(live.expires_at, self._clock() + live.ttl_hours * 3600.0)

    async def flush_touches(self, everything: bool = False) -> None:
        """Write what is due. Raises Unavailable (what was not written stays due)."""
        now = self._clock()
        due = {s: t for s, t in self._touched.items() if everything or t.due <= now}
        if not due:
            return
        for session_id in due:
            del self._touched[session_id]
        try:
            await self._sessions.touch({s: (t.count, when(t.last_activity)) for s, t in due.items()})
        except storage_errors.Unavailable:
            for session_id, touch in due.items():
                newer = self._touched.get(session_id)
                if newer is None:
                    self._touched[session_id] = touch
                else:
                    newer.count += touch.count
            raise

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
            self._tell(session_id, "updated")
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
            self._tell(session_id, "updated")
        else:
            self._end(session_id, status)
        self._refresh_live(record)
        return record

    async def put_participant(self, caller: Caller, session_id: str, user_id: str, role: str) -> None:
        """Raises SessionNotFound, Forbidden, ValidationFailed, Unavailable."""
        record, mine = await self.get_session(caller, session_id)
        require(mine, MAY_MANAGE)
        if user_id == record.user_id:
            raise ValidationFailed("the owner's role cannot change", field="user_id")
        await self._participants.put(session_id, user_id, role, when(self._clock()))
        self._tell(session_id, "updated")
        self._delivery.bus.signal(f"session:{session_id}", "access", user_id.encode())

    async def remove_participant(self, caller: Caller, session_id: str, user_id: str) -> None:
        """One may also remove oneself. Raises SessionNotFound, Forbidden, ValidationFailed, Unavailable."""
        record, mine = await self.get_session(caller, session_id)
        if user_id == record.user_id:
            raise ValidationFailed("the owner cannot be removed", field="user_id")
        if user_id != caller.key:
            require(mine, MAY_MANAGE)
        await self._participants.remove(session_id, user_id, when(self._clock()))
        self._tell(session_id, "updated")
        self._delivery.bus.signal(f"session:{session_id}", "access", user_id.encode())

    # --- views

    async def participants(self, record: SessionRecord) -> dict[str, str]:
        """user id -> role; the owner first."""
        participants = await self._participants.list(record.session_id)
        return _roles(record, {p.user_id: p.role for p in participants})

    async def everyone(self, session_id: str) -> dict[str, ParticipantRecord]:
        """By user id; those removed, too."""
        return {p.user_id: p for p in await self._participants.everyone(session_id)}

    async def read_marks(self, session_id: str) -> Mapping[str, int]:
        return await self._participants.read_marks(session_id)

    async def agent_of(self, record: SessionRecord) -> AgentRecord | None:
        return await self._agents.get(record.agent_id) if record.agent_id is not None else None

    def brief(self, record: SessionRecord) -> dict[str, Any]:
        """What creation answers."""
        expired = record.status == "active" and record.expires_at.timestamp() <= self._clock()
        return {
            "session_id": record.session_id,
            "trace_id": record.trace_id,
            "user_id": record.user_id,
            "agent_id": record.agent_id,
            "title": record.title,
            "status": "expired" if expired else record.status,
            "metadata": record.metadata,
            "created_at": rfc3339(record.created_at),
            "expires_at": rfc3339(record.expires_at),
        }

    async def full(self, record: SessionRecord, role: SessionRole) -> dict[str, Any]:
        """The session as `GET` shows it."""
        agent = await self.agent_of(record)
        participants = await self._participants.list(record.session_id)
        return self.view(record, role, agent, {p.user_id: p.role for p in participants})

    def view(
        self,
        record: SessionRecord,
        role: SessionRole,
        agent: AgentRecord | None,
        participants: Mapping[str, str],
    ) -> dict[str, Any]:
        """The session as a caller in this role sees it. `participants`: user id -> role."""
        roles = _roles(record, participants)
        view = self.brief(record) | {
            "updated_at": rfc3339(record.updated_at),
            "agent": {"id": agent.id, "name": agent.name, "avatar_url": agent.avatar_url} if agent else None,
            "participants": list(roles),
            "participant_roles": roles,
            "message_count": record.message_count,
            "request_count": record.request_count + self._pending(record.session_id),
            "last_seq": record.last_seq,
            "last_revision": record.last_revision,
            "last_activity": rfc3339(record.last_activity),
            "role": role,
        }
        if role in MAY_MANAGE:
            view |= {
                "created_via": record.created_via,
                "ip_address": record.ip_address,
                "user_agent": record.user_agent,
            }
        return view

    def _pending(self, session_id: str) -> int:
        touch = self._touched.get(session_id)
        return touch.count if touch else 0

    async def list_sessions(
        self, caller: Caller, status: str | None, agent_id: int | None, limit: int, offset: int
    ) -> dict[str, Any]:
        rows, total = await self._sessions.list_for(
            caller.key,
            status=status,
            agent_id=agent_id,
            limit=limit,
            offset=offset,
            now=when(self._clock()),
            everything=caller.role == "service",
            as_agent=int(caller.sub) if caller.role == "agent" and caller.sub.isdigit() else None,
            session_ids=sorted(caller.sessions) if caller.sessions is not None else None,
        )
        lines = [
            {
                "session_id": row.session.session_id,
                "title": row.session.title,
                "agent_id": row.session.agent_id,
                "agent_name": row.agent_name,
                "last_message": row.last_message,
                "last_message_at": rfc3339(row.last_message_at) if row.last_message_at else None,
                "unread_count": row.unread_count,
                "status": self.brief(row.session)["status"],
                "created_at": rfc3339(row.session.created_at),
                "expires_at": rfc3339(row.session.expires_at),
                "user_id": row.session.user_id,
            }
            for row in rows
        ]
        return {"sessions": lines, "total": total, "has_more": offset + len(lines) < total}

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
                self.end_here(room, "archived")
                continue
            touch = self._touched.get(name)
            expires = max(state.expires_at.timestamp(), touch.expires_at if touch else 0.0)
            room.live.expires_at = expires
            if state.status != room.live.status and state.status != "active":
                room.live.status = state.status
                self.end_here(room, "archived")
            elif expires <= now:
                self.end_here(room, "expired")
        for session_id, user_id in removed:
            self._delivery.on_signal(f"session:{session_id}", "access", user_id.encode())
        return states

    def end_here(self, room: Room, what: str) -> None:
        """End the membership of everyone on this node; the bus need not be there."""
        event = make(room.name, "session", Kind.DIRECT, {"event": what}, self._clock())
        for member in list(room.members.values()):
            member.conn.send(event)
        self._delivery.on_session(room, event)

    def _end(self, session_id: str, what: str) -> None:
        self._tell(session_id, what)
        self._touched.pop(session_id, None)

    def _tell(self, session_id: str, what: str) -> None:
        event = make(session_id, "session", Kind.LOGGED, {"event": what}, self._clock(), id=new_id("ev"))
        self._delivery.log_event(event)

    def _refresh_live(self, record: SessionRecord) -> None:
        room = self._delivery.hub.rooms.get(record.session_id)
        if room is not None and room.live is not None:
            room.live = LiveSession.of(record)

    # --- erasing

    async def purge_session(self, caller: Caller, session_id: str) -> None:
        """Erase with messages and files. Raises SessionNotFound, Forbidden, Unavailable."""
        _, role = await self.get_session(caller, session_id)
        require(role, MAY_MANAGE)
        self._end(session_id, "archived")
        await self.purge([session_id])

    async def purge(self, session_ids: Sequence[str]) -> None:
        files = await self._sessions.purge(session_ids)
        for session_id in session_ids:
            self._delivery.log.forget(session_id)
        await self.on_purged(files)

    # --- for others of the domain

    async def participant(self, session_id: str, user_id: str) -> ParticipantRecord | None:
        return await self._participants.get(session_id, user_id)

    async def retain(self, days: float) -> list[str]:
        """A batch of sessions that ended more than `days` ago."""
        if days <= 0:
            return []
        return list(await self._sessions.purgeable(when(self._clock() - days * 86400), BATCH))


def _roles(record: SessionRecord, participants: Mapping[str, str]) -> dict[str, str]:
    """The owner first; agents are not participants."""
    others = {user: role for user, role in participants.items() if not user.startswith("agent:")}
    return {record.user_id: "owner"} | {u: r for u, r in others.items() if u != record.user_id}


async def _nothing(files: Sequence[FileRecord]) -> None:
    """Where nobody keeps files."""


class _Touch:
    """Commands that are not yet written. `due` in epoch seconds."""

    __slots__ = ("count", "due", "expires_at", "last_activity")

    def __init__(self, due: float) -> None:
        self.due = due
        self.count = 0
        self.last_activity = 0.0
        self.expires_at = 0.0
