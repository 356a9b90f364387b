"""Turns in the database: which are claimed, and what begins and ends them."""

import asyncio
from datetime import timedelta

import pytest

from storage.errors import QuestionOpen, StreamNotOpen
from storage.ops import OPEN_QUESTIONS, Addressed, DeleteMessage, EndStream, NewMessage
from storage.questions import Questions
from storage.records import TurnRecord
from tests.storage.conftest import StillClock, Store

SOON = timedelta(seconds=15)


def question(message_id: str, when_busy: str = "queue", session_id: str = "s") -> NewMessage:
    return NewMessage(
        session_id, message_id, f"c-{message_id}", "user", "alice", "text", "?", asks=Addressed(1, when_busy)
    )


def answer(message_id: str, to: str) -> NewMessage:
    return NewMessage(
        "s", message_id, f"c-{message_id}", "agent", "1", "stream", "", "streaming", reply_to=to
    )


class Line:
    """The questions of the session `s`."""

    def __init__(self, store: Store, clock: StillClock) -> None:
        self.store, self.clock, self.questions = store, clock, Questions(store.db)

    async def claim(self) -> list[tuple[str, str]]:
        found = await self.questions.claim("s", self.clock(), self.clock() + SOON)
        return [(turn.question_id, turn.state) for turn in found]

    async def state(self, question_id: str) -> tuple[str, str | None, str | None]:
        turn = await self.turn(question_id)
        return turn.state, turn.answer_id, turn.outcome

    async def turn(self, question_id: str) -> TurnRecord:
        turn = await self.questions.get(question_id)
        assert turn is not None
        return turn


@pytest.fixture
async def line(store: Store, clock: StillClock) -> Line:
    await store.session("s")
    return Line(store, clock)


async def test_one_after_the_other(line: Line, store: Store) -> None:
    await store.writer.submit(question("a"))
    await store.writer.submit(question("b"))
    assert await line.claim() == [("a", "running"), ("b", "queued")]
    assert await line.claim() == [("b", "queued")]
    await store.writer.submit(answer("A", "a"))
    assert await line.state("a") == ("running", "A", None)
    await store.writer.submit(EndStream("s", "A", "complete", "yes"))
    assert await line.state("a") == ("done", "A", "complete")
    assert await line.claim() == [("b", "running")]
    assert [turn.question_id for turn in await line.questions.page("s", 2**62, 10)] == ["b", "a"]


async def test_a_repeat_asks_nothing(line: Line, store: Store) -> None:
    await store.writer.submit(question("a"))
    again = await store.writer.submit(
        NewMessage("s", "other", "c-a", "user", "alice", "text", "?", asks=Addressed(1, "queue"))
    )
    assert again.duplicate
    assert await line.claim() == [("a", "running")]


async def test_what_a_question_brings_goes_with_it(line: Line, store: Store) -> None:
    """Also where many are stored at once; nothing of it is left when it is deleted."""
    tools = [{"name": "paint"}]
    brings = NewMessage("s", "a", "c-a", "user", "alice", "text", "?", asks=Addressed(1, "queue", "", tools))
    await asyncio.gather(store.writer.submit(brings), store.writer.submit(question("b")))
    brought = {each: (await line.turn(each)).brings for each in "ab"}
    assert brought == {"a": True, "b": False}
    assert await line.questions.brought("a") == tools
    await store.writer.submit(DeleteMessage("s", "a"))
    assert (await line.turn("a")).brings is False
    assert await line.questions.brought("a") == ()


async def test_parallel_ones_wait_for_nobody(line: Line, store: Store) -> None:
    await store.writer.submit(question("a"))
    await store.writer.submit(question("b"))
    await store.writer.submit(question("c", "parallel"))
    assert await line.claim() == [("c", "running"), ("a", "running"), ("b", "queued")]


async def test_nothing_is_stored_of_one_that_is_not_to_wait(line: Line, store: Store) -> None:
    await store.writer.submit(question("a", "reject"))
    with pytest.raises(QuestionOpen):
        await store.writer.submit(question("b", "reject"))
    assert await store.messages.get("b") is None
    await line.claim()
    await store.writer.submit(answer("A", "a"))
    with pytest.raises(QuestionOpen):
        await store.writer.submit(question("b", "reject"))
    await store.writer.submit(EndStream("s", "A", "complete", "yes"))
    await store.writer.submit(question("b", "reject"))
    assert await line.claim() == [("b", "running")]


async def test_a_repeat_of_what_was_not_to_wait_is_no_second_question(line: Line, store: Store) -> None:
    await store.writer.submit(question("a", "reject"))
    again = await store.writer.submit(
        NewMessage("s", "other", "c-a", "user", "alice", "text", "?", asks=Addressed(1, "reject"))
    )
    assert (again.duplicate, again.record.message_id) == (True, "a")


async def test_so_many_questions_may_be_open(line: Line, store: Store) -> None:
    names = [f"q{number}" for number in range(OPEN_QUESTIONS + 5)]
    asked = await asyncio.gather(*(store.writer.submit(question(q)) for q in names), return_exceptions=True)
    assert [type(each) for each in asked[OPEN_QUESTIONS:]] == [QuestionOpen] * 5
    with pytest.raises(QuestionOpen):
        await store.writer.submit(question("one more", "parallel"))
    again = question("q0")
    assert (await store.writer.submit(again)).duplicate
    await store.writer.submit(NewMessage("s", "said", None, "user", "alice", "text", "no question"))
    await line.questions.stop("s", "q7")
    await store.writer.submit(question("one more"))
    assert len(await line.questions.open("s")) == OPEN_QUESTIONS


async def test_an_erased_question_is_not_answered(line: Line, store: Store) -> None:
    await store.writer.submit(question("a"))
    await line.claim()
    await store.messages.erase_user("alice", now=line.clock())
    assert await line.state("a") == ("done", None, "deleted")
    with pytest.raises(StreamNotOpen):
        await store.writer.submit(answer("A", "a"))


async def test_a_claim_that_lapsed_is_anothers(line: Line, store: Store, clock: StillClock) -> None:
    await store.writer.submit(question("a"))
    await line.claim()
    old = await line.turn("a")
    await line.questions.keep([old], clock() + 2 * SOON)
    clock.advance(seconds=SOON.total_seconds() + 1)
    assert await line.questions.stuck(clock()) == []
    clock.advance(seconds=SOON.total_seconds() + 1)
    assert await line.questions.stuck(clock()) == ["s"]
    assert await line.claim() == [("a", "running")]
    assert (await line.turn("a")).fence == old.fence + 1
    await line.questions.begun(old, "of the one before")
    assert (await line.turn("a")).answer_id is None
    await store.writer.submit(answer("A", "a"))
    clock.advance(seconds=1000)
    assert await line.questions.stuck(clock()) == []


async def test_what_waits_for_nobody_is_found(line: Line, store: Store, clock: StillClock) -> None:
    await store.writer.submit(question("a"))
    assert await line.questions.stuck(clock()) == ["s"]
    await line.claim()
    await store.writer.submit(question("b"))
    assert await line.questions.stuck(clock()) == []
    await store.writer.submit(question("c", "parallel"))
    assert await line.questions.stuck(clock()) == ["s"]


async def test_who_is_stopped_is_not_answered(line: Line, store: Store) -> None:
    for name in "abc":
        await store.writer.submit(question(name))
    await line.claim()
    for name in "ab":
        stopped, by_this = await line.questions.stop("s", name)
        assert stopped is not None and (stopped.state, stopped.outcome, by_this) == (
            "done",
            "cancelled",
            True,
        )
        assert await line.questions.stop("s", name) == (stopped, False)
    with pytest.raises(StreamNotOpen):
        await store.writer.submit(answer("A", "a"))
    assert await store.messages.get("A") is None
    assert await line.claim() == [("c", "running")]
    await store.writer.submit(answer("C", "c"))
    begun, by_this = await line.questions.stop("s", "c")
    assert begun is not None and (begun.state, begun.answer_id, by_this) == ("running", "C", False)
    assert await line.questions.stop("s", "no question") == (None, False)
    assert await line.questions.stop("another session", "c") == (None, False)


async def test_what_is_interrupted_ends_by_any_node(line: Line, store: Store, clock: StillClock) -> None:
    """Marked in the interruption's own transaction: the node that took it may die right after."""
    await store.writer.submit(question("a"))
    await store.writer.submit(question("b", "parallel"))
    await line.claim()
    await store.writer.submit(answer("A", "a"))
    await store.writer.submit(question("c"))
    await store.writer.submit(question("d", "interrupt"))
    assert [(turn.question_id, turn.stopped) for turn in await line.questions.open("s")] == [
        ("a", True), ("b", True), ("c", False), ("d", False)
    ]  # fmt: skip
    with pytest.raises(StreamNotOpen):
        await store.writer.submit(answer("B", "b"))
    assert await line.questions.stuck(clock()) == ["s"]
    assert await line.claim() == [("b", "done"), ("a", "running"), ("c", "queued"), ("d", "queued")]
    assert await line.state("b") == ("done", None, "cancelled")
    assert await line.questions.stuck(clock()) == ["s"]
    await store.writer.submit(EndStream("s", "A", "cancelled", "half"))
    assert await line.state("a") == ("done", "A", "cancelled")
    assert await line.claim() == [("c", "running"), ("d", "queued")]


async def test_the_answer_to_a_deleted_question_ends_by_any_node(line: Line, store: Store) -> None:
    await store.writer.submit(question("a"))
    await line.claim()
    await store.writer.submit(answer("A", "a"))
    await store.writer.submit(DeleteMessage("s", "a"))
    assert (await line.turn("a")).stopped
    await store.writer.submit(EndStream("s", "A", "cancelled", "half"))
    assert await line.state("a") == ("done", "A", "cancelled")


async def test_a_deleted_question_is_done(line: Line, store: Store) -> None:
    await store.writer.submit(question("a"))
    await store.writer.submit(question("b"))
    await line.claim()
    await store.writer.submit(DeleteMessage("s", "a"))
    assert await line.state("a") == ("done", None, "deleted")
    with pytest.raises(StreamNotOpen):
        await store.writer.submit(answer("A", "a"))
    assert await line.claim() == [("b", "running")]
    await store.writer.submit(answer("B", "b"))
    await store.writer.submit(DeleteMessage("s", "B"))
    assert await line.state("b") == ("done", "B", "deleted")


async def test_a_worker_that_does_not_name_its_question(line: Line, store: Store) -> None:
    await store.writer.submit(question("a"))
    await line.claim()
    await store.writer.submit(NewMessage("s", "A", None, "agent", "1", "stream", "", "streaming"))
    await line.questions.begun(await line.turn("a"), "A")
    assert await line.state("a") == ("running", "A", None)
    await line.questions.mend()
    assert await line.state("a") == ("running", "A", None)
    await store.writer.submit(EndStream("s", "A", "failed", ""))
    await line.questions.mend()
    assert await line.state("a") == ("done", "A", "failed")


async def test_what_an_ended_answer_does_not_name_waits_again(line: Line, store: Store) -> None:
    """It was taken up, and the part that says so was lost with its node."""
    await store.writer.submit(question("a"))
    await line.claim()
    await store.writer.submit(answer("A", "a"))
    for name in ("b", "c"):
        await store.writer.submit(question(name, "steer"))
    await line.questions.take_up("A", "s", ["b", "c"])
    step = {"id": "s1", "type": "step", "steered": ["c"]}
    await store.writer.submit(EndStream("s", "A", "interrupted", "half", parts=[step]))
    assert await line.state("b") == ("running", "A", None)
    await line.questions.mend()
    assert await line.state("c") == ("done", "A", "interrupted")
    assert await line.claim() == [("b", "running")]
    assert await line.state("b") == ("running", None, None)


async def test_the_turn_of_an_old_question(line: Line, store: Store) -> None:
    old = await store.writer.submit(NewMessage("s", "a", None, "user", "alice", "text", "?"))
    assert await line.claim() == []
    await line.questions.ask(old.record, Addressed(1, "queue"))
    asked = await line.questions.ask(old.record, Addressed(1, "parallel"))
    assert (asked.when_busy, asked.seq) == ("queue", old.record.seq)
    assert await line.claim() == [("a", "running")]
    assert not await line.questions.finish(asked, "failed")  # it was claimed since
    claimed = await line.turn("a")
    assert await line.questions.finish(claimed, "failed")
    assert not await line.questions.finish(claimed, "deleted")
    assert await line.state("a") == ("done", None, "failed")
