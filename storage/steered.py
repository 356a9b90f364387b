"""What becomes of a question that an open answer takes up on its way. Pure: no database."""

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from storage.ops import QUEUE, STEER
from storage.parts import taken_up
from storage.records import MessageRecord, TurnRecord
from storage.tree import Tree

#: Of an answer that is written no more.
ENDED = frozenset({"complete", "cancelled", "interrupted", "failed"})


def on_its_branch(turn: TurnRecord, tree: Tree, answered: Iterable[TurnRecord]) -> TurnRecord:
    """A question that waits, where these are answered: one on another branch steers none of their answers,
    because whoever reads these does not see it."""
    if turn.when_busy != STEER or turn.state != "queued":
        return turn
    if all(tree.is_on(each.seq, turn.seq) or tree.is_on(turn.seq, each.seq) for each in answered):
        return turn
    return structs.replace(turn, when_busy=QUEUE)


def may_take_up(answer: MessageRecord, turn: TurnRecord) -> bool:
    """Whether a question waits to be taken up by this answer, or one like it."""
    if answer.sender_type != "agent" or answer.sender_id != str(turn.agent_id):
        return False
    return turn.session_id == answer.session_id and (turn.state, turn.when_busy) == ("queued", STEER)


def taking_up(answer: MessageRecord, turn: TurnRecord) -> dict[str, Any]:
    """What changes of the turn of a question that is named in the answer's parts: it ends as the answer does,
    or goes on with it. Nothing, where it was not for the answer, or is done."""
    if turn.state == "done" or (turn.answer_id != answer.message_id and not may_take_up(answer, turn)):
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
