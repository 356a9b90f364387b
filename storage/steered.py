"""What becomes of a question that an open answer takes up on its way. Pure: no database."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import structs

from storage.ops import QUEUE, STEER
from storage.parts import taken_up
from storage.records import MessageRecord, TurnRecord
from storage.tree import CommonPaths

#: Of an answer that is written no more.
ENDED = frozenset({"complete", "cancelled", "interrupted", "failed"})


def on_its_branch(turn: TurnRecord, paths: CommonPaths, answered: Sequence[TurnRecord]) -> TurnRecord:
    """A question that waits, where these are answered: one on another branch than all of them steers none of
    their answers, because whoever reads these does not see it. One that is on the branch of any was told to
    its writer, perhaps, and stays as it is."""
    if turn.when_busy != STEER or turn.state != "queued" or not answered:
        return turn
    if any(paths.on_one_branch(each.seq, turn.seq) for each in answered):
        return turn
    return structs.replace(turn, when_busy=QUEUE)


def for_answers(
    waiting: Iterable[TurnRecord], busy: Sequence[TurnRecord], paths: CommonPaths
) -> dict[str | None, list[str]]:
    """Questions that wait to be taken up, by the open answer that each is for: the first on its branch. None:
    for one that has not begun."""
    found: dict[str | None, list[str]] = {}
    for turn in waiting:
        on: list[str | None] = []
        off: set[str | None] = set()
        for each in busy:
            if paths.on_one_branch(each.seq, turn.seq):
                on.append(each.answer_id)
            else:  # who reads it sees all that it answers, also what it took up before
                off.add(each.answer_id)
        begun = [answer_id for answer_id in on if answer_id is not None and answer_id not in off]
        if begun or None in on:
            found.setdefault(begun[0] if begun else None, []).append(turn.question_id)
    return found


def may_take_up(
    answer: MessageRecord, asked: TurnRecord | None, turn: TurnRecord, paths: CommonPaths | None
) -> bool:
    """Whether a question waits to be taken up by this answer, which is one to `asked`. None for `paths`:
    their session has no branches."""
    if answer.sender_type != "agent" or answer.sender_id != str(turn.agent_id):
        return False
    if turn.session_id != answer.session_id or (turn.state, turn.when_busy) != ("queued", STEER):
        return False
    return paths is None or paths.on_one_branch(answer.seq if asked is None else asked.seq, turn.seq)


def taking_up(
    answer: MessageRecord, asked: TurnRecord | None, turn: TurnRecord, paths: CommonPaths | None
) -> dict[str, Any]:
    """What changes of the turn of a question that is named in the answer's parts: it ends as the answer does,
    or goes on with it. Nothing, where it was not for the answer, or is done."""
    if turn.state == "done":
        return {}
    if turn.answer_id != answer.message_id and not may_take_up(answer, asked, turn, paths):
        return {}
    change = {"answer_id": answer.message_id, "state": "running"}
    return change | ({"state": "done", "outcome": answer.status} if answer.status in ENDED else {})


def left_without(
    turn: TurnRecord, status: str, reply_to: str | None, parts: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """What changes of an open turn whose answer has ended, as `status`. One that was taken up on the way, and
    that the answer does not name, waits again: the part that named it was lost with its node."""
    taken = reply_to not in (None, turn.question_id) and turn.when_busy == STEER
    if not taken or turn.question_id in taken_up(parts):
        return {"state": "done", "outcome": status}
    if turn.stopped:
        return {"state": "done", "outcome": "cancelled", "answer_id": None}
    return {"state": "queued", "answer_id": None, "claimed_until": None}
