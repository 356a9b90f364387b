"""The rows that go up: frozen, times aware and in UTC, JSON columns decoded.

A record's fields are the columns of its table (`storage.tables`), in the same order, so that a row
becomes a record by position.
"""

from datetime import datetime
from typing import Any

from msgspec import Struct, field


class SessionRecord(Struct, frozen=True):
    """`status` is as stored: "active", "archived", "deleted". Expired is `expires_at <= now`. `rated`:
    somebody has given feedback on a message. `head_seq` and `head_id` are the message at which the session's
    path ends; None where it has no branches."""

    session_id: str
    trace_id: str
    user_id: str
    agent_id: int | None
    title: str | None
    status: str
    metadata: dict[str, Any]
    ttl_hours: float
    created_at: datetime
    updated_at: datetime
    last_activity: datetime
    expires_at: datetime
    last_seq: int = 0
    last_revision: int = 0
    message_count: int = 0
    request_count: int = 0
    ended_at: datetime | None = None
    created_via: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    rated: bool = False
    head_seq: int | None = None
    head_id: str | None = None


class Draft(Struct, frozen=True):
    """What there is of a message before it has a number. Fields of `MessageRecord`."""

    session_id: str
    message_id: str
    client_message_id: str | None
    sender_type: str
    sender_id: str
    message_type: str
    content: str
    status: str = "complete"
    metadata: dict[str, Any] = {}
    reply_to: str | None = None
    parts: list[dict[str, Any]] | None = None


class Outcome(Struct, frozen=True):
    """What the end of a stream says of its message. Fields of `MessageRecord`, but that `content=None` keeps
    the content and the parts that are there, and `metadata` is added to it."""

    session_id: str
    message_id: str
    status: str
    content: str | None = None
    error: dict[str, Any] | None = None
    tokens_used: int | None = None
    latency_ms: int | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    metadata: dict[str, Any] | None = None
    parts: list[dict[str, Any]] | None = None


class MessageRecord(Struct, frozen=True):
    """A message. Statements (`storage.rows`), changes (`storage.batch`) and what clients are shown
    (`events.views`) follow these fields by name. `latency_ms` is in milliseconds. `parts` are as
    `events.parts` has them, None where the message's only part is its text. `parent_seq` (0: it is the first)
    and `parent_id` are what it follows; None: the message before it. `interrupts` are as `storage.interrupts`
    has them, of one that waits or has waited."""

    session_id: str
    message_id: str
    seq: int
    revision: int
    client_message_id: str | None
    sender_type: str
    sender_id: str
    message_type: str
    status: str
    content: str
    metadata: dict[str, Any]
    reply_to: str | None
    created_at: datetime
    error: dict[str, Any] | None = None
    tokens_used: int | None = None
    latency_ms: int | None = None
    is_edited: bool = False
    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    parts: list[dict[str, Any]] | None = None
    parent_seq: int | None = None
    parent_id: str | None = None
    interrupts: list[dict[str, Any]] | None = None


#: Fields of a message that are numbered and timed by the writer.
PLACE = ("seq", "revision", "created_at")
#: ... where a session has branches.
PARENT = ("parent_seq", "parent_id")
#: Fields of a message that no change touches.
FIXED = frozenset(
    {
        "session_id",
        "message_id",
        "seq",
        "client_message_id",
        "sender_type",
        "sender_id",
        "message_type",
        "reply_to",
        "created_at",
        "parent_seq",
        "parent_id",
    }
)
#: What a tombstone (`deleted_at` is set) has in place of what was said.
TOMBSTONE: dict[str, Any] = {
    "content": "",
    "metadata": {},
    "error": None,
    "parts": None,
    "interrupts": None,
}
#: Fields of any length: they are what a page's bytes are counted by.
BULK = ("content", "metadata", "parts", "interrupts")


class TurnRecord(Struct, frozen=True):
    """A question to an agent, and how far its answer is: `state` is "queued", "running", "waiting" or "done".
    `fence` counts the claims of it, `outcome` says how it is done. `stopped`: it is to end, by any node.
    `again_seq` is the session's last number when it was asked again, 0 if it was not. `expires_at`: when the
    first question of one that waits expires. `brings`: there are tools of its own."""

    question_id: str
    session_id: str
    seq: int
    agent_id: int
    when_busy: str
    state: str = "queued"
    fence: int = 0
    answer_id: str | None = None
    outcome: str | None = None
    claimed_until: datetime | None = None
    stopped: bool = False
    again_seq: int = 0
    expires_at: datetime | None = None
    brings: bool = False

    @property
    def place(self) -> int:
        """In the line."""
        return max(self.seq, self.again_seq)


class OpenStream(Struct, frozen=True):
    """A message that is being written: its text is the log's to tell."""

    message_id: str
    revision: int


#: The standing of one who was a participant: remembered, for it outranks a token's claim.
REMOVED = "removed"


class ParticipantRecord(Struct, frozen=True):
    """`user_id` is "agent:<id>" for an agent, so that user 1 is not agent 1."""

    session_id: str
    user_id: str
    role: str
    read_seq: int
    joined_at: datetime
    removed_at: datetime | None = None

    @property
    def standing(self) -> str:
        """Its role, or `REMOVED`."""
        return self.role if self.removed_at is None else REMOVED


class Person(Struct, frozen=True):
    """What a user or an agent is called, and its picture's address. A user's are those of its last token that
    said one of them."""

    name: str | None
    avatar_url: str | None


class FeedbackRecord(Struct, frozen=True):
    """What one reader thinks of a message: `value` is "up" or "down"."""

    id: int
    session_id: str
    message_id: str
    user_id: str
    value: str
    comment: str | None
    given_at: datetime


class FileRecord(Struct, frozen=True):
    """`file_size` in bytes; `message_id` is None until the file is posted."""

    file_id: str
    session_id: str
    message_id: str | None
    file_name: str
    file_type: str
    file_size: int
    file_url: str
    thumbnail_url: str | None
    uploaded_by: str
    uploaded_at: datetime


class AgentRecord(Struct, frozen=True):
    id: int
    name: str
    avatar_url: str | None
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    is_active: bool = True
    when_busy: str = "queue"


class AgentLine(Struct, frozen=True):
    """An agent in a list. `config` is the JSON text, where it was asked for."""

    id: int
    name: str
    avatar_url: str | None
    kind: str
    is_active: bool
    when_busy: str
    config: str | None


class SessionSummary(Struct, frozen=True):
    """A line of a caller's session list: `session` without its metadata, `last_message` is the beginning of
    the newest undeleted message's content."""

    session: SessionRecord
    agent_name: str | None
    last_message: str | None
    last_message_at: datetime | None
    unread_count: int


class SessionState(Struct, frozen=True):
    """What a node compares its live rooms with."""

    last_revision: int
    status: str
    expires_at: datetime
