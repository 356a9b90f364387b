"""What a stream goes on with whose message has waited. Knows no producer."""

from collections.abc import Sequence

from events.errors import Unavailable
from storage.errors import StorageUnavailable
from storage.interfaces import StreamText
from storage.pieces import Run
from storage.questions import Questions
from storage.records import MessageRecord


async def before_it_waited(
    questions: Questions, record: MessageRecord, text: StreamText | None
) -> Sequence[Run]:
    """What it was written in before; nothing, where it has not waited, or its log (`text`) has that and more.
    Raises Unavailable."""
    if record.interrupts is None or record.reply_to is None:
        return ()
    try:
        written = await questions.written(record.reply_to)
    except StorageUnavailable as error:
        raise Unavailable from error
    count = sum(run.count for run in written)
    if text is not None and text.start >= record.revision and text.next_index >= count:
        return ()
    return written
