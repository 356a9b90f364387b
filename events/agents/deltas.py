"""What an answer consists of while it is written, in types of our own. Knows no wire format.

Text is a `str`: a piece of what people read. A `Usage` that comes later replaces the one before.
"""

from typing import Any

from msgspec import Struct

from events.schema import FinishReason, Usage


class Reasoning(Struct, frozen=True, tag="reasoning"):
    """A piece of what the model thought. `provider_metadata` is opaque: signatures and encrypted parts, which
    go back to the model and to nobody else."""

    content: str
    provider_metadata: dict[str, Any] | None = None


class ToolInput(Struct, frozen=True, tag="tool_input"):
    """A piece of a tool call's arguments. `call` counts an answer's calls from 0; the name is complete with
    the call's first piece."""

    call: int
    tool_call_id: str
    name: str
    content: str
    provider_metadata: dict[str, Any] | None = None


class Source(Struct, frozen=True, tag="source"):
    """What the answer refers to. Each address is told once an answer."""

    url: str
    title: str | None = None
    snippet: str | None = None


class Model(Struct, frozen=True, tag="model"):
    """Which model answers, by its own account."""

    name: str


class Finish(Struct, frozen=True, tag="finish"):
    """The model has ended its answer, and why."""

    reason: FinishReason


class Unread(Struct, frozen=True, tag="unread"):
    """A field of the answer that no type here stands for. Told once an answer, for the log."""

    field: str


Delta = str | Reasoning | ToolInput | Source | Usage | Model | Finish | Unread
