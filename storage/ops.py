"""What the writer is asked to do, and what it answers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from storage.pieces import Run
from storage.records import Draft, FileRecord, MessageRecord, Outcome, Person, SessionRecord

#: What becomes of a question that comes while an answer is open (docs/turns.md).
QUEUE, REJECT, INTERRUPT, STEER = "queue", "reject", "interrupt", "steer"
#: Those of them that look at what is open.
LOOKS = frozenset({REJECT, INTERRUPT})
#: Questions of a session that may be open at a time: `join` and each look for what is next read them all.
OPEN_QUESTIONS = 100


#: Messages that may follow one, and places of a session where more than one does: each page reads them all.
SIBLINGS, FORKS = 100, 2000


class Addressed(Struct, frozen=True):
    """A message is a question to an agent: it is stored with its turn. `account`: for whom its answer counts,
    "" for nobody; it is not stored. `tools`: those of the page that it brings for its answer."""

    agent_id: int
    when_busy: str
    account: str = ""
    tools: Sequence[dict[str, Any]] | None = None


class Introduction(Struct, frozen=True):
    """A message tells what its sender, by key, is called. `written`: the database had it before. It is not
    stored with the message."""

    user_id: str
    person: Person
    written: bool


class NewMessage(Draft, frozen=True):
    """A message, or with `status="streaming"` the row of one that is about to be written.

    A repeat (same session, sender and `client_message_id`; or the same sender's stream of this
    `message_id`) is answered with the first one. Files that are parts of it are posted with it. `begins`:
    the session is made with it, or not at all; its owner may have `most` sessions. `beside`: it is another
    version of this message, and follows what that follows. Raises SessionMissing, SessionEnded, AlreadyExists
    (`message_id`), MessageMissing (`reply_to`, `beside`), CapReached, QuestionOpen, BranchesFull; NotAllowed,
    StreamStillOpen (`beside`);
    FileMissing: a file that its sender has not uploaded to this session, or has posted already;
    StreamNotOpen: an answer to a question that was stopped; FencedOff: `fence` is not the last claim of it.
    """

    begins: SessionRecord | None = None
    most: int | None = None
    asks: Addressed | None = None
    introduces: Introduction | None = None
    beside: str | None = None
    fence: int | None = None


class EditMessage(Struct, frozen=True):
    """Raises SessionMissing, SessionEnded, MessageMissing, NotAllowed, StreamStillOpen, Superseded.

    `accepted`: when a node took it in hand; what was changed later by another is not undone.
    """

    session_id: str
    message_id: str
    content: str
    sender_type: str
    sender_id: str
    accepted: datetime | None = None


class DeleteMessage(Struct, frozen=True):
    """Leaves a tombstone; an open stream is cancelled by it. Who may, has been decided above.

    `erase`: also in a session that has ended. Raises SessionMissing, SessionEnded, MessageMissing,
    Superseded (`accepted`: as of an edit).
    """

    session_id: str
    message_id: str
    erase: bool = False
    accepted: datetime | None = None


class EndStream(Outcome, frozen=True):
    """`content=None` keeps what the last checkpoint saved, with `parts`. Also in a session that has ended.
    Files that are parts of it are posted where they are the sender's and not posted yet.

    Raises SessionMissing, MessageMissing, StreamNotOpen.
    """


class WaitStream(EndStream, frozen=True):
    """The stream ends, and its message waits for answers to `interrupts`, besides those that it had before.
    It is the answer to a question. `written` is what its stream was written in, with which it goes on.

    Raises SessionMissing, MessageMissing, StreamNotOpen.
    """

    interrupts: Sequence[dict[str, Any]] = ()
    written: Sequence[Run] = ()


class AnswerInterrupt(Struct, frozen=True):
    """What a person says to a message that waits; the last answer hands its turn out again. The first counts:
    the same from the same person is a duplicate.

    Raises SessionMissing, SessionEnded, MessageMissing, InterruptMissing, AlreadyAnswered,
    AnswersFull.
    """

    session_id: str
    message_id: str
    interrupt_id: str
    answer: dict[str, Any]


class ExpireInterrupts(Struct, frozen=True):
    """Cancels what a message that waits has asked for too long, also in a session that has ended.

    Raises SessionMissing, MessageMissing, StreamNotOpen.
    """

    session_id: str
    message_id: str


class ForgetAnswers(Struct, frozen=True):
    """Takes away what a person has said in answer to a message, also in a session that has ended; that it was
    answered stays.

    Raises SessionMissing, MessageMissing.
    """

    session_id: str
    message_id: str
    user_id: str


class ResumeStream(Struct, frozen=True):
    """A message that waited is written on, by who holds the claim `fence`; again, if it is already.

    Raises SessionMissing, SessionEnded, MessageMissing, StreamNotOpen, FencedOff.
    """

    session_id: str
    message_id: str
    fence: int


#: Of a message that waits, or has waited.
Interrupting = AnswerInterrupt | ExpireInterrupts | ForgetAnswers | ResumeStream
Op = NewMessage | EditMessage | DeleteMessage | EndStream | WaitStream | Interrupting


class Committed(Struct, frozen=True):
    """`record` is the message as this operation left it (for a duplicate: as it is), `files` those that were
    posted with it."""

    op: Op
    record: MessageRecord
    duplicate: bool
    session_last_seq: int
    session_last_revision: int
    files: Sequence[FileRecord] = ()
