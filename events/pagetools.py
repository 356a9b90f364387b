"""Tools of a page: its reader's browser carries them out. Knows no agent and no question."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from events.errors import ValidationFailed

#: Of one agent, or of one question.
MOST_PAGE_TOOLS = 64
#: Bytes of a question's, as JSON: they are stored with it, and told to the model in each of its calls.
TOOLS_BYTES = 64 * 1024


class PageTool(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A tool of the page: it is told the call's arguments, and answers with what it gives. `parameters` is a
    JSON Schema of an object."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    description: Annotated[str, Meta(max_length=10_000)] = ""
    parameters: dict[str, Any] = {}
    title: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


PageTools = Annotated[list[PageTool], Meta(max_length=MOST_PAGE_TOOLS)]


def brought(tools: Sequence[PageTool] | None) -> list[dict[str, Any]] | None:
    """A question's tools as they are stored; None where it brings none. Raises ValidationFailed."""
    if not tools:
        return None
    if len({tool.name for tool in tools}) < len(tools):
        raise ValidationFailed("two have the same name", field="tools")
    for place, tool in enumerate(tools):
        if tool.parameters.get("type", "object") != "object":
            raise ValidationFailed("a JSON Schema of an object", field=f"tools[{place}].parameters")
    if len(msgspec.json.encode(tools)) > TOOLS_BYTES:
        raise ValidationFailed(f"at most {TOOLS_BYTES} bytes", field="tools")
    made: list[dict[str, Any]] = msgspec.to_builtins(tools)
    return made


def as_tools(stored: Sequence[dict[str, Any]]) -> list[PageTool]:
    return msgspec.convert(stored, list[PageTool])
