"""Rules of delivery, each taken out of the running code once: what goes wrong without it, and how it is done.

A rule that no schedule misses is either covered by the others, or not checked: then it does not belong here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events import healing, hub, records, seat, stream, streamparts, takeover, untold, witness
from storage.pieces import OWN, Run, rest_of
from storage.redis import bus, client

#: Puts something else in the place of an attribute: (owner, name, replacement).
Put = Callable[[Any, str, Any], None]


@dataclass(frozen=True)
class Rule:
    """`hole`: what goes wrong without it. `often`: what has to happen often for that to be seen soon."""

    hole: str
    leave_out: Callable[[Put], None]
    often: tuple[str, ...] = ()


def _nothing(*_: object, **__: object) -> None: ...


async def _nothing_to_wait_for(*_: object, **__: object) -> None: ...


def _without(name: str, line: str, instead: str) -> Callable[[Put], None]:
    """A script without one of its lines."""
    original = client.Script.__init__

    def build(self: client.Script, script: str, *shared: str) -> None:
        original(self, script, *shared)
        if name in (script, *shared):
            assert line in self.source, f"{name}.lua has changed"
            self.source = self.source.replace(line, instead)
            self.sha = client.hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    return lambda put: put(client.Script, "__init__", build)


async def _unconfirmed(self: bus.RedisBus, channels: Any) -> None:
    """Ask for the channels, and go on at once."""
    original = type(self)._subscribe
    names = [f"{self._prefix}:{channel}" for channel in channels]
    task = healing.asyncio.ensure_future(original(self, names))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _all_own(runs: Sequence[Run], have: int, characters: int) -> Iterator[tuple[int, str, list[str]]]:
    for index, _, texts in rest_of(runs, have, characters):
        yield index, OWN, texts


RULES: Mapping[str, Rule] = {
    "spoil": Rule(
        "an event delivered from SQL, or a record not written: the offset is good all the same",
        lambda put: put(records.ConnectionRecords, "spoil", _nothing),
        ("blink",),
    ),
    "heal_poll": Rule(
        "a node dies between commit and append: nobody ever publishes the event",
        lambda put: put(healing.Healer, "poll", _nothing_to_wait_for),
        ("die_while_writing", "start_node"),
    ),
    "hold_connection": Rule(
        "while a join or a recovery runs nothing waits: what comes is told before the snapshot, or twice",
        lambda put: put(hub.Hub, "hold", _nothing),
        ("write", "join", "leave", "drop"),
    ),
    "subscribe_first": Rule(
        "a room is read before its channel's subscription is confirmed: what lies between is lost",
        lambda put: put(bus.RedisBus, "subscribe", _unconfirmed),
        ("read_while_joining",),
    ),
    "trim_mark": Rule(
        "the log was trimmed (or made anew) past the offset: a partial replay is called recovered",
        _without("read", "after >= log.trim and left > 0 and 1 or 0", "1"),
        ("miss_much",),
    ),
    "gap_answer": Rule(
        "two nodes append revisions 5 and 6 in swapped order: 5 is dropped as old",
        _without("append", "(frm > 0 and frm or rev) > log.rev + 1 or", ""),
        ("write_at_once",),
    ),
    "floors": Rule(
        "a recovered connection begins at its position, not at what its snapshot showed: that comes twice",
        lambda put: put(takeover, "at", lambda had, pos: seat.Seat(pos, 0)),
        ("cut_while_joining",),
    ),
    "marks": Rule(
        "a read mark came to no log, or to one that was lost: its readers never hear of it",
        lambda put: put(untold.Untold, "tell", _nothing_to_wait_for),
        ("read", "lose_mark"),
    ),
    "parts": Rule(
        "the bus comes back, and the rest of an open stream is told as if all were the message's own text",
        lambda put: put(healing, "rest_of", _all_own),
        ("produce", "blink_while_streaming"),
    ),
    "put_in": Rule(
        "a second text part is opened, and who knows `stream_chunk` alone is not told of the blank line",
        lambda put: put(streamparts.StreamParts, "opening", lambda *_: ()),
        ("produce",),
    ),
    "own_numbers": Rule(
        "pieces that the server put in are counted as the producer's: it leaves out as many of its own",
        lambda put: put(streamparts, "is_of_server", lambda label: False),
        ("produce",),
    ),
    "taken_back": Rule(
        "a text was taken back, and the end of its stream does not tell the right one",
        lambda put: put(stream.Stream, "taken_back", False),
        ("produce",),
    ),
    "witness": Rule(
        "an announcement of who came or went was lost with the bus: who is there believes the old for good",
        lambda put: put(witness.Witness, "_tell", _nothing),
        ("redis_hang", "redis_recover", "drop", "half_open", "lose_key"),
    ),
}


def names() -> list[str]:
    return sorted(RULES)
