"""What becomes of a question that an open answer takes up on its way. Pure: no database."""

from typing import Any

from storage.ops import STEER
from storage.records import MessageRecord, TurnRecord

#: Of an answer that is written no more.
ENDED = frozenset({"complete", "cancelled", "interrupted", "failed"})


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
