"""An answer over SSE whose reader dawdles: chunks are merged as they leave, even behind the end."""

from typing import Any

import msgspec

from events.event import Event, Kind, chunk_event, make
from events.observer import Observer
from events.outbox import Backlog
from server.transports.codecs import AnswerCodec


def parsed(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """(id, data) of each event."""
    events = []
    for block in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields["id"], msgspec.json.decode(fields["data"])))
    return events


def test_nothing_is_lost_behind_the_end() -> None:
    codec, cuts = AnswerCodec(), []
    codec.message_id = "m"
    backlog = Backlog(1 << 20, lambda: cuts.append(1), Observer())
    pieces = ["one ", "two ", "three"]
    events: list[Event] = [chunk_event("s", "m", at, [piece], 0.0) for at, piece in enumerate(pieces)]
    events.append(chunk_event("s", "another", 0, ["not this"], 0.0))
    end = make("s", "stream_end", Kind.DURABLE, {"message_id": "m", "status": "complete"}, 0.0)
    end.stream, end.closed = "m", True
    events.append(end)
    for event in events:
        backlog.give(event, codec, codec.encode(event))
    (first_id, chunk), (last_id, last) = parsed(backlog.take())
    assert (chunk["type"], chunk["content"], chunk["index"], chunk["count"]) == (
        "stream_chunk", "one two three", 0, 3
    )  # fmt: skip
    assert (first_id, last_id) == ("m:3", "m:3")
    assert (last["type"], last["status"]) == ("stream_end", "complete")
    assert not cuts
    assert codec.encode(end) == b""
