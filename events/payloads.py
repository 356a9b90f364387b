"""The wire contract's other half: the payloads of replies and events. With `schema.py` the source of OpenAPI,
AsyncAPI, the TypeScript event map and the tables of docs/protocol.md. The hot path encodes without them.

Docstrings and field names are what the documents show. Times are RFC 3339 UTC.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from events.pagetools import PageTool
from events.parts import Part
from events.schema import (
    AskedInterrupt,
    DeltaPiece,
    File,
    FileInfo,
    InterruptAnswer,
    Message,
    PartPiece,
    SessionEvent,
    StreamEnded,
    StreamPiece,
    StreamStarted,
    Usage,
    WhenBusy,
)
from storage.records import Person

Status = Literal["complete", "streaming", "waiting", "cancelled", "interrupted", "failed"]
SessionStatus = Literal["active", "archived", "expired", "deleted"]
Role = Literal["owner", "member", "viewer", "agent", "service"]

# --- objects inside replies


class AgentBrief(Struct):
    id: int
    name: str
    avatar_url: str | None


#: By key: what people are called, and their pictures. Where nobody has a name, it is left out.
Users = dict[str, Person]


class Session(Struct, kw_only=True):
    """A session as its creation answers it."""

    session_id: str
    trace_id: str
    user_id: str
    agent_id: int | None
    title: str | None
    status: SessionStatus
    metadata: dict[str, Any]
    created_at: str
    expires_at: str


class SessionDetails(Session, kw_only=True):
    """A session as `join` and `GET` show it. `role` is the caller's own in it; `created_via`, `ip_address`,
    `user_agent` are shown to owner and service alone, `users` by `GET` (`join` has them beside it)."""

    updated_at: str
    agent: AgentBrief | None
    participants: list[str]
    participant_roles: dict[str, Role]
    participant_count: int
    message_count: int
    request_count: int
    last_seq: int
    last_revision: int
    last_activity: str
    role: Role
    created_via: str | UnsetType | None = UNSET
    ip_address: str | UnsetType | None = UNSET
    user_agent: str | UnsetType | None = UNSET
    users: Users | UnsetType = UNSET


class SessionLine(Struct, kw_only=True):
    session_id: str
    title: str | None
    agent_id: int | None
    agent_name: str | None
    last_message: str | None
    last_message_at: str | None
    unread_count: int
    status: SessionStatus
    created_at: str
    expires_at: str
    user_id: str


class Online(Struct):
    """A user who is online, with how many connections."""

    user_id: str
    status: Literal["online", "away"]
    connections: int


class Turn(Struct, kw_only=True):
    """A question (`message_id`, `seq`) and how far its answer is (docs/turns.md)."""

    message_id: str
    seq: int
    state: Literal["queued", "running", "waiting", "done"]
    when_busy: WhenBusy
    answer_id: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET


class Unanswered(Struct):
    """A question that ended without an answer: `cancelled`, or `failed`."""

    message_id: str
    outcome: str


class ProducerDoes(Struct):
    """What a stream's producer said that it does, such as "thinking", "calling_tool", "searching"."""

    status: str
    detail: str | UnsetType = UNSET


class OpenStream(Struct):
    """A stream that is being written: its text so far, its parts where there are others, the index of its
    next chunk, and what its producer does, where it said so."""

    message_id: str
    content: str
    next_index: int
    parts: list[Part] | UnsetType = UNSET
    agent_status: ProducerDoes | UnsetType = UNSET


# --- replies


class Done(Struct):
    """Nothing but `ok`."""


class JoinReply(Struct, kw_only=True):
    """A snapshot that live events carry on without a gap. `head_id`: where the path ends, if the session has
    branches. `unanswered`: where there are some, the newest hundred."""

    session: SessionDetails
    messages: list[Message]
    has_more: bool
    last_seq: int
    last_revision: int
    position: str
    online: list[Online]
    read_marks: dict[str, int]
    streams: list[OpenStream]
    turns: list[Turn]
    lineage: str
    users: Users | UnsetType = UNSET
    reset: bool | UnsetType = UNSET
    head_id: str | UnsetType = UNSET
    unanswered: list[Unanswered] | UnsetType = UNSET


class Welcome(JoinReply, kw_only=True):
    """What a raw WebSocket and an event stream begin with."""

    connection_id: str
    recovered: bool


class SentReply(Struct, kw_only=True):
    """The message is committed. `duplicate`: it was already, under this id."""

    message_id: str
    seq: int
    created_at: str
    duplicate: bool | UnsetType = UNSET


class ChangedReply(Struct):
    message_id: str
    revision: int


class EditedReply(ChangedReply, kw_only=True):
    """With `branch` the message is the new one, and the other fields tell of it."""

    seq: int | UnsetType = UNSET
    created_at: str | UnsetType = UNSET
    duplicate: bool | UnsetType = UNSET


class RegenerateReply(Struct, kw_only=True):
    """The question, and where the path ends: the answer follows there. `duplicate`: it is being answered
    already."""

    message_id: str
    head_id: str
    duplicate: bool | UnsetType = UNSET


class SelectReply(Struct):
    """Where the path ends now."""

    head_id: str


class ReadReply(Struct):
    unread_count: int


class FeedbackReply(Struct):
    """What one thinks of the message now."""

    message_id: str
    value: Literal["up", "down"] | None
    comment: str | None


class MessageNode(Struct):
    """A message and what it follows; null: it is the first."""

    message: Message
    parent_id: str | None


class HistoryReply(Struct, kw_only=True):
    """`turns`: the session's open ones; `unanswered`, where there are some: those of the page, the newest
    hundred. `head_id`: where the path ends, if the session has branches. With `tree: true` the messages are
    in `tree`, those of all branches."""

    messages: list[Message]
    turns: list[Turn]
    has_more: bool
    total: int
    last_seq: int
    last_revision: int
    lineage: str
    users: Users | UnsetType = UNSET
    reset: bool | UnsetType = UNSET
    head_id: str | UnsetType | None = UNSET
    tree: list[MessageNode] | UnsetType = UNSET
    unanswered: list[Unanswered] | UnsetType = UNSET


class TurnsReply(Struct, kw_only=True):
    """The newest first."""

    turns: list[Turn]
    has_more: bool


class StreamStartReply(Struct, kw_only=True):
    """`next_index` is the index of the chunk to send next; `status` comes with `duplicate`."""

    message_id: str
    seq: int
    revision: int
    next_index: int
    duplicate: bool | UnsetType = UNSET
    status: Status | UnsetType = UNSET


class StreamChunkReply(Struct):
    next_index: int


class StreamPartReply(Struct):
    """`part_id` is the part's id, also where it was given one."""

    next_index: int
    part_id: str


class StreamWaitReply(ChangedReply):
    """`status` is "waiting", unless something else was faster."""

    status: Status


class AnswerReply(ChangedReply, kw_only=True):
    """The answer that counts. `duplicate`: it had been given before."""

    interrupt_id: str
    answer: InterruptAnswer
    duplicate: bool | UnsetType = UNSET


class StreamCancelReply(Struct):
    status: Status


class StreamResumeReply(Struct):
    """`index` is that of the first chunk in `content`. `parts` are all so far, where there are others than
    text."""

    content: str
    index: int
    next_index: int
    status: Status
    parts: list[Part] | UnsetType = UNSET


class AuthRefreshReply(Struct):
    expires_at: str


# --- events


class ReadMark(SessionEvent, kw_only=True):
    """A user has read everything up to `seq`."""

    user_id: str
    seq: int


class SessionChanged(SessionEvent, kw_only=True):
    """The session has changed, or this connection's membership has ended."""

    event: Literal["updated", "archived", "expired", "removed", "reset", "head"]
    title: str | UnsetType | None = UNSET
    user_id: str | UnsetType = UNSET
    user: Person | UnsetType = UNSET
    last_revision: int | UnsetType = UNSET
    #: Where the path ends now, of "head".
    head_id: str | UnsetType = UNSET


class SessionActivity(SessionEvent, kw_only=True):
    """Something happened in a session whose room this connection has not joined; once a second at most."""

    event: Literal["activity"]
    last_message: str
    last_message_at: str
    last_seq: int
    unread_count: int | UnsetType = UNSET


class SessionTakenAway(SessionEvent, kw_only=True):
    """One is no participant of a session any more; to one's connections that have not joined its room."""

    event: Literal["removed"]
    user_id: str


class SessionAdded(SessionEvent, kw_only=True):
    """One has become a participant of a session; to one's connections that have not joined its room."""

    event: Literal["added"]
    title: str | None
    role: Role
    session: Session


class UserCameOrWent(SessionEvent, kw_only=True):
    """A user's first connection came, or the last one is gone."""

    event: Literal["user_joined", "user_left"]
    user_id: str
    user: Person | UnsetType = UNSET


class PresenceChanged(SessionEvent, kw_only=True):
    """A user's status over all connections."""

    user_id: str
    status: Literal["online", "away", "offline"]


class PresenceCount(SessionEvent, kw_only=True):
    """How many are online, in place of single events, where they are many."""

    online: int


class TypingChanged(SessionEvent, kw_only=True):
    """A user is, or is no longer, typing."""

    user_id: str
    is_typing: bool


class ResumedAnswer(Struct, kw_only=True):
    """An answer that has waited: `interrupts` with what was answered, `content` and `parts` as they are,
    `usage` so far, `steered` the questions that it took up on its way.
    `stream_start` with `message_id` and the request's `fence` goes on with it, from `next_index`."""

    message_id: str
    next_index: int
    interrupts: list[AskedInterrupt]
    content: str
    parts: list[Part] | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    steered: list[Message] | UnsetType = UNSET


class AgentRequest(Struct, kw_only=True):
    """A worker's next piece of work; to be acked within five seconds. `fence` counts the hand-outs of a
    question: who gives it to `stream_start` is refused where a later one has been made. `tools`: of the
    page, that the question brings."""

    session_id: str
    message: Message
    history: list[Message]
    fence: int
    resume: ResumedAnswer | UnsetType = UNSET
    tools: list[PageTool] | UnsetType = UNSET


class AgentSteer(Struct):
    """To the producer of an open answer (`message_id`): a question that came meanwhile. A `step` part whose
    `steered` names it takes it up."""

    session_id: str
    message_id: str
    message: Message


class AgentStatusTold(SessionEvent, kw_only=True):
    """What a stream's producer does, until the next one or the stream's end; null: nothing."""

    message_id: str
    status: str | None
    detail: str | UnsetType = UNSET


class TurnChanged(SessionEvent, kw_only=True):
    """A question waits for its turn, was taken up by an open answer, or will not be answered. That it is
    being answered by one of its own tells the stream that replies to it."""

    message_id: str
    state: Literal["queued", "running", "waiting", "done"]
    when_busy: WhenBusy
    answer_id: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET


class StreamCancelled(SessionEvent, kw_only=True):
    """To the producer: somebody wants this stream stopped; to an agent's workers also with the id of a
    question that needs no answer any more."""

    message_id: str


class AuthExpiring(Struct):
    """The token of this connection ends soon: `auth_refresh` extends it."""

    expires_at: str
    timestamp: str


class Problem(Struct, kw_only=True):
    """Why a command failed. `retry_after` in milliseconds."""

    code: str
    message: str
    retryable: bool
    retry_after: int | UnsetType = UNSET
    details: Any = UNSET
    next_index: Annotated[int, Meta(description="with INDEX_CONFLICT")] | UnsetType = UNSET


class ErrorEvent(Problem, kw_only=True):
    """A failure that no reply could tell: of a `command` sent without an ack, or of the connection."""

    command: str | UnsetType = UNSET


# --- answers of REST alone


class SessionPage(Struct, kw_only=True):
    """`cursor` asks for the next page; a page that was asked for by one has no `total`."""

    sessions: list[SessionLine]
    total: int | UnsetType = UNSET
    has_more: bool
    cursor: str | None


class Participants(Struct):
    """At most 500 are named; `participant_count` is how many there are."""

    participants: list[str]
    participant_roles: dict[str, Role]
    participant_count: int
    users: Users | UnsetType = UNSET


class PresenceList(Struct):
    online: list[Online]
    users: Users | UnsetType = UNSET


class Ended(Struct):
    message: str
    session_id: str


class Extended(Struct):
    session_id: str
    expires_at: str


class MessageCreated(SentReply, kw_only=True):
    status: Literal["sent"]


class Uploaded(Struct, kw_only=True):
    file_id: str
    file_url: str
    thumbnail_url: str | None
    message_id: str | None
    file_info: FileInfo
    uploaded_at: str


class SignedAddress(Struct):
    url: str
    thumbnail_url: str | None
    expires_at: str


class SearchHit(Struct, kw_only=True):
    """A message that was found, or a session by its title: then what only messages have is null. `snippet` is
    HTML: escaped text, and `<mark>` around what was looked for."""

    kind: Literal["message", "session"]
    session_id: str
    session_title: str | None
    message_id: str | None
    seq: int | None
    revision: int | None
    sender_type: Literal["user", "agent", "system"] | None
    sender_id: str | None
    sender_name: str | None
    message_type: Literal["text", "stream", "file", "system"] | None
    created_at: str
    snippet: str
    score: float


class SearchReply(Struct):
    """Best first; `cursor` asks for the next page."""

    results: list[SearchHit]
    has_more: bool
    cursor: str | None


class FeedbackLine(Struct, kw_only=True):
    """What one reader, named by key, thinks of a message."""

    session_id: str
    message_id: str
    user_id: str
    value: Literal["up", "down"]
    comment: str | None
    given_at: str


class FeedbackPage(Struct):
    """The newest first; `cursor` asks for the next page."""

    feedback: list[FeedbackLine]
    has_more: bool
    cursor: str | None


class ErrorBody(Struct):
    error: Problem


# --- the tables


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`kind` is how the event is healed, replayed or lost (contract, section 4)."""

    name: str
    kind: Literal["durable", "logged", "volatile", "direct"]
    schemas: tuple[type[Struct], ...]
    text: str = ""

    @property
    def summary(self) -> str:
        return self.text or " ".join((self.schemas[0].__doc__ or "").split()).split(". ")[0].rstrip(".") + "."


EVENTS: dict[str, Outgoing] = {
    event.name: event
    for event in (
        Outgoing("message", "durable", (Message,), "A message was sent."),
        Outgoing("message_updated", "durable", (Message,), "A message was changed."),
        Outgoing("message_deleted", "durable", (Message,), "A message was deleted: its tombstone."),
        Outgoing("stream_start", "durable", (StreamStarted,)),
        Outgoing("stream_end", "durable", (StreamEnded,)),
        Outgoing("stream_chunk", "logged", (StreamPiece,)),
        Outgoing("stream_delta", "logged", (DeltaPiece,)),
        Outgoing("stream_part", "logged", (PartPiece,)),
        Outgoing("turn", "logged", (TurnChanged,)),
        Outgoing("read", "logged", (ReadMark,)),
        Outgoing("session", "logged", (SessionChanged, SessionActivity, SessionAdded, SessionTakenAway)),
        Outgoing("system", "volatile", (UserCameOrWent,)),
        Outgoing("presence", "volatile", (PresenceChanged, PresenceCount)),
        Outgoing("typing", "volatile", (TypingChanged,)),
        Outgoing("agent_status", "volatile", (AgentStatusTold,)),
        Outgoing("agent_request", "direct", (AgentRequest,)),
        Outgoing("agent_steer", "direct", (AgentSteer,)),
        Outgoing("stream_cancel", "direct", (StreamCancelled,)),
        Outgoing("auth_expiring", "direct", (AuthExpiring,)),
        Outgoing("error", "direct", (ErrorEvent,)),
    )
}

__all__ = ["EVENTS", "File", "Message", "Outgoing"]
