"""A session while a batch of messages is applied to it. Pure: no database, no clock."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from storage.errors import BranchesFull
from storage.ops import FORKS, SIBLINGS
from storage.records import FileRecord, MessageRecord
from storage.tree import Tree


class Parent(NamedTuple):
    """What a new message follows. `leads`: the session's path goes on with it."""

    seq: int
    message_id: str | None
    leads: bool = True


class Grafts(Struct, frozen=True):
    """What follows what in a session; by number the ids of messages that new ones may follow; the files of
    those of which there are to be other versions."""

    tree: Tree
    ids: dict[int, str]
    files: Sequence[FileRecord] = ()


def check_room(tree: Tree, parent: int) -> None:
    """Whether one more message may follow this one. Raises BranchesFull."""
    if parent == tree.last:
        return
    if len(tree.children(parent)) >= SIBLINGS:
        raise BranchesFull(f"at most {SIBLINGS} messages that follow the same one")
    if len(tree) >= FORKS:
        raise BranchesFull(f"at most {FORKS} branches of a session")


class Tally:
    """A locked session: what was read, and what this batch adds to it."""

    __slots__ = (
        "added",
        "expires_at",
        "grafts",
        "head_id",
        "head_seq",
        "last_activity",
        "last_revision",
        "last_seq",
        "moved",
        "requests",
        "session_id",
        "status",
        "touched",
        "ttl_hours",
    )

    def __init__(
        self,
        session_id: str,
        status: str,
        expires_at: datetime,
        ttl_hours: float,
        last_seq: int,
        last_revision: int,
        last_activity: datetime,
        head_seq: int | None = None,
        head_id: str | None = None,
    ) -> None:
        self.session_id = session_id
        self.status = status
        self.expires_at = expires_at
        self.ttl_hours = ttl_hours
        self.last_seq = last_seq
        self.last_revision = last_revision
        self.last_activity = last_activity
        self.head_seq, self.head_id = head_seq, head_id
        #: What follows what in it, where a branch may begin; and whether the batch moves its head.
        self.grafts: Grafts | None = None
        self.moved = False
        #: Messages and accepted commands that this batch adds, and whether it counts as activity.
        self.added = 0
        self.requests = 0
        self.touched = False

    # --- what a new message follows, in a session with branches

    def head(self, *, bounded: bool = True) -> Parent:
        """Raises BranchesFull."""
        assert self.head_seq is not None
        if bounded and self.grafts is not None:
            check_room(self.grafts.tree, self.head_seq)
        return Parent(self.head_seq, self.head_id)

    def beside(self, seq: int) -> Parent:
        """Raises BranchesFull."""
        assert self.grafts is not None
        parent = self.grafts.tree.parent(seq)
        check_room(self.grafts.tree, parent)
        return Parent(parent, self.grafts.ids.get(parent))

    def behind(self, question: MessageRecord, *, again: bool) -> Parent | None:
        """None where the question is on the path. `again`: other answers to it are not followed."""
        grafts = self.grafts
        if grafts is None or self.head_seq is None or grafts.tree.is_on(question.seq, self.head_seq):
            return None
        end = grafts.tree.newest_under(question.seq)
        if again or end not in grafts.ids:
            return Parent(question.seq, question.message_id, leads=False)
        return Parent(end, grafts.ids[end], leads=False)

    def follow(self, record: MessageRecord, parent: Parent | None) -> None:
        """The message is there."""
        if self.grafts is not None:
            self.grafts.tree.add(record.seq - 1 if parent is None else parent.seq)
        if parent is not None and parent.leads:
            self.head_seq, self.head_id, self.moved = record.seq, record.message_id, True
