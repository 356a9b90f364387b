"""Agents behind any OpenAI-compatible chat-completions URL.

Knows when another try may succeed, and what a refusal teaches; nothing of streams. The upstream may be
hostile: `events/agents/chat.py` reads what it sends, within bounds.
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

from events.agents import chat, failures
from events.agents.base import Agent, AnswerFailed, Request
from events.agents.chat import AnswerBounds, Call
from events.agents.config import OpenAIConfig, checked
from events.agents.deltas import Delta, Finish
from events.agents.faults import Kind
from events.agents.lessons import Learnt, Lessons, Sent
from events.agents.network import CheckedNetwork
from events.agents.prompt import Prompt, conversation
from events.agents.upstreams import Refused, UpstreamOrigin, Upstreams, split

#: Tries of a request, as long as nothing of its answer has come.
TRIES = 3

log = logging.getLogger("parley.agents.openai")


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
        self._learnt = Learnt()

    def check(self, config: dict[str, Any]) -> None:
        """As `checked`, and by the settings. Raises ValueError."""
        made = checked(config)
        if self._upstreams is not None:
            self._upstreams.check(split(made.base_url)[0], made.api_key_env)

    async def answer(self, request: Request) -> AsyncIterator[Delta]:
        try:
            config = checked(request.agent.config)
            origin, target = self._place(config)
            key = self._key(config)
        except msgspec.ValidationError as error:
            log.warning("agent %s: its config is not valid: %s", request.agent.id, error)
            raise AnswerFailed("AGENT_UNAVAILABLE", "the agent's config is not valid") from error
        except AnswerFailed as failure:
            log.warning("agent %s: %s", request.agent.id, failure.detail)
            raise
        headers = {**(config.extra_headers or {}), **key}
        lessons = self._learnt.of((origin, target, config.model))

        def call(prompt: Prompt) -> Call:
            return Call(origin, target, headers, _body(config, lessons, prompt), config.thinking)

        async with aclosing(self._tries(request, config, lessons, call)) as pieces:
            async for piece in pieces:
                yield piece

    async def _tries(
        self, request: Request, config: OpenAIConfig, lessons: Lessons, call: Callable[[Prompt], Call]
    ) -> AsyncGenerator[Delta, None]:
        """Asks until there is an answer, or no sense in another try."""
        agent, loop = request.agent.id, asyncio.get_running_loop()
        until = loop.time() + self._bounds.seconds
        failed = cuts = 0
        while True:
            begun = False
            prompt = conversation(request, config, lessons.manner(config, cuts))
            sent = Sent(prompt, lessons.ways, cuts)
            try:
                async with aclosing(self._try(call(prompt), config, until)) as pieces:
                    async for piece in pieces:
                        begun = begun or (isinstance(piece, str) and piece != "")
                        yield piece
                lessons.fitted(sent)
                return
            except AnswerFailed as failure:
                log.info("agent %s, try %d: %s", agent, failed + cuts + 1, failure.detail or failure)
                if not begun and failure.fault and lessons.learn(failure.fault, config, sent):
                    cuts += failure.fault.kind is Kind.CONTEXT
                    continue
                failed += 1
                if begun or failure.retry_after is None or failed == TRIES:
                    raise
                wait = max(failure.retry_after, self._first_wait * 2 ** (failed - 1))
                if loop.time() + wait > until:
                    raise
            yield ""  # still at it
            await asyncio.sleep(wait)

    async def _try(self, call: Call, config: OpenAIConfig, until: float) -> AsyncGenerator[Delta, None]:
        timeouts = chat.Timeouts(config.first_token_timeout, config.timeout, until)
        spoken, finish = False, Finish("stop")
        async with aclosing(chat.ask(await self._connections(), call, timeouts, self._bounds)) as pieces:
            async for piece in pieces:
                spoken = spoken or (isinstance(piece, str) and not piece.isspace() and piece != "")
                if isinstance(piece, Finish):
                    finish = piece
                yield piece
        if not spoken:
            raise failures.empty(finish.reason)
        if finish.reason == "error":
            raise failures.stopped()

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

    def _place(self, config: OpenAIConfig) -> tuple[UpstreamOrigin, str]:
        """Who is asked, and where. Raises AnswerFailed where the settings do not allow it."""
        origin, target = split(config.base_url)
        try:
            if self._upstreams is not None:
                self._upstreams.check(origin, config.api_key_env)
        except Refused as error:
            raise _unavailable("the agent's upstream is not allowed", str(error)) from error
        return origin, target

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
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()


def _body(config: OpenAIConfig, lessons: Lessons, prompt: Prompt) -> bytes:
    limit = "max_tokens" if lessons.max_tokens else "max_completion_tokens"
    optional = {
        "stream_options": {"include_usage": True}
        if config.stream_options and lessons.stream_options
        else None,
        "temperature": config.temperature,
        limit: config.max_tokens,
        "reasoning_effort": config.reasoning_effort,
        "response_format": config.response_format,
    }
    if config.max_completion_tokens is not None:
        optional["max_completion_tokens"] = config.max_completion_tokens
    given = {name: value for name, value in optional.items() if value is not None}
    body = {"model": config.model, "messages": prompt.messages, "stream": True, **given}
    return msgspec.json.encode(body | (config.extra_body or {}))


def _anywhere(*_: Any) -> bool:
    return True


def _unavailable(text: str, detail: str) -> AnswerFailed:
    return AnswerFailed("AGENT_UNAVAILABLE", text, detail=detail)
