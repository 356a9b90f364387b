"""Errors as OpenAI's libraries read them: Parley's own object, with `type` and `param` beside it."""

from typing import Any

import orjson
from starlette.responses import Response

from events.errors import ChatError
from server.dialects.steps import awaits_calls, is_to_call
from server.errors import TABLE, json_error
from storage.records import MessageRecord

#: A library repeats every 409, 429 and 5xx unless it is told not to; where it is, it obeys.
SHOULD_RETRY = "x-should-retry"
#: Where OpenAI's status is another: its libraries name their exceptions by it.
STATUS = {422: 400}
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

#: How an answer that is not whole is told where it names no error of its own.
NOT_WHOLE = {
    "cancelled": "the answer was stopped; its text so far is kept",
    "interrupted": "the answer broke off: nobody writes it any more; its text so far is kept",
    "waiting": "the answer waits for people; it goes on when what it asks is answered in its session",
    "failed": "the answer failed; its text so far is kept",
}


def type_of(status: int) -> str:
    return TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def status_of(error: ChatError) -> int:
    status = TABLE[error.code].status
    return STATUS.get(status, status)


def openai_error(error: ChatError) -> Response:
    """The whole HTTP answer for `error`."""
    answer = json_error(error)
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    headers[SHOULD_RETRY] = "true" if error.retryable else "false"
    status = status_of(error)
    details = error.details if isinstance(error.details, dict) else {}
    told = error.as_dict() | {"type": type_of(status), "param": details.get("field") or None}
    return Response(orjson.dumps({"error": told}), status_code=status, headers=headers)


def broken_off(status: str, error: dict[str, Any] | None, **ids: str) -> dict[str, Any]:
    """The `error` of an answer that did not end as `complete`. A repeat would be a new question."""
    error = error or {}
    code = error.get("code") or status
    return {
        "message": error.get("message") or NOT_WHOLE.get(status, status),
        "type": type_of(http_status(status, code)),
        "param": None,
        "code": code,
        "retryable": False,
        "status": status,
        **ids,
    }


def http_status(status: str, code: str) -> int:
    if status in ("cancelled", "waiting"):
        return 409
    return STATUS.get(TABLE[code].status, TABLE[code].status) if code in TABLE else 502


def is_whole(record: MessageRecord) -> bool:
    """Whether an answer is told as one: also where it waits for its caller's tools."""
    if record.status == "waiting":
        called = {part["tool_call_id"] for part in record.parts or () if _is_to_call(part)}
        return awaits_calls(record.interrupts, called)
    return record.status == "complete" and record.finish_reason != "error"


def _is_to_call(part: dict[str, Any]) -> bool:
    return part["type"] == "tool" and is_to_call(part)


def not_whole(record: MessageRecord, **ids: str) -> Response:
    """The whole HTTP answer for an answer that is not `complete`, or whose model says that it failed."""
    status = "failed" if record.status == "complete" else record.status
    ids |= {"message_id": record.message_id, "session_id": record.session_id}
    error = broken_off(status, record.error, **ids)
    return Response(
        orjson.dumps({"error": error}),
        status_code=http_status(status, error["code"]),
        headers={SHOULD_RETRY: "false"},
        media_type="application/json",
    )
