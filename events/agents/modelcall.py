"""One call of a model, in types of our own: what it is asked, and what it said in earlier ones. Knows no wire
format."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from events.agents.attachments import Attachment
from events.agents.base import Request
from events.agents.config import OpenAIConfig


class OfferedTool(Struct, frozen=True):
    """A tool that the model may call. `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class CalledTool(Struct, frozen=True):
    """A call that the model made, and what it is told of it. `input_text` is the JSON of an object."""

    tool_call_id: str
    name: str
    input_text: str
    output: str
    provider_metadata: dict[str, Any] | None = None


class ModelTurn(Struct, frozen=True):
    """What a model said in one call, and what became of its tool calls. `reasoning` has what goes back to it:
    each piece with its `provider_metadata`. `heard`: what people said meanwhile."""

    text: str = ""
    calls: Sequence[CalledTool] = ()
    reasoning: Sequence[tuple[str, dict[str, Any]]] = ()
    heard: Sequence[str] = ()


class ModelCall(Struct, frozen=True):
    """`turns` are those of this answer so far. Without `may_call` the model is told of its tools, and that it
    can call none of them any more. `note` is added to the system prompt. `attached` has the files that it can
    be told of by their content."""

    request: Request
    config: OpenAIConfig
    turns: Sequence[ModelTurn] = ()
    tools: Sequence[OfferedTool] = ()
    may_call: bool = True
    note: str = ""
    attached: Mapping[str, Attachment] = {}
