"""What follows what in a session: the tree alone, and paths, heads and bounds in the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from storage.branches import Branches, PathEnd
from storage.database import Database
from storage.errors import BranchesFull, FencedOff
from storage.forks import FORKS_IN
from storage.ops import SIBLINGS, Addressed, EndStream, WaitStream
from storage.questions import Questions
from storage.records import TurnRecord
from storage.rows import IS_OPEN, TURN
from storage.snapshot import SessionSnapshot, SnapshotReader
from storage.statement import Statement
from storage.steered import for_answers
from storage.tables import turns
from storage.tree import CommonPaths, Tree
from storage.unanswered import UNANSWERED_IN
from tests.storage.conftest import Store

PAGE = 1 << 20


@st.composite
def trees(draw: st.DrawFn) -> dict[int, int]:
    """What each message follows, by numbers."""
    count = draw(st.integers(0, 25))
    return {
        seq: seq - 1 if draw(st.booleans()) else draw(st.integers(0, seq - 1)) for seq in range(1, count + 1)
    }


@given(trees(), st.integers(1, 6), st.integers(0, 12), st.none() | st.integers(1, 20))
def test_a_tree_is_what_each_message_follows(
    parents: dict[int, int], most: int, above: int, below: int | None
) -> None:
    grown = Tree((), 0)
    for parent in parents.values():
        grown.add(parent)
    forks = [(seq, parent) for seq, parent in parents.items() if parent != seq - 1]
    for tree in (grown, Tree(forks, len(parents))):
        assert len(tree) == len(forks)
        for seq in range(len(parents) + 1):
            assert tree.children(seq) == [each for each, parent in parents.items() if parent == seq]
        for seq in parents:
            path = [seq]
            while parents[path[-1]]:
                path.append(parents[path[-1]])
            within = [each for each in path if each > above and (below is None or each < below)]
            assert tree.parent(seq) == parents[seq]
            assert tree.newest(seq, most, above=above, below=below) == within[:most]
            assert tree.oldest(seq, most, above=above, below=below) == within[::-1][:most]
            assert [each for each in parents if tree.is_on(each, seq)] == sorted(path)
            assert seq in tree.newest(tree.newest_under(seq), 100)
            assert tree.newest_under(seq) == max(each for each in parents if tree.is_on(seq, each))


@given(trees())
def test_who_reads_one_of_two_messages_can_read_the_other(parents: dict[int, int]) -> None:
    forks = [(seq, parent) for seq, parent in parents.items() if parent != seq - 1]
    read: dict[int, set[int]] = {0: set()}
    for seq, parent in parents.items():
        read[seq] = read[parent] | {seq}
    common = CommonPaths(Tree(forks, len(parents)))
    for one in parents:
        on = [other for other in parents if common.on_one_branch(one, other)]
        assert on == [other for other in parents if one in read[other] or other in read[one]]


async def read(store: Store, **page: Any) -> SessionSnapshot:
    found = await SnapshotReader(store.db).read("s", None, page.get("limit", 50), PAGE)
    assert found is not None
    return found


@contextmanager
def counted(db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The questions that are put to the database."""
    asked: list[Any] = []
    use = db.use

    async def counting(work: Any, **more: Any) -> Any:
        asked.append(work)
        return await use(work, **more)

    with monkeypatch.context() as patch:
        patch.setattr(db, "use", counting)
        yield asked


async def test_many_branches_cost_a_join_no_more_questions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.session("s")
    for number in range(20):
        await store.say(str(number))
    with counted(store.db, monkeypatch) as asked:
        plain = await read(store)
    assert (len(asked), plain.session.head_seq, plain.kin) == (1, None, {})
    counts = []
    for branches in (1, 60):
        for number in range(branches):
            last = (await read(store)).messages[-3]
            await store.say(f"other {number}", beside=last.message_id)
            for _ in range(4):
                await store.say("more")
        with counted(store.db, monkeypatch) as asked:
            path = await read(store, limit=15)
        counts.append(len(asked))
        for before, after in pairwise(path.messages):
            assert path.kin[after.message_id].parent_id == before.message_id
        assert len(path.kin[path.messages[-5].message_id].siblings) == 2
    assert counts == [2, 2]  # what all are asked, and the page


_OPEN_IN = sa.select(*TURN).where(turns.c.session_id == sa.bindparam("session_id"), IS_OPEN)


@pytest.mark.parametrize(
    ("select", "index"),
    [
        (FORKS_IN, "chat_messages_forks_idx"),
        (_OPEN_IN, "chat_turns_open_idx"),
        (UNANSWERED_IN, "chat_turns_unanswered_idx"),
    ],
)
async def test_what_is_not_there_is_not_looked_for_among_all(
    db: Database, select: sa.Select[Any], index: str
) -> None:
    """Every join asks for branches, open questions and those without an answer: each has an index of nothing
    else."""
    made = Statement(select).on(db.dialect)
    asked, given = made.sql, made.arguments({"session_id": "s"})
    async with db.transaction() as connection:
        if db.dialect == "postgresql":
            await connection.command("SET LOCAL enable_seqscan = off")  # empty tables
            plan = await connection.raw.fetch(f"EXPLAIN {asked}", *given)
        else:
            plan = await connection.raw.execute_fetchall(f"EXPLAIN QUERY PLAN {asked}", given)
    assert index in str([tuple(row) for row in plan])


async def test_there_are_so_many_versions_of_a_message(store: Store) -> None:
    await store.session("s", agent_id=1)
    first = (await store.say("first")).record
    for number in range(SIBLINGS - 1):
        await store.say(f"other {number}", beside=first.message_id)
    with pytest.raises(BranchesFull):
        await store.say("too many", beside=first.message_id)
    kin = (await read(store)).kin
    assert [len(each.siblings) for each in kin.values()] == [SIBLINGS]
    branches = Branches(store.db)
    await store.say("behind the last one")
    for number in range(SIBLINGS):
        await branches.select("s", first.message_id, exact=True)
        await store.say(f"behind the first one {number}")
    await branches.select("s", first.message_id, exact=True)
    with pytest.raises(BranchesFull):
        await store.say("too many")
    with pytest.raises(BranchesFull):
        await branches.again("s", first.message_id, Addressed(1, "queue"))
    # Where one is, it goes on.
    await branches.select("s", first.message_id, exact=False)
    await store.say("more")


async def test_a_question_that_is_asked_again_begins_anew(store: Store) -> None:
    """But for its claims, which are counted on: who had one is fenced off."""
    await store.session("s", agent_id=1)
    line, branches = Questions(store.db), Branches(store.db)
    await store.say("?", message_id="q", asks=Addressed(1, "queue"))
    await line.claim("s", store.clock(), store.clock())
    given: dict[str, Any] = {"sender_type": "agent", "sender_id": "1", "message_type": "stream"}
    await store.say("", message_id="a", status="streaming", reply_to="q", **given)
    await store.writer.submit(EndStream("s", "a", "failed", "so far"))
    before = await line.get("q")
    again = await branches.again("s", "a", Addressed(1, "interrupt"))
    assert (again.question.message_id, again.head, again.repeat) == ("q", PathEnd("q", True), False)
    fresh = TurnRecord("q", "s", 1, 1, "interrupt", again_seq=2)
    assert before is not None and before.fence == 1
    assert await line.get("q") == structs.replace(fresh, fence=2)
    assert not await line.finish(before, "failed")
    late = store.say("", status="streaming", reply_to="q", fence=before.fence, **given)
    with pytest.raises(FencedOff):
        await late


GIVEN: dict[str, Any] = {"sender_type": "agent", "sender_id": "1", "message_type": "stream"}


async def test_what_an_answer_took_up_is_asked_again(store: Store) -> None:
    """That answer stands before it: the path ends with the question, and the new answer is on it."""
    await store.session("s", agent_id=1)
    line, branches = Questions(store.db), Branches(store.db)
    await store.say("?", message_id="q", asks=Addressed(1, "queue"))
    await line.claim("s", store.clock(), store.clock())
    await store.say("", message_id="a", status="streaming", reply_to="q", **GIVEN)
    await store.say("and this?", message_id="p", asks=Addressed(1, "steer"))
    step = {"type": "step", "id": "1", "steered": ["p"]}
    await store.writer.submit(EndStream("s", "a", "complete", "both", parts=[step]))
    taken = await line.get("p")
    assert taken is not None and (taken.state, taken.answer_id) == ("done", "a")
    assert (await branches.again("s", "p", Addressed(1, "queue"))).head.message_id == "p"
    await line.claim("s", store.clock(), store.clock())
    await store.say("", message_id="b", status="streaming", reply_to="p", **GIVEN)
    assert [message.message_id for message in (await read(store)).messages] == ["q", "a", "p", "b"]


async def test_nobody_is_steered_from_another_branch(store: Store) -> None:
    """Who shows the question does not show the answer."""
    await store.session("s", agent_id=1)
    line, branches = Questions(store.db), Branches(store.db)
    asks = Addressed(1, "steer")
    await store.say("first")
    await store.say("?", message_id="q", asks=asks)
    await line.claim("s", store.clock(), store.clock())
    await store.say("", message_id="a", status="streaming", reply_to="q", **GIVEN)
    await store.say("otherwise?", message_id="p", beside="q", asks=asks)
    await store.say("and?", message_id="behind-p", asks=asks)
    await branches.select("s", "q", exact=False)
    await store.say("and?", message_id="behind-a", asks=asks)
    found = await line.of(["q", "p", "behind-p", "behind-a"])
    ways = {question_id: turn.when_busy for question_id, turn in found.items()}
    assert ways == {"q": "steer", "p": "queue", "behind-p": "queue", "behind-a": "steer"}


async def test_a_question_is_for_the_answer_on_its_branch(store: Store) -> None:
    """That one's writer was told of it, whatever begins beside it, and no other one takes it up."""
    await store.session("s", agent_id=1)
    line, step = Questions(store.db), {"type": "step", "id": "1", "steered": ["mind"]}
    await store.say("?", message_id="q", asks=Addressed(1, "queue"))
    await line.claim("s", store.clock(), store.clock())
    await store.say("", message_id="a", status="streaming", reply_to="q", **GIVEN)
    await store.say("mind this", message_id="mind", asks=Addressed(1, "steer"))
    for beside, answer_id in (("p", "b"), ("r", "c")):
        await store.say("otherwise?", message_id=beside, beside="q", asks=Addressed(1, "parallel"))
        await line.claim("s", store.clock(), store.clock())
        await store.say("", message_id=answer_id, status="streaming", reply_to=beside, **GIVEN)
    waiting, busy = [await line.get("mind")], [turn for turn in await line.open("s") if turn.answer_id]
    assert [turn.answer_id for turn in busy] == ["a", "b", "c"]
    assert for_answers(waiting, busy[::-1], await line.paths("s")) == {"a": ["mind"]}
    assert await line.take_up("b", "s", ["mind"]) == []
    await store.writer.submit(EndStream("s", "b", "complete", "other", parts=[step]))
    assert await line.get("mind") == waiting[0]
    asked = [{"id": "1", "reason": "choice"}]
    await store.writer.submit(WaitStream("s", "c", "waiting", "other", parts=[step], interrupts=asked))
    await store.writer.submit(EndStream("s", "c", "cancelled"))
    assert await line.get("mind") == waiting[0]
    assert [turn.question_id for turn in await line.take_up("a", "s", ["mind"])] == ["mind"]
    await store.writer.submit(EndStream("s", "a", "complete", "both", parts=[step]))
    taken = await line.get("mind")
    assert taken is not None and (taken.state, taken.answer_id) == ("done", "a")


async def test_the_end_of_an_answer_takes_up_what_waits_on_its_branch(store: Store) -> None:
    """Though others have begun beside it: its node has died before it could say so."""
    await store.session("s", agent_id=1)
    line, step = Questions(store.db), {"type": "step", "id": "1", "steered": ["mind"]}
    await store.say("?", message_id="q", asks=Addressed(1, "queue"))
    await line.claim("s", store.clock(), store.clock())
    await store.say("", message_id="a", status="streaming", reply_to="q", **GIVEN)
    await store.say("mind this", message_id="mind", asks=Addressed(1, "steer"))
    await store.say("otherwise?", message_id="p", beside="q", asks=Addressed(1, "parallel"))
    await line.claim("s", store.clock(), store.clock())
    await store.writer.submit(EndStream("s", "a", "interrupted", "both", parts=[step]))
    taken = await line.get("mind")
    assert taken is not None and (taken.state, taken.answer_id) == ("done", "a")
