"""The description of a transport: its name, door, bounds and channel in AsyncAPI. Knows no transport."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.routing import BaseRoute

from events.bounds import Bounds
from events.held import MOST
from events.waiting import LINE_BYTES, LINE_LIMIT
from server.services import Services

#: As the table of bounds has them: what waits for one slow reader, and for all of a node's.
SLOW_READER = "`OUTBOX_LIMIT` bytes for a slow reader"
HELD = f"{MOST // 2**20} MiB of a node in all for slow readers and messages that have not ended: see above"
#: What may be said, and wait to be done.
SAID = f"`WS_MESSAGE_SIZE_LIMIT` bytes a message, {LINE_LIMIT} commands or {LINE_BYTES // 1024} KiB in line"


class Channel(NamedTuple):
    """One way in, as AsyncAPI shows it. `commands`: it takes them; `welcomes`: connecting is joining."""

    name: str
    address: str
    text: str
    commands: bool = True
    welcomes: bool = True


@dataclass(frozen=True, slots=True)
class Transport:
    """`name` stands in metrics, log lines and the list of connections. `offer` makes a node's door of it, and
    the routes that lead there; without one, it is served before any route, or by REST's. `bounds` are those
    of its ways in that are no REST calls."""

    name: str
    channel: Channel
    offer: Callable[[Services], Sequence[BaseRoute]] | None = None
    bounds: Mapping[str, Bounds] = field(default_factory=dict)


def opening(who: str) -> Bounds:
    """Of a connection that takes commands."""
    return Bounds(
        who,
        "connect",
        f"{SAID}; {SLOW_READER}; {HELD}",
        ("RATE_LIMIT", "SERVER_FULL", "UNAVAILABLE"),
        holds="a connection: see below",
    )
