"""Every command: its name, schema, and what it may do to us; and what requests alone can write."""

from dataclasses import dataclass

from msgspec import Struct

from events import payloads, schema
from events.asked import ANSWER_BYTES, MOST_OF_MESSAGE, SCHEMA_BYTES, SCHEMA_DEPTH
from events.bounds import CHUNKS_PER_SECOND, OPEN_STREAMS, ROOMS, Bounds, Cap
from storage.interrupts import MESSAGE_BYTES
from storage.ops import FORKS, OPEN_QUESTIONS, SIBLINGS


@dataclass(frozen=True, slots=True)
class Command:
    """`schema` is the struct of its payload, `reply` of what its answer adds to `ok`.

    `pipelined`: may begin while writes before it are on their way to their commit. `at_once`: given by a
    member of its room it waits for nothing, and needs no task. `sockets_only`: makes no sense without a
    connection.
    """

    name: str
    schema: type[Struct]
    reply: type[Struct]
    bounds: Bounds
    pipelined: bool = False
    at_once: bool = False
    sockets_only: bool = False


#: The payload's size, and the deadline of `events.dispatch`.
PAYLOAD = "`WS_MESSAGE_SIZE_LIMIT` bytes, 10 s"
#: What anything with a rate and a payload is told beyond them.
TOO_MUCH = ("RATE_LIMIT", "PAYLOAD_TOO_LARGE")
INTERRUPTS = (
    f"{schema.MOST_INTERRUPTS} interrupts, {MOST_OF_MESSAGE} of a message; schemas of "
    f"{SCHEMA_BYTES // 1024} KiB, {SCHEMA_DEPTH} levels; 10 s"
)
ANSWER = f"{ANSWER_BYTES // 1024} KiB of payload, {MESSAGE_BYTES // 1024} KiB of a message's in all, 10 s"
PAGE = "256 KiB or 500 messages a page, 10 s"


def _bounds(
    who: str, rate: str, *caps: Cap, holds: str = "nothing", size: str = PAYLOAD, beyond: tuple[str, ...] = ()
) -> Bounds:
    return Bounds(who, rate, size, (*TOO_MUCH, *beyond), caps, holds)


_WRITERS = "who may write in the session"
_READERS = "who may see the session"
_PRODUCER = "the stream's producer"
#: What holds for questions to agents.
_LINE = f"{OPEN_QUESTIONS} open questions of a session"
_ASKING = ("AGENT_BUSY",)
#: What holds for branches: the last is told of messages, too, where they begin one.
_BRANCHES = f"{SIBLINGS} messages that follow the same one, {FORKS} branches of a session"
_BRANCHING = (*_ASKING, "LIMIT_REACHED")
#: Of the commands that write a piece of a stream.
_PIECES = Bounds(
    _PRODUCER,
    None,
    "`STREAM_MAX_SIZE` bytes a stream",
    TOO_MUCH,
    holds="its text and parts until the end",
    unrated=f"{CHUNKS_PER_SECOND} pieces a second and stream; one that has to be looked up: `stream`",
)

CATALOG: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "join",
            schema.Join,
            payloads.JoinReply,
            _bounds(_READERS, "join", ROOMS, holds="a membership", size=PAGE, beyond=("VALIDATION_ERROR",)),
            sockets_only=True,
        ),
        Command(
            "leave", schema.Leave, payloads.Done, _bounds("members of the room", "join"), sockets_only=True
        ),
        Command(
            "message",
            schema.SendMessage,
            payloads.SentReply,
            _bounds(
                _WRITERS,
                "message",
                holds=f"a row, and an answer of its agent (`MAX_STREAMS_PER_USER` at a time; {_LINE})",
                beyond=_BRANCHING,
            ),
            pipelined=True,
            at_once=True,
        ),
        Command(
            "edit",
            schema.Edit,
            payloads.EditedReply,
            _bounds("its sender", "message", holds=f"with `branch` a row ({_BRANCHES})", beyond=_BRANCHING),
            pipelined=True,
            at_once=True,
        ),
        Command(
            "regenerate",
            schema.Regenerate,
            payloads.RegenerateReply,
            _bounds(
                "owner and members",
                "message",
                holds=f"an answer as `message` ({_BRANCHES})",
                beyond=_BRANCHING,
            ),
        ),
        Command(
            "select",
            schema.Select,
            payloads.SelectReply,
            _bounds("owner and members", "message", holds="a mark"),
        ),
        Command("delete", schema.Delete, payloads.ChangedReply, _bounds("its sender, the owner", "message")),
        Command(
            "file",
            schema.PostFile,
            payloads.SentReply,
            _bounds("its uploader", "message", holds="a row, and an answer as `message`", beyond=_BRANCHING),
        ),
        Command(
            "typing",
            schema.Typing,
            payloads.Done,
            _bounds(_WRITERS, "typing", holds="a timer for `TYPING_TTL`"),
            pipelined=True,
            at_once=True,
        ),
        Command("presence", schema.Presence, payloads.Done, _bounds("everybody", "presence"), pipelined=True),
        Command("read", schema.Read, payloads.ReadReply, _bounds(_READERS, "read", holds="a mark")),
        Command("history", schema.History, payloads.HistoryReply, _bounds(_READERS, "read", size=PAGE)),
        Command(
            "feedback",
            schema.GiveFeedback,
            payloads.FeedbackReply,
            _bounds(f"{_READERS}, but for its sender", "change", holds="a row"),
        ),
        Command("turns", schema.Turns, payloads.TurnsReply, _bounds(_READERS, "read", size=PAGE)),
        Command(
            "stream_start",
            schema.StreamStart,
            payloads.StreamStartReply,
            _bounds(_WRITERS, "message", OPEN_STREAMS, holds="a row, and a lease for `STREAM_LEASE`"),
        ),
        Command("stream_chunk", schema.StreamChunk, payloads.StreamChunkReply, _PIECES, pipelined=True),
        Command("stream_delta", schema.StreamDelta, payloads.StreamChunkReply, _PIECES, pipelined=True),
        Command("stream_part", schema.StreamPart, payloads.StreamPartReply, _PIECES, pipelined=True),
        Command(
            "stream_wait",
            schema.StreamWait,
            payloads.StreamWaitReply,
            Bounds(
                _PRODUCER,
                "stream",
                INTERRUPTS,
                TOO_MUCH,
                holds="its text and parts a second time, until its end",
            ),
        ),
        Command(
            "answer",
            schema.GiveAnswer,
            payloads.AnswerReply,
            _bounds("owner and members", "message", size=ANSWER, holds="what it says, in the message"),
        ),
        Command("agent_status", schema.AgentStatus, payloads.Done, _PIECES, pipelined=True),
        Command("stream_end", schema.StreamEnd, payloads.ChangedReply, _bounds(_PRODUCER, "stream")),
        Command(
            "stream_cancel", schema.StreamCancel, payloads.StreamCancelReply, _bounds(_WRITERS, "stream")
        ),
        Command(
            "stream_resume",
            schema.StreamResume,
            payloads.StreamResumeReply,
            _bounds(_READERS, "read", size="`STREAM_MAX_SIZE` bytes, 10 s"),
        ),
        Command(
            "auth_refresh",
            schema.AuthRefresh,
            payloads.AuthRefreshReply,
            _bounds("everybody, with a token of the same identity", "refresh", beyond=("UNAUTHORIZED",)),
            sockets_only=True,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A write that no socket gives. `rate` is its bucket; `in_time`: it has a command's deadline. Without,
    it takes as long as there is something to read, to end or to erase."""

    name: str
    rate: str
    in_time: bool = True


OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation("create_session", "create"),
        Operation("change_session", "change"),
        Operation("extend_session", "change"),
        Operation("delete_session", "change", in_time=False),
        Operation("put_participant", "participant"),
        Operation("remove_participant", "participant"),
        Operation("upload", "upload", in_time=False),
        Operation("create_agent", "change"),
        Operation("change_agent", "change"),
        Operation("delete_agent", "change"),
        Operation("publish", "change"),
        Operation("disconnect", "change", in_time=False),
        Operation("erase_user", "change", in_time=False),
        Operation("add_webhook", "change"),
        Operation("change_webhook", "change"),
        Operation("delete_webhook", "change"),
        Operation("rotate_webhook", "change"),
        Operation("replay_webhook", "change"),
    )
}
