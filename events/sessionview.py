"""Sessions as callers see them. Knows no SQL and no transport."""

import heapq
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from events.access import MAY_MANAGE, SessionRole
from events.clock import rfc3339
from events.errors import ValidationFailed
from storage.recency import PageEnd
from storage.records import AgentRecord, Person, SessionRecord, SessionSummary

#: Participants of a session that are named, and read marks: with ids of 255 characters a page's 256 KiB.
NAMED = 500
#: Characters of what these are called, and of their pictures' addresses.
NAMES_LENGTH = 128 * 1024
#: Microseconds of its last activity, and a session.
_CURSOR = re.compile(r"([0-9]{1,17})-([^\0]{1,100})", re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def roles(record: SessionRecord, participants: Mapping[str, str]) -> dict[str, str]:
    """The owner first; agents are not participants."""
    others = {user: role for user, role in participants.items() if not user.startswith("agent:")}
    return {record.user_id: "owner"} | {u: r for u, r in others.items() if u != record.user_id}


def named(roles: Mapping[str, str], count: int = 0) -> dict[str, Any]:
    """As many of the participants as are named, and how many there are: `count`, if not all were read."""
    shown = dict(islice(roles.items(), NAMED))
    return {
        "participants": list(shown),
        "participant_roles": shown,
        "participant_count": max(count, len(roles)),
    }


def marks(read: Mapping[str, int]) -> Mapping[str, int]:
    """How far each has read; of many, those who are furthest."""
    if len(read) <= NAMED:
        return read
    return dict(heapq.nlargest(NAMED, read.items(), key=lambda mark: mark[1]))


def users(persons: Mapping[str, Person], agent: AgentRecord | None = None) -> tuple[dict[str, Person], bool]:
    """Who they are, by key, with the session's agent: as many as are named, up to a length;
    and whether some are left out."""
    shown: dict[str, Person] = {}
    if agent is not None:
        shown[f"agent:{agent.id}"] = Person(agent.name, agent.avatar_url)
    left = NAMES_LENGTH
    for user, person in persons.items():
        left -= len(user) + len(person.name or "") + len(person.avatar_url or "")
        if len(shown) > NAMED or left < 0:
            return shown, True
        shown[user] = person
    return shown, False


def brief(record: SessionRecord, now: float) -> dict[str, Any]:
    """The reply to a session's creation. Past its end an active session is shown as expired."""
    expired = record.status == "active" and record.expires_at.timestamp() <= now
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


def whole(
    record: SessionRecord,
    role: SessionRole,
    agent: AgentRecord | None,
    participants: Mapping[str, str],
    unwritten: int,
    now: float,
    count: int = 0,
) -> dict[str, Any]:
    """The session as a caller in this role sees it. `participants`: user id -> role; `unwritten`: requests
    that are not yet counted in the record; `count`: of participants, if not all were read."""
    view = brief(record, now) | {
        "updated_at": rfc3339(record.updated_at),
        "agent": {"id": agent.id, "name": agent.name, "avatar_url": agent.avatar_url} if agent else None,
        **named(roles(record, participants), count),
        "message_count": record.message_count,
        "request_count": record.request_count + unwritten,
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


def line(row: SessionSummary, now: float) -> dict[str, Any]:
    """A line of a caller's list."""
    return {
        "session_id": row.session.session_id,
        "title": row.session.title,
        "agent_id": row.session.agent_id,
        "agent_name": row.agent_name,
        "last_message": row.last_message,
        "last_message_at": rfc3339(row.last_message_at) if row.last_message_at else None,
        "unread_count": row.unread_count,
        "status": brief(row.session, now)["status"],
        "created_at": rfc3339(row.session.created_at),
        "expires_at": rfc3339(row.session.expires_at),
        "user_id": row.session.user_id,
    }


def cursor(end: PageEnd) -> str:
    """Of the page behind it."""
    return f"{(end.last_activity - _EPOCH) // _MICROSECOND}-{end.session_id}"


def place(cursor: str | None) -> PageEnd | None:
    """What `cursor` has made. Raises ValidationFailed."""
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise ValidationFailed("is not one of ours", field="cursor")
    try:
        return PageEnd(_EPOCH + int(found[1]) * _MICROSECOND, found[2])
    except OverflowError as error:
        raise ValidationFailed("is not one of ours", field="cursor") from error
