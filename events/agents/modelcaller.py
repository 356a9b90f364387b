"""Asks a model until there is an answer, or no sense in another try. Knows what a refusal teaches; nothing of
streams, tools or any API's format."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import msgspec
from msgspec import Struct

from events.agents import chat, failures
from events.agents.api import ModelAPI
from events.agents.attachments import Attached, Attachment
from events.agents.base import AnswerFailed
from events.agents.deltas import Citation, Delta, Finish, StartOver, Told, ToolInput
from events.agents.faults import Kind
from events.agents.lessons import Lessons, Sent
from events.agents.modelcall import ModelCall
from events.agents.prompt import Prompt
from events.agents.resuming import Upstream
from events.agents.room import fitted
from events.agents.upstreams import UpstreamOrigin

#: Tries of a request, as long as nothing of its answer has come.
TRIES = 3

log = logging.getLogger("parley.agents.openai")


class ModelEndpoint(Struct, frozen=True):
    """Where a model is asked. `headers`: the key, and what the agent's config adds."""

    origin: UpstreamOrigin
    target: str
    headers: dict[str, str]


class ModelCaller:
    """The model calls of one answer. `until` is the loop's time at which the answer ends at the latest;
    `first_wait`, in seconds, comes before the second try and is doubled for the third."""

    def __init__(
        self,
        upstream: Upstream,
        endpoint: ModelEndpoint,
        api: ModelAPI,
        lessons: Lessons,
        *,
        until: float,
        first_wait: float,
    ) -> None:
        self._upstream, self._endpoint, self._api, self._lessons = upstream, endpoint, api, lessons
        self._until, self._first_wait = until, first_wait

    async def ask(self, call: ModelCall) -> AsyncGenerator[Delta, None]:
        """What the model says. Raises AnswerFailed."""
        agent, config, lessons = call.request.agent.id, call.config, self._lessons
        time = asyncio.get_running_loop().time
        failed = cuts = 0
        while True:
            begun = False
            manner = lessons.manner(config, cuts)
            within = fitted(call, manner)
            prompt = within.whole(self._api.prompt(within.call, within.left(manner)))
            sent = Sent(prompt, lessons.ways, cuts)
            try:
                async with aclosing(self._try(within.call, prompt)) as pieces:
                    async for piece in pieces:
                        begun = begun or _is_shown(piece)
                        yield piece
                lessons.fitted(sent)
                return
            except AnswerFailed as failure:
                log.info("agent %s, try %d: %s", agent, failed + cuts + 1, failure.detail or failure)
                if not begun and failure.fault and lessons.learn(failure.fault, config, sent):
                    cuts += failure.fault.kind is Kind.CONTEXT
                    yield StartOver()
                    continue
                if not begun and call.attached and prompt.files and _may_be_of_files(failure):
                    call = msgspec.structs.replace(call, attached=_texts(call.attached))
                    yield StartOver()
                    continue
                failed += 1
                if begun or failure.retry_after is None or failed == TRIES:
                    raise
                wait = max(failure.retry_after, self._first_wait * 2 ** (failed - 1))
                if time() + wait > self._until:
                    raise
            yield StartOver()
            yield ""  # still at it
            await asyncio.sleep(wait)

    async def _try(self, call: ModelCall, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        config, at = call.config, self._endpoint
        body = await self._body(call, prompt)
        sent = chat.Call(at.origin, at.target, at.headers, body, self._api.reader(config))
        timeouts = chat.Timeouts(config.first_token_timeout, config.timeout, self._until)
        told: Told | None = Told(prompt.tokens)
        spoken, finish = any(turn.text.strip() for turn in call.turns), Finish("stop")
        async with aclosing(self._upstream.ask(sent, timeouts)) as pieces:
            async for piece in pieces:
                if told is not None and piece != "":
                    yield told
                    told = None
                spoken = spoken or (isinstance(piece, str) and not piece.isspace() and piece != "")
                if isinstance(piece, ToolInput) and not piece.by_provider:
                    spoken = spoken or (bool(call.tools) and call.may_call)
                if isinstance(piece, Finish):
                    finish = piece
                yield piece
        if not spoken:
            raise failures.empty(finish.reason)
        if finish.reason == "error":
            raise failures.stopped()

    async def _body(self, call: ModelCall, prompt: Prompt) -> bytes:
        if prompt.files:
            # Pictures are megabytes of text: not on the event loop.
            return await asyncio.to_thread(self._api.body, call, self._lessons, prompt)
        return self._api.body(call, self._lessons, prompt)


def _may_be_of_files(failure: AnswerFailed) -> bool:
    """A refusal whose words nobody knows: one file that a model cannot read must not end a session."""
    return failure.fault is not None and failure.fault.kind is Kind.OTHER


def _texts(attached: Mapping[str, Attachment]) -> Attached:
    return {key: each for key, each in attached.items() if each.kind == "text"}


def _is_shown(piece: Delta) -> bool:
    """Whether people have seen it, so that another try would show it twice. Reasoning is taken back."""
    if isinstance(piece, str):
        return piece != ""
    return isinstance(piece, ToolInput | Citation)
