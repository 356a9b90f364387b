"""Random histories of a session's turns on both databases: every question ends in one of its ways, in order,
and what an answer asks of people has one answer, whoever else answers at the same time.

`tests/model/` has whole nodes; here are the statements, which each database has its own of.
"""

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from storage.branches import Branches
from storage.errors import (
    AlreadyAnswered,
    BranchesFull,
    FencedOff,
    MessageMissing,
    QuestionOpen,
    StreamNotOpen,
    StreamStillOpen,
)
from storage.interrupts import is_open
from storage.ops import (
    Addressed,
    AnswerInterrupt,
    Committed,
    DeleteMessage,
    EndStream,
    ExpireInterrupts,
    NewMessage,
    ResumeStream,
    WaitStream,
)
from storage.questions import Questions
from storage.records import TurnRecord
from tests.storage.conftest import StillClock, Store

CLAIM = timedelta(seconds=15)
WAYS = ("queue", "queue", "steer", "steer", "interrupt", "parallel", "reject")
#: What is refused for good reasons.
REFUSED = (QuestionOpen, StreamNotOpen, MessageMissing, FencedOff, StreamStillOpen, BranchesFull)


class History:
    def __init__(self, seed: int, store: Store, clock: StillClock) -> None:
        self.rng, self.store, self.clock = random.Random(seed), store, clock
        self.questions, self.branches = Questions(store.db), Branches(store.db)
        self.asked: list[str] = []
        self.claimed: list[TurnRecord] = []  # by nodes that live
        self.open: dict[str, list[dict[str, Any]]] = {}  # answers, and their parts
        self.waiting: dict[str, list[dict[str, Any]]] = {}  # the same of those that wait
        self.resumable: list[TurnRecord] = []  # claims of such, also of nodes and workers that sleep
        self.won: dict[tuple[str, str], dict[str, Any]] = {}  # what was acknowledged of what they asked

    async def step(self) -> None:
        names = (
            *("ask", "ask", "claim", "claim", "begin", "take_up", "end", "stop", "delete", "die"),
            *("wait", "wait", "answer", "answer", "resume", "resume", "expire", "again"),
        )
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
            elif turn.stopped:
                await self._stop(turn)
            elif turn.state == "waiting":
                self.resumable.append(turn)

    async def begin(self) -> None:
        if self.claimed:
            turn = self.claimed.pop(self.rng.randrange(len(self.claimed)))
            before = await self.questions.get(turn.question_id)
            assert before is not None
            name, key = f"a{before.again_seq}-{turn.question_id}", f"reply:{turn.question_id}"
            op = NewMessage(
                *("s", name, key, "agent", "1", "stream", "", "streaming"),
                reply_to=turn.question_id,
                fence=turn.fence,
            )
            done = await self.store.writer.submit(op)
            assert before.state != "done", "what was stopped is not answered"
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
            if turn is not None:
                await self._stop(turn)

    async def _stop(self, turn: TurnRecord) -> None:
        """As any node does, with what it has read of the answer."""
        if turn.answer_id in self.open:
            await self._end(turn.answer_id, "cancelled")
        elif turn.answer_id in self.waiting:
            del self.waiting[turn.answer_id]
            await self.store.writer.submit(EndStream("s", turn.answer_id, "cancelled", "te"))

    async def delete(self) -> None:
        if self.asked:
            await self.store.writer.submit(DeleteMessage("s", self.rng.choice(self.asked)))

    # --- waiting for people

    async def wait(self) -> None:
        if self.open:
            answer_id = self.rng.choice(list(self.open))
            parts, soon = self.open[answer_id], (self.clock() + timedelta(seconds=9)).isoformat()
            number = len([name for name, _ in self.won if name == answer_id])
            asked = [{"id": f"i{number}"}, {"id": f"i{number + 1}", "expires_at": soon}]
            asked = asked[: self.rng.choice((1, 2))]
            for each in asked:
                self.won[answer_id, each["id"]] = {}
            op = WaitStream("s", answer_id, "waiting", "text", parts=parts or None, interrupts=asked)
            await self.store.writer.submit(op)
            self.waiting[answer_id] = self.open.pop(answer_id)

    async def answer(self) -> None:
        """Two at once, of which one is repeated."""
        if not self.waiting:
            return
        answer_id = self.rng.choice(list(self.waiting))
        interrupt = self.rng.choice([each for name, each in self.won if name == answer_id])
        ways = [{"status": self.rng.choice(("resolved", "cancelled")), "user_id": who} for who in ("a", "b")]
        before = self.won[answer_id, interrupt]
        ops = [AnswerInterrupt("s", answer_id, interrupt, way) for way in (*ways, self.rng.choice(ways))]
        told = await asyncio.gather(*map(self.store.writer.submit, ops), return_exceptions=True)
        accepted = [each for each in told if isinstance(each, Committed) and not each.duplicate]
        assert len(accepted) <= 1 and not (accepted and before), "it is answered once"
        record = await self.store.messages.get(answer_id)
        assert record is not None
        [stored] = [each for each in record.interrupts or () if each["id"] == interrupt]
        if accepted:
            self.won[answer_id, interrupt] = stored["answer"]
        for each in told:
            if isinstance(each, AlreadyAnswered) and not is_open(stored):
                assert each.answer == stored["answer"]
            elif isinstance(each, BaseException) and not isinstance(each, AlreadyAnswered):
                raise each

    async def resume(self) -> None:
        """By who was handed it last, or sleeps since it was."""
        if self.resumable:
            turn = self.rng.choice(self.resumable)
            assert turn.answer_id is not None
            done = await self.store.writer.submit(ResumeStream("s", turn.answer_id, turn.fence))
            now = await self.questions.get(turn.question_id)
            assert now is not None and (now.fence, now.answer_id) == (turn.fence, turn.answer_id)
            if not done.duplicate:
                self.open[turn.answer_id] = self.waiting.pop(turn.answer_id)

    async def expire(self) -> None:
        for found in await self.questions.expired(self.clock.advance(seconds=5)):
            await self.store.writer.submit(ExpireInterrupts(*found))

    # --- again

    async def again(self) -> None:
        if self.asked:
            way = self.rng.choice(("queue", "interrupt", "parallel"))
            await self.branches.again("s", self.rng.choice(self.asked), Addressed(1, way))

    async def die(self) -> None:
        """The nodes that are about to begin answers."""
        self.claimed.clear()
        self.clock.advance(seconds=20)

    async def rest(self) -> None:
        while await self.questions.open("s"):
            left = len(await self.questions.open("s"))
            await self.claim()
            for work in (self.expire, self.answer, self.resume, self.begin, self.end):
                with suppress(*REFUSED):
                    await work()
            for found in await self.questions.in_vain():
                self.waiting.pop(found[1], None)
                await self.store.writer.submit(EndStream(*found, "cancelled"))
            await self.questions.mend()
            if left == len(await self.questions.open("s")):
                self.clock.advance(seconds=20)

    async def check(self) -> None:
        turns = await self.questions.of(self.asked)
        messages, _ = await self.store.messages.page("s", limit=500, max_bytes=1 << 20)
        answers = [message for message in messages if message.sender_type == "agent"]
        by_id = {answer.message_id: answer for answer in answers}
        assert sorted(turns) == sorted(self.asked)
        assert not [each for each in messages if each.status in ("streaming", "waiting")]
        for turn in turns.values():
            own = [answer.message_id for answer in answers if answer.reply_to == turn.question_id]
            assert turn.state == "done" and (turn.again_seq or len(own) <= 1), turn
            if turn.answer_id is None:
                assert turn.outcome in ("cancelled", "deleted") and (turn.again_seq or not own), turn
            else:
                assert turn.outcome == by_id[turn.answer_id].status, turn
                assert own[-1:] in ([], [turn.answer_id]), turn
        for (answer_id, interrupt), answer in self.won.items():
            [stored] = [each for each in by_id[answer_id].interrupts or () if each["id"] == interrupt]
            assert not is_open(stored) and stored["answer"] == (answer or stored["answer"])
        last = [turns[a.reply_to or ""] for a in answers]
        last = [turn for turn, a in zip(last, answers, strict=True) if turn.answer_id == a.message_id]
        places = [(turn.place, turn.again_seq) for turn in last if turn.when_busy != "parallel"]
        assert places == sorted(places)


@pytest.mark.parametrize("seed", range(6))
async def test_every_question_ends_in_one_way(seed: int, store: Store, clock: StillClock) -> None:
    await store.session("s")
    history = History(seed, store, clock)
    for _ in range(60):
        with suppress(*REFUSED):
            await history.step()
    await history.rest()
    await history.check()
