"""Rounds: every node on the bus compares Redis with what it has seen of it, before somebody goes by it.

Knows no room and no connection. Why one node's own view is not enough: docs/adr/0010.
"""

import asyncio
import secrets
from contextlib import suppress

from storage.errors import BusUnavailable, StorageUnavailable
from storage.redis.client import EPOCH, RedisClient
from storage.redis.heard import AT_ONCE, Heard

#: Seconds that a round waits for a node that hears and does not answer: its process is stopped, or its loop
#: is busy. Longer than a loop's ordinary stalls; those who reconnect meanwhile wait as long, once.
PATIENCE = 0.5

#: Nodes whose questions wait for an answer: beyond any cluster. Whoever can publish here may name any number.
ASKERS = 1000

_WORD = 8


class Round:
    """`channel` is that on which all nodes are asked, `own` the one on which this node is answered."""

    def __init__(self, client: RedisClient, heard: Heard, channel: str, own: str) -> None:
        self._client, self._heard, self._channel, self._own = client, heard, channel, own
        self._ask, self._echo = client.script("ask"), client.script("echo")
        self._waiting: asyncio.Future[str] | None = None
        self._rounds: asyncio.Task[None] | None = None
        self._word = b""
        self._epochs: list[str] = []  # as answered
        self._answered = asyncio.Event()
        self._questions: dict[bytes, bytes] = {}  # the last of each asker, which no look has begun for
        self._answers: asyncio.Task[None] | None = None
        self._doubt: asyncio.Task[None] | None = None
        self._silent = 0  # nodes that did not answer the last round, and nothing since

    async def agree(self) -> str:
        """The epoch after a round that began after this was called. Raises StorageUnavailable."""
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.get_running_loop().create_task(self._go_round())
        return await asyncio.shield(self._waiting)

    async def _go_round(self) -> None:
        """One after the other: all who ask during one share the next."""
        while (waiting := self._waiting) is not None:
            self._waiting = None
            try:
                waiting.set_result(await self._once())
            except StorageUnavailable as error:
                waiting.set_exception(error)
                waiting.exception()  # whoever asked may have gone

    async def _once(self) -> str:
        self._word, self._epochs = secrets.token_bytes(_WORD), []
        stamp, pos, hear = await self._client.run_script(self._ask, (), self._channel, self._own, self._word)
        self._client.saw(stamp, pos)
        if not hear:
            raise BusUnavailable("no node hears the bus, not even this one")
        try:
            async with asyncio.timeout(min(PATIENCE, self._client.timeout)):
                while len(self._epochs) + self._silent < hear:
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            self._silent = hear - len(self._epochs)
        return max(str(stamp[:EPOCH], "ascii"), *self._epochs, "")

    async def look(self, channel: str | bytes = "", word: bytes = b"") -> str:
        """Compare Redis with what this node has seen and heard, and send a canary, if there is a channel; the
        epoch. Raises StorageUnavailable."""
        while True:
            some = self._heard.some()
            words = [f"{epoch}{mark}{pos}" for epoch, mark, pos in some.values()]
            last = len(words) < AT_ONCE
            where = (channel, word) if last else ("", b"")
            stamp, pos = await self._client.run_script(self._echo, (), *where, *words)
            self._client.saw(stamp, pos)
            self._heard.compared(some)
            if last:
                return bytes(stamp[:EPOCH]).decode()

    def doubt(self) -> None:
        """Look soon. Whoever else can publish here makes a node look, and no more."""
        if self._doubt is None or self._doubt.done():
            self._doubt = asyncio.get_running_loop().create_task(self._answer(b"", b""))

    def asked(self, question: bytes) -> None:
        """Another node's question, or one's own. Who asks has one round at a time: its last one counts."""
        asker, word = question[_WORD:], question[:_WORD]
        if len(self._questions) < ASKERS or asker in self._questions:
            self._questions[asker] = word
        if self._answers is None or self._answers.done():
            self._answers = asyncio.get_running_loop().create_task(self._answer_all())

    async def _answer_all(self) -> None:
        """One look at a time, each of which begins after its question."""
        while self._questions:
            asker = next(iter(self._questions))
            await self._answer(asker, self._questions.pop(asker))

    async def _answer(self, asker: bytes, word: bytes) -> None:
        with suppress(StorageUnavailable):
            await self.look(asker, word)

    def answered(self, word: bytes, epoch: str) -> None:
        if word == self._word:
            self._epochs.append(epoch)
            self._answered.set()
        else:
            self._silent = 0  # somebody has woken up

    def close(self) -> None:
        for task in (self._answers, self._doubt, self._rounds):
            if task is not None:
                task.cancel()
        if self._waiting is not None:
            self._waiting.cancel()
