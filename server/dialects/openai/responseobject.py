"""The object of a response: a question, and how far its answer is. Its id is the question's, which is known
from the first moment on. Reads nothing."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Raw

from events.event import to_json
from server.dialects.behind import Behind
from server.dialects.openai.errors import broken_off, is_whole
from server.dialects.openai.output import Json, Output
from server.dialects.openai.usage import of_response
from server.dialects.steps import whole
from storage.interrupts import all_answered
from storage.records import MessageRecord

PREFIX = "resp_"
#: Why an answer is incomplete that is `complete`.
_WAITS = {"reason": "waiting"}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseHead(NamedTuple):
    """What is the same from a response's beginning to its end. `created_at` in seconds since the epoch."""

    id: str
    session_id: str
    created_at: int
    model: str
    metadata: Raw  # kept as long as the response is read
    background: bool = False


class Verdict(NamedTuple):
    """How an answer is told that has ended, or waits. `of_items`: the status of what was open."""

    event: str
    status: str
    error: Json | None = None
    incomplete: Json | None = None
    waits: bool = False

    @property
    def of_items(self) -> str:
        return "completed" if self.status == "completed" else "incomplete"


class ResponseName(NamedTuple):
    """Of a response, as its id says. `parts` and `characters` of the answer were told before it."""

    question_id: str
    parts: int = 0
    characters: int = 0


#: Of one that goes on behind its caller's tools.
_ID = re.compile(rf"{PREFIX}(.+?)(?:-([0-9]{{1,4}})-([0-9]{{1,9}}))?")


def id_of(question_id: str, behind: Behind | None) -> str:
    where = "" if behind is None else f"-{behind.parts}-{behind.characters}"
    return PREFIX + question_id + where


def named(response_id: str) -> ResponseName | None:
    found = _ID.fullmatch(response_id)
    return None if found is None else ResponseName(found[1], int(found[2] or 0), int(found[3] or 0))


def head_of(
    question: MessageRecord, model: str, behind: Behind | None = None, *, background: bool = False
) -> ResponseHead:
    created = int(question.created_at.timestamp())
    told = Raw(to_json({**question.metadata, "session_id": question.session_id}))
    response_id = id_of(question.message_id, behind)
    return ResponseHead(response_id, question.session_id, created, model, told, background=background)


def verdict_on(status: str, finish_reason: str | None, error: Json | None, *, calls: bool = False) -> Verdict:
    """`calls`: it waits for its caller's tools."""
    if status == "complete" and finish_reason != "error":
        reason = _INCOMPLETE.get(finish_reason or "")
        if reason is not None:
            return Verdict("incomplete", "incomplete", incomplete={"reason": reason})
        return Verdict("completed", "completed")
    if status == "waiting" and calls:
        return Verdict("completed", "completed", waits=True)
    if status == "waiting":
        return Verdict("incomplete", "incomplete", incomplete=_WAITS, waits=True)
    told = broken_off("failed" if status == "complete" else status, error)
    failure = {"code": told["code"], "message": told["message"]}
    return Verdict("failed", "cancelled" if status == "cancelled" else "failed", error=failure)


def answered(head: ResponseHead, answer: MessageRecord, behind: Behind | None) -> Json:
    """Of an answer as it is stored."""
    output = Output(behind)
    output.message_id = answer.message_id
    for _ in output.take(whole(answer.content, answer.parts or ())):
        pass
    goes_on = answer.status == "waiting" and all_answered(answer.interrupts)
    if answer.status == "streaming" or goes_on:
        return response(head, "in_progress", output.items("in_progress"))
    calls = answer.status == "waiting" and is_whole(answer)
    verdict = verdict_on(answer.status, answer.finish_reason, answer.error, calls=calls)
    return response(head, verdict, output.items(verdict.of_items), answer.usage, answer.tokens_used)


def unanswered(head: ResponseHead, outcome: str) -> Json:
    """Of a question that was given up before its answer began."""
    return response(head, verdict_on(outcome, None, None))


def response(
    head: ResponseHead,
    verdict: Verdict | str,
    items: Sequence[Json] = (),
    usage: Json | None = None,
    tokens_used: int | None = None,
) -> Json:
    """With all fields that OpenAI's types require. A `verdict` that is a text is the status of one that has
    not ended."""
    if isinstance(verdict, str):
        verdict = Verdict("", verdict)
    ended = bool(verdict.event) and verdict.incomplete != _WAITS
    return {
        "id": head.id,
        "object": "response",
        "created_at": head.created_at,
        "status": verdict.status,
        "background": head.background,
        "error": verdict.error,
        "incomplete_details": verdict.incomplete,
        "instructions": None,
        "max_output_tokens": None,
        "model": head.model,
        "output": list(items),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "conversation": {"id": head.session_id},
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": of_response(usage, tokens_used) if ended else None,
        "user": None,
        "metadata": head.metadata,
    }
