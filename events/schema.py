"""The wire contract: commands in, events out. The source of OpenAPI, AsyncAPI and the TypeScript event map.

Structs are strict (no coercion) and ignore unknown fields: a client's own `timestamp` of any type passes.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from events.pagetools import PageTools
from events.parts import MOST, GivenPart, Part, PartId
from storage.records import Person
from storage.tables import COMMENT_LENGTH

#: Counters fit a JavaScript number.
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
SessionId = Annotated[str, Meta(min_length=1, max_length=100)]
MessageId = Annotated[str, Meta(min_length=1, max_length=100)]
#: An id of the producer's own.
StreamId = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._:\-]+\Z")]
ClientMessageId = Annotated[str, Meta(min_length=1, max_length=255)]
UserId = Annotated[str, Meta(min_length=1, max_length=255)]
AgentId = int | Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,9})\Z")]
Content = Annotated[str, Meta(min_length=1)]
GivenParts = Annotated[list[GivenPart], Meta(min_length=1, max_length=MOST)]
Metadata = dict[str, Any]
Limit = Annotated[int, Meta(ge=1, le=500)]


#: What becomes of a question that comes while another answer is open (docs/turns.md).
WhenBusy = Literal["queue", "interrupt", "parallel", "reject", "steer"]


class InSession(Struct):
    """Every command but `presence` and `auth_refresh` names its session."""

    session_id: SessionId


# --- commands


class Join(InSession, kw_only=True):
    """Become a member of the session's room; the reply is a snapshot that live events carry on."""

    after_revision: Count | None = None
    limit: Limit = 50
    lineage: Annotated[str, Meta(max_length=100)] | None = None


class Leave(InSession):
    """Leave the session's room."""


class SendMessage(InSession, kw_only=True):
    """Send a message: text, or `parts`, of which `content` follows. The reply says that it is committed.
    `tools`: those of the page that its answer may call."""

    content: Content | UnsetType = UNSET
    client_message_id: ClientMessageId | None = None
    message_type: Literal["text", "system"] | None = None
    metadata: Metadata | None = None
    reply_to: MessageId | None = None
    reply: bool = True
    parts: GivenParts | None = None
    when_busy: WhenBusy | None = None
    tools: PageTools | None = None


class Edit(InSession, kw_only=True):
    """Change the content of one's own message; with `branch`, beside it: the other version is a message of
    its own, and is answered anew. The last four are of that alone."""

    message_id: MessageId
    content: Content
    branch: bool = False
    client_message_id: ClientMessageId | None = None
    reply: bool = True
    when_busy: WhenBusy | None = None
    tools: PageTools | None = None


class Regenerate(InSession, kw_only=True):
    """Answer a question anew, named by itself or by its answer: the new answer stands beside the old one.
    `tools` come in place of those that the question brought."""

    message_id: MessageId
    when_busy: WhenBusy | None = None
    tools: PageTools | None = None


class Select(InSession, kw_only=True):
    """Lead the session's path through a message, to the newest one behind it; with `exact`, only up to it."""

    message_id: MessageId
    exact: bool = False


class Delete(InSession, kw_only=True):
    """Delete a message: its tombstone stays."""

    message_id: MessageId


class PostFile(InSession, kw_only=True):
    """Post a file that was uploaded with `post=false`."""

    file_id: Annotated[str, Meta(min_length=1, max_length=100)]
    message: str | None = None
    client_message_id: ClientMessageId | None = None
    reply: bool = True
    when_busy: WhenBusy | None = None


class Typing(InSession, kw_only=True):
    """Tell the others that one is, or is no longer, typing."""

    is_typing: bool


class Presence(Struct):
    """Set this connection's status in all its rooms."""

    status: Literal["online", "away"]


class Read(InSession, kw_only=True):
    """Mark everything up to `seq` as read."""

    seq: Count


class History(InSession, kw_only=True):
    """A page of messages: of the path, where the session has branches; with `tree`, of all branches. `before`
    and `after` are RFC 3339 times."""

    limit: Limit = 50
    before_seq: Count | None = None
    after_seq: Count | None = None
    before: Annotated[str, Meta(max_length=40)] | None = None
    after: Annotated[str, Meta(max_length=40)] | None = None
    order: Literal["asc", "desc"] | None = None
    after_revision: Count | None = None
    lineage: Annotated[str, Meta(max_length=100)] | None = None
    tree: bool = False


class GiveFeedback(InSession, kw_only=True):
    """Say what one thinks of another's message; `null` takes it back."""

    message_id: MessageId
    value: Literal["up", "down"] | None
    comment: Annotated[str, Meta(max_length=COMMENT_LENGTH)] | None = None


class Turns(InSession, kw_only=True):
    """A page of questions to the session's agent, and how far their answers are; the newest first."""

    before_seq: Count | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class StreamStart(InSession, kw_only=True):
    """Begin a message that is written in chunks."""

    message_id: StreamId | None = None
    client_message_id: ClientMessageId | None = None
    metadata: Metadata | None = None
    reply_to: MessageId | None = None
    fence: Count | None = None


class StreamChunk(InSession, kw_only=True):
    """The next piece of a stream's text. Empty content renews the lease. `part` names the text part: the last
    one, or a new one."""

    content: str
    message_id: MessageId | None = None
    index: Count | None = None
    part: PartId | None = None


class StreamDelta(InSession, kw_only=True):
    """The next piece of a stream, of the text of a reasoning or of a tool's input."""

    part: PartId
    content: str
    message_id: MessageId | None = None
    index: Count | None = None


class StreamPart(InSession, kw_only=True):
    """The next piece of a stream: a whole part. It is new, or takes the place of the one with its id."""

    part: Part
    message_id: MessageId | None = None
    index: Count | None = None


class AgentStatus(InSession, kw_only=True):
    """Tell the room what the producer of a stream does, until it says otherwise or the stream ends; null:
    nothing."""

    status: Annotated[str, Meta(max_length=50, pattern=r"^[a-z][a-z0-9_]*\Z")] | None
    detail: Annotated[str, Meta(max_length=200)] | None = None
    message_id: MessageId | None = None


#: Why a model ended its answer.
FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "error", "other"]


class Usage(Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Tokens that an answer cost, as far as its producer knows."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    total_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    cached_input_tokens: Count | None = None
    cache_write_input_tokens: Count | None = None


class StreamError(Struct):
    """Why a stream failed."""

    code: Annotated[str, Meta(min_length=1, max_length=100)]
    message: Annotated[str, Meta(max_length=2000)] = ""


class StreamEnd(InSession, kw_only=True):
    """The stream is finished; its text is committed. `index` is how many pieces it has: with fewer known, it
    goes on."""

    message_id: MessageId | None = None
    index: Count | None = None
    status: Literal["complete", "cancelled", "interrupted", "failed"] = "complete"
    tokens_used: Count | None = None
    latency_ms: Count | None = None
    error: StreamError | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    metadata: Metadata | None = None


class Interrupt(Struct, kw_only=True):
    """What a message asks of people before it goes on. `response_schema` is a JSON Schema of the answer's
    `payload`; `expires_at` an RFC 3339 time."""

    id: Annotated[str, Meta(min_length=1, max_length=100)]
    reason: Annotated[str, Meta(min_length=1, max_length=100)]
    message: Annotated[str, Meta(max_length=4000)] | UnsetType = UNSET
    tool_call_id: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    response_schema: dict[str, Any] | UnsetType = UNSET
    expires_at: Annotated[str, Meta(max_length=40)] | UnsetType = UNSET


#: Interrupts of one `stream_wait`.
MOST_INTERRUPTS = 20


class StreamWait(InSession, kw_only=True):
    """The stream ends, and its message waits for people: for an `answer` to each of `interrupts`. For answers
    to questions alone. `index` as at the end."""

    interrupts: Annotated[list[Interrupt], Meta(min_length=1, max_length=MOST_INTERRUPTS)]
    message_id: MessageId | None = None
    index: Count | None = None


AnswerStatus = Literal["resolved", "cancelled"]


class GiveAnswer(InSession, kw_only=True):
    """Answer what a message waits for: the first answer counts. `payload` as its `response_schema` says."""

    message_id: MessageId
    interrupt_id: Annotated[str, Meta(min_length=1, max_length=100)]
    status: AnswerStatus
    payload: Any = UNSET
    client_message_id: ClientMessageId | None = None


class StreamCancel(InSession, kw_only=True):
    """Stop an answer, named by itself or by its question, also before it begins; the text so far is kept."""

    message_id: MessageId


class StreamResume(InSession, kw_only=True):
    """The text of a stream from a chunk index on."""

    message_id: MessageId
    from_index: Count = 0


class AuthRefresh(Struct):
    """A new token of the same identity."""

    token: Annotated[str, Meta(min_length=1, max_length=65536)]


# --- REST bodies


class CreateSession(Struct, kw_only=True):
    """`ttl_hours` above SESSION_TTL_HOURS and `user_id` (the owner) are for `service` only."""

    agent_id: AgentId | None = None
    title: Annotated[str, Meta(max_length=200)] | None = None
    metadata: Metadata | None = None
    ttl_hours: Annotated[float, Meta(gt=0, le=876000)] | None = None
    user_id: UserId | None = None


class PatchSession(Struct, kw_only=True):
    title: Annotated[str, Meta(max_length=200)] | None = None
    metadata: Metadata | None = None
    status: Literal["active", "archived"] | None = None


class ExtendSession(Struct, kw_only=True):
    hours: Annotated[float, Meta(gt=0, le=876000)] | None = None


class PutParticipant(Struct, kw_only=True):
    role: Literal["member", "viewer"] = "member"


class ListSessions(Struct, kw_only=True):
    status: Literal["active", "archived", "expired"] | None = None
    agent_id: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    offset: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    cursor: Annotated[str, Meta(max_length=200)] | None = None


class ChatRequest(Struct, kw_only=True):
    """Get or create the session, send the message, stream the agent's answer."""

    content: Content | UnsetType = UNSET
    session_id: SessionId | None = None
    agent_id: AgentId | None = None
    client_message_id: ClientMessageId | None = None
    metadata: Metadata | None = None
    reply_to: MessageId | None = None
    when_busy: WhenBusy | None = None
    stream: bool = True
    parts: GivenParts | None = None
    tools: PageTools | None = None


# --- what goes out


class FileInfo(Struct):
    name: str
    type: str
    size: int


class File(Struct):
    file_id: str
    file_url: str
    thumbnail_url: str | None
    file_info: FileInfo


class FeedbackGiven(Struct, kw_only=True, omit_defaults=True):
    """`value` and `comment` are the caller's own; `up` and `down` count all readers'."""

    value: Literal["up", "down"] | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    up: int | UnsetType = UNSET
    down: int | UnsetType = UNSET


class InterruptAnswer(Struct, kw_only=True):
    """What was answered, and by whom; `why` where nobody did: its time was over, or the message was
    stopped."""

    status: AnswerStatus
    answered_at: str
    payload: Any = UNSET
    user_id: str | UnsetType = UNSET
    client_message_id: str | UnsetType = UNSET
    why: Literal["expired", "stopped"] | UnsetType = UNSET


class AskedInterrupt(Interrupt, kw_only=True):
    """The same with the answer, once there is one."""

    answer: InterruptAnswer | UnsetType = UNSET


class Message(Struct):
    """A message as history, `join` and events show it. Times are RFC 3339 UTC."""

    message_id: str
    session_id: str
    seq: int
    revision: int
    sender_type: Literal["user", "agent", "system"]
    sender_id: str
    message_type: Literal["text", "stream", "file", "system"]
    content: str | None
    metadata: Metadata
    status: Literal["complete", "streaming", "waiting", "cancelled", "interrupted", "failed"]
    created_at: str
    is_edited: bool
    client_message_id: str | None = None
    reply_to: str | None = None
    tokens_used: int | None = None
    latency_ms: int | None = None
    error: Metadata | None = None
    edited_at: str | None = None
    deleted_at: str | None = None
    #: Of an answer, where its producer said it.
    finish_reason: FinishReason | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    model: str | UnsetType = UNSET
    #: Where there is more than text. `provider_metadata` is for workers alone.
    parts: list[Part] | UnsetType = UNSET
    #: Those that are parts of it.
    files: list[File] | UnsetType = UNSET
    #: Of an answer that waits for people, or has waited.
    interrupts: list[AskedInterrupt] | UnsetType = UNSET
    #: Where the session has branches: what it follows, and all that follow the same, if several do.
    parent_id: str | UnsetType | None = UNSET
    siblings: list[str] | UnsetType = UNSET
    #: What its reader thinks of it; for owner and `service` also what all do. In no event.
    feedback: FeedbackGiven | UnsetType = UNSET
    #: In events only. `user`: its sender, where the room may not know yet what that is called.
    user: Person | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET


class SessionEvent(Struct, kw_only=True):
    """The fields that every event of a session has."""

    session_id: str
    timestamp: str


class StreamStarted(SessionEvent, kw_only=True):
    """A message begins to be written. One that has waited is told again from its beginning."""

    message_id: str
    seq: int
    revision: int
    sender_type: Literal["user", "agent", "system"]
    sender_id: str
    metadata: dict[str, Any]
    reply_to: str | None
    parent_id: str | UnsetType | None = UNSET


class StreamPiece(SessionEvent, kw_only=True):
    """`count` chunks, merged into one; the next begins at `index + count`. `part` is the text part, where
    there may be several."""

    message_id: str
    content: str
    index: int
    count: int
    part: PartId | UnsetType = UNSET


class DeltaPiece(SessionEvent, kw_only=True):
    """The same of the text of a reasoning, or of a tool's input: of a `part` that is not text."""

    message_id: str
    part: PartId
    content: str
    index: int
    count: int


class PartPiece(SessionEvent, kw_only=True):
    """A part as it is now: it takes the place of the one with its id, or is the message's next."""

    message_id: str
    part: Part
    index: int


class StreamEnded(SessionEvent, kw_only=True):
    """The message is written, or waits for people (`interrupts`). `content` is the whole text, and `parts`
    all of it, for readers that may lack chunks."""

    message_id: str
    status: Literal["complete", "waiting", "cancelled", "interrupted", "failed"]
    tokens_used: int | None
    latency_ms: int | None
    revision: int
    error: dict[str, Any] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    finish_reason: FinishReason | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    model: str | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    parts: list[Part] | UnsetType = UNSET
    interrupts: list[AskedInterrupt] | UnsetType = UNSET
