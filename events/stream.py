"""An open stream as its producer's node knows it. Decides nothing."""

import asyncio
import math

from events.access import Caller
from events.errors import ChatError
from events.ratelimit import Pace
from storage.ops import Committed
from storage.pieces import Pieces
from storage.records import MessageRecord

#: Characters per token where the producer does not count: the usual rule of thumb for English.
CHARS_PER_TOKEN = 4


def tokens(text: str) -> int:
    """An estimate."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


class Stream(Pieces):
    """An open stream on its producer's node. `logged` counts the pieces that the log has."""

    __slots__ = (
        "account",
        "adopted",
        "agent_task",
        "bytes",
        "checkpointed",
        "conn_id",
        "ending",
        "flying",
        "gone",
        "idle_since",
        "logged",
        "message_id",
        "owner",
        "pace",
        "refusal",
        "room",
        "settled",
        "start",
        "started_at",
        "uncounted",
        "writer",
    )

    def __init__(self, record: MessageRecord, owner: tuple[str, str], now: float, account: str) -> None:
        super().__init__()
        self.room, self.message_id = record.session_id, record.message_id
        self.owner = owner  # (sender_type, sender_id)
        self.account = account  # for whom it is counted (`Caller.account`); "" for an agent of this node
        self.start = record.revision
        self.adopted = 0  # pieces whose boundaries only the log knows
        self.bytes = 0
        self.logged = 0
        self.flying = False  # an append is under way
        self.gone = False  # it is not written here any more
        self.settled: asyncio.Event | None = None
        self.ending: asyncio.Future[Committed] | None = None
        self.checkpointed = 0
        self.started_at = record.created_at.timestamp()
        self.idle_since = now
        self.conn_id = ""  # the connection that writes it
        self.uncounted = 0  # chunks that do not yet count as activity
        self.pace = Pace()
        self.writer: Caller | None = None  # who wrote last, and may (`events.producers`)
        self.refusal: ChatError | None = None  # why not any more
        self.agent_task: asyncio.Task[None] | None = None  # its writer, where that runs here

    def allow(self, caller: Caller) -> None:
        """Whether it may write was just asked."""
        self.writer, self.refusal = caller, None

    @property
    def text(self) -> str:
        """The message's own."""
        return self.text_from(0)[0]
