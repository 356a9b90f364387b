"""One transaction's worth of operations, applied in order to what was read under the sessions' locks.

Pure: no database, no clock. What it leaves in `begun`, `inserted`, `changed`, `attached` and
`sessions` is to be written before the COMMIT.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from storage import waits
from storage.errors import (
    AlreadyExists,
    CapReached,
    FencedOff,
    FileMissing,
    MessageMissing,
    NotAllowed,
    QuestionOpen,
    SessionEnded,
    SessionMissing,
    StreamNotOpen,
    StreamStillOpen,
    Superseded,
)
from storage.ops import (
    INTERRUPT,
    OPEN_QUESTIONS,
    REJECT,
    STEER,
    AnswerInterrupt,
    Committed,
    DeleteMessage,
    EditMessage,
    EndStream,
    ForgetAnswers,
    Interrupting,
    NewMessage,
    Op,
    ResumeStream,
    WaitStream,
)
from storage.parts import edited, file_ids, taken_up, with_files
from storage.pieces import Run
from storage.records import PLACE, TOMBSTONE, FileRecord, MessageRecord, SessionRecord, TurnRecord
from storage.senders import sender_of
from storage.shape import maker, shared
from storage.steered import on_its_branch, taking_up
from storage.tally import Parent, Tally
from storage.tree import CommonPaths
from storage.waits import UNFINISHED, WAITING

#: How far two nodes' ideas of the database's time may differ.
AGREED = timedelta(milliseconds=100)
#: (session_id, sender_type, sender_id, client_message_id)
ClientKey = tuple[str, str, str, str]


class Needs:
    """What has to be read before a batch can be applied."""

    __slots__ = (
        "asking",
        "beside",
        "client_keys",
        "file_ids",
        "message_ids",
        "owners",
        "questions",
        "session_ids",
        "steering",
    )

    def __init__(self, ops: Iterable[Op], *, thorough: bool = False) -> None:
        """`thorough`: look for what a new message might repeat, and for ids that might be taken.

        Both are rare, and the unique indexes tell: the insert fails, and the batch is tried again,
        thoroughly. Ids that producers chose are looked for at once: their repeats are ordinary.
        """
        sessions: set[str] = set()
        messages: set[str] = set()
        files: set[str] = set()
        keys: set[ClientKey] = set()
        owners: dict[str, int] = {}
        questions: set[str] = set()
        asking: set[str] = set()
        beside: set[str] = set()
        steering: set[str] = set()
        for op in ops:
            sessions.add(op.session_id)
            posted = file_ids(op.parts) if isinstance(op, NewMessage | EndStream) else ()
            files.update(posted)
            if not isinstance(op, NewMessage):
                messages.add(op.message_id)
                if isinstance(op, DeleteMessage):
                    questions.add(op.message_id)
                elif isinstance(op, EndStream):
                    named = taken_up(op.parts)
                    questions.update(named)
                    if named:
                        steering.add(op.session_id)
                continue
            # The first one has posted the files, which is seen before the insert fails.
            if (thorough or posted) and op.client_message_id is not None:
                keys.add((op.session_id, op.sender_type, op.sender_id, op.client_message_id))
            if thorough or op.status == "streaming":
                messages.add(op.message_id)
            if op.reply_to is not None:
                messages.add(op.reply_to)
                if op.status == "streaming":
                    questions.add(op.reply_to)
            if op.beside is not None:
                messages.add(op.beside)
                beside.add(op.beside)
            if op.asks is not None:
                asking.add(op.session_id)
                if op.asks.when_busy == STEER:
                    steering.add(op.session_id)
            if op.begins is not None and op.most is not None:
                owners[op.begins.user_id] = op.most
        # Sorted: two nodes that lock the same rows do so in the same order.
        self.session_ids = sorted(sessions)
        self.message_ids = sorted(messages)
        self.file_ids = sorted(files)
        self.client_keys = sorted(keys)
        #: Whose sessions are to be counted, and up to how many.
        self.owners = sorted(owners.items())
        #: Messages whose turn is to be looked at, and sessions whose open turns are.
        self.questions = questions
        self.asking = sorted(asking)
        #: Sessions with questions that may steer an answer of their own branch, or did.
        self.steering = steering
        #: Messages of which there are to be other versions.
        self.beside = beside

    def turns(self, messages: Iterable[MessageRecord]) -> list[str]:
        """The questions whose turns may move, now that the messages were read: an answer names its own."""
        written = [message for message in messages if message.status in UNFINISHED]
        answered = {message.reply_to for message in written if message.reply_to is not None}
        return sorted(self.questions.union(answered, *(taken_up(message.parts) for message in written)))


class Batch:
    """`sessions`, `messages` and `files` hold what was read; `apply` works on them.

    `owned` maps an owner to how many sessions he has.
    """

    def __init__(
        self,
        now: datetime,
        sessions: Iterable[Tally],
        messages: Iterable[MessageRecord] = (),
        files: Iterable[FileRecord] = (),
        owned: Mapping[str, int] | None = None,
        turns: Iterable[TurnRecord] = (),
        *,
        tried: Collection[datetime] = (),
    ) -> None:
        """`tried`: the times of this batch's tries of which it is not known whether one took effect."""
        self.now = now
        self._tried = tried
        self.sessions = {session.session_id: session for session in sessions}
        self.begun: list[SessionRecord] = []
        self._owned = dict(owned or {})
        self.inserted: list[MessageRecord] = []
        self.changed: dict[str, MessageRecord] = {}
        self.attached: list[tuple[str, str]] = []
        self.asked: list[TurnRecord] = []
        self.turned: dict[str, TurnRecord] = {}
        #: Of turns that wait now, or have waited, by the question: with what their answers go on.
        self.written: dict[str, Sequence[Run] | None] = {}
        #: Tools that questions bring; None: they are gone with their question.
        self.brought: dict[str, Sequence[dict[str, Any]] | None] = {}
        self._turns = {turn.question_id: turn for turn in turns}
        self._files = {file.file_id: file for file in files}
        self._messages: dict[str, MessageRecord] = {}
        self._by_client: dict[ClientKey, str] = {}
        for message in messages:
            self._messages[message.message_id] = message
            if message.client_message_id is not None:
                self._by_client[_key(message, message.client_message_id)] = message.message_id

    def apply(self, op: Op) -> Committed:
        """Raises what the operation's class names; then it has changed nothing."""
        session = self.sessions.get(op.session_id)
        if session is None and isinstance(op, NewMessage) and op.begins is not None:
            return self._create_both(op, op.begins)
        if session is None or session.status == "deleted":
            raise SessionMissing(op.session_id)
        if isinstance(op, NewMessage):
            return self._create(session, op)
        done = self._done_before(op) if self._tried else None
        if done is not None:
            return self._accepted(session, op, done)
        if isinstance(op, Interrupting):
            return self._go_on(session, op)
        files: Sequence[FileRecord] = ()
        before = self._messages.get(op.message_id)
        if isinstance(op, EndStream):
            record = self._end(session, op)
            if op.parts:
                files = self._attach(record, [id for id in file_ids(op.parts) if self._is_free(record, id)])
        elif isinstance(op, EditMessage):
            record = self._edit(session, op)
        else:
            record = self._delete(session, op)
            if (turn := self._turns.get(op.message_id)) is not None and turn.brings:
                self.brought[op.message_id] = None
        self._finish(record, "deleted" if isinstance(op, DeleteMessage) else record.status)
        if isinstance(op, EndStream) and record.parts:
            self._finish_steered(record)
        if before is not None and (record.interrupts or before.interrupts) and self._turn_of(record):
            self.written[record.reply_to or ""] = op.written if isinstance(op, WaitStream) else None
        self._change(session, record)
        return self._accepted(session, op, record, files=files)

    def _go_on(self, session: Tally, op: Interrupting) -> Committed:
        """What becomes of a message that waits, or has waited, but for its end."""
        if isinstance(op, AnswerInterrupt | ResumeStream):
            self._check_open(session)
        message = self._target(op)
        turn = self._turn_of(message)
        record = waits.gone_on(message, turn, op, self.now)
        if record is None:
            return self._accepted(session, op, message, duplicate=True)
        record = structs.replace(record, revision=session.last_revision + 1)
        self._change(session, record)
        if turn is not None and turn.state != "done" and not isinstance(op, ForgetAnswers):
            self._turn(turn, **waits.moved(turn, record, self.now, record.status))
        return self._accepted(session, op, record)

    def _turn_of(self, answer: MessageRecord) -> TurnRecord | None:
        """None where its question has another answer now."""
        turn = self._turns.get(answer.reply_to or "")
        return turn if turn is not None and turn.answer_id == answer.message_id else None

    def _change(self, session: Tally, record: MessageRecord) -> None:
        session.last_revision = record.revision
        self._messages[record.message_id] = self.changed[record.message_id] = record

    def _check_open(self, session: Tally) -> None:
        if session.status != "active":
            raise SessionEnded(session.status)
        if session.expires_at <= self.now:
            raise SessionEnded("expired")

    def _accepted(
        self,
        session: Tally,
        op: Op,
        record: MessageRecord,
        *,
        duplicate: bool = False,
        files: Sequence[FileRecord] = (),
    ) -> Committed:
        session.requests += 1
        if session.status == "active" and session.expires_at > self.now:
            session.touched = True
        return Committed(op, record, duplicate, session.last_seq, session.last_revision, files)

    def _create(self, session: Tally, op: NewMessage) -> Committed:
        op = self._numbered(op)
        # Before the session's state: who repeats what was stored hears that it was stored.
        first = self._first(op)
        if first is not None:
            return self._accepted(session, op, first, duplicate=not self._own(op, first))
        self._check_open(session)
        if op.reply_to is not None:
            answered = self._messages.get(op.reply_to)
            if answered is None or answered.session_id != op.session_id:
                raise MessageMissing(op.reply_to)
        if op.asks is not None:
            self._check_line(op.session_id, op.asks.when_busy)
        posted = file_ids(op.parts) if op.parts else ()
        for file_id in posted:
            if not self._is_free(op, file_id):
                raise FileMissing(file_id)
        parent = None
        if op.beside is not None or session.head_seq is not None:
            op, parent = self._hang(session, op)
        if op.reply_to is not None and op.status == "streaming":
            self._begin(op.reply_to, op)
        session.last_seq += 1
        session.last_revision += 1
        session.added += 1
        # Times never fall back along the numbers, whatever node's clock they are by.
        at = max(self.now, session.last_activity)
        record = new_record(op, session.last_seq, session.last_revision, at)
        if parent is not None:
            record = structs.replace(record, parent_seq=parent.seq, parent_id=parent.message_id)
        if parent is not None or session.grafts is not None:
            session.follow(record, parent)
        files: Sequence[FileRecord] = ()
        if posted:
            files = self._attach(record, posted)
            record = structs.replace(record, parts=with_files(op.parts or (), self._files))
        elif op.beside is not None and session.grafts is not None:
            named = file_ids(record.parts)
            files = [file for file in session.grafts.files if file.file_id in named]
        self.inserted.append(record)
        self._messages[op.message_id] = record
        if op.asks is not None:
            if op.asks.when_busy == INTERRUPT:
                self._interrupt(op.session_id)
            turn = asked(op, record.seq)
            if session.grafts is not None:
                turn = on_its_branch(turn, CommonPaths(session.grafts.tree), self._busy(op.session_id))
            self.asked.append(turn)
            self._turns[turn.question_id] = turn
            if turn.brings:
                self.brought[turn.question_id] = op.asks.tools
        if op.client_message_id is not None:
            self._by_client[_key(op, op.client_message_id)] = op.message_id
        return self._accepted(session, op, record, files=files)

    # --- branches

    def _hang(self, session: Tally, op: NewMessage) -> tuple[NewMessage, Parent]:
        """What a new message follows, where the session has branches or is to have one: the head. An answer
        whose question is on another branch stays there."""
        if op.beside is not None:
            op, message = self._version(op, op.beside)
            return op, session.beside(message.seq)
        if op.status == "streaming" and op.sender_type == "agent" and op.reply_to is not None:
            question, turn = self._messages[op.reply_to], self._turns.get(op.reply_to)
            parent = session.behind(question, again=turn is None or turn.again_seq > 0)
            if parent is not None:
                return op, parent
            return op, session.head(bounded=False)
        return op, session.head()

    def _version(self, op: NewMessage, message_id: str) -> tuple[NewMessage, MessageRecord]:
        """Of a message that is there: with its parts, but for the text."""
        message = self._messages.get(message_id)
        if message is None or message.session_id != op.session_id or message.deleted_at is not None:
            raise MessageMissing(message_id)
        _check_own(message, op)
        parts = message.parts and edited(message.parts, op.content)
        kind = "file" if file_ids(parts) else "text"
        return structs.replace(op, parts=parts, message_type=kind, reply_to=message.reply_to), message

    def _is_free(self, message: MessageRecord | NewMessage, file_id: str) -> bool:
        """Whether the message may post it."""
        file = self._files.get(file_id)
        if file is None or file.session_id != message.session_id or file.message_id is not None:
            return False
        return sender_of(file.uploaded_by) == (message.sender_type, message.sender_id)

    def _attach(self, message: MessageRecord, files: Iterable[str]) -> list[FileRecord]:
        attached = []
        for file_id in files:
            file = structs.replace(self._files[file_id], message_id=message.message_id)
            self._files[file_id] = file
            self.attached.append((file_id, message.message_id))
            attached.append(file)
        return attached

    def _create_both(self, op: NewMessage, record: SessionRecord) -> Committed:
        owned = self._owned.get(record.user_id, 0)
        if op.most is not None and owned >= op.most:
            raise CapReached(op.most)
        session = Tally(
            record.session_id, record.status, record.expires_at, record.ttl_hours, 0, 0, record.last_activity
        )
        done = self._create(session, op)
        self.begun.append(record)
        self._owned[record.user_id] = owned + 1
        self.sessions[record.session_id] = session
        return done

    def _first(self, op: NewMessage) -> MessageRecord | None:
        """The message that this one repeats."""
        if op.client_message_id is not None:
            message_id = self._by_client.get(_key(op, op.client_message_id))
            if message_id is not None:
                return self._messages[message_id]
        taken = self._messages.get(op.message_id)
        if taken is None:
            return None
        same_sender = (taken.sender_type, taken.sender_id) == (op.sender_type, op.sender_id)
        is_stream = op.status == "streaming" and taken.message_type == op.message_type
        is_stream = is_stream or self._own(op, taken)
        if taken.session_id == op.session_id and same_sender and is_stream:
            return taken
        raise AlreadyExists(op.message_id)

    def _own(self, op: NewMessage, found: MessageRecord) -> bool:
        """Whether an earlier try of this batch made it: nobody was told of it yet."""
        if not self._tried or found.message_id != op.message_id:
            return False
        return found.created_at >= min(self._tried)

    def _done_before(self, op: Op) -> MessageRecord | None:
        """The message as an earlier try of this batch left it, if one took effect."""
        found = self._messages.get(op.message_id) if not isinstance(op, NewMessage) else None
        if found is None or found.session_id != op.session_id:
            return None
        if isinstance(op, EditMessage):
            done = found.edited_at in self._tried and found.content == op.content
        elif isinstance(op, DeleteMessage):
            done = found.deleted_at in self._tried
        elif not isinstance(op, EndStream):
            return None  # whose repeats do nothing
        else:
            done = found.status == op.status and op.content in (None, found.content)
        return found if done else None

    def _target(self, op: Op) -> MessageRecord:
        message = self._messages.get(op.message_id)
        if message is None or message.session_id != op.session_id:
            raise MessageMissing(op.message_id)
        return message

    def _edit(self, session: Tally, op: EditMessage) -> MessageRecord:
        self._check_open(session)
        message = self._target(op)
        if message.deleted_at is not None:
            raise MessageMissing(op.message_id)
        _check_own(message, op)
        _check_order(message, op)
        return structs.replace(
            message,
            revision=session.last_revision + 1,
            content=op.content,
            parts=message.parts and edited(message.parts, op.content),
            is_edited=True,
            edited_at=self.now,
        )

    def _delete(self, session: Tally, op: DeleteMessage) -> MessageRecord:
        if not op.erase:
            self._check_open(session)
        message = self._target(op)
        if message.deleted_at is not None:
            raise MessageMissing(op.message_id)
        _check_order(message, op)
        return structs.replace(
            message,
            revision=session.last_revision + 1,
            status="cancelled" if message.status in UNFINISHED else message.status,
            deleted_at=self.now,
            **TOMBSTONE,
        )

    def _end(self, session: Tally, op: EndStream) -> MessageRecord:
        message = self._target(op)
        asked = waits.asked(message, op, self.now)
        revision = session.last_revision + 1
        if message.status == WAITING:  # who stops it may have read it before, and knows less of it
            return structs.replace(message, revision=revision, interrupts=asked, status=op.status)
        return structs.replace(
            message,
            revision=revision,
            interrupts=asked,
            content=message.content if op.content is None else op.content,
            parts=message.parts if op.content is None else op.parts,
            metadata={**message.metadata, **op.metadata} if op.metadata else message.metadata,
            **{name: getattr(op, name) for name in _SAID},
        )

    # --- turns

    def _numbered(self, op: NewMessage) -> NewMessage:
        """The answer to a question that was asked again is no repeat of the one before."""
        turn = self._turns.get(op.reply_to or "")
        if turn is None or not turn.again_seq or op.status != "streaming" or op.sender_type != "agent":
            return op
        key = op.client_message_id
        return structs.replace(op, client_message_id=key and f"{key[:200]}:{turn.again_seq}")

    def _check_line(self, session_id: str, when_busy: str) -> None:
        turns = self._turns.values()
        open_turns = sum(1 for turn in turns if turn.session_id == session_id and turn.state != "done")
        if open_turns >= (1 if when_busy == REJECT else OPEN_QUESTIONS):
            raise QuestionOpen(session_id)

    def _busy(self, session_id: str) -> list[TurnRecord]:
        return [each for each in self._turns.values() if each.session_id == session_id and each.state in BUSY]

    def _interrupt(self, session_id: str) -> None:
        """What is being answered is to end."""
        for turn in self._busy(session_id):
            self._turn(turn, stopped=True)

    def _begin(self, question_id: str, op: NewMessage) -> None:
        """An answer begins. One to a question that was stopped before does not."""
        turn = self._turns.get(question_id)
        if turn is None or op.sender_type != "agent":
            return
        if turn.state == "done" and turn.outcome in STOPPED:
            raise StreamNotOpen(turn.outcome)
        if turn.stopped and turn.answer_id is None:
            raise StreamNotOpen("cancelled")
        # One that was handed out and stands in line again is in nobody's hands.
        is_handed_out = turn.state != "queued" or turn.fence == 0
        if not is_handed_out or op.fence not in (None, turn.fence):
            raise FencedOff(question_id)
        if turn.state != "done" and turn.answer_id is None:
            self._turn(turn, state="running", answer_id=op.message_id, outcome=None, claimed_until=None)

    def _finish(self, record: MessageRecord, outcome: str) -> None:
        """The end of an answer is the end of its turn. So is the deletion of the question where no answer is
        open; one that is ends by whichever node sees the mark."""
        turn = self._turns.get(record.message_id) or self._turns.get(record.reply_to or "")
        if turn is None or turn.state == "done" or record.status == "streaming":
            return
        if record.message_id == turn.answer_id:
            self._turn(turn, **waits.moved(turn, record, self.now, outcome))
        elif record.message_id == turn.question_id and outcome == "deleted":
            if turn.answer_id is None:
                self._turn(turn, state="done", outcome=outcome, claimed_until=None)
            else:
                self._turn(turn, stopped=True)

    def _finish_steered(self, answer: MessageRecord) -> None:
        """The questions that an answer took up on its way are done with it, or go on as it does."""
        grafts, asked = self.sessions[answer.session_id].grafts, self._turns.get(answer.reply_to or "")
        paths = None if grafts is None else CommonPaths(grafts.tree)
        for question_id in taken_up(answer.parts):
            turn = self._turns.get(question_id)
            if turn is not None and (change := taking_up(answer, asked, turn, paths)):
                self._turn(turn, **change)

    def _turn(self, turn: TurnRecord, **change: object) -> None:
        changed = structs.replace(turn, **change)
        self._turns[turn.question_id] = self.turned[turn.question_id] = changed

    def new_expiry(self, session: Tally) -> datetime:
        """When the session ends by itself after this batch.

        Moved in steps of a minute, or a tenth of a short lifetime: `expires_at` is indexed, and a row
        whose indexed columns stay as they are is much cheaper to update.
        """
        lifetime = timedelta(hours=session.ttl_hours)
        sliding = self.now + lifetime
        if session.touched and sliding - session.expires_at >= min(timedelta(minutes=1), lifetime / 10):
            return sliding
        return session.expires_at


def _check_own(message: MessageRecord, op: EditMessage | NewMessage) -> None:
    """Whether the op's sender may say otherwise what the message says."""
    if (message.sender_type, message.sender_id) != (op.sender_type, op.sender_id):
        raise NotAllowed(message.message_id)
    if message.status in UNFINISHED:
        raise StreamStillOpen(message.message_id)


def _check_order(message: MessageRecord, op: EditMessage | DeleteMessage) -> None:
    """What waited at a node that others had given up is older than what was done since elsewhere."""
    if op.accepted is not None and message.edited_at is not None and message.edited_at > op.accepted + AGREED:
        raise Superseded(op.message_id)


#: A turn that is open so keeps those behind it waiting.
BUSY = frozenset({"running", "waiting"})
#: How the turn of a question is done that is not answered any more.
STOPPED = frozenset({"cancelled", "deleted"})


def asked(op: NewMessage, seq: int) -> TurnRecord:
    """The turn of a question at its place."""
    assert op.asks is not None
    return TurnRecord(
        op.message_id,
        op.session_id,
        seq,
        op.asks.agent_id,
        op.asks.when_busy,
        brings=op.asks.tools is not None,
    )


#: A new message's record, at its place.
new_record: Callable[[NewMessage, int, int, datetime], MessageRecord]
new_record = maker(MessageRecord, NewMessage, " ".join(PLACE))
#: What the end of a stream says besides the text.
_SAID = shared(MessageRecord, EndStream, "session_id", "message_id", "content", "parts", "metadata")


def _key(of: MessageRecord | NewMessage, client_message_id: str) -> ClientKey:
    return (of.session_id, of.sender_type, of.sender_id, client_message_id)
