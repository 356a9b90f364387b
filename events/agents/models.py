"""The model of an agent whose config names none: the first that its server lists. Knows no answer."""

import asyncio
import re
import time

import httpcore
import msgspec
from msgspec import Struct

from events.agents import chat
from events.agents.base import AnswerFailed
from events.agents.config import OpenAIConfig
from events.agents.upstreams import UpstreamOrigin, split

#: Seconds for which a list holds: another model may be loaded, and a list costs each question a request.
HOLDS = 300.0
#: Seconds for the list, and its bytes: routers list some hundred models with 2 KiB of words each.
WITHIN = 10.0
MOST_BYTES = 2 * 1024 * 1024
#: Servers whose model is kept.
MOST_SERVERS = 1000

#: Names of models that write no answers, as servers list them beside the others.
_OTHERS = re.compile(
    r"embed|rerank|whisper|tts|transcri|moderation|dall-e|image|audio|realtime|bge-|minilm", re.IGNORECASE
)


class _ListedModel(Struct):
    id: str


class _ModelList(Struct):
    data: list[_ListedModel]


class ListedModels:
    """What servers listed, by their address."""

    def __init__(self) -> None:
        self._known: dict[tuple[UpstreamOrigin, str], tuple[str, float]] = {}

    async def first(self, pool: httpcore.AsyncConnectionPool, config: OpenAIConfig, call: chat.Call) -> str:
        """`call`: as the model is asked there. Raises AnswerFailed."""
        origin, target = split(config.base_url, "/models")
        model, until = self._known.get((origin, target), ("", 0.0))
        now = time.monotonic()
        if now < until:
            return model
        headers = {**call.headers, "Accept": "application/json"}
        asked = chat.Call(origin, target, headers, b"", call.reader, "GET")
        body = await chat.whole(pool, asked, WITHIN, MOST_BYTES)
        model = await asyncio.to_thread(_chosen, body)
        if len(self._known) >= MOST_SERVERS:
            self._known.clear()
        self._known[origin, target] = (model, now + HOLDS)
        return model


def _chosen(body: bytes) -> str:
    try:
        names = [model.id for model in msgspec.json.decode(body, type=_ModelList).data]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _none(f"its list of models cannot be read: {error}") from error
    fitting = [name for name in names if 0 < len(name) <= 200]
    for name in fitting:
        if not _OTHERS.search(name):
            return name
    if not fitting:
        raise _none("it lists no models")
    return fitting[0]


def _none(detail: str) -> AnswerFailed:
    text = "the upstream names no model, and the agent's config has none"
    return AnswerFailed("AGENT_UNAVAILABLE", text, detail=detail)
