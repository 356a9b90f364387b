"""A conversation with branches as a plain model has it, and as a client follows it by its events alone."""

from typing import Any

Event = dict[str, Any]


class Model:
    """Messages in their order, what each follows, and where the path ends."""

    def __init__(self) -> None:
        self.parents: dict[str, str | None] = {}
        self.texts: dict[str, str] = {}
        self.mine: list[str] = []
        self.answers: dict[str, str] = {}  # to their questions
        self.head: str | None = None
        self.moves: list[str] = []  # of the head, without a new message
        self.branched = False

    @property
    def order(self) -> list[str]:
        return list(self.parents)

    def add(self, message_id: str, text: str, parent: str | None, question: str | None = None) -> None:
        """It is the head from there on."""
        self.branched = self.branched or parent != (self.order[-1] if self.parents else None)
        self.parents[message_id], self.texts[message_id] = parent, text
        self.head = message_id
        if question is None:
            self.mine.append(message_id)
        else:
            self.answers[message_id] = question

    def lead_to(self, message_id: str | None) -> None:
        if message_id is not None and message_id != self.head:
            self.branched = True
            self.moves.append(message_id)
        self.head = message_id

    def path(self, end: str | None = None) -> list[str]:
        found, at = [], end or self.head
        while at is not None:
            found.append(at)
            at = self.parents[at]
        return found[::-1]

    def newest_behind(self, message_id: str) -> str:
        return [each for each in self.order if message_id in self.path(each)][-1]

    def siblings(self, message_id: str) -> list[str]:
        """A deleted one counts where it is shown, or something follows it."""
        counts = {*self.path(), *self.parents.values(), *(each for each, text in self.texts.items() if text)}
        same = (each for each in self.order if self.parents[each] == self.parents[message_id])
        return [each for each in same if each in counts]


class Follower:
    """A page that was there from the beginning (docs/turns.md): what it shows, unless it has to ask."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.order: list[str] = []
        self.has_to_ask = False

    def take(self, name: str, event: Event) -> None:
        if name == "session" and event["event"] == "head":
            self.has_to_ask = True
        elif name in ("message", "stream_start"):
            before = self.order[-1] if self.order else None
            self._put(event["message_id"], event.get("parent_id", before))
            self.order.append(event["message_id"])

    def _put(self, message_id: str, parent: str | None) -> None:
        if parent is None:
            self.path = []
        elif parent in self.path:
            self.path = self.path[: self.path.index(parent) + 1]
        else:
            self.has_to_ask = True
        self.path = [*self.path, message_id]
