"""The domain's hooks for metrics, which implement them. Every method is cheap and must not raise."""

from collections import Counter
from typing import Literal

#: How the coming back of a connection, or of a join with a position, ended.
Recovery = Literal["recovered", "expired", "incomplete", "refused", "away"]
#: The bus as a node finds it: it takes part, it does without, it does not hear itself.
BusState = Literal["live", "away", "deaf"]


class Observer:
    """Does nothing. `server.metrics` overrides. Times are in seconds.

    What happens with every chunk is counted where it happens: a call would cost more than the count.
    """

    def __init__(self) -> None:
        self.at_once: Counter[str] = Counter()  # commands answered "ok" at once, by name
        self.chunks = 0  # handed to members of rooms

    def command(self, name: str, outcome: str, seconds: float) -> None:
        """A command was answered; `outcome` is "ok" or an error code. 0 seconds: at once."""

    def connected(self, transport: str) -> None: ...

    def disconnected(self, transport: str, reason: str) -> None: ...

    def committed(self, batch: int, seconds: float) -> None:
        """A group commit of so many writes."""

    def delivered(self, name: str, members: int, seconds: float) -> None:
        """An event went to so many members, so long after it came into being (0: not known)."""

    def recovered(self, outcome: Recovery) -> None:
        """How it ended."""

    def cut(self, reason: str) -> None:
        """A slow reader was cut off, or ("CROWDED") one for whose unfinished message there was no room."""

    def dropped(self, kind: str) -> None:
        """A volatile event was not delivered to a slow reader."""

    def stream(self, outcome: str) -> None:
        """ "started", or how one ended."""

    def bus(self, state: BusState, lag: float = 0.0) -> None:
        """`lag`: the canary's."""

    def went_back(self, store: Literal["redis", "database"]) -> None:
        """What was there is not there any more, or not in that order."""

    def healed(
        self, what: Literal["delivered", "filled", "reset", "presence", "marks"], count: int = 1
    ) -> None:
        """Events that were delivered from SQL, gaps that were filled."""

    def webhook(self, outcome: Literal["told", "failed", "refused", "dead"]) -> None:
        """A request to a webhook was answered; "dead": its event is given up."""

    def hook(self, outcome: Literal["accepted", "changed", "rejected", "failed"], seconds: float) -> None:
        """A message came back from the hook before publishing."""
