"""Random histories of a session's turns on both databases: every question ends in one of its ways, in order.

`tests/model/` has whole nodes; here are the statements, which each database has its own of.
"""

import random
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from storage.errors import MessageMissing, QuestionOpen, StreamNotOpen
from storage.ops import Addressed, DeleteMessage, EndStream, NewMessage
from storage.questions import Questions
from storage.records import TurnRecord
from tests.storage.conftest import StillClock, Store

CLAIM = timedelta(seconds=15)
WAYS = ("queue", "queue", "steer", "steer", "interrupt", "parallel", "reject")
#: What is refused for good reasons.
REFUSED = (QuestionOpen, StreamNotOpen, MessageMissing)


class History:
    def __init__(self, seed: int, store: Store, clock: StillClock) -> None:
        self.rng, self.store, self.clock = random.Random(seed), store, clock
        self.questions = Questions(store.db)
        self.asked: list[str] = []
        self.claimed: list[TurnRecord] = []  # by nodes that live
        self.open: dict[str, list[dict[str, Any]]] = {}  # answers, and their parts

    async def step(self) -> None:
        names = ("ask", "ask", "claim", "begin", "take_up", "end", "stop", "delete", "die")
        await getattr(self, self.rng.choice(names))()

    async def ask(self) -> None:
        name = f"q{len(self.asked)}"
        asks = Addressed(1, self.rng.choice(WAYS))
        op = NewMessage("s", name, f"c-{name}", "user", "alice", "text", "?", asks=asks)
        await self.store.writer.submit(op)
        self.asked.append(name)
        assert (await self.store.writer.submit(op)).duplicate

    async def claim(self) -> None:
        now = self.clock.advance(seconds=1)
        for turn in await self.questions.claim("s", now, now + CLAIM):
            if turn.state == "running" and turn.answer_id is None:
                self.claimed.append(turn)
            elif turn.stopped and turn.answer_id in self.open:
                await self._end(turn.answer_id, "cancelled")

    async def begin(self) -> None:
        if self.claimed:
            turn = self.claimed.pop(self.rng.randrange(len(self.claimed)))
            before = await self.questions.get(turn.question_id)
            name = f"a-{turn.question_id}"
            op = NewMessage(
                "s", name, f"c-{name}", "agent", "1", "stream", "", "streaming", reply_to=turn.question_id
            )
            done = await self.store.writer.submit(op)
            assert before is not None and before.state != "done", "what was stopped is not answered"
            if not done.duplicate:
                self.open[name] = []

    async def take_up(self) -> None:
        """As the producer's node does, or without it, where it dies at once."""
        if self.open and self.asked:
            answer_id, parts = self.rng.choice(list(self.open.items()))
            taken = self.rng.sample(self.asked, min(2, len(self.asked)))
            parts.append({"type": "step", "id": f"step {len(parts)}", "steered": taken})
            if self.rng.random() < 0.5:
                await self.questions.take_up(answer_id, "s", taken)

    async def end(self) -> None:
        if self.open:
            answer_id = self.rng.choice(list(self.open))
            await self._end(answer_id, self.rng.choice(("complete", "interrupted", "failed")))

    async def _end(self, answer_id: str, status: str) -> None:
        parts = self.open.pop(answer_id)
        await self.store.writer.submit(EndStream("s", answer_id, status, "text", parts=parts or None))

    async def stop(self) -> None:
        if self.asked:
            turn, _ = await self.questions.stop("s", self.rng.choice(self.asked))
            if turn is not None and turn.answer_id in self.open:
                await self._end(turn.answer_id, "cancelled")

    async def delete(self) -> None:
        if self.asked:
            await self.store.writer.submit(DeleteMessage("s", self.rng.choice(self.asked)))

    async def die(self) -> None:
        """The nodes that are about to begin answers."""
        self.claimed.clear()
        self.clock.advance(seconds=20)

    async def rest(self) -> None:
        while await self.questions.open("s"):
            left = len(await self.questions.open("s"))
            await self.claim()
            for work in (self.begin, self.end):
                with suppress(*REFUSED):
                    await work()
            await self.questions.mend()
            if left == len(await self.questions.open("s")):
                self.clock.advance(seconds=20)

    async def check(self) -> None:
        turns = await self.questions.of(self.asked)
        messages, _ = await self.store.messages.page("s", limit=500, max_bytes=1 << 20)
        answers = [message for message in messages if message.sender_type == "agent"]
        by_id = {answer.message_id: answer for answer in answers}
        assert sorted(turns) == sorted(self.asked)
        for turn in turns.values():
            own = [answer.message_id for answer in answers if answer.reply_to == turn.question_id]
            assert (turn.state, own) in (("done", []), ("done", [turn.answer_id])), turn
            if turn.answer_id is None:
                assert turn.outcome in ("cancelled", "deleted") and not own, turn
            else:
                assert turn.outcome == by_id[turn.answer_id].status, turn
        in_order = [turns[a.reply_to or ""] for a in answers]
        seqs = [turn.seq for turn in in_order if turn.when_busy != "parallel"]
        assert seqs == sorted(seqs)


@pytest.mark.parametrize("seed", range(6))
async def test_every_question_ends_in_one_way(seed: int, store: Store, clock: StillClock) -> None:
    await store.session("s")
    history = History(seed, store, clock)
    for _ in range(60):
        with suppress(*REFUSED):
            await history.step()
    await history.rest()
    await history.check()
