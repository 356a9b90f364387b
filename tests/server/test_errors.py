"""The table of errors is the contract's, complete and without extras."""

import json
from typing import Any

import pytest

from events import errors
from events.catalog import CATALOG
from events.dispatch import Dispatcher, decode
from events.errors import ChatError, ValidationFailed
from server.errors import TABLE, close_code, json_error
from storage import errors as storage_errors

CONTRACT = """
422  -     VALIDATION_ERROR UNKNOWN_COMMAND MESSAGE_REJECTED
401  4001  UNAUTHORIZED TOKEN_EXPIRED
403  4003  FORBIDDEN ORIGIN_NOT_ALLOWED
404  4004  SESSION_NOT_FOUND
410  4004  SESSION_EXPIRED
409  4004  SESSION_ARCHIVED
404  -     MESSAGE_NOT_FOUND STREAM_NOT_FOUND FILE_NOT_FOUND AGENT_NOT_FOUND WEBHOOK_NOT_FOUND
409  -     CONFLICT AGENT_BUSY STREAM_OPEN STREAM_CLOSED INDEX_CONFLICT LIMIT_REACHED
413  1009  PAYLOAD_TOO_LARGE
415  -     UNSUPPORTED_FILE_TYPE
429  4008  RATE_LIMIT
503  4013  SLOW_CONSUMER
503  1013  AGENT_UNAVAILABLE UNAVAILABLE SERVER_FULL
500  1011  INTERNAL
"""
ROWS = [
    (code, int(status), close)
    for status, close, *codes in map(str.split, CONTRACT.split("\n")[1:-1])
    for code in codes
]


def every_error(base: type[ChatError] = ChatError) -> list[type[ChatError]]:
    return [base, *(each for sub in base.__subclasses__() for each in every_error(sub))]


@pytest.mark.parametrize(("code", "status", "close"), ROWS)
def test_the_contract(code: str, status: int, close: str) -> None:
    assert TABLE[code].status == status
    assert TABLE[code].close == (None if close == "-" else int(close))


def test_complete_and_without_extras() -> None:
    assert {code for code, _, _ in ROWS} == set(TABLE) == {each.code for each in every_error()}


def test_draining_is_an_outage_that_sends_elsewhere() -> None:
    assert json_error(errors.Draining()).status_code == 503
    assert close_code(errors.Draining()) == 1012
    assert close_code(errors.Unavailable()) == 1013
    assert close_code(errors.ValidationFailed("x")) is None


def test_the_body() -> None:
    shown = {"code": "RATE_LIMIT", "message": "Too many requests", "retryable": True, "retry_after": 1500}
    assert json.loads(bytes(json_error(errors.RateLimited(retry_after=1500)).body)) == {"error": shown}


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")]
)
def test_retry_after_in_whole_seconds_rounded_up(milliseconds: int, seconds: str) -> None:
    answer = json_error(errors.RateLimited(retry_after=milliseconds))
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == seconds
    assert json.loads(bytes(answer.body))["error"]["retry_after"] == milliseconds


@pytest.mark.parametrize("kind", [each for each in every_error() if each.retryable])
@pytest.mark.parametrize("given", [{}, {"retry_after": 2500}, {"details": {"limit": 1}}])
def test_what_is_retryable_says_when(kind: type[ChatError], given: dict[str, Any]) -> None:
    error = kind(**given)
    answer = json_error(error)
    assert error.as_dict()["retry_after"] == json.loads(bytes(answer.body))["error"]["retry_after"] > 0
    assert int(answer.headers["Retry-After"]) * 1000 >= error.as_dict()["retry_after"]


def test_headers() -> None:
    assert json_error(errors.Unavailable()).headers["Retry-After"] == "1"
    assert json_error(errors.TokenExpired()).headers["WWW-Authenticate"] == "Bearer"
    answer = json_error(errors.SessionNotFound())
    assert answer.headers["content-type"] == "application/json"
    assert "Retry-After" not in answer.headers
    assert "WWW-Authenticate" not in answer.headers


def test_what_is_not_ours_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    away = Dispatcher.error_of(storage_errors.StorageUnavailable("password=hunter2"), "message")
    assert type(away) is errors.Unavailable
    assert "hunter2" not in away.text
    for failure in (ValueError("hunter2"), storage_errors.StorageError("hunter2"), KeyError("hunter2")):
        caplog.clear()
        shown = Dispatcher.error_of(failure, "message")
        assert type(shown) is errors.Internal
        assert "hunter2" not in str(shown.as_dict())
        assert set(shown.details) == {"log_id"}
        (record,) = caplog.records
        assert shown.details["log_id"] in record.message
        assert record.exc_info is not None
        assert record.exc_info[1] is failure


@pytest.mark.parametrize(
    ("payload", "field", "told"),
    [
        ({}, "session_id", "session_id is required"),
        ({"session_id": 7}, "session_id", "session_id must be a string, not a whole number"),
    ],
)
def test_a_field_that_is_missing_is_named_in_words(payload: dict[str, object], field: str, told: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        decode(CATALOG["join"], payload)
    assert refused.value.as_dict()["details"]["field"] == field
    assert told in refused.value.text
