"""A session with members on this node: its end, and the snapshot that a join gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from msgspec import Raw

from events import sessionview
from events.access import Caller, SessionRole
from events.errors import ChatError, SessionArchived, SessionExpired, SessionNotFound
from events.event import to_json
from events.schema import Message
from storage.records import AgentRecord, OpenStream, Person, SessionRecord


class Ending(StrEnum):
    """Why a membership ends; a `session` event says so to the members."""

    ARCHIVED = "archived"
    EXPIRED = "expired"
    REMOVED = "removed"

    @property
    def error(self) -> type[ChatError]:
        """The error of every later command on the session."""
        return _ERRORS[self]


_ERRORS: Mapping[Ending, type[ChatError]] = {
    Ending.ARCHIVED: SessionArchived,
    Ending.EXPIRED: SessionExpired,
    Ending.REMOVED: SessionNotFound,
}


@dataclass(slots=True)
class LiveSession:
    """A session with members on this node. `expires_at` in epoch seconds."""

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
class Page:
    """Messages, and how far they and the open streams with them reach."""

    messages: list[Message]
    has_more: bool
    last_seq: int
    last_revision: int
    open_streams: list[OpenStream]
    told: Raw  # `messages` encoded, for the replies to joins
    is_path: bool = False  # the session has branches, and those beside the path are not here

    def with_messages(self, messages: list[Message], has_more: bool) -> "Page":
        """These instead."""
        return replace(self, messages=messages, has_more=has_more, told=Raw(to_json(messages)))


class Everybody:
    """What a session's people are called, encoded for those who join: `told` is None where nobody has a name.
    `whole`: nobody is left out."""

    __slots__ = ("_agent", "_persons", "told", "whole")

    def __init__(self, persons: dict[str, Person], agent: AgentRecord | None) -> None:
        self._persons, self._agent = persons, agent
        self._encode()

    def _encode(self) -> None:
        users, left_out = sessionview.users(self._persons, self._agent)
        self.told, self.whole = Raw(to_json(users)) if users else None, not left_out

    def met(self, caller: Caller) -> None:
        """One who joins: a name may be new since the session was read."""
        person = caller.person
        if person is not None and self.whole and self._persons.get(caller.key) != person:
            self._persons[caller.key] = person
            self._encode()


@dataclass(frozen=True, slots=True)
class Known:
    """A session as of one moment."""

    record: SessionRecord
    agent: AgentRecord | None
    standings: Mapping[str, str]  # of participants
    read_marks: Raw
    turns: Raw  # the open ones
    page: Page
    at: float  # when it was read, in epoch seconds
    lineage: str  # of the history that it was read from, or of one before
    people: "Everybody"
    unanswered: Raw | None = None  # questions that ended without an answer, if there are any
    views: dict[SessionRole, bytes] = field(default_factory=dict)  # as each role sees it, but for what moves
