"""What an answer consists of while it is written, in types of our own. Knows no wire format.

Text is a `str`: a piece of what people read. A `Usage` that comes later replaces the one before.
"""

from typing import Any

from msgspec import Struct

from events.schema import FinishReason, Usage


class StartOver(Struct, frozen=True, tag="start_over"):
    """The model is asked the same again: what it thought since the last `NextStep` does not count."""


class NextStep(Struct, frozen=True, tag="next_step"):
    """The model is called again, with what its tools gave, and with the questions `steered`."""

    steered: tuple[str, ...] = ()


class NewText(Struct, frozen=True, tag="new_text"):
    """The text that follows is a text of its own: what came before it is complete."""


class ReasoningDelta(Struct, frozen=True, tag="reasoning"):
    """A piece of what the model thought. `thought` counts an answer's thoughts from 0: pieces of one belong
    together. `provider_metadata` is opaque: signatures and encrypted parts, which go back to the model and
    to nobody else."""

    content: str
    provider_metadata: dict[str, Any] | None = None
    thought: int = 0


class ToolInput(Struct, frozen=True, tag="tool_input"):
    """A piece of a tool call's arguments. `call` counts an answer's calls from 0; the name is complete with
    the call's first piece. `by_provider`: the upstream carries the tool out itself."""

    call: int
    tool_call_id: str
    name: str
    content: str
    provider_metadata: dict[str, Any] | None = None
    by_provider: bool = False


class ToolReady(Struct, frozen=True, tag="tool_ready"):
    """A call's arguments are complete, and it is being carried out; `call` as in `ToolInput`."""

    call: int
    input: Any
    title: str | None = None


class ToolAsked(Struct, frozen=True, tag="tool_asked"):
    """A call's arguments are complete, and people are asked: whether it may be carried out, or, `by_page`,
    for what it gives; `call` as in `ToolInput`. `of_server`: the tool that they are shown, whatever is called
    so when they answer."""

    call: int
    input: Any
    title: str | None = None
    by_page: bool = False
    of_server: str | None = None


class ToolDecided(Struct, frozen=True, tag="tool_decided"):
    """It may be carried out, or was `denied`, and why; `call` as in `ToolInput`."""

    call: int
    denied: str | None = None


class Waits(Struct, frozen=True, tag="waits"):
    """The answer ends here until people have answered: `interrupts` as a message has them. The last piece.
    `seconds`: for which they are asked, None: nothing ends that."""

    interrupts: tuple[dict[str, Any], ...]
    seconds: float | None = None


class ToolOutput(Struct, frozen=True, tag="tool_output"):
    """A tool has come to its end; `call` as in `ToolInput`."""

    call: int
    input: Any = None
    output: Any = None
    error: str | None = None


class Citation(Struct, frozen=True, tag="citation"):
    """What the answer refers to. Each address is told once an answer."""

    url: str
    title: str | None = None
    snippet: str | None = None


class Model(Struct, frozen=True, tag="model"):
    """Which model answers, by its own account."""

    name: str


class Told(Struct, frozen=True, tag="told"):
    """The model takes what it was told: about how many tokens that is. Once each call of the model."""

    tokens: int


class Finish(Struct, frozen=True, tag="finish"):
    """The model has ended its answer, and why."""

    reason: FinishReason


class Unread(Struct, frozen=True, tag="unread"):
    """A field of the answer that no type here stands for. Told once an answer, for the log."""

    field: str


Delta = (
    str
    | StartOver
    | NextStep
    | NewText
    | ReasoningDelta
    | ToolInput
    | ToolReady
    | ToolAsked
    | ToolDecided
    | Waits
    | ToolOutput
    | Citation
    | Usage
    | Model
    | Told
    | Finish
    | Unread
)
