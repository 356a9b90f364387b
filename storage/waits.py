"""What operations make of a message that waits, and of its turn. Pure: no database, no clock."""

from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from storage import interrupts
from storage.errors import (
    AlreadyAnswered,
    AnswersFull,
    FencedOff,
    InterruptMissing,
    MessageMissing,
    StreamNotOpen,
)
from storage.interrupts import Interrupt
from storage.ops import (
    AnswerInterrupt,
    EndStream,
    ExpireInterrupts,
    ForgetAnswers,
    Interrupting,
    ResumeStream,
    WaitStream,
)
from storage.records import MessageRecord, TurnRecord

WAITING, STOPPED = "waiting", "cancelled"
#: Of these states a message is not at its end.
UNFINISHED = frozenset({"streaming", WAITING})


def asked(message: MessageRecord, op: EndStream, now: datetime) -> list[Interrupt] | None:
    """What a message asks whose stream ends. One that waits is ended by a stop alone: what else would end it
    came too late. Raises StreamNotOpen."""
    waits = isinstance(op, WaitStream)
    if message.status not in UNFINISHED or (message.status == WAITING and (waits or op.status != STOPPED)):
        raise StreamNotOpen(message.status)
    if isinstance(op, WaitStream):
        known = message.interrupts or ()
        if any(interrupts.find(known, each["id"]) for each in op.interrupts):
            raise StreamNotOpen(WAITING)  # a try that was given up has done it, and it was written on since
        return [*known, *op.interrupts]
    return interrupts.stopped(message.interrupts, now)


def gone_on(
    message: MessageRecord,
    turn: TurnRecord | None,
    op: Interrupting,
    now: datetime,
) -> MessageRecord | None:
    """None: nothing changes. Raises as the operation says."""
    if isinstance(op, AnswerInterrupt):
        return answered(message, op, now)
    if isinstance(op, ExpireInterrupts):
        return expired(message, op, now)
    if isinstance(op, ForgetAnswers):
        left = interrupts.forgotten(message.interrupts, op.user_id)
        return None if left == message.interrupts else _with(message, left)
    return resumed(message, turn, op)


def answered(message: MessageRecord, op: AnswerInterrupt, now: datetime) -> MessageRecord | None:
    """None: it was answered so before. Raises as the operation says."""
    if message.deleted_at is not None:
        raise MessageMissing(op.message_id)
    asked = interrupts.find(message.interrupts, op.interrupt_id)
    if asked is None:
        raise InterruptMissing(op.interrupt_id)
    first = asked.get("answer")
    if first is None and interrupts.is_over(asked, now):
        first = interrupts.find(interrupts.expired([asked], now), op.interrupt_id)["answer"]  # type: ignore[index]
    if first is not None:
        if interrupts.is_repeat(op.answer, first):
            return None
        raise AlreadyAnswered(first)
    if message.status != WAITING:
        raise StreamNotOpen(message.status)
    if "payload" in op.answer and not interrupts.has_room(message.interrupts or (), op.answer["payload"]):
        raise AnswersFull  # others came since this one was looked at
    answer = op.answer | {"answered_at": interrupts.shown_time(now)}
    return _with(message, interrupts.answered(message.interrupts or (), op.interrupt_id, answer))


def expired(message: MessageRecord, op: ExpireInterrupts, now: datetime) -> MessageRecord | None:
    """None: nothing is over."""
    if message.status != WAITING:
        raise StreamNotOpen(message.status)
    left = interrupts.expired(message.interrupts, now)
    return None if left == message.interrupts else _with(message, left)


def resumed(message: MessageRecord, turn: TurnRecord | None, op: ResumeStream) -> MessageRecord | None:
    """None: it is written on already, by who holds the claim."""
    if message.status not in UNFINISHED or turn is None:
        raise StreamNotOpen(message.status)
    if turn.fence != op.fence or not interrupts.all_answered(message.interrupts):
        raise FencedOff(op.message_id)
    return structs.replace(message, status="streaming") if message.status == WAITING else None


def _with(message: MessageRecord, changed: list[Interrupt]) -> MessageRecord:
    return structs.replace(message, interrupts=changed)


def moved(turn: TurnRecord, answer: MessageRecord, now: datetime, outcome: str) -> dict[str, Any]:
    """How a turn stands by its answer's `outcome`: it is done, or waits, or is to be handed out to whoever
    claims it next, or is being answered."""
    if outcome not in UNFINISHED:
        return {"state": "done", "outcome": outcome, "claimed_until": None, "expires_at": None}
    if outcome != WAITING:
        return {"state": "running", "claimed_until": None, "expires_at": None}
    until = turn.claimed_until
    if interrupts.all_answered(answer.interrupts):
        until = now - timedelta(seconds=1)  # a claim that has lapsed
    return {
        "state": WAITING,
        "claimed_until": until,
        "expires_at": interrupts.earliest(answer.interrupts),
    }
