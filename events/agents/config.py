"""`config` of an `openai` agent: how its upstream is asked. Knows no HTTP."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from events.agents.headers import FRAMING, KEYS, check_header
from events.agents.thinking import Thinking
from events.agents.toolconfig import (
    MOST_SERVERS,
    AgentPageTool,
    KeyName,
    ToolLimits,
    ToolServer,
    check_tools,
)
from events.agents.upstreams import split
from events.pagetools import MOST_PAGE_TOOLS

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Tokens = Annotated[int, Meta(ge=1)]

#: Of `extra_body`: on these the reading of the answer depends, or they have a field of their own.
OWN_FIELDS = {
    "chat": frozenset(("model", "messages", "stream", "stream_options", "n")),
    "responses": frozenset(("model", "input", "stream", "background")),
}
#: What only a response can be asked for.
RESPONSES_ALONE = ("reasoning_summary", "background")


class OpenAIConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """Times in seconds; `context_tokens` bounds what the model is told of the past. Without `model` it is the
    first that the server lists.

    `first_token_timeout` runs until something of the answer comes, `timeout` from each event to the next.
    `api_key_env` names the environment variable with the key; only names that end in API_KEY, so that no
    other secret of the process can be sent away. Without it no key is needed.
    """

    base_url: Annotated[str, Meta(pattern=r"^https?://", max_length=2000)]
    model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    api: Literal["chat", "responses"] = "chat"
    api_key_env: KeyName | None = None
    api_key_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,100}\Z")] | None = None
    system_prompt: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    reasoning_effort: Annotated[str, Meta(min_length=1, max_length=50)] | None = None
    reasoning_summary: Annotated[str, Meta(min_length=1, max_length=50)] | None = None
    response_format: dict[str, Any] | None = None
    extra_body: dict[str, Any] | None = None
    extra_headers: dict[str, str] | None = None
    stream_options: bool = True
    background: bool = False
    context_tokens: Tokens = 8000
    context_window: Tokens | None = None
    turns: Literal["auto", "alternate", "as_is"] = "auto"
    names: Literal["auto", "field", "off"] = "auto"
    thinking: Thinking = "off"
    files: Literal["inline", "address", "name"] = "inline"
    max_files: Annotated[int, Meta(ge=0, le=20)] = 4
    image_side: Annotated[int, Meta(ge=64, le=2048)] = 1024
    pdf: bool = False
    tools: Annotated[list[ToolServer], Meta(max_length=MOST_SERVERS)] = []
    page_tools: Annotated[list[AgentPageTool], Meta(max_length=MOST_PAGE_TOOLS)] = []
    tool_limits: ToolLimits = ToolLimits()
    first_token_timeout: Seconds = 60.0
    timeout: Seconds = 60.0

    @property
    def output_tokens(self) -> int | None:
        """What the answer may have, if that is set."""
        return self.max_completion_tokens or self.max_tokens


def checked(config: dict[str, Any]) -> OpenAIConfig:
    """Raises msgspec.ValidationError."""
    made = msgspec.convert(config, OpenAIConfig)
    try:
        split(made.base_url)
    except ValueError as error:
        raise msgspec.ValidationError(f"base_url: {error}") from error
    if made.max_tokens is not None and made.max_completion_tokens is not None:
        raise msgspec.ValidationError("max_tokens, max_completion_tokens: only one of them")
    if made.api == "chat":
        for name in RESPONSES_ALONE:
            if getattr(made, name):
                raise msgspec.ValidationError(f'{name}: with api: "responses" alone')
    taken = OWN_FIELDS[made.api] & (made.extra_body or {}).keys()
    if taken:
        raise msgspec.ValidationError(f"extra_body: {', '.join(sorted(taken))} cannot be set there")
    for_key = (made.api_key_header or "authorization").lower()
    if for_key in FRAMING:
        raise msgspec.ValidationError(f"api_key_header: {for_key} cannot carry a key")
    for name, value in (made.extra_headers or {}).items():
        try:
            check_header(name, value, FRAMING | KEYS | {for_key})
        except ValueError as error:
            raise msgspec.ValidationError(f"extra_headers: {error}") from error
    check_tools(made.tools, made.page_tools)
    return made
