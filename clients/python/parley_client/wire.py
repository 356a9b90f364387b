"""Parley's payloads, replies and events as the wire has them. Generated: `make docs`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class AgentBrief(TypedDict):
    """AgentBrief."""

    id: int
    name: str
    avatar_url: str | None


class AgentRequest(TypedDict):
    """A worker's next piece of work; to be acked within five seconds."""

    session_id: str
    message: Message
    history: list[Message]
    fence: int
    resume: NotRequired[ResumedAnswer]
    tools: NotRequired[list[PageTool]]


class AgentStatus(TypedDict):
    """Tell the room what the producer of a stream does, until it says otherwise or the stream ends; null: nothing."""

    session_id: str
    status: str | None
    detail: NotRequired[str | None]
    message_id: NotRequired[str | None]


class AgentStatusTold(TypedDict):
    """What a stream's producer does, until the next one or the stream's end; null: nothing."""

    session_id: str
    timestamp: str
    message_id: str
    status: str | None
    detail: NotRequired[str]


class AgentSteer(TypedDict):
    """To the producer of an open answer (`message_id`): a question that came meanwhile."""

    session_id: str
    message_id: str
    message: Message


class AnswerReply(TypedDict):
    """The answer that counts."""

    message_id: str
    revision: int
    interrupt_id: str
    answer: InterruptAnswer
    duplicate: NotRequired[bool]


class AskedInterrupt(TypedDict):
    """The same with the answer, once there is one."""

    id: str
    reason: str
    message: NotRequired[str]
    tool_call_id: NotRequired[str]
    response_schema: NotRequired[dict[str, Any]]
    expires_at: NotRequired[str]
    answer: NotRequired[InterruptAnswer]


class AuthExpiring(TypedDict):
    """The token of this connection ends soon: `auth_refresh` extends it."""

    expires_at: str
    timestamp: str


class AuthRefresh(TypedDict):
    """A new token of the same identity."""

    token: str


class AuthRefreshReply(TypedDict):
    """AuthRefreshReply."""

    expires_at: str


class ChangedReply(TypedDict):
    """ChangedReply."""

    message_id: str
    revision: int


class Data(TypedDict):
    """An application's own."""

    type: Literal["data"]
    id: NotRequired[str]
    name: str
    data: Any
    transient: NotRequired[bool]


class Delete(TypedDict):
    """Delete a message: its tombstone stays."""

    session_id: str
    message_id: str


class DeltaPiece(TypedDict):
    """The same of the text of a reasoning, or of a tool's input: of a `part` that is not text."""

    session_id: str
    timestamp: str
    message_id: str
    part: str
    content: str
    index: int
    count: int


class Done(TypedDict):
    """Nothing but `ok`."""


class Edit(TypedDict):
    """Change the content of one's own message; with `branch`, beside it: the other version is a message of its own, and is answered anew."""

    session_id: str
    message_id: str
    content: str
    branch: NotRequired[bool]
    client_message_id: NotRequired[str | None]
    reply: NotRequired[bool]
    when_busy: NotRequired[Literal["interrupt", "parallel", "queue", "reject", "steer"] | None]
    tools: NotRequired[list[PageTool] | None]


class EditedReply(TypedDict):
    """With `branch` the message is the new one, and the other fields tell of it."""

    message_id: str
    revision: int
    seq: NotRequired[int]
    created_at: NotRequired[str]
    duplicate: NotRequired[bool]


class ErrorEvent(TypedDict):
    """A failure that no reply could tell: of a `command` sent without an ack, or of the connection."""

    code: str
    message: str
    retryable: bool
    retry_after: NotRequired[int]
    details: NotRequired[Any]
    next_index: NotRequired[int]
    command: NotRequired[str]


class FeedbackGiven(TypedDict):
    """`value` and `comment` are the caller's own; `up` and `down` count all readers'."""

    value: NotRequired[Literal["down", "up"]]
    comment: NotRequired[str]
    up: NotRequired[int]
    down: NotRequired[int]


class FeedbackReply(TypedDict):
    """What one thinks of the message now."""

    message_id: str
    value: Literal["down", "up"] | None
    comment: str | None


class File(TypedDict):
    """File."""

    file_id: str
    file_url: str
    thumbnail_url: str | None
    file_info: FileInfo


class FileInfo(TypedDict):
    """FileInfo."""

    name: str
    type: str
    size: int


class FilePart(TypedDict):
    """A file of the session, or one that lies elsewhere."""

    type: Literal["file"]
    id: NotRequired[str]
    file_id: NotRequired[str]
    url: NotRequired[str]
    media_type: NotRequired[str]
    name: NotRequired[str]


class GiveAnswer(TypedDict):
    """Answer what a message waits for: the first answer counts."""

    session_id: str
    message_id: str
    interrupt_id: str
    status: Literal["cancelled", "resolved"]
    payload: NotRequired[Any]
    client_message_id: NotRequired[str | None]


class GiveFeedback(TypedDict):
    """Say what one thinks of another's message; `null` takes it back."""

    session_id: str
    message_id: str
    value: Literal["down", "up"] | None
    comment: NotRequired[str | None]


class History(TypedDict):
    """A page of messages: of the path, where the session has branches; with `tree`, of all branches."""

    session_id: str
    limit: NotRequired[int]
    before_seq: NotRequired[int | None]
    after_seq: NotRequired[int | None]
    before: NotRequired[str | None]
    after: NotRequired[str | None]
    order: NotRequired[Literal["asc", "desc"] | None]
    after_revision: NotRequired[int | None]
    lineage: NotRequired[str | None]
    tree: NotRequired[bool]


class HistoryReply(TypedDict):
    """`turns`: the session's open ones; `unanswered`, where there are some: those of the page, the newest hundred."""

    messages: list[Message]
    turns: list[Turn]
    has_more: bool
    total: int
    last_seq: int
    last_revision: int
    lineage: str
    users: NotRequired[dict[str, Person]]
    reset: NotRequired[bool]
    head_id: NotRequired[str | None]
    tree: NotRequired[list[MessageNode]]
    unanswered: NotRequired[list[Unanswered]]


class Interrupt(TypedDict):
    """What a message asks of people before it goes on."""

    id: str
    reason: str
    message: NotRequired[str]
    tool_call_id: NotRequired[str]
    response_schema: NotRequired[dict[str, Any]]
    expires_at: NotRequired[str]


class InterruptAnswer(TypedDict):
    """What was answered, and by whom; `why` where nobody did: its time was over, or the message was stopped."""

    status: Literal["cancelled", "resolved"]
    answered_at: str
    payload: NotRequired[Any]
    user_id: NotRequired[str]
    client_message_id: NotRequired[str]
    why: NotRequired[Literal["expired", "stopped"]]


class Join(TypedDict):
    """Become a member of the session's room; the reply is a snapshot that live events carry on."""

    session_id: str
    after_revision: NotRequired[int | None]
    limit: NotRequired[int]
    lineage: NotRequired[str | None]


class JoinReply(TypedDict):
    """A snapshot that live events carry on without a gap."""

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
    users: NotRequired[dict[str, Person]]
    reset: NotRequired[bool]
    head_id: NotRequired[str]
    unanswered: NotRequired[list[Unanswered]]


class Leave(TypedDict):
    """Leave the session's room."""

    session_id: str


class Message(TypedDict):
    """A message as history, `join` and events show it."""

    message_id: str
    session_id: str
    seq: int
    revision: int
    sender_type: Literal["agent", "system", "user"]
    sender_id: str
    message_type: Literal["file", "stream", "system", "text"]
    content: str | None
    metadata: dict[str, Any]
    status: Literal["cancelled", "complete", "failed", "interrupted", "streaming", "waiting"]
    created_at: str
    is_edited: bool
    client_message_id: NotRequired[str | None]
    reply_to: NotRequired[str | None]
    tokens_used: NotRequired[int | None]
    latency_ms: NotRequired[int | None]
    error: NotRequired[dict[str, Any] | None]
    edited_at: NotRequired[str | None]
    deleted_at: NotRequired[str | None]
    finish_reason: NotRequired[Literal["content_filter", "error", "length", "other", "stop", "tool_calls"]]
    usage: NotRequired[Usage]
    model: NotRequired[str]
    parts: NotRequired[list[Text | Reasoning | Tool | Source | FilePart | Data | Step]]
    files: NotRequired[list[File]]
    interrupts: NotRequired[list[AskedInterrupt]]
    parent_id: NotRequired[str | None]
    siblings: NotRequired[list[str]]
    feedback: NotRequired[FeedbackGiven]
    user: NotRequired[Person]
    timestamp: NotRequired[str]


class MessageNode(TypedDict):
    """A message and what it follows; null: it is the first."""

    message: Message
    parent_id: str | None


class Online(TypedDict):
    """A user who is online, with how many connections."""

    user_id: str
    status: Literal["away", "online"]
    connections: int


class OpenStream(TypedDict):
    """A stream that is being written: its text so far, its parts where there are others, the index of its next chunk, and what its producer does, where it said so."""

    message_id: str
    content: str
    next_index: int
    parts: NotRequired[list[Text | Reasoning | Tool | Source | FilePart | Data | Step]]
    agent_status: NotRequired[ProducerDoes]


class PageTool(TypedDict):
    """A tool of the page: it is told the call's arguments, and answers with what it gives."""

    name: str
    description: NotRequired[str]
    parameters: NotRequired[dict[str, Any]]
    title: NotRequired[str | None]


class PartPiece(TypedDict):
    """A part as it is now: it takes the place of the one with its id, or is the message's next."""

    session_id: str
    timestamp: str
    message_id: str
    part: Text | Reasoning | Tool | Source | FilePart | Data | Step
    index: int


class Person(TypedDict):
    """What a user or an agent is called, and its picture's address."""

    name: str | None
    avatar_url: str | None


class PostFile(TypedDict):
    """Post a file that was uploaded with `post=false`."""

    session_id: str
    file_id: str
    message: NotRequired[str | None]
    client_message_id: NotRequired[str | None]
    reply: NotRequired[bool]
    when_busy: NotRequired[Literal["interrupt", "parallel", "queue", "reject", "steer"] | None]


class Presence(TypedDict):
    """Set this connection's status in all its rooms."""

    status: Literal["away", "online"]


class PresenceChanged(TypedDict):
    """A user's status over all connections."""

    session_id: str
    timestamp: str
    user_id: str
    status: Literal["away", "offline", "online"]


class PresenceCount(TypedDict):
    """How many are online, in place of single events, where they are many."""

    session_id: str
    timestamp: str
    online: int


class Problem(TypedDict):
    """Why a command failed."""

    code: str
    message: str
    retryable: bool
    retry_after: NotRequired[int]
    details: NotRequired[Any]
    next_index: NotRequired[int]


class ProducerDoes(TypedDict):
    """What a stream's producer said that it does, such as "thinking", "calling_tool", "searching"."""

    status: str
    detail: NotRequired[str]


class Read(TypedDict):
    """Mark everything up to `seq` as read."""

    session_id: str
    seq: int


class ReadMark(TypedDict):
    """A user has read everything up to `seq`."""

    session_id: str
    timestamp: str
    user_id: str
    seq: int


class ReadReply(TypedDict):
    """ReadReply."""

    unread_count: int


class Reasoning(TypedDict):
    """What a model thought."""

    type: Literal["reasoning"]
    id: NotRequired[str]
    text: str
    provider_metadata: NotRequired[dict[str, Any]]


class Regenerate(TypedDict):
    """Answer a question anew, named by itself or by its answer: the new answer stands beside the old one."""

    session_id: str
    message_id: str
    when_busy: NotRequired[Literal["interrupt", "parallel", "queue", "reject", "steer"] | None]
    tools: NotRequired[list[PageTool] | None]


class RegenerateReply(TypedDict):
    """The question, and where the path ends: the answer follows there."""

    message_id: str
    head_id: str
    duplicate: NotRequired[bool]


class ResumedAnswer(TypedDict):
    """An answer that has waited: `interrupts` with what was answered, `content` and `parts` as they are, `usage` so far, `steered` the questions that it took up on its way."""

    message_id: str
    next_index: int
    interrupts: list[AskedInterrupt]
    content: str
    parts: NotRequired[list[Text | Reasoning | Tool | Source | FilePart | Data | Step]]
    usage: NotRequired[Usage]
    steered: NotRequired[list[Message]]


class Select(TypedDict):
    """Lead the session's path through a message, to the newest one behind it; with `exact`, only up to it."""

    session_id: str
    message_id: str
    exact: NotRequired[bool]


class SelectReply(TypedDict):
    """Where the path ends now."""

    head_id: str


class SendMessage(TypedDict):
    """Send a message: text, or `parts`, of which `content` follows."""

    session_id: str
    content: NotRequired[str]
    client_message_id: NotRequired[str | None]
    message_type: NotRequired[Literal["system", "text"] | None]
    metadata: NotRequired[dict[str, Any] | None]
    reply_to: NotRequired[str | None]
    reply: NotRequired[bool]
    parts: NotRequired[list[Text | FilePart | Data] | None]
    when_busy: NotRequired[Literal["interrupt", "parallel", "queue", "reject", "steer"] | None]
    tools: NotRequired[list[PageTool] | None]


class SentReply(TypedDict):
    """The message is committed."""

    message_id: str
    seq: int
    created_at: str
    duplicate: NotRequired[bool]


class Session(TypedDict):
    """A session as its creation answers it."""

    session_id: str
    trace_id: str
    user_id: str
    agent_id: int | None
    title: str | None
    status: Literal["active", "archived", "deleted", "expired"]
    metadata: dict[str, Any]
    created_at: str
    expires_at: str


class SessionActivity(TypedDict):
    """Something happened in a session whose room this connection has not joined; once a second at most."""

    session_id: str
    timestamp: str
    event: Literal["activity"]
    last_message: str
    last_message_at: str
    last_seq: int
    unread_count: NotRequired[int]


class SessionAdded(TypedDict):
    """One has become a participant of a session; to one's connections that have not joined its room."""

    session_id: str
    timestamp: str
    event: Literal["added"]
    title: str | None
    role: Literal["agent", "member", "owner", "service", "viewer"]
    session: Session


class SessionChanged(TypedDict):
    """The session has changed, or this connection's membership has ended."""

    session_id: str
    timestamp: str
    event: Literal["archived", "expired", "head", "removed", "reset", "updated"]
    title: NotRequired[str | None]
    user_id: NotRequired[str]
    user: NotRequired[Person]
    last_revision: NotRequired[int]
    head_id: NotRequired[str]


class SessionDetails(TypedDict):
    """A session as `join` and `GET` show it."""

    session_id: str
    trace_id: str
    user_id: str
    agent_id: int | None
    title: str | None
    status: Literal["active", "archived", "deleted", "expired"]
    metadata: dict[str, Any]
    created_at: str
    expires_at: str
    updated_at: str
    agent: AgentBrief | None
    participants: list[str]
    participant_roles: dict[str, Literal["agent", "member", "owner", "service", "viewer"]]
    participant_count: int
    message_count: int
    request_count: int
    last_seq: int
    last_revision: int
    last_activity: str
    role: Literal["agent", "member", "owner", "service", "viewer"]
    created_via: NotRequired[str | None]
    ip_address: NotRequired[str | None]
    user_agent: NotRequired[str | None]
    users: NotRequired[dict[str, Person]]


class SessionTakenAway(TypedDict):
    """One is no participant of a session any more; to one's connections that have not joined its room."""

    session_id: str
    timestamp: str
    event: Literal["removed"]
    user_id: str


class Source(TypedDict):
    """What an answer refers to: a `url`, or a file of the session."""

    type: Literal["source"]
    id: NotRequired[str]
    url: NotRequired[str]
    file_id: NotRequired[str]
    title: NotRequired[str]
    media_type: NotRequired[str]
    snippet: NotRequired[str]


class Step(TypedDict):
    """A new call of the model begins."""

    type: Literal["step"]
    id: NotRequired[str]
    steered: NotRequired[list[str]]


class StreamCancel(TypedDict):
    """Stop an answer, named by itself or by its question, also before it begins; the text so far is kept."""

    session_id: str
    message_id: str


class StreamCancelReply(TypedDict):
    """StreamCancelReply."""

    status: Literal["cancelled", "complete", "failed", "interrupted", "streaming", "waiting"]


class StreamCancelled(TypedDict):
    """To the producer: somebody wants this stream stopped; to an agent's workers also with the id of a question that needs no answer any more."""

    session_id: str
    timestamp: str
    message_id: str


class StreamChunk(TypedDict):
    """The next piece of a stream's text."""

    session_id: str
    content: str
    message_id: NotRequired[str | None]
    index: NotRequired[int | None]
    part: NotRequired[str | None]


class StreamChunkReply(TypedDict):
    """StreamChunkReply."""

    next_index: int


class StreamDelta(TypedDict):
    """The next piece of a stream, of the text of a reasoning or of a tool's input."""

    session_id: str
    part: str
    content: str
    message_id: NotRequired[str | None]
    index: NotRequired[int | None]


class StreamEnd(TypedDict):
    """The stream is finished; its text is committed."""

    session_id: str
    message_id: NotRequired[str | None]
    index: NotRequired[int | None]
    status: NotRequired[Literal["cancelled", "complete", "failed", "interrupted"]]
    tokens_used: NotRequired[int | None]
    latency_ms: NotRequired[int | None]
    error: NotRequired[StreamError | None]
    finish_reason: NotRequired[Literal["content_filter", "error", "length", "other", "stop", "tool_calls"] | None]
    usage: NotRequired[Usage | None]
    model: NotRequired[str | None]
    metadata: NotRequired[dict[str, Any] | None]


class StreamEnded(TypedDict):
    """The message is written, or waits for people (`interrupts`)."""

    session_id: str
    timestamp: str
    message_id: str
    status: Literal["cancelled", "complete", "failed", "interrupted", "waiting"]
    tokens_used: int | None
    latency_ms: int | None
    revision: int
    error: NotRequired[dict[str, Any]]
    content: NotRequired[str]
    finish_reason: NotRequired[Literal["content_filter", "error", "length", "other", "stop", "tool_calls"]]
    usage: NotRequired[Usage]
    model: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    parts: NotRequired[list[Text | Reasoning | Tool | Source | FilePart | Data | Step]]
    interrupts: NotRequired[list[AskedInterrupt]]


class StreamError(TypedDict):
    """Why a stream failed."""

    code: str
    message: NotRequired[str]


class StreamPart(TypedDict):
    """The next piece of a stream: a whole part."""

    session_id: str
    part: Text | Reasoning | Tool | Source | FilePart | Data | Step
    message_id: NotRequired[str | None]
    index: NotRequired[int | None]


class StreamPartReply(TypedDict):
    """`part_id` is the part's id, also where it was given one."""

    next_index: int
    part_id: str


class StreamPiece(TypedDict):
    """`count` chunks, merged into one; the next begins at `index + count`."""

    session_id: str
    timestamp: str
    message_id: str
    content: str
    index: int
    count: int
    part: NotRequired[str]


class StreamResume(TypedDict):
    """The text of a stream from a chunk index on."""

    session_id: str
    message_id: str
    from_index: NotRequired[int]


class StreamResumeReply(TypedDict):
    """`index` is that of the first chunk in `content`."""

    content: str
    index: int
    next_index: int
    status: Literal["cancelled", "complete", "failed", "interrupted", "streaming", "waiting"]
    parts: NotRequired[list[Text | Reasoning | Tool | Source | FilePart | Data | Step]]


class StreamStart(TypedDict):
    """Begin a message that is written in chunks."""

    session_id: str
    message_id: NotRequired[str | None]
    client_message_id: NotRequired[str | None]
    metadata: NotRequired[dict[str, Any] | None]
    reply_to: NotRequired[str | None]
    fence: NotRequired[int | None]


class StreamStartReply(TypedDict):
    """`next_index` is the index of the chunk to send next; `status` comes with `duplicate`."""

    message_id: str
    seq: int
    revision: int
    next_index: int
    duplicate: NotRequired[bool]
    status: NotRequired[Literal["cancelled", "complete", "failed", "interrupted", "streaming", "waiting"]]


class StreamStarted(TypedDict):
    """A message begins to be written."""

    session_id: str
    timestamp: str
    message_id: str
    seq: int
    revision: int
    sender_type: Literal["agent", "system", "user"]
    sender_id: str
    metadata: dict[str, Any]
    reply_to: str | None
    parent_id: NotRequired[str | None]


class StreamWait(TypedDict):
    """The stream ends, and its message waits for people: for an `answer` to each of `interrupts`."""

    session_id: str
    interrupts: list[Interrupt]
    message_id: NotRequired[str | None]
    index: NotRequired[int | None]


class StreamWaitReply(TypedDict):
    """`status` is "waiting", unless something else was faster."""

    message_id: str
    revision: int
    status: Literal["cancelled", "complete", "failed", "interrupted", "streaming", "waiting"]


class Text(TypedDict):
    """What people read."""

    type: Literal["text"]
    id: NotRequired[str]
    text: str


class Tool(TypedDict):
    """A call of a tool."""

    type: Literal["tool"]
    id: NotRequired[str]
    tool_call_id: str
    name: str
    title: NotRequired[str]
    input_text: NotRequired[str]
    input: NotRequired[Any]
    output: NotRequired[Any]
    error: NotRequired[str | dict[str, Any]]
    state: Literal["approval_requested", "approval_responded", "input_available", "input_streaming", "output_available", "output_denied", "output_error"]
    executed_by: NotRequired[Literal["agent", "client", "provider"]]
    provider_metadata: NotRequired[dict[str, Any]]


class Turn(TypedDict):
    """A question (`message_id`, `seq`) and how far its answer is (docs/turns.md)."""

    message_id: str
    seq: int
    state: Literal["done", "queued", "running", "waiting"]
    when_busy: Literal["interrupt", "parallel", "queue", "reject", "steer"]
    answer_id: NotRequired[str]
    outcome: NotRequired[str]


class TurnChanged(TypedDict):
    """A question waits for its turn, was taken up by an open answer, or will not be answered."""

    session_id: str
    timestamp: str
    message_id: str
    state: Literal["done", "queued", "running", "waiting"]
    when_busy: Literal["interrupt", "parallel", "queue", "reject", "steer"]
    answer_id: NotRequired[str]
    outcome: NotRequired[str]


class Turns(TypedDict):
    """A page of questions to the session's agent, and how far their answers are; the newest first."""

    session_id: str
    before_seq: NotRequired[int | None]
    limit: NotRequired[int]


class TurnsReply(TypedDict):
    """The newest first."""

    turns: list[Turn]
    has_more: bool


class Typing(TypedDict):
    """Tell the others that one is, or is no longer, typing."""

    session_id: str
    is_typing: bool


class TypingChanged(TypedDict):
    """A user is, or is no longer, typing."""

    session_id: str
    timestamp: str
    user_id: str
    is_typing: bool


class Unanswered(TypedDict):
    """A question that ended without an answer: `cancelled`, or `failed`."""

    message_id: str
    outcome: str


class Usage(TypedDict):
    """Tokens that an answer cost, as far as its producer knows."""

    input_tokens: NotRequired[int | None]
    output_tokens: NotRequired[int | None]
    total_tokens: NotRequired[int | None]
    reasoning_tokens: NotRequired[int | None]
    cached_input_tokens: NotRequired[int | None]
    cache_write_input_tokens: NotRequired[int | None]


class UserCameOrWent(TypedDict):
    """A user's first connection came, or the last one is gone."""

    session_id: str
    timestamp: str
    event: Literal["user_joined", "user_left"]
    user_id: str
    user: NotRequired[Person]


class Welcome(TypedDict):
    """What a raw WebSocket and an event stream begin with."""

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
    users: NotRequired[dict[str, Person]]
    reset: NotRequired[bool]
    head_id: NotRequired[str]
    unanswered: NotRequired[list[Unanswered]]
    connection_id: str
    recovered: bool


#: Every code of a `Problem` that the server tells.
ErrorCode = Literal[
    "VALIDATION_ERROR",
    "UNKNOWN_COMMAND",
    "UNAUTHORIZED",
    "TOKEN_EXPIRED",
    "FORBIDDEN",
    "ORIGIN_NOT_ALLOWED",
    "SESSION_NOT_FOUND",
    "SESSION_EXPIRED",
    "SESSION_ARCHIVED",
    "MESSAGE_NOT_FOUND",
    "STREAM_NOT_FOUND",
    "FILE_NOT_FOUND",
    "AGENT_NOT_FOUND",
    "WEBHOOK_NOT_FOUND",
    "MESSAGE_REJECTED",
    "CONFLICT",
    "AGENT_BUSY",
    "STREAM_OPEN",
    "STREAM_CLOSED",
    "INDEX_CONFLICT",
    "PAYLOAD_TOO_LARGE",
    "LIMIT_REACHED",
    "UNSUPPORTED_FILE_TYPE",
    "RATE_LIMIT",
    "SLOW_CONSUMER",
    "AGENT_UNAVAILABLE",
    "UNAVAILABLE",
    "SERVER_FULL",
    "INTERNAL",
]
