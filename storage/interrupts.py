"""What a message that waits asks of people, and what was answered. Pure: no database, no clock.

An interrupt is a dict: `id`, `reason`, and where they were given `message`, `tool_call_id`, `response_schema`
and `expires_at` (RFC 3339); `answer` once there is one.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

#: Of all that a message asks and was answered, as JSON: its readers are told all of it with each answer.
MESSAGE_BYTES = 256 * 1024

Interrupt = dict[str, Any]
#: `status` ("resolved", "cancelled"), `payload`, `user_id`, `client_message_id`, `answered_at`; `why` where
#: nobody gave it: "expired", "stopped".
Answer = dict[str, Any]

#: Of an answer, what is its giver's own.
_WORDS = ("payload", "client_message_id")
#: What tells two answers of one person apart.
_SAID = ("status", "payload", "user_id")


def is_open(interrupt: Interrupt) -> bool:
    return "answer" not in interrupt


def find(interrupts: Iterable[Interrupt] | None, interrupt_id: str) -> Interrupt | None:
    return next((each for each in interrupts or () if each["id"] == interrupt_id), None)


def find_call(interrupts: Sequence[Interrupt] | None, tool_call_id: str) -> Interrupt | None:
    """What was asked about a call of a tool; the last, for it may be asked about twice."""
    about = (each for each in reversed(interrupts or ()) if each.get("tool_call_id") == tool_call_id)
    return next(about, None)


def all_answered(interrupts: Iterable[Interrupt] | None) -> bool:
    return not any(map(is_open, interrupts or ()))


def has_answers(interrupts: Iterable[Interrupt] | None) -> bool:
    return any(not is_open(each) for each in interrupts or ())


def answered(interrupts: Sequence[Interrupt], interrupt_id: str, answer: Answer) -> list[Interrupt]:
    return [each | {"answer": answer} if each["id"] == interrupt_id else each for each in interrupts]


def has_room(interrupts: Sequence[Interrupt], more: Any) -> bool:
    """Whether a message may ask, or be answered, so much more."""
    return len(msgspec.json.encode(interrupts)) + len(msgspec.json.encode(more)) <= MESSAGE_BYTES


def is_repeat(answer: Answer, first: Answer) -> bool:
    """Whether somebody says again what he has said."""
    key = answer.get("client_message_id")
    if key is not None and key == first.get("client_message_id"):
        return bool(answer["user_id"] == first.get("user_id"))
    return all(answer.get(name) == first.get(name) for name in _SAID)


def stopped(interrupts: Sequence[Interrupt] | None, now: datetime) -> list[Interrupt] | None:
    """With those that are open cancelled: their message ends."""
    if not interrupts:
        return None
    return [each | {"answer": _nobodys("stopped", now)} if is_open(each) else each for each in interrupts]


def expired(interrupts: Iterable[Interrupt] | None, now: datetime) -> list[Interrupt]:
    """With those cancelled whose time is over."""
    return [
        each | {"answer": _nobodys("expired", now)} if is_open(each) and is_over(each, now) else each
        for each in interrupts or ()
    ]


def forgotten(interrupts: Iterable[Interrupt] | None, user_id: str) -> list[Interrupt]:
    """Without what a person has said in answer."""
    return [
        each | {"answer": {name: value for name, value in each["answer"].items() if name not in _WORDS}}
        if not is_open(each) and each["answer"].get("user_id") == user_id
        else each
        for each in interrupts or ()
    ]


def is_over(interrupt: Interrupt, now: datetime) -> bool:
    until = interrupt.get("expires_at")
    return until is not None and datetime.fromisoformat(until) <= now


def earliest(interrupts: Iterable[Interrupt] | None) -> datetime | None:
    """When the first of those that are open expires."""
    times = [each["expires_at"] for each in interrupts or () if is_open(each) and "expires_at" in each]
    return min(map(datetime.fromisoformat, times), default=None)


def shown_time(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _nobodys(why: str, now: datetime) -> Answer:
    return {"status": "cancelled", "why": why, "answered_at": shown_time(now)}
