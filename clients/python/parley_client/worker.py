"""A worker of an agent of kind `remote`: answers what people ask, by a handler."""

import asyncio
import inspect
import logging
import signal
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

from parley_client import wire
from parley_client.answer import Answer, AnswerFailed, HasAsked
from parley_client.errors import Json, ParleyError
from parley_client.link import Link
from parley_client.observable import Errands
from parley_client.rest import Rest, Token
from parley_client.writing import OVER, Writing

log = logging.getLogger("parley_client.worker")

#: Answers that wait for a place, for each place: more are left to other workers.
LINE = 4
#: Seconds until a handler that failed is tried again: doubled each time.
AGAIN = 0.5

#: Seconds in which answers that were not finished are ended.
LAST_WORDS = 2.0

#: Writes the answer, or yields its text.
Handler = Callable[[Answer], Awaitable[None] | AsyncIterator[str]]
H = TypeVar("H", bound=Handler)


class Answering:
    """An answer that is open here."""

    def __init__(self, request: wire.AgentRequest) -> None:
        self.request = request
        self.message_id = ""
        self.answer: Answer | None = None
        self.handling: asyncio.Task[None] | None = None
        self.stopped = False
        self.refused: ParleyError | None = None  # why something that the handler wrote was not taken

    def stop(self) -> None:
        """Nothing more can be written, or shall be."""
        self.stopped = True
        if self.handling is not None:
            self.handling.cancel()

    def is_about(self, message_id: str) -> bool:
        """Named by itself or by its question."""
        return message_id in (self.message_id, self.request["message"]["message_id"])


class Worker:
    """Answers `concurrency` questions at once. Run as many workers as you like: each question goes to one.

    `token` is of role `agent`, with the agent's id as `sub`: one, or what gives a fresh one. A handler that
    fails before it has shown anything is tried again, `retries` times. `silence`: seconds after which an
    answer says that it lives; less than half of the server's `STREAM_LEASE`. `grace`: seconds that open
    answers have when the worker is to stop. `ready` is called at each connect.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        concurrency: int = 8,
        retries: int = 2,
        silence: float = 15.0,
        grace: float = 30.0,
        ready: Callable[[], object] | None = None,
    ) -> None:
        self._rest = Rest(url, token)
        self._link = Link(self._rest, self)
        self._most, self._retries = concurrency, retries
        self._silence, self._grace, self._ready = silence, grace, ready
        self._places = asyncio.Semaphore(concurrency)
        self._open: set[Answering] = set()
        self._errands = Errands()
        self._handler: Handler | None = None
        self._stopping = asyncio.Event()
        self._refused: ParleyError | None = None

    def answers(self, handler: H) -> H:
        """Decorates the handler: `async def answer(answer: Answer)`, which writes, or yields text.

        It is cancelled when somebody presses stop, and when another worker has taken the answer over.
        """
        self._handler = handler
        return handler

    def serve(self) -> None:
        """Run until SIGTERM or SIGINT; then open answers are finished. Raises ParleyError where the server
        refuses the token."""

        async def serving() -> None:
            loop = asyncio.get_running_loop()
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(each, self.stop)
            await self.run()

        asyncio.run(serving())

    async def run(self) -> None:
        """The same until `stop`; a run is cancelled without grace."""
        if self._handler is None:
            raise TypeError("a worker needs a handler: @worker.answers")
        self._link.open()
        try:
            await self._stopping.wait()
            await self._drained()
        finally:
            await self._errands.end()
            await self._link.close()
            await self._rest.close()
        if self._refused is not None:
            raise self._refused

    def stop(self) -> None:
        """Takes nothing more, and ends when its open answers have ended."""
        self._stopping.set()

    async def _drained(self) -> None:
        if await self._errands.settled(0 if self._refused else self._grace):
            return
        log.warning("%d answers were not finished", len(self._open))
        for each in list(self._open):
            if each.handling is not None:
                each.handling.cancel()
        await self._errands.settled(LAST_WORDS)

    # --- what the link tells

    def up(self) -> None:
        log.info("waiting for requests")
        if self._ready is not None:
            self._ready()

    def down(self, word: str, error: ParleyError | None) -> None:
        log.info("%s: %s", word, error)
        if word == "refused":
            self._refused = error
            self.stop()

    def event(self, name: str, data: Json) -> Any:
        if name == "agent_request":
            return self._requested(cast(wire.AgentRequest, data))
        if name == "stream_cancel":
            for each in list(self._open):
                if each.is_about(data["message_id"]):
                    each.stop()
        elif name == "agent_steer":
            for each in list(self._open):
                if each.message_id == data["message_id"] and each.answer is not None:
                    each.answer.hear(data["message"])
        return None

    def _requested(self, request: wire.AgentRequest) -> Json:
        """The acknowledgement: `ok: false` leaves it to another worker, at once."""
        if self._stopping.is_set() or len(self._open) >= self._most * (1 + LINE):
            return {"ok": False}
        self._errands.run(self._answer(Answering(request)))
        return {"ok": True}

    # --- answering

    async def _answer(self, mine: Answering) -> None:
        request = mine.request
        resume = request.get("resume")
        mine.message_id = resume["message_id"] if resume else f"answer-{uuid.uuid4()}"
        where = {"session_id": request["session_id"], "message_id": mine.message_id}
        claim: Json = {"fence": request["fence"]}
        if resume is None:
            claim["reply_to"] = request["message"]["message_id"]

        def ends(error: ParleyError) -> None:
            log.info("%s ends here: %s", mine.message_id, error)
            if writing.over is None:
                mine.refused = error
            else:
                mine.stopped = True
            if mine.handling is not None:
                mine.handling.cancel()

        writing = Writing(self._link, where, claim, self._silence, ends)
        answer = mine.answer = Answer(request, mine.message_id, writing)
        self._open.add(mine)
        try:
            await writing.begin()
            if self._places.locked():
                await answer.status("queued")
                await self._places.acquire()
                await answer.status(None)
            else:
                await self._places.acquire()
            try:
                await self._handled(mine, answer, writing)
            finally:
                self._places.release()
        except ParleyError as error:
            level = logging.INFO if error.code in OVER or mine.stopped else logging.WARNING
            log.log(level, "%s is not written: %s", mine.message_id, error)
        finally:
            self._open.discard(mine)
            await writing.close()

    async def _handled(self, mine: Answering, answer: Answer, writing: Writing) -> None:
        """By the handler, to an end that the server has."""
        for attempt in range(self._retries + 1):
            answer.attempt = attempt
            if mine.stopped:
                return
            mine.handling = asyncio.get_running_loop().create_task(self._handle(answer))
            try:
                await asyncio.wait([mine.handling])
            finally:
                mine.handling.cancel()
            end = self._end_of(mine, answer)
            if end is None:
                return
            if "error" not in end or writing.has_written or attempt == self._retries or end.pop("lasting", 0):
                end.pop("lasting", None)
                await writing.piece("stream_end", end)
                return
            await asyncio.sleep(AGAIN * 2**attempt)

    async def _handle(self, answer: Answer) -> None:
        assert self._handler is not None
        done = self._handler(answer)
        if inspect.isawaitable(done):
            await done
            return
        async with aclosing(cast(AsyncGenerator[str, None], done)) as texts:
            async for text in texts:
                await answer.text(text)

    def _end_of(self, mine: Answering, answer: Answer) -> Json | None:
        """What `stream_end` says; None where it has ended. `lasting`: to try again is of no use."""
        assert mine.handling is not None
        if mine.stopped:
            return None
        if mine.refused is not None:
            return {"error": {"code": mine.refused.code, "message": mine.refused.message}, "lasting": True}
        if mine.handling.cancelled():
            return {"status": "interrupted", "lasting": True}  # this worker ends
        failure = mine.handling.exception()
        if failure is None:
            return {"finish_reason": "stop", **answer.outcome}
        if isinstance(failure, HasAsked):
            return None
        if isinstance(failure, AnswerFailed):
            error = {"code": failure.code, "message": failure.message}
            return {"error": error, **answer.outcome, "lasting": True}
        log.error("the handler failed", exc_info=failure)
        # Its words may be for nobody's eyes.
        return {"error": {"code": "WORKER_FAILED", "message": "The agent failed"}, **answer.outcome}
