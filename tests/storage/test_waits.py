"""Answers that wait, in the database: what ends them, and what comes too late."""

from typing import Any

import pytest

from storage.branches import Branches
from storage.errors import StreamNotOpen
from storage.ops import Addressed, AnswerInterrupt, EndStream, ResumeStream, WaitStream
from storage.questions import Questions
from storage.records import TurnRecord
from tests.storage.conftest import StillClock, Store

ASKED = {"id": "i1", "reason": "confirmation"}
SAID = AnswerInterrupt("s", "a", "i1", {"status": "resolved", "user_id": "alice"})


class Waiting:
    """The question `q` of the session `s`, whose answer `a` waits."""

    def __init__(self, store: Store, clock: StillClock) -> None:
        self.store, self.clock, self.questions = store, clock, Questions(store.db)

    async def begin(self, answer_id: str) -> None:
        await self.questions.claim("s", self.clock(), self.clock.advance(seconds=15))
        given: dict[str, Any] = {"sender_type": "agent", "sender_id": "1", "message_type": "stream"}
        await self.store.say("", message_id=answer_id, status="streaming", reply_to="q", **given)

    async def wait(self) -> None:
        await self.store.writer.submit(WAIT)

    async def turn(self) -> TurnRecord:
        turn = await self.questions.get("q")
        assert turn is not None
        return turn

    async def answer(self) -> tuple[str, str, list[str]]:
        """Its status, its text, and what it asks."""
        record = await self.store.messages.get("a")
        assert record is not None
        return record.status, record.content, [each["id"] for each in record.interrupts or ()]


WAIT = WaitStream("s", "a", "waiting", "all that was said", interrupts=[ASKED])


@pytest.fixture
async def at(store: Store, clock: StillClock) -> Waiting:
    await store.session("s", agent_id=1)
    made = Waiting(store, clock)
    await store.say("?", message_id="q", asks=Addressed(1, "queue"))
    await made.begin("a")
    await made.wait()
    return made


async def test_a_stop_takes_nothing_of_its_text(at: Waiting) -> None:
    """Another node has read the answer while it was written, and stops it once it waits."""
    late = EndStream("s", "a", "cancelled", "all", tokens_used=1)
    await at.store.writer.submit(late)
    assert await at.answer() == ("cancelled", "all that was said", ["i1"])


async def test_it_does_not_wait_twice(at: Waiting) -> None:
    """Its node does not know whether it waits, and tries again: meanwhile another one has gone on with it."""
    await at.store.writer.submit(SAID)
    claimed = await at.questions.claim("s", at.clock.advance(seconds=1), at.clock.advance(seconds=15))
    await at.store.writer.submit(ResumeStream("s", "a", claimed[0].fence))
    with pytest.raises(StreamNotOpen):
        await at.store.writer.submit(WAIT)
    assert await at.answer() == ("streaming", "all that was said", ["i1"])
    assert (await at.turn()).state == "running"


async def test_the_question_has_another_answer(at: Waiting) -> None:
    """One that waits is the business of nobody then: it moves no turn, and is ended."""
    await at.questions.finish(await at.turn(), "failed")  # it could not be gone on with
    await Branches(at.store.db).again("s", "q", Addressed(1, "queue"))
    await at.begin("b")
    before = await at.turn()
    assert (before.state, before.answer_id) == ("running", "b")
    assert await at.questions.in_vain() == [("s", "a")]
    await at.store.writer.submit(SAID)
    assert await at.turn() == before
