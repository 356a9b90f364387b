"""Answers as servers stream them, with fields that no reader needs left out.

`how`: `run`, the server was run with the version named; `recorded`, somebody else's recording of the real
service; `documented`, its documentation, source or official client. `date`: when it was recorded or read.
"""

import json
from typing import Any, Literal

from msgspec import Struct

from events.agents.deltas import Citation, ToolOutput
from events.agents.faults import Kind
from events.schema import FinishReason, Usage


class Shape(Struct, frozen=True, kw_only=True):
    """`text`: texts of their own are a blank line apart. `reasoning`: thoughts are divided by ` | `."""

    server: str
    shows: str
    source: str
    date: str
    how: Literal["run", "recorded", "documented"]
    body: bytes
    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    sources: tuple[Citation, ...] = ()
    usage: Usage = Usage()
    finish: FinishReason | None = "stop"
    fault: Kind | None = None
    unread: frozenset[str] = frozenset()
    #: Of a response: its tools that the upstream carried out, and encrypted reasoning by its thought.
    outputs: tuple[ToolOutput, ...] = ()
    encrypted: tuple[tuple[int, str], ...] = ()
    #: The answer's tokens that were asked for.
    limit: int | None = None


def events(*chunks: dict[str, Any] | str, done: bool = True) -> bytes:
    """Each as an event; a text stands as it is."""
    lines = [each if isinstance(each, str) else f"data: {json.dumps(each)}\n\n" for each in chunks]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


def delta(said: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


def only(**more: Any) -> dict[str, Any]:
    """A chunk without a choice."""
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], **more}


def piece(index: int | None, arguments: str, **more: Any) -> dict[str, Any]:
    """A piece of a tool call; `name`, `id` and others where they are sent."""
    function: dict[str, Any] = {"arguments": arguments}
    if "name" in more:
        function["name"] = more.pop("name")
    return {**({} if index is None else {"index": index}), "type": "function", "function": function, **more}


ROLE = {"role": "assistant", "content": ""}
VERCEL = "https://github.com/vercel/ai/tree/ed857f5/packages/"
DETAILS = {"cached_tokens": 3, "audio_tokens": 0}
THOUGHT = {"reasoning_tokens": 4, "audio_tokens": 0}
COUNTED = {
    "prompt_tokens": 16,
    "completion_tokens": 30,
    "total_tokens": 46,
    "prompt_tokens_details": DETAILS,
    "completion_tokens_details": THOUGHT,
}
USAGE = Usage(input_tokens=16, output_tokens=30, total_tokens=46, reasoning_tokens=4, cached_input_tokens=3)
PLAIN = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
PLAIN_USAGE = Usage(input_tokens=5, output_tokens=2, total_tokens=7)
CITATION = {
    "type": "url_citation",
    "url_citation": {"url": "https://a.example/", "title": "A", "start_index": 0, "end_index": 3},
}
