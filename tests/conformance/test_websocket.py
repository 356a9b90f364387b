"""The cases of Autobahn's WebSocket test suite, groups 1 to 7, 9 and 10, restated against the raw path:
an application that takes the connection over and sends every message back.

The test ids are that suite's numbers; what each does follows its published descriptions.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from server.engine import frames
from server.engine.asgi import Receive, Scope, Send
from server.engine.parser import TooBig
from server.engine.protocol import WebSocketProtocol
from tests.engine.kit import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, masked, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX = 1 << 25


class Echo:
    def __init__(self, protocol: WebSocketProtocol) -> None:
        self.protocol = protocol

    def text(self, data: bytes) -> None:
        self.protocol.transport.write(frames.frame(frames.TEXT, data))

    def binary(self, data: bytes) -> None:
        self.protocol.transport.write(frames.frame(frames.BINARY, data))

    def pause_writing(self) -> None:
        self.protocol.pause_reading()

    def resume_writing(self) -> None:
        self.protocol.resume_reading()

    def pong(self, data: bytes) -> None: ...

    def too_big(self, error: TooBig) -> None: ...

    def holds(self, by: int) -> None: ...

    def lost(self, code: int) -> None: ...


async def taken_over(scope: Scope, receive: Receive, send: Send) -> None:
    protocol = scope["extensions"]["parley.protocol"]["protocol"]
    protocol.take_over(Echo(protocol), max_size=MAX)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[int]:
    async with serving(taken_over) as port:
        yield port


@pytest_asyncio.fixture(loop_scope="module")
async def raw(shared: int) -> AsyncIterator[Raw]:
    async with await Raw.websocket(shared) as client:
        yield client


async def still_well(raw: Raw) -> None:
    """The connection answers, and closes as it should."""
    raw.frame(PING, b"well?")
    assert await raw.receive() == (PONG, b"well?")
    raw.frame(CLOSE, b"\x03\xe8")
    assert await raw.closed() == 1000


def text_of(size: int) -> bytes:
    return b"*" * size


# 1: messages

SIZES = [0, 125, 126, 127, 128, 65535, 65536]


@pytest.mark.parametrize("size", SIZES, ids=[f"1.1.{i + 1}" for i in range(7)])
async def test_text(raw: Raw, size: int) -> None:
    raw.frame(TEXT, text_of(size))
    assert await raw.receive() == (TEXT, text_of(size))
    await still_well(raw)


@pytest.mark.parametrize("size", SIZES, ids=[f"1.2.{i + 1}" for i in range(7)])
async def test_binary(raw: Raw, size: int) -> None:
    data = random.Random(size).randbytes(size)
    raw.frame(BINARY, data)
    assert await raw.receive() == (BINARY, data)
    await still_well(raw)


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["1.1.8", "1.2.8"])
async def test_in_chops_of_997_octets(raw: Raw, opcode: int) -> None:
    await raw.chop(masked(opcode, text_of(65536)), 997)
    assert await raw.receive() == (opcode, text_of(65536))
    await still_well(raw)


# 2: pings and pongs


@pytest.mark.parametrize(
    "data", [b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125],
    ids=["2.1", "2.2", "2.3", "2.4"],
)  # fmt: skip
async def test_ping(raw: Raw, data: bytes) -> None:
    raw.frame(PING, data)
    assert await raw.receive() == (PONG, data)
    await still_well(raw)


async def test_ping_too_long_2_5(raw: Raw) -> None:
    raw.frame(PING, b"\xfe" * 126)
    assert await raw.closed() == 1002


async def test_ping_octet_by_octet_2_6(raw: Raw) -> None:
    await raw.chop(masked(PING, b"\xfe" * 125))
    assert await raw.receive() == (PONG, b"\xfe" * 125)
    await still_well(raw)


@pytest.mark.parametrize("data", [b"", b"unsolicited pong payload"], ids=["2.7", "2.8"])
async def test_unsolicited_pong(raw: Raw, data: bytes) -> None:
    raw.frame(PONG, data)
    await still_well(raw)


async def test_unsolicited_pong_then_ping_2_9(raw: Raw) -> None:
    raw.frame(PONG, b"unsolicited pong payload")
    raw.frame(PING, b"ping payload")
    assert await raw.receive() == (PONG, b"ping payload")
    await still_well(raw)


@pytest.mark.parametrize("chop", [False, True], ids=["2.10", "2.11"])
async def test_ten_pings(raw: Raw, chop: bool) -> None:
    for i in range(10):
        wire = masked(PING, b"payload-%d" % i)
        await raw.chop(wire, 1 if chop else len(wire))
    for i in range(10):
        assert await raw.receive() == (PONG, b"payload-%d" % i)
    await still_well(raw)


# 3: reserved bits


async def test_rsv_3_1(raw: Raw) -> None:
    raw.frame(TEXT, b"Hello, world!", rsv=1)
    assert await raw.closed() == 1002


@pytest.mark.parametrize(("rsv", "size"), [(2, 0), (3, 0), (4, 1)], ids=["3.2", "3.3", "3.4"])
async def test_rsv_after_a_good_message(raw: Raw, rsv: int, size: int) -> None:
    stream = masked(TEXT, b"Hello, world!") + masked(TEXT, b"Hello, world!", rsv=rsv) + masked(PING)
    await raw.chop(stream, size or len(stream))
    assert await raw.receive() == (TEXT, b"Hello, world!")
    assert await raw.closed() == 1002


@pytest.mark.parametrize(("opcode", "rsv"), [(BINARY, 5), (PING, 6), (CLOSE, 7)], ids=["3.5", "3.6", "3.7"])
async def test_rsv_of_other_frames(raw: Raw, opcode: int, rsv: int) -> None:
    raw.frame(opcode, b"\x03\xe8" if opcode == CLOSE else b"\x00\xff", rsv=rsv)
    assert await raw.closed() == 1002


# 4: reserved opcodes

OPCODES = [(3, b""), (4, b"reserved opcode payload"), (5, b""), (6, b"x" * 30), (7, b"reserved")]
CONTROLS = [(opcode + 8, data) for opcode, data in OPCODES]


@pytest.mark.parametrize(
    ("opcode", "data"), OPCODES + CONTROLS,
    ids=[f"4.1.{i + 1}" for i in range(5)] + [f"4.2.{i + 1}" for i in range(5)],
)  # fmt: skip
async def test_reserved_opcode(raw: Raw, opcode: int, data: bytes) -> None:
    raw.frame(TEXT, b"Hello, world!")
    raw.frame(opcode, data)
    raw.frame(PING)
    assert await raw.receive() == (TEXT, b"Hello, world!")
    assert await raw.closed() == 1002


# 5: fragmentation


@pytest.mark.parametrize("opcode", [PING, PONG], ids=["5.1", "5.2"])
async def test_fragmented_control_frame(raw: Raw, opcode: int) -> None:
    raw.frame(opcode, b"fragment1", fin=False)
    raw.frame(CONTINUATION, b"fragment2")
    assert await raw.closed() == 1002


@pytest.mark.parametrize("size", [0, 1, 3], ids=["5.3", "5.5", "5.4"])
async def test_two_fragments(raw: Raw, size: int) -> None:
    stream = masked(TEXT, b"fragment1", fin=False) + masked(CONTINUATION, b"fragment2")
    await raw.chop(stream, size or len(stream))
    assert await raw.receive() == (TEXT, b"fragment1fragment2")
    await still_well(raw)


@pytest.mark.parametrize("size", [0, 3, 1], ids=["5.6", "5.7", "5.8"])
async def test_ping_between_two_fragments(raw: Raw, size: int) -> None:
    stream = (
        masked(TEXT, b"fragment1", fin=False) + masked(PING, b"ping") + masked(CONTINUATION, b"fragment2")
    )
    await raw.chop(stream, size or len(stream))
    assert await raw.receive() == (PONG, b"ping")
    assert await raw.receive() == (TEXT, b"fragment1fragment2")
    await still_well(raw)


@pytest.mark.parametrize("size", [0, 8, 1])
@pytest.mark.parametrize("fin", [True, False], ids=["5.9-11", "5.12-14"])
async def test_continuation_of_nothing(raw: Raw, fin: bool, size: int) -> None:
    stream = masked(CONTINUATION, b"non-continuation payload", fin=fin) + masked(TEXT, b"Hello, world!")
    await raw.chop(stream, size or len(stream))
    assert await raw.closed() == 1002


async def test_continuation_after_the_end_5_15(raw: Raw) -> None:
    raw.frame(TEXT, b"fragment1", fin=False)
    raw.frame(CONTINUATION, b"fragment2")
    raw.frame(CONTINUATION, b"fragment3", fin=False)
    raw.frame(TEXT, b"fragment4")
    assert await raw.receive() == (TEXT, b"fragment1fragment2")
    assert await raw.closed() == 1002


@pytest.mark.parametrize("fin", [False, True], ids=["5.16", "5.17"])
async def test_continuation_first_then_text_twice(raw: Raw, fin: bool) -> None:
    for _ in range(2):
        raw.frame(CONTINUATION, b"fragment1", fin=fin)
        raw.frame(TEXT, b"fragment2", fin=False)
        raw.frame(CONTINUATION, b"fragment3")
    assert await raw.closed() == 1002


async def test_second_fragment_as_text_5_18(raw: Raw) -> None:
    raw.frame(TEXT, b"fragment1", fin=False)
    raw.frame(TEXT, b"fragment2")
    assert await raw.closed() == 1002


@pytest.mark.parametrize("wait", [True, False], ids=["5.19", "5.20"])
async def test_five_fragments_with_pings(raw: Raw, wait: bool) -> None:
    raw.frame(TEXT, b"fragment1", fin=False)
    raw.frame(CONTINUATION, b"fragment2", fin=False)
    raw.frame(PING, b"ping 1")
    if wait:
        assert await raw.receive() == (PONG, b"ping 1")
    raw.frame(CONTINUATION, b"fragment3", fin=False)
    raw.frame(CONTINUATION, b"fragment4", fin=False)
    raw.frame(PING, b"ping 2")
    if not wait:
        assert await raw.receive() == (PONG, b"ping 1")
    assert await raw.receive() == (PONG, b"ping 2")
    raw.frame(CONTINUATION, b"fragment5")
    assert await raw.receive() == (TEXT, b"fragment1fragment2fragment3fragment4fragment5")
    await still_well(raw)


# 6: UTF-8


async def test_empty_text_6_1(raw: Raw) -> None:
    raw.frame(TEXT)
    assert await raw.receive() == (TEXT, b"")
    raw.frame(TEXT, fin=False)
    raw.frame(CONTINUATION, fin=False)
    raw.frame(CONTINUATION)
    assert await raw.receive() == (TEXT, b"")
    raw.frame(TEXT, fin=False)
    raw.frame(CONTINUATION, b"middle frame payload", fin=False)
    raw.frame(CONTINUATION)
    assert await raw.receive() == (TEXT, b"middle frame payload")
    await still_well(raw)


HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()
KOSME = "κόσμε".encode()


@pytest.mark.parametrize("sizes", [None, [12], [1]], ids=["6.2.1", "6.2.2", "6.2.3"])
@pytest.mark.parametrize("data", [HELLO, KOSME])
async def test_valid_utf8(raw: Raw, data: bytes, sizes: list[int] | None) -> None:
    if sizes is None:
        raw.frame(TEXT, data)
    else:
        pieces = [data[i : i + sizes[0]] for i in range(0, len(data), sizes[0])]
        for i, piece in enumerate(pieces):
            raw.frame(CONTINUATION if i else TEXT, piece, fin=i == len(pieces) - 1)
    assert await raw.receive() == (TEXT, data)
    await still_well(raw)


BROKEN = KOSME + b"\xed\xa0\x80" + b"edited"


@pytest.mark.parametrize("fragments", [False, True], ids=["6.3.1", "6.3.2"])
async def test_invalid_utf8(raw: Raw, fragments: bool) -> None:
    if fragments:
        for i in range(len(BROKEN)):
            raw.frame(CONTINUATION if i else TEXT, BROKEN[i : i + 1], fin=i == len(BROKEN) - 1)
    else:
        raw.frame(TEXT, BROKEN)
    assert await raw.closed() == 1007


@pytest.mark.parametrize("bad", [b"\xf4\x90\x80\x80", b"\xf4\x90"], ids=["6.4.1", "6.4.2"])
async def test_invalid_utf8_is_told_before_the_message_is_whole(raw: Raw, bad: bytes) -> None:
    raw.frame(TEXT, KOSME, fin=False)
    raw.frame(CONTINUATION, bad, fin=False)
    if len(bad) < 4:  # CPython's decoder may wait for the sequence's last octet
        raw.frame(CONTINUATION, b"\x80\x80", fin=False)
    assert await raw.closed() == 1007


@pytest.mark.parametrize("cut", [len(KOSME) + 2, len(KOSME)], ids=["6.4.3", "6.4.4"])
async def test_invalid_utf8_in_chops_of_one_frame(raw: Raw, cut: int) -> None:
    wire = masked(TEXT, KOSME + b"\xf4\x90\x80\x80" + b"edited")
    raw.send(wire[:cut])
    await raw.writer.drain()
    raw.send(wire[cut:])
    assert await raw.closed() == 1007


def sequences() -> Iterator[tuple[str, bytes, bool]]:
    """6.5 to 6.23: octets, and whether they are UTF-8."""
    for i, data in enumerate([KOSME[:n] for n in range(1, len(KOSME) + 1)]):
        yield f"6.6.{i + 1}", data, _valid(data)
    first = [b"\x00", "\x80".encode(), "\u0800".encode(), "\U00010000".encode()]
    last = [b"\x7f", "\u07ff".encode(), "\uffff".encode(), "\U0010ffff".encode()]
    for i, data in enumerate(first):
        yield f"6.7.{i + 1}", data, True
    yield "6.8.1", b"\xf8\x88\x80\x80\x80", False
    yield "6.8.2", b"\xfc\x84\x80\x80\x80\x80", False
    for i, data in enumerate(last):
        yield f"6.9.{i + 1}", data, True
    for i, data in enumerate([b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]):
        yield f"6.10.{i + 1}", data, False
    for i, char in enumerate(["\ud7ff", "\ue000", "\ufffd", "\U0010ffff"]):
        yield f"6.11.{i + 1}", char.encode(), True
    yield "6.11.5", b"\xf4\x90\x80\x80", False
    for i in range(1, 9):
        yield f"6.12.{i}", (b"\x80\xbf" * 4)[:i], False
    firsts = [(0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE)]
    for i, (low, high) in enumerate(firsts):
        yield f"6.13.{i + 1}", b"".join(bytes([b, 0x20]) for b in range(low, high)), False
    lacking = [b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80", b"\xdf",
               b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"]  # fmt: skip
    for i, data in enumerate(lacking):
        yield f"6.14.{i + 1}", data, False
    yield "6.15.1", b"".join(lacking), False
    for i, data in enumerate([b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]):
        yield f"6.16.{i + 1}", data, False
    overlong = [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf"]
    for i, data in enumerate([*overlong, b"\xfc\x80\x80\x80\x80\xaf"]):
        yield f"6.17.{i + 1}", data, False
    for i, data in enumerate([b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf"]):
        yield f"6.18.{i + 1}", data, False
    for i, data in enumerate([b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80"]):
        yield f"6.19.{i + 1}", data, False
    singles = [0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF]
    for i, code in enumerate(singles):
        yield f"6.20.{i + 1}", chr(code).encode("utf-8", "surrogatepass"), False
    pairs = [(a, b) for a in (0xD800, 0xDB7F, 0xDB80, 0xDBFF) for b in (0xDC00, 0xDFFF)]
    for i, (a, b) in enumerate(pairs):
        yield f"6.21.{i + 1}", (chr(a) + chr(b)).encode("utf-8", "surrogatepass"), False
    characters = [p << 16 | low for p in range(17) for low in (0xFFFE, 0xFFFF)]
    for i, code in enumerate(characters):
        yield f"6.22.{i + 1}", chr(code).encode(), True
    for i, code in enumerate([0xFFF9, 0xFFFA, 0xFFFB, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF]):
        yield f"6.23.{i + 1}", chr(code).encode(), True


def _valid(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(("name", "data", "valid"), list(sequences()), ids=[s[0] for s in sequences()])
async def test_utf8_sequence(shared: int, name: str, data: bytes, valid: bool) -> None:
    async with await Raw.websocket(shared) as raw:
        raw.frame(TEXT, data)
        if valid:
            assert await raw.receive() == (TEXT, data)
            await still_well(raw)
        else:
            assert await raw.closed() == 1007


# 7: closing


async def test_close_7_1_1(raw: Raw) -> None:
    raw.frame(TEXT, b"Hello World!")
    assert await raw.receive() == (TEXT, b"Hello World!")
    raw.frame(CLOSE, b"\x03\xe8")
    assert await raw.receive() == (CLOSE, b"\x03\xe8")
    assert await raw.closed() is None


AFTER = [(CLOSE, b"\x03\xe8"), (PING, b"ping"), (TEXT, b"Hello World!")]


@pytest.mark.parametrize(("opcode", "data"), AFTER, ids=["7.1.2", "7.1.3", "7.1.4"])
async def test_frames_after_close_are_ignored(raw: Raw, opcode: int, data: bytes) -> None:
    raw.frame(CLOSE, b"\x03\xe8")
    raw.frame(opcode, data)
    assert await raw.receive() == (CLOSE, b"\x03\xe8")
    assert await raw.closed() is None


async def test_close_inside_a_fragmented_message_7_1_5(raw: Raw) -> None:
    raw.frame(TEXT, b"fragment1", fin=False)
    raw.frame(CLOSE, b"\x03\xe8")
    raw.frame(CONTINUATION, b"fragment2")
    assert await raw.closed() == 1000


async def test_close_after_a_large_message_7_1_6(raw: Raw) -> None:
    data = b"BAsd7&jh23" * 26_000
    raw.frame(TEXT, data)
    raw.frame(TEXT, b"Hello World!")
    raw.frame(CLOSE, b"\x03\xe8")
    raw.frame(PING)
    assert await raw.receive() == (TEXT, data)
    assert await raw.receive() == (TEXT, b"Hello World!")
    assert await raw.closed() == 1000


async def test_empty_close_7_3_1(raw: Raw) -> None:
    raw.frame(CLOSE)
    assert await raw.closed() == 1005


async def test_close_of_one_octet_7_3_2(raw: Raw) -> None:
    raw.frame(CLOSE, b"a")
    assert await raw.closed() == 1002


@pytest.mark.parametrize("reason", [b"", b"Hello World!", b"*" * 123], ids=["7.3.3", "7.3.4", "7.3.5"])
async def test_close_with_a_reason(raw: Raw, reason: bytes) -> None:
    raw.frame(CLOSE, b"\x03\xe8" + reason)
    assert await raw.closed() == 1000


async def test_close_with_too_long_a_reason_7_3_6(raw: Raw) -> None:
    raw.frame(CLOSE, b"\x03\xe8" + b"*" * 124)
    assert await raw.closed() == 1002


async def test_close_with_an_invalid_reason_7_5_1(raw: Raw) -> None:
    raw.frame(CLOSE, b"\x03\xe8" + BROKEN)
    assert await raw.closed() == 1007


VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
INVALID = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID, ids=[f"7.7.{i + 1}" for i in range(len(VALID))])
async def test_valid_close_codes(raw: Raw, code: int) -> None:
    raw.frame(CLOSE, code.to_bytes(2, "big"))
    assert await raw.closed() == code


@pytest.mark.parametrize(
    "code", INVALID, ids=[f"7.9.{i + 1}" for i in range(len(INVALID) - 2)] + ["7.13.1", "7.13.2"]
)
async def test_invalid_close_codes(raw: Raw, code: int) -> None:
    raw.frame(CLOSE, code.to_bytes(2, "big"))
    assert await raw.closed() == 1002


# 9 and 10: large messages, many messages

LARGE = [1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 23, 1 << 24]


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.1", "9.2"])
@pytest.mark.parametrize("size", LARGE)
async def test_large_message(shared: int, opcode: int, size: int) -> None:
    async with await Raw.websocket(shared) as raw:
        data = text_of(size)
        raw.frame(opcode, data)
        assert await raw.receive() == (opcode, data)
        await still_well(raw)


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.3", "9.4"])
@pytest.mark.parametrize("size", [64, 256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22])
async def test_large_message_in_fragments(shared: int, opcode: int, size: int) -> None:
    total = 1 << 20 if size < 1024 else 1 << 22
    async with await Raw.websocket(shared) as raw:
        data = text_of(total)
        for pos in range(0, total, size):
            raw.frame(CONTINUATION if pos else opcode, data[pos : pos + size], fin=pos + size >= total)
        assert await raw.receive() == (opcode, data)
        await still_well(raw)


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.5", "9.6"])
@pytest.mark.parametrize("size", [64, 128, 256, 512, 1024, 2048])
async def test_large_message_in_chops(shared: int, opcode: int, size: int) -> None:
    async with await Raw.websocket(shared) as raw:
        data = text_of(1 << 19)
        await raw.chop(masked(opcode, data), size)
        assert await raw.receive() == (opcode, data)
        await still_well(raw)


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["9.7", "9.8"])
@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096])
async def test_a_thousand_round_trips(shared: int, opcode: int, size: int) -> None:
    async with await Raw.websocket(shared) as raw:
        data = text_of(size)
        for _ in range(1000):
            raw.frame(opcode, data)
            assert await raw.receive() == (opcode, data)
        await still_well(raw)


async def test_fragments_of_1300_octets_10_1_1(shared: int) -> None:
    async with await Raw.websocket(shared) as raw:
        data = text_of(65536)
        for pos in range(0, len(data), 1300):
            raw.frame(CONTINUATION if pos else TEXT, data[pos : pos + 1300], fin=pos + 1300 >= len(data))
        assert await raw.receive() == (TEXT, data)
        await still_well(raw)


async def test_a_peer_that_reads_nothing_of_what_it_asked_for(shared: int) -> None:
    """Not Autobahn's: echoes beyond the kernel's buffers hold up the reading, not the server's memory."""
    async with await Raw.websocket(shared) as raw:

        async def ask() -> None:
            for _ in range(400):
                raw.frame(BINARY, bytes(65536))
                await raw.writer.drain()

        asking: asyncio.Task[Any] = asyncio.create_task(ask())
        for _ in range(400):
            assert await raw.receive() == (BINARY, bytes(65536))
        await asking
        await still_well(raw)
