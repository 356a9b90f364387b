"""Payloads no decent client sends: every command's fields missing, added, of the wrong type,
oversized or hostile, as JSON text (some of it no JSON at all).
"""

import json
from typing import Any

from hypothesis import strategies as st

COMMANDS: dict[str, dict[str, Any]] = {
    "join": {"after_revision": 0, "limit": 10},
    "leave": {},
    "message": {
        "content": "x",
        "client_message_id": "c",
        "metadata": {"a": 1},
        "reply_to": "msg_x",
        "reply": False,
        "when_busy": "queue",
    },
    "edit": {"message_id": "msg_x", "content": "x", "branch": False},
    "regenerate": {"message_id": "msg_x", "when_busy": "queue"},
    "select": {"message_id": "msg_x", "exact": True},
    "feedback": {"message_id": "msg_x", "value": "up", "comment": "x"},
    "delete": {"message_id": "msg_x"},
    "file": {"file_id": "file_x", "message": "x", "client_message_id": "c"},
    "typing": {"is_typing": True},
    "presence": {"status": "away"},
    "read": {"seq": 1},
    "history": {
        "limit": 10,
        "before_seq": 5,
        "after_seq": 1,
        "before": "2026-01-01T00:00:00Z",
        "after": "2026-01-01T00:00:00Z",
        "order": "asc",
        "after_revision": 1,
    },
    "turns": {"before_seq": 9, "limit": 10},
    "stream_start": {"message_id": "s-1", "client_message_id": "c", "metadata": {}, "reply_to": "msg_x"},
    "stream_chunk": {"message_id": "s-1", "index": 0, "content": "x"},
    "stream_delta": {"message_id": "s-1", "part": "r", "index": 0, "content": "x"},
    "stream_part": {
        "message_id": "s-1",
        "index": 0,
        "part": {"id": "r", "type": "reasoning", "text": "x"},
    },
    "agent_status": {"message_id": "s-1", "status": "searching", "detail": "x"},
    "stream_end": {
        "message_id": "s-1",
        "status": "failed",
        "tokens_used": 1,
        "latency_ms": 1,
        "error": {"code": "X", "message": "y"},
    },
    "stream_wait": {
        "message_id": "s-1",
        "interrupts": [{"id": "i", "reason": "x", "response_schema": {"type": "object"}}],
    },
    "answer": {
        "message_id": "s-1",
        "interrupt_id": "i",
        "status": "resolved",
        "payload": {},
        "client_message_id": "c",
    },
    "stream_cancel": {"message_id": "s-1"},
    "stream_resume": {"message_id": "s-1", "from_index": 0},
    "auth_refresh": {"token": "x"},
}
"""A good payload of every command, without the session."""


class Verbatim:
    """A value that goes into the JSON text as it stands here, JSON or not."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Verbatim({self.text[:40]!r})"


VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), float("-inf"), "", " ", "0", "x" * 101, "x" * 256, "x" * 5000,
    "\x00", "a\x00b", "\ud800", "\udfff", "a\ud83dz", "\u202e\u200b\ufeff", "\U0001f600", "../../etc/passwd",
    "' OR 1=1 --", "%00", "__proto__", "constructor", "NaN", [], [[]], {}, {"": {}}, {"\x00": 1},
    {"\ud800": 1}, {"a": float("nan")}, {"_placeholder": True, "num": 0}, {"__proto__": {"admin": True}},
    [None] * 100,
    Verbatim("[" * 100 + "]" * 100), Verbatim("[" * 5000 + "]" * 5000),
    Verbatim('{"a":' * 5000 + "1" + "}" * 5000),
    Verbatim("1e999"), Verbatim("-"), Verbatim("01"), Verbatim("'x'"), Verbatim("undefined"),
    Verbatim('"\\ud800"'), Verbatim('"\\u0000"'), Verbatim('"\\x"'), Verbatim("\x01"), Verbatim("1" * 5000),
    Verbatim('{"a":1,"a":2}'), Verbatim("/* */ 1"), Verbatim("[1,]"),
)  # fmt: skip


def text_of(payload: Any) -> str:
    """As JSON text, with what is Verbatim put in."""
    kept: list[str] = []

    def keep(value: Any) -> str:
        assert isinstance(value, Verbatim)
        kept.append(value.text)
        return f"\ue000{len(kept) - 1}\ue001"

    text = json.dumps(payload, default=keep)
    for number, value in enumerate(kept):
        text = text.replace(json.dumps(f"\ue000{number}\ue001"), value)
    return text


@st.composite
def payloads(draw: st.DrawFn, command: str, more: dict[str, Any] | None = None) -> Any:
    """One spoiled payload of this command; `more` are fields that it has at this door."""
    good = {**(more or {}), **COMMANDS[command]}
    value = draw(st.sampled_from(VALUES))
    ways = ["extra", "not an object"] + ["field", "missing"] * 3 * bool(good)
    match draw(st.sampled_from(ways)):
        case "field":
            return {**good, draw(st.sampled_from(sorted(good))): value}
        case "missing":
            gone = draw(st.sets(st.sampled_from(sorted(good)), min_size=1))
            return {name: kept for name, kept in good.items() if name not in gone}
        case "extra":
            name = draw(
                st.sampled_from(["session_id", "sender_id", "__proto__", "type", "ref", "\x00", "é" * 50])
            )
            return {**good, name: value}
    return value
