"""Agents behind any OpenAI-compatible chat-completions URL, through the official client library (an extra).

Knows the upstream's faults and what each means to who waits for the answer; nothing of streams.
"""

import asyncio
import importlib
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from events.agents.base import AnswerFailed, Request, Usage
from events.schema import Message
from storage.records import AgentRecord

#: Tries of a request, as long as nothing of its answer has come.
TRIES = 3
#: Seconds that an upstream's Retry-After is heeded for; one that says more is tried again at our own pace.
LONGEST_WAIT = 10.0
#: Bytes of UTF-8 per token, about, and tokens that a message costs beside its text.
BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4

ROLES = {"user": "user", "agent": "assistant", "system": "system"}

log = logging.getLogger("parley.agents.openai")

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class Config(Struct, kw_only=True, forbid_unknown_fields=True):
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


def checked(config: dict[str, Any]) -> Config:
    """Raises msgspec.ValidationError."""
    return msgspec.convert(config, Config)


def conversation(request: Request, config: Config) -> list[dict[str, str]]:
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


class OpenAI:
    """Makes the agents of this kind, and keeps their connections. `key_of` gives a variable's value;
    `first_wait`, in seconds, comes before the second try and is doubled for the third."""

    def __init__(self, key_of: Callable[[str], str | None], first_wait: float = 0.5) -> None:
        self._key_of, self.first_wait = key_of, first_wait
        self._clients: dict[tuple[str, str], Any] = {}

    def agent(self, record: AgentRecord) -> "OpenAIAgent":
        return OpenAIAgent(self)

    async def client(self, config: Config) -> tuple[Any, Any]:
        """(the library, a client of it). Raises AnswerFailed."""
        try:
            # It takes its time to load: not on the event loop.
            library = await asyncio.to_thread(importlib.import_module, "openai")
        except ImportError as error:
            raise AnswerFailed(
                "AGENT_UNAVAILABLE", "the server was installed without its openai extra"
            ) from error
        key = "none"  # servers of one's own mostly take any
        if config.api_key_env is not None:
            found = self._key_of(config.api_key_env)
            if not found:
                raise AnswerFailed("AGENT_UNAVAILABLE", f"{config.api_key_env} is not set on the server")
            key = found
        client = self._clients.get((config.base_url, key))
        if client is None:
            # Its own retries would begin an answer anew without our knowing.
            make = library.AsyncOpenAI
            client = await asyncio.to_thread(make, base_url=config.base_url, api_key=key, max_retries=0)
            client = self._clients.setdefault((config.base_url, key), client)
        return library, client

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()


class OpenAIAgent:
    """Writes one answer."""

    def __init__(self, kind: OpenAI) -> None:
        self._kind = kind

    async def answer(self, request: Request) -> AsyncIterator[str | Usage]:
        try:
            config = checked(request.agent.config)
        except msgspec.ValidationError as error:
            raise AnswerFailed("AGENT_UNAVAILABLE", f"the agent's config is not valid: {error}") from error
        library, client = await self._kind.client(config)
        messages = conversation(request, config)
        for attempt in range(TRIES):
            begun = False
            try:
                async with aclosing(_stream(library, client, config, messages)) as pieces:
                    async for piece in pieces:
                        begun = begun or bool(piece)
                        yield piece
                return
            except AnswerFailed as failure:
                log.info("agent %s, try %d: %s", request.agent.id, attempt + 1, failure.detail or failure)
                if begun or failure.retry_after is None or attempt + 1 == TRIES:
                    raise
                wait = max(failure.retry_after, self._kind.first_wait * 2**attempt)
            yield ""  # still at it
            await asyncio.sleep(wait)


async def _stream(
    library: Any, client: Any, config: Config, messages: list[dict[str, str]]
) -> AsyncGenerator[str | Usage, None]:
    """One request's pieces; "" for an event without text (a model that thinks). Raises AnswerFailed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + config.first_token_timeout
    optional = {"temperature": config.temperature, "max_tokens": config.max_tokens}
    finished = False
    try:
        async with asyncio.timeout_at(deadline):
            stream = await client.chat.completions.create(
                model=config.model,
                messages=messages,
                stream=True,
                stream_options={"include_usage": True},
                # A little more than ours, which tells what was waited for.
                timeout=max(config.first_token_timeout, config.timeout) + 5,
                **{name: value for name, value in optional.items() if value is not None},
            )
        try:
            events = aiter(stream)
            while True:
                async with asyncio.timeout_at(deadline):
                    event = await anext(events, None)
                if event is None:
                    break
                text, ends, usage = _read(event)
                finished = finished or ends
                now = loop.time()
                deadline = now + config.timeout if text else max(deadline, now + config.timeout)
                yield text
                if usage is not None:
                    yield Usage(usage)
        finally:
            await stream.close()
    except Exception as error:
        raise _failure(library, error) from error
    if not finished:
        raise AnswerFailed(
            "UPSTREAM_ERROR", "the upstream stopped in the middle of its answer", retry_after=0
        )


def _read(event: Any) -> tuple[str, bool, int | None]:
    """(text, whether it is the last of it, tokens used). Whatever is not as it should be raises."""
    usage = event.usage.total_tokens if event.usage else None
    if not isinstance(usage, int | None) or (usage or 0) < 0:
        raise TypeError("usage is not a number")
    if not event.choices:
        return "", False, usage
    choice = event.choices[0]
    content = choice.delta.content if choice.delta else None
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise TypeError("content is not a string")
    # Neither can be stored: NUL, and halves of a surrogate pair.
    text = content if content.isascii() else content.encode("utf-8", "replace").decode()
    return text.replace("\0", ""), choice.finish_reason is not None, usage


def _failure(library: Any, error: Exception) -> AnswerFailed:
    """What an upstream's fault is called. Its own words may hold parts of the key: only the log has them."""
    detail = f"{type(error).__name__}: {error}"[:500]
    if isinstance(error, TimeoutError | library.APITimeoutError):
        return AnswerFailed("UPSTREAM_TIMEOUT", "the upstream took too long", retry_after=0, detail=detail)
    if isinstance(error, library.APIStatusError):
        status = error.status_code
        if status == 429:
            wait = _retry_after(error)
            text = "the upstream takes no more requests now"
            return AnswerFailed("UPSTREAM_RATE_LIMIT", text, retry_after=wait, detail=detail)
        if status in (401, 403):
            return AnswerFailed("UPSTREAM_UNAUTHORIZED", "the upstream refused the key", detail=detail)
        text = f"the upstream answered {status}"
        again = 0.0 if status >= 500 or status in (408, 409) else None
        return AnswerFailed("UPSTREAM_ERROR", text, retry_after=again, detail=detail)
    if isinstance(error, library.APIConnectionError):
        text = "the connection to the upstream failed"
        return AnswerFailed("UPSTREAM_ERROR", text, retry_after=0, detail=detail)
    return AnswerFailed("UPSTREAM_ERROR", "the upstream's answer is not valid", detail=detail)


def _retry_after(error: Any) -> float:
    """Seconds, as the upstream says (RFC 9110, section 10.2.3; dates are not looked at)."""
    try:
        wait = float(error.response.headers.get("retry-after", 0))
    except ValueError:
        return 0.0
    return wait if 0.0 < wait < LONGEST_WAIT else 0.0
