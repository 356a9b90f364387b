"""`tools` of an agent's config: which MCP servers it may use, and how far. Knows no MCP and no settings."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from events.agents.headers import FRAMING, KEYS, check_header
from events.agents.upstreams import split
from events.pagetools import PageTool

#: A variable whose value may be sent away: no other secret of the process has such a name.
KeyName = Annotated[str, Meta(pattern=r"^[A-Z0-9_]*API_KEY\Z", max_length=100)]
_Word = Annotated[str, Meta(max_length=1000, pattern=r"^[^\0]*\Z")]
_Seconds = Annotated[float, Meta(gt=0, le=3600)]
#: Thirty days: who has not answered by then will not.
_Patience = Annotated[float, Meta(gt=0, le=30 * 24 * 3600)]

#: Servers of one agent: each may be a connection, or a process.
MOST_SERVERS = 16
#: Headers that are the protocol's own.
_PROTOCOL = frozenset(["mcp-session-id", "mcp-protocol-version", "last-event-id"])


class VariableHeader(Struct, forbid_unknown_fields=True):
    """A header's value: that of the variable `env`, after `prefix`."""

    env: KeyName
    prefix: Annotated[str, Meta(max_length=100)] = ""


class ToolServer(Struct, kw_only=True, forbid_unknown_fields=True):
    """An MCP server: a `url` (streamable HTTP), or a `command` that the settings allow (stdio).

    `allow`: those of its tools that may be called; without it all. `timeout` in seconds, for a call.
    `name` comes before the names of its tools. `own_session`: each chat session has one of its own with the
    server, where it keeps something between calls. `approval`: of which of its tools a person has to allow
    each call; names as the server gives them.
    """

    url: Annotated[str, Meta(pattern=r"^https?://", max_length=2000)] | None = None
    headers: dict[str, str | VariableHeader] = {}
    command: Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\0]*\Z")] | None = None
    args: Annotated[list[_Word], Meta(max_length=100)] = []
    env: Annotated[list[KeyName], Meta(max_length=20)] = []
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,30}\Z")] | None = None
    allow: Annotated[list[str], Meta(max_length=1000)] | None = None
    timeout: _Seconds = 60.0
    own_session: bool = False
    approval: Literal["always", "never"] | Annotated[list[str], Meta(max_length=1000)] = "never"

    def asks(self, name: str) -> bool:
        """Whether somebody has to allow a call of this one of its tools."""
        return self.approval == "always" or (isinstance(self.approval, list) and name in self.approval)

    @property
    def place(self) -> str:
        """For the log and for people: where it is, without anything that may be a secret."""
        if self.url is None:
            return self.command or ""
        origin = split(self.url)[0]
        return f"{origin.host}:{origin.port}"


class AgentPageTool(PageTool, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One that all of an agent's questions have."""


class ToolLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`rounds`: model calls of one answer after which tools may run; `seconds`: for all its tool calls.
    `output_bytes` of one result, `total_bytes` of all: both fit a stream of STREAM_MAX_SIZE.
    `tools` and `description_bytes`: what a model is offered, names and schemas included. `answer_seconds`:
    for what people are asked; without it, for as long as the session lives."""

    rounds: Annotated[int, Meta(ge=1, le=100)] = 10
    calls: Annotated[int, Meta(ge=1, le=500)] = 64
    parallel: Annotated[int, Meta(ge=1, le=64)] = 8
    seconds: _Seconds = 600.0
    output_bytes: Annotated[int, Meta(ge=256, le=1024 * 1024)] = 32 * 1024
    total_bytes: Annotated[int, Meta(ge=256, le=16 * 1024 * 1024)] = 96 * 1024
    tools: Annotated[int, Meta(ge=1, le=1000)] = 128
    description_bytes: Annotated[int, Meta(ge=256, le=1024 * 1024)] = 64 * 1024
    answer_seconds: _Patience | None = None


def check_tools(servers: list[ToolServer], of_page: list[AgentPageTool]) -> None:
    """Raises msgspec.ValidationError."""
    if len({tool.name for tool in of_page}) < len(of_page):
        raise msgspec.ValidationError("page_tools: two have the same name")
    for number, server in enumerate(servers):
        try:
            _check(server)
        except ValueError as error:
            raise msgspec.ValidationError(f"tools[{number}]: {error}") from error
    names = [server.name for server in servers if server.name is not None]
    if len(set(names)) < len(names):
        raise msgspec.ValidationError("tools: two servers have the same name")


def _check(server: ToolServer) -> None:
    if (server.url is None) == (server.command is None):
        raise ValueError("needs either url or command")
    if server.url is None:
        if server.headers:
            raise ValueError("headers belong to a url")
        return
    if server.args or server.env:
        raise ValueError("args and env belong to a command")
    try:
        split(server.url)
    except ValueError as error:
        raise ValueError(f"url: {error}") from error
    for name, value in server.headers.items():
        if isinstance(value, str) and name.lower() in KEYS:
            raise ValueError(f'headers: {name.lower()} has a key: {{"env": "…_API_KEY"}} names its variable')
        try:
            check_header(name, value if isinstance(value, str) else value.prefix, FRAMING | _PROTOCOL)
        except ValueError as error:
            raise ValueError(f"headers: {error}") from error
