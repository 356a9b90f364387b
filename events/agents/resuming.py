"""A response that the upstream writes in the background: read on where its stream broke, and stopped when
nobody wants the rest. Any other answer is asked for once."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import quote

import httpcore

from events.agents import chat
from events.agents.api import Place
from events.agents.base import AnswerFailed
from events.agents.chat import AnswerBounds, Call, Timeouts
from events.agents.deltas import Delta
from events.tasks import Tasks

#: Times that a stream is asked for again and brings nothing.
TRIES = 3
#: Seconds for telling an upstream to stop.
STOPPING = 5.0

log = logging.getLogger("parley.agents.openai")


class Upstream:
    """How one answer's requests are made. `first_wait`, in seconds, comes before a broken stream is asked for
    again, and is doubled each time; `later` has what outlives the answer."""

    def __init__(
        self,
        pool: httpcore.AsyncConnectionPool,
        bounds: AnswerBounds,
        later: Tasks,
        first_wait: float,
    ) -> None:
        self._pool, self._bounds, self._later, self._first_wait = pool, bounds, later, first_wait

    async def ask(self, call: Call, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        """What the answer consists of. Raises AnswerFailed."""
        try:
            async with aclosing(self._ask(call, timeouts)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            place = call.reader.place
            if place is not None:
                self._later.spawn(self._stop(call, _stops(call.target, place)))

    async def _ask(self, call: Call, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        asked, tries, last = call, 0, None
        broken: AnswerFailed | None = None
        while True:
            try:
                async with aclosing(chat.ask(self._pool, asked, timeouts, self._bounds)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except AnswerFailed as failure:
                place = call.reader.place
                target = _goes_on(call.target, place) if place is not None else None
                broken = broken or failure
                tries = tries + 1 if place == last else 1
                if target is None or failure.retry_after is None or tries > TRIES:
                    raise broken from failure
                log.info("the stream of %s broke, and goes on: %s", place, failure.detail or failure)
            last = place
            asked = Call(call.origin, target, call.headers, b"", call.reader, "GET")
            yield ""  # still at it
            await asyncio.sleep(self._first_wait * 2 ** (tries - 1))

    async def _stop(self, call: Call, target: str) -> None:
        try:
            async with asyncio.timeout(STOPPING):
                asked = Call(call.origin, target, call.headers, b"", call.reader)
                async with chat.sent(self._pool, asked) as response:
                    log.info("%s: status %d", target, response.status)
        except (TimeoutError, OSError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            log.warning("%s: %s: %s", target, type(error).__name__, error)


def _goes_on(target: str, place: Place) -> str | None:
    """Where the rest of a response is read, if its events are numbered."""
    response_id, number = place
    if number is None:
        return None
    path, _, query = target.partition("?")
    return f"{path}/{quote(response_id, safe='')}?{query and query + '&'}stream=true&starting_after={number}"


def _stops(target: str, place: Place) -> str:
    path, mark, query = target.partition("?")
    return f"{path}/{quote(place[0], safe='')}/cancel{mark}{query}"
