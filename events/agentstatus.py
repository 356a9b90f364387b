"""What a stream's producer does while it writes nothing: told to the room, and to who joins. Never stored.

It is the stream's: it ends with it, however that ends.
"""

from typing import Any

from events.clock import Clock
from events.delivery import Delivery
from events.event import Kind, make, to_json
from events.stream import Stream
from storage.interfaces import StreamLog


class AgentStatuses:
    def __init__(self, log: StreamLog, delivery: Delivery, clock: Clock) -> None:
        self._log, self._delivery, self._clock = log, delivery, clock

    def say(self, stream: Stream, status: str | None, detail: str | None = None) -> None:
        """None: nothing. A repeat tells nobody anew. The stream is open."""
        said: dict[str, Any] = {} if status is None else {"status": status}
        if said and detail:
            said["detail"] = detail
        told = to_json(said).decode() if said else ""
        if told == stream.status:
            return
        stream.status = told
        if self._delivery.live:
            # Before the event: who joins hears it, or is told it.
            self._log.note(stream.message_id, told)
        payload = {"message_id": stream.message_id, "status": None, **said}
        self._delivery.publish(make(stream.room, "agent_status", Kind.VOLATILE, payload, self._clock()))
