"""Agents behind any OpenAI-compatible chat-completions URL.

Knows the upstream's faults and the error that each becomes; nothing of streams. The upstream may be hostile:
`events/agents/chat.py` reads what it sends, within bounds.
"""

import asyncio
import logging
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import httpcore
import httpx
import msgspec
from msgspec import Meta, Struct

from events.agents import chat
from events.agents.base import Agent, AnswerFailed, Request, Usage
from events.agents.chat import AnswerBounds, Call
from events.agents.network import CheckedNetwork
from events.agents.upstreams import Refused, Upstreams, split
from events.schema import Message

#: Tries of a request, as long as nothing of its answer has come.
TRIES = 3
#: Bytes of UTF-8 per token, about, and tokens that a message costs in addition to its text.
BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4

ROLES = {"user": "user", "agent": "assistant", "system": "system"}

log = logging.getLogger("parley.agents.openai")

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class OpenAIConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """`config` of an `openai` agent. Times in seconds; `context_tokens` bounds what it is told of the past.

    `first_token_timeout` runs until something of the answer comes, `timeout` from each event to the next.
    `api_key_env` names the environment variable with the key; only names that end in API_KEY, so that no
    other secret of the process can be sent away. Without it no key is needed.
    """

    base_url: Annotated[str, Meta(pattern=r"^https?://", max_length=2000)]
    model: Annotated[str, Meta(min_length=1, max_length=200)]
    api_key_env: Annotated[str, Meta(pattern=r"^[A-Z0-9_]*API_KEY\Z", max_length=100)] | None = None
    system_prompt: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    context_tokens: Annotated[int, Meta(ge=1)] = 8000
    first_token_timeout: Seconds = 60.0
    timeout: Seconds = 60.0


def checked(config: dict[str, Any]) -> OpenAIConfig:
    """Raises msgspec.ValidationError."""
    made = msgspec.convert(config, OpenAIConfig)
    try:
        split(made.base_url)
    except ValueError as error:
        raise msgspec.ValidationError(f"base_url: {error}") from error
    return made


def conversation(request: Request, config: OpenAIConfig) -> list[dict[str, str]]:
    """The system prompt, as much of the newest history as the budget allows, and the message itself."""
    asked = {"role": "user", "content": request.message.content or ""}
    system = [{"role": "system", "content": config.system_prompt}] if config.system_prompt else []
    left = config.context_tokens - sum(_tokens(m["content"]) for m in (*system, asked))
    return [*system, *reversed(_newest(request.history, left)), asked]


def _newest(history: Sequence[Message], budget: int) -> list[dict[str, str]]:
    chosen = []
    for said in reversed(history):
        content = said.content or ""
        budget -= _tokens(content)
        if budget < 0:
            break
        chosen.append({"role": ROLES[said.sender_type], "content": content})
    return chosen


def _tokens(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE


class OpenAI(Agent):
    """Answers for the agents of this kind, and keeps their connections. `key_of` gives a variable's value;
    `first_wait`, in seconds, comes before the second try and is doubled for the third. Without `upstreams`
    every address may be asked, with every key."""

    def __init__(
        self,
        key_of: Callable[[str], str | None],
        first_wait: float = 0.5,
        upstreams: Upstreams | None = None,
        bounds: AnswerBounds | None = None,
    ) -> None:
        self._key_of, self._first_wait = key_of, first_wait
        self._upstreams, self._bounds = upstreams, bounds or AnswerBounds()
        self._pool: httpcore.AsyncConnectionPool | None = None

    def check(self, config: dict[str, Any]) -> None:
        """As `checked`, and by the settings. Raises ValueError."""
        made = checked(config)
        if self._upstreams is not None:
            self._upstreams.check(split(made.base_url)[0], made.api_key_env)

    async def answer(self, request: Request) -> AsyncIterator[str | Usage]:
        agent = request.agent.id
        until = asyncio.get_running_loop().time() + self._bounds.seconds
        try:
            config = checked(request.agent.config)
            call = self._call(config, conversation(request, config))
        except msgspec.ValidationError as error:
            log.warning("agent %s: its config is not valid: %s", agent, error)
            raise AnswerFailed("AGENT_UNAVAILABLE", "the agent's config is not valid") from error
        except AnswerFailed as failure:
            log.warning("agent %s: %s", agent, failure.detail)
            raise
        for attempt in range(TRIES):
            begun = False
            try:
                async with aclosing(self._try(call, config, until)) as pieces:
                    async for piece in pieces:
                        begun = begun or bool(piece)
                        yield piece
                return
            except AnswerFailed as failure:
                log.info("agent %s, try %d: %s", agent, attempt + 1, failure.detail or failure)
                if begun or failure.retry_after is None or attempt + 1 == TRIES:
                    raise
                wait = max(failure.retry_after, self._first_wait * 2**attempt)
            yield ""  # still at it
            await asyncio.sleep(wait)

    async def _try(self, call: Call, config: OpenAIConfig, until: float) -> AsyncGenerator[str | Usage, None]:
        timeouts = chat.Timeouts(config.first_token_timeout, config.timeout, until)
        async with aclosing(chat.ask(await self._connections(), call, timeouts, self._bounds)) as pieces:
            async for piece in pieces:
                yield piece

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

    def _call(self, config: OpenAIConfig, messages: list[dict[str, str]]) -> Call:
        """What is to be sent, and where. Raises AnswerFailed where the settings do not allow it."""
        origin, target = split(config.base_url)
        try:
            if self._upstreams is not None:
                self._upstreams.check(origin, config.api_key_env)
        except Refused as error:
            raise _unavailable("the agent's upstream is not allowed", str(error)) from error
        optional = {"temperature": config.temperature, "max_tokens": config.max_tokens}
        body = {
            "model": config.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in optional.items() if value is not None},
        }
        return Call(origin, target, self._key(config), msgspec.json.encode(body))

    def _key(self, config: OpenAIConfig) -> str:
        if config.api_key_env is None:
            return "none"  # servers of one's own mostly take any
        key = (self._key_of(config.api_key_env) or "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise _unavailable("the agent's key is not set on the server", f"{config.api_key_env} has no key")
        return key

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()


def _anywhere(*_: Any) -> bool:
    return True


def _unavailable(text: str, detail: str) -> AnswerFailed:
    return AnswerFailed("AGENT_UNAVAILABLE", text, detail=detail)
