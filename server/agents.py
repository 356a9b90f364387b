"""The kinds of agents that answer on this node, and which agents the settings give. Knows no route."""

import logging
import os
from collections.abc import Callable, Mapping

from events.agents.attachments import ModelFiles
from events.agents.base import Agent
from events.agents.echo import Echo
from events.agents.openai import OpenAI
from events.agents.replies import REMOTE
from events.agents.toolcommands import ToolCommands
from events.agents.upstreams import Upstreams, split
from server.config import Settings
from server.config_rules import is_loopback
from storage.agents import Agents

#: The environment variable with the key of agent 2; its value may also come from `.env`.
OPENAI_KEY = "OPENAI_API_KEY"

log = logging.getLogger("parley.node")


def _echo(settings: Settings) -> Agent:
    return Echo(chunk_size=settings.stream_chunk_size, delay=settings.stream_delay_ms / 1000)


def _openai(settings: Settings) -> Agent:
    def key_of(name: str) -> str | None:
        return settings.openai_api_key if name == OPENAI_KEY else os.environ.get(name)

    commands = ToolCommands(settings.tool_commands)
    return OpenAI(key_of, upstreams=upstreams_of(settings), commands=commands)


#: A new kind is a line here, and a file in `events/agents/`.
KINDS: dict[str, Callable[[Settings], Agent]] = {
    "echo": _echo,
    "openai": _openai,
}
#: What `kind` of an agent may be.
NAMES = (*KINDS, REMOTE)


def kinds_of(settings: Settings, files: ModelFiles) -> dict[str, Agent]:
    kinds = {name: make(settings) for name, make in KINDS.items()}
    for kind in kinds.values():
        if isinstance(kind, OpenAI):
            kind.take_files(files)
    return kinds


def upstreams_of(settings: Settings) -> Upstreams:
    """The operator's own, those of UPSTREAM_HOSTS, and this machine's while the node serves it alone."""
    own = (split(settings.openai_base_url)[0], OPENAI_KEY) if settings.openai_base_url else None
    return Upstreams(settings.upstream_hosts, own=own, loopback=is_loopback(settings.host))


async def ensure_given(agents: Agents, settings: Settings) -> None:
    """Agent 2 is the one that the settings describe; the address is enough."""
    if settings.openai_base_url:
        config = {"base_url": settings.openai_base_url}
        if settings.openai_model:
            config["model"] = settings.openai_model
        if settings.openai_api_key:
            config["api_key_env"] = OPENAI_KEY
        await agents.ensure(2, name=settings.openai_model or "Assistant", kind="openai", config=config)


async def warn_of_unable(agents: Agents, kinds: Mapping[str, Agent]) -> None:
    """The log names agents that were made under other settings now, not with their next answer."""
    for agent in await agents.list():
        kind = kinds.get(agent.kind)
        if kind is None or not agent.is_active:
            continue
        try:
            kind.check(agent.config)
        except ValueError as error:
            log.warning("agent %s cannot answer: %s", agent.id, error)
