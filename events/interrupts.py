"""What messages wait for: asked by their producers, answered by people."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from msgspec import UNSET

from events.access import Caller
from events.asked import asked, check_answer
from events.clock import Clock, when
from events.errors import MessageNotFound, ValidationFailed
from events.schema import GiveAnswer, Interrupt
from events.stream import Stream
from events.uncommitted import Uncommitted
from storage import interrupts
from storage.errors import StorageError
from storage.messages import Messages as Store
from storage.ops import AnswerInterrupt, Committed, EndStream, ExpireInterrupts
from storage.place import CommitPlace
from storage.questions import Questions
from storage.waits import STOPPED
from storage.writer import Owner, Writer

#: An agent does not approve of itself.
MAY_ANSWER = frozenset({"owner", "member", "service"})


class Interrupts:
    def __init__(
        self, writer: Writer, uncommitted: Uncommitted, store: Store, questions: Questions, clock: Clock
    ) -> None:
        self._writer, self._uncommitted = writer, uncommitted
        self._store, self._questions, self._clock = store, questions, clock

    async def asked(self, stream: Stream, given: Sequence[Interrupt]) -> list[dict[str, Any]]:
        """What a stream's message is to wait for, as it is stored. Raises ValidationFailed, Unavailable."""
        record = await self._store.get(stream.message_id)
        turn = await self._questions.get(record.reply_to) if record is not None and record.reply_to else None
        if record is None or turn is None or turn.answer_id != record.message_id:
            raise ValidationFailed("is not the answer to a question", field="message_id", joint=" ")
        return await asked(given, record.interrupts or ())

    async def answer(
        self, caller: Caller, command: GiveAnswer, conn: Owner | None = None
    ) -> CommitPlace[Committed]:
        """Its place raises AlreadyAnswered, StreamNotOpen, ...; raises MessageNotFound, ValidationFailed,
        RateLimited, Unavailable."""
        record = await self._store.get(command.message_id)
        if record is None or record.session_id != command.session_id:
            raise MessageNotFound
        known = interrupts.find(record.interrupts, command.interrupt_id)
        answer: dict[str, Any] = {"status": command.status, "user_id": caller.key}
        if command.payload is not UNSET:
            answer["payload"] = command.payload
        if command.client_message_id is not None:
            answer["client_message_id"] = command.client_message_id
        if known is not None and interrupts.is_open(known):
            await self._check(command, known, record.interrupts or ())
        op = AnswerInterrupt(command.session_id, command.message_id, command.interrupt_id, answer)
        return self._uncommitted.submit(caller.account, op, conn)

    @staticmethod
    async def _check(
        command: GiveAnswer, known: interrupts.Interrupt, others: Sequence[interrupts.Interrupt]
    ) -> None:
        schema = known.get("response_schema") if command.status == "resolved" else None
        if command.payload is not UNSET:
            await check_answer(command.payload, schema, others)
        elif schema is not None:
            raise ValidationFailed("is required", field="payload", joint=" ")

    # --- what nobody answers

    async def sweep(self) -> None:
        """What has expired is cancelled, and answers end for which nobody may be asked any more. Called from
        time to time, by every node. Raises StorageUnavailable."""
        ops: list[ExpireInterrupts | EndStream] = []
        ops += [ExpireInterrupts(*found) for found in await self._questions.expired(when(self._clock()))]
        ops += [EndStream(*found, STOPPED) for found in await self._questions.in_vain()]
        for op in ops:
            # Another node may have been faster; if the database is away, the next sweep tries again.
            with suppress(StorageError):
                await self._writer.submit(op)


def answer_given(done: Committed) -> dict[str, Any]:
    op, record = done.op, done.record
    assert isinstance(op, AnswerInterrupt)
    known = interrupts.find(record.interrupts, op.interrupt_id)
    assert known is not None
    told = {
        "message_id": record.message_id,
        "revision": record.revision,
        "interrupt_id": op.interrupt_id,
        "answer": known["answer"],
    }
    return told | {"duplicate": True} if done.duplicate else told
