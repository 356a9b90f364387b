"""Answers over SSE whose reader dawdles, or whose agent does."""

import asyncio
from typing import Any

import msgspec

from events.event import Event, Kind, chunk_event, make
from events.observer import Observer
from events.outbox import Backlog
from server.transports.codecs import AnswerCodec
from server.transports.eventstream import AnswerHead, StreamedAnswer


def parsed(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """(id, data) of each event."""
    events = []
    for block in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields["id"], msgspec.json.decode(fields["data"])))
    return events


def test_nothing_is_lost_behind_the_end() -> None:
    """Chunks are merged as they leave, also when the end came meanwhile."""
    codec, cuts = AnswerCodec(), []
    codec.message_id = "m"
    backlog = Backlog(1 << 20, lambda: cuts.append(1), Observer(), lambda by: None)
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
    assert (first_id, last_id) == ("m:3", "m:end")
    assert (last["type"], last["status"]) == ("stream_end", "complete")
    assert not cuts
    assert codec.encode(end) == b""


async def test_one_that_waits_is_kept_alive() -> None:
    """The response begins before the answer does, if that takes long: proxies give up on silent ones."""
    sent: list[dict[str, Any]] = []
    begins: asyncio.Future[StreamedAnswer] = asyncio.get_running_loop().create_future()
    answer = StreamedAnswer("m", b"", 0, 1, False)

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 4:
            begins.set_result(answer)

    head = AnswerHead(send, every=0.01)
    assert await head.meanwhile(begins) is answer
    assert [m["type"] for m in sent[:2]] == ["http.response.start", "http.response.body"]
    assert [m["body"] for m in sent[2:4]] == [b": still here\n\n"] * 2
    await head.send()
    assert len([m for m in sent if m["type"] == "http.response.start"]) == 1
