"""Pieces of a text that leave past a response's layers: the same to the reader, in every dialect."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from events.access import Caller
from events.errors import Draining
from events.event import Event, Kind, chunk_event, make
from events.outbox import Flusher
from events.parts import delta_label, whole_label
from server.dialects.agui.routes import RunFrames
from server.dialects.agui.runevents import RunEvents
from server.dialects.aisdk.chunks import UIChunks
from server.dialects.aisdk.streams import UIFrames
from server.dialects.answerlines import Frames, ToldInFrames
from server.dialects.openai.chunks import ChatChunks
from server.transports.codecs import AnswerCodec
from server.transports.eventstream import EventStream
from server.transports.growing import GrowingLines
from tests.engine.kit import LIMIT

#: What JSON, event streams and the splicing of payloads could stumble over.
PIECES = [
    "He",
    'said "',
    '","index":7,"content":"',
    "\u2028\u2029\x85\n\r",
    "\\u0000",
    "\U0001f600",
    "ß\x7f",
    "\\",
]
DIALECTS: list[Callable[[], Frames]] = [
    lambda: UIFrames(UIChunks(6, "s", lambda file_id: None)),
    lambda: RunFrames(RunEvents("s", "run", modern=True)),
    lambda: ChatChunks("Echo", "s", 0, with_usage=False),
    lambda: ChatChunks("Echo", "s", 0, with_usage=True),
]
dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=["aisdk", "agui", "chat", "chat-usage"])


def chunk(at: int, text: str, part: str = "") -> Event:
    return chunk_event("s", "m", at, [text], 0.0, part=part)


def ended(text: str) -> Event:
    payload = {"message_id": "m", "status": "complete", "content": text, "finish_reason": "stop"}
    return make("s", "stream_end", Kind.DURABLE, payload, 0.0, stream="m", closed=True)


class Response:
    """`layers`: what came through them; `past`: what did not; `body`: all. `takes`: the client reads."""

    def __init__(self) -> None:
        self.layers, self.past, self.body = list[bytes](), list[bytes](), b""
        self.over = asyncio.Event()
        self._takes = asyncio.Event()
        self._takes.set()

    @property
    def takes(self) -> bool:
        return self._takes.is_set()

    @takes.setter
    def takes(self, takes: bool) -> None:
        (self._takes.set if takes else self._takes.clear)()

    async def __call__(self, message: Any) -> None:
        await self._takes.wait()
        self.layers.append(message["body"])
        self.body += message["body"]
        if not message["more_body"]:
            self.over.set()

    def write(self, data: bytes) -> None:
        self.past.append(data)
        self.body += data


class Reader:
    """An answer's, whose events come from `give`."""

    def __init__(self, frames: Frames | None) -> None:
        self.response, self.codec = Response(), AnswerCodec()
        self.codec.message_id = "m"
        self.flusher = Flusher()
        node = SimpleNamespace(
            hub=SimpleNamespace(flusher=self.flusher), settings=SimpleNamespace(outbox_limit=1 << 20)
        )
        self.stream = EventStream(node)  # type: ignore[arg-type]
        self.stream.conn = SimpleNamespace(caller=Caller("user", "alice"))  # type: ignore[assignment]
        self.codec.at_once = self.stream.at_once
        told = None if frames is None else ToldInFrames(self.response, frames)
        self._serving = asyncio.create_task(
            self.stream.serve(
                asyncio.Event().wait,  # type: ignore[arg-type]  # a client that stays
                told or self.response,
                lambda: self.codec.ended,
                self.response,  # type: ignore[arg-type]
                told.grows if told is not None else GrowingLines(self.codec).grows,
            )
        )

    async def give(self, *events: Event) -> None:
        for event in events:
            self.flusher.fan_out([self.stream], self.codec.encode(event), event, self.codec)
        for _ in range(5):  # turns of the loop: there is nothing else to wait for
            await asyncio.sleep(0)

    async def whole(self) -> bytes:
        async with asyncio.timeout(LIMIT):
            await self.response.over.wait()
            await self._serving
        return self.response.body


async def slowly(frames: Frames, events: list[Event]) -> bytes:
    """What a reader is told whose events all pass the response's layers."""
    response, codec = Response(), AnswerCodec()
    codec.message_id = "m"
    told = ToldInFrames(response, frames)
    for event in events:
        await told({"type": "http.response.body", "body": codec.encode(event), "more_body": True})
    await told({"type": "http.response.body", "body": b"", "more_body": False})
    return response.body


@dialects
async def test_what_leaves_at_once_is_what_would_have_passed_all_layers(
    dialect: Callable[[], Frames],
) -> None:
    events = [chunk(at, text) for at, text in enumerate(PIECES)]
    events.append(ended("".join(PIECES)))
    reader = Reader(dialect())
    for event in events:
        await reader.give(event)
    assert await reader.whole() == await slowly(dialect(), events)
    assert len(reader.response.past) == len(PIECES) - 1


@dialects
async def test_a_reader_who_stops_and_reads_on_misses_nothing(dialect: Callable[[], Frames]) -> None:
    """Nor does a part that is another's stand in the wrong place; what came meanwhile is merged."""
    reader = Reader(dialect())
    await reader.give(chunk(0, "a"))
    await reader.give(chunk(1, "b"), chunk(2, "c"))
    assert len(reader.response.past) == 1  # what comes together leaves together
    reader.response.takes = False
    for at, text in enumerate("defgh", 3):
        await reader.give(chunk(at, text))
    before = reader.response.body
    assert before.count(b'"d"') == 0
    reader.response.takes = True
    await reader.give()
    assert reader.response.body.count(b'"efgh"') == 1
    await reader.give(chunk(8, "i"))
    assert len(reader.response.past) == 2  # it has caught up
    await reader.give(ended("abcdefghi"))
    body = await reader.whole()
    assert b"ANSWER_CHANGED" not in body
    pieces = [chunk(at, text) for at, text in enumerate(["a", "b", "c", "d", "efgh", "i"])]
    assert body == await slowly(dialect(), [*pieces, ended("abcdefghi")])


@dialects
async def test_other_parts_stand_in_their_place(dialect: Callable[[], Frames]) -> None:
    source = '{"type":"source","id":"s1","url":"https://example.com/","title":"t"}'
    events = [
        chunk(0, '{"type":"reasoning","id":"r","text":""}', whole_label("r")),
        chunk(1, "Hm", delta_label("r")),
        chunk(2, "m.", delta_label("r")),
        chunk(3, "One"),
        chunk(4, " two"),
        chunk(5, source, whole_label("s1")),
        chunk(6, " three"),
        chunk(7, " four"),
        ended("One two three four"),
    ]
    reader = Reader(dialect())
    for event in events:
        await reader.give(event)
    assert await reader.whole() == await slowly(dialect(), events)
    assert reader.response.past


async def test_lines_leave_at_once_as_well() -> None:
    codec = AnswerCodec()
    codec.message_id = "m"
    events = [chunk(at, text) for at, text in enumerate(PIECES)]
    reader = Reader(None)
    for event in events:
        await reader.give(event)
    assert reader.response.body == b"".join(map(codec.encode, events))
    assert len(reader.response.past) == len(PIECES) - 1
    reader.stream.end(Draining())
    assert (await reader.whole()).endswith(b"\n\n") and b"UNAVAILABLE" in reader.response.layers[-1]


async def test_what_has_left_stands_before_the_stream_s_error() -> None:
    reader = Reader(UIFrames(UIChunks(6, "s", lambda file_id: None)))
    await reader.give(chunk(0, "a"))
    event = chunk(1, "b")
    reader.flusher.fan_out([reader.stream], reader.codec.encode(event), event, reader.codec)
    reader.stream.end(Draining())  # in the same turn
    body = await reader.whole()
    assert 0 < body.index(b'"b"') < body.index(b"UNAVAILABLE")
