"""Refusals as servers send them, before a stream. `how` as in `streams.py`."""

import json
from typing import Any, Literal

from msgspec import Struct

from events.agents.faults import Kind


class Refused(Struct, frozen=True, kw_only=True):
    server: str
    shows: str
    source: str
    date: str
    how: Literal["run", "recorded", "documented"]
    status: int
    body: bytes
    kind: Kind
    asked: int | None = None
    window: int | None = None
    wait: float | None = None


def error(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


def forbidden(*place: str) -> bytes:
    """Mistral's words for a field that it does not know."""
    detail = [{"type": "extra_forbidden", "loc": ["body", *place], "msg": "Extra inputs are not permitted"}]
    return json.dumps(
        {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error", "code": None}
    ).encode()
