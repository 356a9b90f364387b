"""An open stream as its producer's node knows it. Decides nothing."""

import asyncio
import math
from collections.abc import Sequence

from events.access import Caller
from events.errors import ChatError
from events.parts import NOTHING, Made
from events.ratelimit import Pace
from events.rest import Rest
from events.schema import Message
from events.streamparts import StreamParts
from storage.interfaces import StreamText
from storage.ops import Committed
from storage.pieces import Pieces, Run
from storage.place import CommitPlace
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
        "conn_id",
        "ending",
        "fence",
        "floor",
        "flying",
        "gone",
        "idle_since",
        "inbox",
        "logged",
        "message_id",
        "owner",
        "pace",
        "parts",
        "refusal",
        "resumed",
        "room",
        "saved",
        "saved_at",
        "settled",
        "start",
        "started_at",
        "status",
        "steers",
        "told",
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
        self.ending: CommitPlace[Committed] | None = None
        self.saved = 0  # pieces that are in the database
        self.saved_at = 0.0  # monotonic
        self.floor = 0  # weight of what another node had saved: less does not take its place
        self.parts: StreamParts | None = None  # where there are others than its own text
        self.started_at = record.created_at.timestamp()
        self.told = 0  # tokens of what its model was told, about
        self.idle_since = now
        self.conn_id = ""  # the connection that writes it
        self.uncounted = 0  # chunks that do not yet count as activity
        self.pace = Pace()
        self.status = ""  # what its producer does, as JSON, where it said so
        # Questions that its producer was told of: in which revision, on which connection, and their bytes.
        self.steers: dict[str, tuple[int, str, int]] | None = None
        self.inbox: dict[str, Message] | None = None  # the same for a writer that runs here, until it looks
        self.writer: Caller | None = None  # who wrote last, and may (`events.producers`)
        self.refusal: ChatError | None = None  # why not any more
        self.agent_task: asyncio.Task[None] | None = None  # its writer, where that runs here
        self.fence: int | None = None  # the claim by which it is written; None: by whoever began it
        self.resumed = record.interrupts is not None  # it has waited

    def allow(self, caller: Caller) -> None:
        """Whether it may write was just asked."""
        self.writer, self.refusal = caller, None

    def take_over(self, text: StreamText) -> None:
        """It goes on after what the log has."""
        self.put(text.all)
        self.bytes = sum(len(run.text.encode()) for run in text.all)
        self.logged = self.adopted = text.next_index
        if self.turns:
            self.parts = StreamParts(self)

    def put_back(self, written: Sequence[Run]) -> None:
        """It goes on after it has waited: the log is told all of it again."""
        count = sum(run.count for run in written)
        self.take_over(StreamText("", count, self.start, False, False, tuple(written)))
        self.logged = 0

    @property
    def next_index(self) -> int:
        """As its producer counts."""
        return len(self.pieces) - (0 if self.parts is None else self.parts.put_in)

    def made(self) -> Made:
        """The message so far."""
        return Made("".join(self.pieces)) if self.parts is None else self.parts.made(self)

    def rest(self, index: int) -> Rest:
        """What a reader lacks who has the pieces before one."""
        made = NOTHING if self.parts is None else self.parts.made(self)
        runs, taken_back = self.runs_from(index), self.taken_back
        return Rest.of_pieces("streaming", index, runs, len(self.pieces), made, taken_back=taken_back)

    @property
    def to_be_saved(self) -> bool:
        """Whether more of it is known here than is in the database."""
        if len(self.pieces) == self.saved:
            return False
        return not self.floor or sum(map(len, self.pieces)) > self.floor

    @property
    def taken_back(self) -> bool:
        """Whether who knows `stream_chunk` alone has added up something else than the text."""
        return self.parts is not None and self.parts.taken_back
