"""Which branch of a conversation is shown and gone on with: one path for all readers of a session."""

from typing import Any

from msgspec import structs

from events.access import Caller
from events.answering import Answering
from events.clock import Clock
from events.delivery import Delivery
from events.errors import Forbidden
from events.event import Kind, make
from events.ids import new_id
from storage.branches import Branches, PathEnd
from storage.errors import StreamStillOpen
from storage.ops import INTERRUPT, Addressed


def check_leads(caller: Caller) -> None:
    """An agent writes where people lead it. Raises Forbidden."""
    if caller.role == "agent":
        raise Forbidden


class Branching:
    def __init__(self, branches: Branches, answering: Answering, delivery: Delivery, clock: Clock) -> None:
        self._branches, self._answering = branches, answering
        self._delivery, self._clock = delivery, clock

    async def select(self, session_id: str, message_id: str, exact: bool) -> dict[str, Any]:
        """Raises MessageMissing, Unavailable."""
        head = await self._branches.select(session_id, message_id, exact=exact)
        self._tell(session_id, head)
        return {"head_id": head.message_id}

    async def regenerate(self, session_id: str, message_id: str, asks: Addressed) -> dict[str, Any]:
        """Raises MessageMissing, QuestionOpen, BranchesFull, StreamStillOpen, Unavailable."""
        if asks.when_busy == "steer":  # its answer stands by itself
            asks = structs.replace(asks, when_busy="queue")
        try:
            again = await self._branches.again(session_id, message_id, asks)
        except StreamStillOpen as error:
            if asks.when_busy != INTERRUPT:
                raise
            await self._answering.stop(session_id, str(error))
            again = await self._branches.again(session_id, message_id, asks)
        self._tell(session_id, again.head)
        reply: dict[str, Any] = {"message_id": again.question.message_id, "head_id": again.head.message_id}
        if again.repeat:
            return reply | {"duplicate": True}
        self._answering.ask_again(again.question, asks)
        return reply

    def _tell(self, session_id: str, head: PathEnd) -> None:
        if not head.moved:
            return
        room = self._delivery.hub.rooms.get(session_id)
        if room is not None:
            room.changed()
        payload = {"event": "head", "head_id": head.message_id}
        event = make(session_id, "session", Kind.LOGGED, payload, self._clock(), id=new_id("ev"))
        self._delivery.logs.log_event(event)
