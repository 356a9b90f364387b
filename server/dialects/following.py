"""Follows an answer that has waited. Knows no dialect."""

from events.room import Connection
from server.routes.streams import FROM_THE_BEGINNING, answer_from, line
from server.services import Services
from server.transports.eventstream import Begin, EventStream, StreamedAnswer
from storage.interrupts import all_answered
from storage.records import MessageRecord
from storage.waits import WAITING


def goes_on(services: Services, answer: MessageRecord) -> Begin:
    """The function that begins with an answer as it is, or as it goes on where it waits for nobody any more:
    what it waited for is given before, for each answer to that is a change of it, and one that waits is at
    its end."""

    async def begin(conn: Connection, stream: EventStream) -> StreamedAnswer:
        current = await services.messages.get(answer.session_id, answer.message_id)
        start = {"type": "stream_start", "message_id": current.message_id}
        head = line(start | {"request": {"message_id": current.reply_to}})
        if current.status == WAITING and all_answered(current.interrupts):
            # Somebody is about to go on: it is told from its beginning then.
            return StreamedAnswer(current.message_id, head, 0, current.revision, False)
        return await answer_from(services, current, FROM_THE_BEGINNING, head, in_order=True)

    return begin
