"""Anything at all as frames, packets, payloads and heads: nothing but clean closes."""

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.hub import Hub
from server.engine import packets, polling, stock
from server.engine.packets import PacketError
from server.engine.server import Server
from server.engine.stock.encoding import packet_frames
from tests.engine.fake import Connection, settle
from tests.engine.kit import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, masked
from tests.engine.test_door import GOOD, Codec, Door

anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
as_json = anything.map(lambda value: json.dumps(value).encode())
names = st.sampled_from(["say", "connect", "disconnect", "message", "", "*", "newListener", "é"])
heads = st.sampled_from(
    b"40 41 42 421 4299999999999999999999 43 431 44 451- 452-9 450- 461-1 4533- 45 49 4 42/x, 40/x, "
    b"40/admin, 42/, 42/x?y=1, 1 2 2probe 3 5 6 \x00 4\xff ".split(b" ")
)
events = st.builds(
    lambda name, args: json.dumps([name, *args]).encode(), names, st.lists(anything, max_size=3)
)
placeholders = st.sampled_from(
    [b'["say",{"_placeholder":true,"num":0}]', b'["say",{"_placeholder":true,"num":-1}]',
     b'["say",{"_placeholder":true,"num":1e999}]', b'["say",{"_placeholder":1}]', b"NaN", b'["say",NaN]',
     b'["say","\\ud800"]', b'["say","\\u0000"]', b"[" * 2000, b'["say"' + b",[" * 500]
)  # fmt: skip
bodies = st.builds(bytes.__add__, heads, st.one_of(as_json, events, placeholders, st.binary(max_size=8)))


def halved(body: bytes) -> bytes:
    middle = len(body) // 2
    return masked(TEXT, body[:middle], fin=False) + masked(CONTINUATION, body[middle:])


opcodes = st.sampled_from([PING, PONG, CLOSE, TEXT, BINARY, CONTINUATION])
wire = st.one_of(
    bodies.map(lambda body: masked(TEXT, body)),
    bodies.map(halved),
    st.binary(max_size=20).map(lambda body: masked(BINARY, body)),
    st.builds(masked, opcodes, st.binary(max_size=10)),
    st.binary(max_size=12),
)


sizes = st.lists(st.integers(1, 300), min_size=1, max_size=4)


class Failures(logging.Handler):
    """What the engine logged as an error of its own: there must be none."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


async def play(stream: list[bytes], sizes: list[int], connected: bool, door: bool) -> None:
    failures = Failures()
    log = logging.getLogger("parley.engine")
    log.addHandler(failures)
    if door:
        core = Server(door=Door(), hub=Hub(), codec=Codec())
        sio = stock.Server(core=core, namespaces=["/", "/x"])
    else:
        sio = stock.Server(namespaces=["/", "/x"])
        sio.on("say", lambda sid, *args: args)
        sio.on("*", lambda event, sid, *args: [event])
    try:
        connection = Connection(sio)
        await connection.open()
        if connected:
            connection.feed(masked(TEXT, b"40" + json.dumps(GOOD).encode()))
            await settle()
            assert b'40{"sid"' in connection.transport.written
        data = b"".join(stream)
        turn = pos = 0
        while pos < len(data):
            size = sizes[turn % len(sizes)]
            connection.feed(data[pos : pos + size])
            pos, turn = pos + size, turn + 1
            if turn % 3 == 0:
                await settle(2)
        await settle()
        connection.lose()
        await settle()
        assert sio.engine.sessions == {}
        assert sio.environ == {}
        assert sio.manager.spaces == {}
        assert connection.protocol.handler is None
        assert not failures.records
        sio.engine.context.wheel.stop()
    finally:
        log.removeHandler(failures)


@pytest.mark.timeout(120)
@settings(max_examples=300, deadline=None)
@given(st.lists(wire, max_size=10), sizes, st.booleans(), st.booleans())
def test_connections(stream: list[bytes], sizes: list[int], connected: bool, door: bool) -> None:
    asyncio.run(play(stream, sizes, connected, door))


@settings(max_examples=500, deadline=None)
@given(bodies)
def test_packets(body: bytes) -> None:
    try:
        packet = packets.decode(body)
    except (PacketError, UnicodeDecodeError):
        return
    assert 0 <= packet.kind <= 6
    assert packet.id is None or packet.id >= 0


@given(st.one_of(st.binary(max_size=60), st.lists(bodies, max_size=4).map(b"\x1e".join)))
def test_polling_bodies(body: bytes) -> None:
    try:
        found = list(polling.packets(body))
    except ValueError:
        return
    for data, is_binary in found:
        assert is_binary or data[:1] in b"13456"


@given(anything)
def test_what_we_encode_a_client_can_decode(value: Any) -> None:
    packed = packet_frames(packets.EVENT, "/", None, ["e", value])
    body = polling.payload(packed)
    json.loads(body[2:])
