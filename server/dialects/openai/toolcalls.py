"""A caller's own tools: as a question brings them, and what they gave, as its answer goes on with it.

A call's id names its answer, too: so a program that sends the whole conversation each time, and knows of no
session, goes on with the answer that waits for it. Knows no route and no frame.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from events.access import Caller
from events.errors import MessageNotFound, SessionNotFound, ValidationFailed
from events.pagetools import PageTool
from events.parts import content_of
from events.wording import invalid
from server.dialects.behind import Behind
from server.services import Services
from storage.interrupts import find_call, is_open
from storage.records import MessageRecord

#: Between a call's id and its answer's, which never has this sign in it.
OF = "@"


def told_id(tool_call_id: str, message_id: str) -> str:
    """A call's id as the caller has it."""
    return f"{tool_call_id}{OF}{message_id}"


def page_tools(given: Sequence[dict[str, Any]], field: str) -> list[PageTool]:
    """Raises ValidationFailed."""
    tools = []
    for place, each in enumerate(given):
        told = {name: value for name, value in each.items() if value is not None}
        try:
            tools.append(msgspec.convert(told, PageTool))
        except msgspec.ValidationError as error:
            raise invalid(error, f"{field}[{place}]") from error
    return tools


class GivenOutput(NamedTuple):
    """`call_id` as it was told."""

    call_id: str
    output: str


class GoneOn(NamedTuple):
    """An answer that has waited, and what of it its caller has had."""

    answer: MessageRecord
    question: MessageRecord
    behind: Behind


async def go_on(
    services: Services, caller: Caller, outputs: Sequence[GivenOutput], session_id: str | None, field: str
) -> GoneOn:
    """Give what the tools gave: each is committed, and the same again is the same. Raises ValidationFailed,
    AlreadyAnswered, ..."""
    given, message_ids = {}, set()
    for each in outputs:
        tool_call_id, _, message_id = each.call_id.rpartition(OF)
        given[tool_call_id] = each.output
        message_ids.add(message_id)
    answer = await _answer(services, caller, message_ids, field)
    if session_id not in (None, answer.session_id):
        raise ValidationFailed("are of another session", field=field, joint=" ")
    _check(answer, given, field)
    for tool_call_id, output in given.items():
        interrupt = find_call(answer.interrupts, tool_call_id)
        assert interrupt is not None
        payload = {
            "session_id": answer.session_id,
            "message_id": answer.message_id,
            "interrupt_id": interrupt["id"],
            "status": "resolved",
            "payload": _payload(output, interrupt),
        }
        await services.dispatcher.call("answer", caller, payload)
    question = await services.messages.get(answer.session_id, answer.reply_to or "")
    return GoneOn(answer, question, behind_calls(answer, given))


async def _answer(services: Services, caller: Caller, message_ids: set[str], field: str) -> MessageRecord:
    """Raises ValidationFailed."""
    record = await services.store.get(message_ids.pop()) if len(message_ids) == 1 else None
    if record is not None and record.interrupts and record.reply_to:
        try:
            await services.sessions.readable(caller, record.session_id)
            return record
        except (SessionNotFound, MessageNotFound):
            pass
    raise ValidationFailed("no calls of one answer that waits for them", field=field)


def _check(answer: MessageRecord, given: dict[str, str], field: str) -> None:
    """All calls are answered at once: an answer goes on when none is open. Raises ValidationFailed."""
    for each in given:
        if find_call(answer.interrupts, each) is None:
            raise ValidationFailed(f"nothing waits for {each[:100]}", field=field)
    called = calls_of(answer)
    for interrupt in answer.interrupts or ():
        tool_call_id = interrupt.get("tool_call_id", "")
        if is_open(interrupt) and tool_call_id in called and tool_call_id not in given:
            raise ValidationFailed(f"nothing is said of {tool_call_id[:100]}", field=field)


def _payload(output: str, interrupt: dict[str, Any]) -> Any:
    """A text, as programs give it; JSON where the answer says what it has to be like."""
    if "response_schema" in interrupt:
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(output)
    return output


def calls_of(answer: MessageRecord) -> set[str]:
    """Calls of the caller's tools, by their own ids."""
    return {part["tool_call_id"] for part in answer.parts or () if is_callers(part)}


def is_callers(part: dict[str, Any]) -> bool:
    return part["type"] == "tool" and part.get("executed_by") == "client"


def behind_calls(answer: MessageRecord, answered: dict[str, str]) -> Behind:
    """Behind the last of these calls, and what the agent did itself in the same turn."""
    parts = answer.parts or []
    given = (n for n, part in enumerate(parts) if part.get("tool_call_id") in answered)
    at = 1 + max(given, default=-1)  # a worker may ask about a call that it does not show
    while at < len(parts) and parts[at]["type"] == "tool" and not is_callers(parts[at]):
        at += 1
    return behind_parts(answer, at, len(content_of(parts[:at])))


def behind_parts(answer: MessageRecord, parts: int, characters: int) -> Behind:
    """Behind so many parts and so much text. What people have a word in ends later."""
    asked = {each.get("tool_call_id") for each in answer.interrupts or ()}
    known = (answer.parts or [])[:parts]
    told = {part["id"] for part in known if is_callers(part) or part.get("tool_call_id") not in asked}
    return Behind(frozenset(told), parts, characters)
