"""Agents behind any OpenAI-compatible URL: who may be asked, with which key, over which connections.

Knows nothing of streams. The upstream may be hostile: `events/agents/chat.py` reads what it sends, within
bounds.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpcore
import httpx
import msgspec

from events.agents.api import ModelAPI
from events.agents.attachments import Attached, ModelFiles
from events.agents.base import Agent, AnswerFailed, Request
from events.agents.chat import AnswerBounds, Call
from events.agents.chatapi import ChatCompletions
from events.agents.config import OpenAIConfig, checked
from events.agents.deltas import Delta
from events.agents.lessons import Learnt
from events.agents.modelcall import ModelCall
from events.agents.modelcaller import ModelCaller, ModelEndpoint
from events.agents.models import ListedModels
from events.agents.network import CheckedNetwork
from events.agents.responsesapi import Responses
from events.agents.resuming import Upstream
from events.agents.toolbox import Toolbox
from events.agents.toolcommands import ToolCommands
from events.agents.toolloop import conversed, while_waiting
from events.agents.toolsessions import ToolSessions
from events.agents.upstreams import Refused, Upstreams, split
from events.tasks import Tasks

#: How an upstream is asked, by the config's `api`.
APIS: dict[str, ModelAPI] = {"chat": ChatCompletions(), "responses": Responses()}

log = logging.getLogger("parley.agents.openai")


class OpenAI(Agent):
    """Answers for the agents of this kind, and keeps their connections and their sessions with servers of
    tools. `key_of` gives a variable's value; `first_wait`, in seconds, comes before the second try and is
    doubled for the third. Without `upstreams` every address may be asked, with every key; without `commands`
    no program is run, and until it takes files these are told by their name."""

    def __init__(
        self,
        key_of: Callable[[str], str | None],
        first_wait: float = 0.5,
        upstreams: Upstreams | None = None,
        bounds: AnswerBounds | None = None,
        commands: ToolCommands | None = None,
    ) -> None:
        self._key_of, self._first_wait = key_of, first_wait
        self._upstreams, self._bounds = upstreams, bounds or AnswerBounds()
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._learnt, self._models = Learnt(), ListedModels()
        self._tools = ToolSessions(key_of, self._connections, upstreams, commands or ToolCommands())
        self._attachments: ModelFiles | None = None
        self._later = Tasks("requests to upstreams")

    def take_files(self, files: ModelFiles) -> None:
        self._attachments = files

    def check(self, config: dict[str, Any]) -> None:
        """As `checked`, and by the settings. Raises ValueError."""
        made = checked(config)
        if self._upstreams is not None:
            self._upstreams.check(split(made.base_url)[0], made.api_key_env)
        if self._attachments is not None:
            self._attachments.check(made)
        for number, server in enumerate(made.tools):
            try:
                self._tools.check(server)
            except ValueError as error:
                raise ValueError(f"tools[{number}]: {error}") from error

    async def answer(self, request: Request) -> AsyncIterator[Delta]:
        try:
            config = checked(request.agent.config)
            api = APIS[config.api]
            endpoint = self._endpoint(config, api)
        except msgspec.ValidationError as error:
            log.warning("agent %s: its config is not valid: %s", request.agent.id, error)
            raise AnswerFailed("AGENT_UNAVAILABLE", "the agent's config is not valid") from error
        except AnswerFailed as failure:
            log.warning("agent %s: %s", request.agent.id, failure.detail)
            raise
        pool = await self._connections()
        if (model := config.model) is None:
            listing = Call(endpoint.origin, endpoint.target, endpoint.headers, b"", api.reader(config))
            model = await self._models.first(pool, config, listing)
            config = msgspec.structs.replace(config, model=model)
        caller = ModelCaller(
            Upstream(pool, self._bounds, self._later, self._first_wait),
            endpoint,
            api,
            self._learnt.of((endpoint.origin, endpoint.target, model)),
            until=asyncio.get_running_loop().time() + self._bounds.seconds,
            first_wait=self._first_wait,
        )
        scope, user = request.session_id, request.message.sender_id
        box = Toolbox(self._tools, config.tool_limits, scope, config.page_tools, user)
        if config.tools:
            async with aclosing(while_waiting(box.fill(config.tools))) as signs:
                async for sign in signs:
                    yield sign
        if request.tools:
            box.bring(request.tools)
        attached: Attached = {}
        try:
            async with aclosing(self._gathered(request, config, attached)) as signs:
                async for sign in signs:
                    yield sign
            call = ModelCall(request, config, tools=box.offered, note=_note(box.missing), attached=attached)
            async with aclosing(conversed(caller, call, box, config.tool_limits.rounds)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            if self._attachments is not None:
                self._attachments.drop(request, attached)

    async def _gathered(
        self, request: Request, config: OpenAIConfig, attached: Attached
    ) -> AsyncGenerator[str, None]:
        if self._attachments is None or not self._attachments.wanted(request, config):
            return
        async with aclosing(while_waiting(self._attachments.gather(request, config, attached))) as signs:
            async for sign in signs:
                yield sign

    async def _connections(self) -> httpcore.AsyncConnectionPool:
        """No redirects, no unpacking, no proxies of the environment: httpcore knows none of them."""
        if self._pool is None:
            # Hundreds of certificates are parsed: not on the event loop.
            tls: ssl.SSLContext = await asyncio.to_thread(httpx.create_ssl_context)
            if self._pool is None:
                self._pool = httpcore.AsyncConnectionPool(
                    ssl_context=tls,
                    max_connections=None,  # one upstream that keeps silent takes none of another's
                    max_keepalive_connections=100,
                    keepalive_expiry=60.0,
                    network_backend=CheckedNetwork(self._upstreams.admits if self._upstreams else _anywhere),
                )
        return self._pool

    def _endpoint(self, config: OpenAIConfig, api: ModelAPI) -> ModelEndpoint:
        """Raises AnswerFailed where the settings do not allow it, or have no key."""
        origin, target = split(config.base_url, api.path)
        try:
            if self._upstreams is not None:
                self._upstreams.check(origin, config.api_key_env)
        except Refused as error:
            raise _unavailable("the agent's upstream is not allowed", str(error)) from error
        return ModelEndpoint(origin, target, {**(config.extra_headers or {}), **self._key(config)})

    def _key(self, config: OpenAIConfig) -> dict[str, str]:
        """The header with the key. Raises AnswerFailed."""
        key = "none"  # servers of one's own mostly take any
        if config.api_key_env is not None:
            key = (self._key_of(config.api_key_env) or "").strip()
            if not key or not key.isascii() or not key.isprintable():
                name = config.api_key_env
                raise _unavailable("the agent's key is not set on the server", f"{name} has no key")
        if config.api_key_header is not None:
            return {config.api_key_header: key}
        return {"Authorization": f"Bearer {key}"}

    async def close(self) -> None:
        await self._tools.close()
        await self._later.drain()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()


def _note(missing: list[str]) -> str:
    if not missing:
        return ""
    return f"The tools of {', '.join(sorted(set(missing)))} cannot be reached at the moment."


def _anywhere(*_: Any) -> bool:
    return True


def _unavailable(text: str, detail: str) -> AnswerFailed:
    return AnswerFailed("AGENT_UNAVAILABLE", text, detail=detail)
