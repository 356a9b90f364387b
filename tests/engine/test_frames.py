"""The frame parser and encoder: RFC 6455 section 5, without a socket."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.held import SMALL
from server.engine import frames, parser
from server.engine.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from server.engine.parser import AT_A_TIME, FrameParser, ProtocolError

MASK = b"\x37\xfa\x21\x3d"
Event = tuple[str, object]


class Log:
    """A receiver and control that writes down what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.held = 0

    def text(self, data: bytes) -> None:
        assert type(data) is bytes
        self.events.append(("text", data))

    def binary(self, data: bytes) -> None:
        assert type(data) is bytes
        self.events.append(("binary", data))

    def ping_received(self, data: bytes) -> None:
        self.events.append(("ping", data))

    def pong_received(self, data: bytes) -> None:
        self.events.append(("pong", data))

    def holds(self, by: int) -> None:
        self.held += by

    def close_received(self, code: int, reason: str) -> None:
        self.events.append(("close", (code, reason)))

    def aside(self) -> None: ...


def masked(
    opcode: int,
    data: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    form: int | None = None,
    claim: int | None = None,
) -> bytes:
    """A client's frame; `form` forces a longer length (126, 127), `claim` another length than the body's."""
    n = len(data) if claim is None else claim
    form = form or (n if n < 126 else 126 if n < 65536 else 127)
    head = bytes(((0x80 if fin else 0) | rsv << 4 | opcode, form | (0x80 if mask is not None else 0)))
    if form == 126:
        head += n.to_bytes(2, "big")
    elif form == 127:
        head += n.to_bytes(8, "big")
    if mask is None:
        return head + data
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))


def feed(parser: FrameParser, data: bytes) -> None:
    while data:
        data = parser.feed(data)


def run(stream: bytes, sizes: list[int] | None = None, max_size: int = 1 << 20) -> list[Event]:
    """What comes of a stream fed in pieces of `sizes` (the last one repeats), a fault as its last event."""
    log = Log()
    parser = FrameParser(log, log, max_size)
    pos, turn = 0, 0
    while pos < len(stream):
        n = len(stream) if not sizes else sizes[min(turn, len(sizes) - 1)]
        try:
            feed(parser, stream[pos : pos + n])
        except ProtocolError as error:
            log.events.append(("error", error.code))
            break
        if log.events and log.events[-1][0] == "close":
            break
        pos += n
        turn += 1
    return log.events


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 124, 125, 126, 127, 128, 65535, 65536, 65537, 300_000])
@pytest.mark.parametrize("pieces", [None, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4096], [2, 4, 997]])
def test_lengths(size: int, pieces: list[int] | None) -> None:
    data = random.Random(size).randbytes(size)
    text = data.hex().encode()[:size]
    stream = masked(BINARY, data) + masked(TEXT, text) + masked(PING, b"end")
    assert run(stream, pieces) == [("binary", data), ("text", text), ("ping", b"end")]


def test_many_frames_in_one_piece_keep_their_order() -> None:
    stream = b"".join(
        masked(TEXT, b"%d" % i) + masked(PING, b"%d" % i) + masked(BINARY, b"%d" % i) for i in range(50)
    )
    expected = [(kind, b"%d" % i) for i in range(50) for kind in ("text", "ping", "binary")]
    assert run(stream) == expected
    for n in (1, 2, 5, 6, 7, 13):
        assert run(stream, [n]) == expected


def test_control_frames_inside_a_fragmented_message() -> None:
    stream = (
        masked(TEXT, b"Hel", fin=False)
        + masked(PING, b"?")
        + masked(CONTINUATION, b"l", fin=False)
        + masked(PONG)
        + masked(CONTINUATION, b"o")
        + masked(BINARY, b"\xff", fin=False)
        + masked(CONTINUATION)
        + masked(CLOSE)
    )
    assert run(stream) == [
        ("ping", b"?"),
        ("pong", b""),
        ("text", b"Hello"),
        ("binary", b"\xff"),
        ("close", (frames.NO_STATUS, "")),
    ]


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_reserved_bits(rsv: int, opcode: int) -> None:
    assert run(masked(opcode, b"", rsv=rsv)) == [("error", 1002)]


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes(opcode: int) -> None:
    for data in (b"", b"x" * 200):
        for fin in (True, False):
            good = masked(TEXT, b"before")
            assert run(good + masked(opcode, data, fin=fin)) == [("text", b"before"), ("error", 1002)]


def test_what_is_not_masked_is_refused_at_its_second_byte() -> None:
    assert run(masked(TEXT, b"hello", mask=None)) == [("error", 1002)]
    assert run(masked(TEXT, b"", mask=None)) == [("error", 1002)]
    assert run(b"\x81\x00", [1]) == [("error", 1002)]


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frames_are_short_and_whole(opcode: int) -> None:
    assert run(masked(opcode, b"x" * 126)) == [("error", 1002)]
    assert run(masked(opcode, b"x" * 126)[:2]) == [("error", 1002)]  # before its data came
    assert run(masked(opcode, b"", form=126)) == [("error", 1002)]
    assert run(masked(opcode, b"", fin=False)) == [("error", 1002)]


@pytest.mark.parametrize("data", [b"", b"x" * 125])
def test_longest_control_frames(data: bytes) -> None:
    assert run(masked(PING, data) + masked(PONG, data)) == [("ping", data), ("pong", data)]


def test_fragments_out_of_turn() -> None:
    assert run(masked(CONTINUATION, b"x")) == [("error", 1002)]
    assert run(masked(CONTINUATION, b"x", fin=False)) == [("error", 1002)]
    for second in (TEXT, BINARY):
        for fin in (True, False):
            stream = masked(TEXT, b"x", fin=False) + masked(second, b"y", fin=fin)
            assert run(stream) == [("error", 1002)]
    stream = masked(TEXT, b"x", fin=False) + masked(CONTINUATION, b"y") + masked(CONTINUATION, b"z")
    assert run(stream) == [("text", b"xy"), ("error", 1002)]


@pytest.mark.parametrize(("size", "form"), [(0, 126), (125, 126), (0, 127), (126, 127), (65535, 127)])
def test_lengths_must_be_in_their_shortest_form(size: int, form: int) -> None:
    assert run(masked(BINARY, bytes(size), form=form)) == [("error", 1002)]


def test_too_big() -> None:
    assert run(masked(TEXT, b"x" * 100), max_size=100) == [("text", b"x" * 100)]
    assert run(masked(TEXT, b"x" * 101), max_size=100) == [("error", 1009)]
    assert run(masked(BINARY, b"", claim=1 << 40, form=127)) == [("error", 1009)]
    assert run(masked(BINARY, b"", claim=(1 << 64) - 1, form=127)) == [("error", 1009)]
    fragments = masked(TEXT, b"x" * 60, fin=False) + masked(CONTINUATION, b"x" * 41)
    assert run(fragments, max_size=100) == [("error", 1009)]
    assert run(fragments, max_size=101) == [("text", b"x" * 101)]


def test_a_read_of_small_frames_is_looked_at_in_parts() -> None:
    """Others have their turn between them; a large frame is taken whole."""
    small = masked(CONTINUATION, b"", fin=False)
    for stream in (
        masked(TEXT, b"", fin=False) + small * 40_000,
        masked(PING) * 40_000,
        masked(TEXT) * 40_000,
    ):
        log = Log()
        parser = FrameParser(log, log, 1 << 20)
        rest, longest = stream, 0
        while rest:
            before, rest = len(rest), parser.feed(rest)
            longest = max(longest, before - len(rest))
        assert longest <= AT_A_TIME + len(small)
    large = masked(TEXT, b"x" * 200_000)
    assert FrameParser(log, log, 1 << 20).feed(large) == b""
    assert log.events[-1] == ("text", b"x" * 200_000)


@pytest.mark.parametrize("stream", [
    masked(TEXT, b"x" * 100_000),
    masked(TEXT, b"x" * 50_000, fin=False) + masked(CONTINUATION, b"x" * 50_000),
    masked(TEXT, b"x" * 50_000, fin=False) + masked(PING, b"x") + masked(CONTINUATION, b"x" * 50_000),
])  # fmt: skip
@pytest.mark.parametrize("size", [1000, 7777, 60_000])
def test_what_waits_for_the_end_of_its_message_is_told(stream: bytes, size: int) -> None:
    log = Log()
    parser = FrameParser(log, log, 1 << 20)
    for end in range(size, len(stream), size):
        feed(parser, stream[end - size : end])
        assert end - 100 <= log.held <= end if end > SMALL + 100 else log.held in (0, end)
    feed(parser, stream[end:])
    assert log.held == parser.held == 0
    assert log.events[-1] == ("text", b"x" * 100_000)


def test_empty_fragments_cost_no_memory() -> None:
    log = Log()
    parser = FrameParser(log, log, 10)
    parser.feed(masked(TEXT, b"", fin=False))
    for _ in range(1000):
        parser.feed(masked(CONTINUATION, b"", fin=False) * 10)
    parser.feed(masked(CONTINUATION, b"x"))
    assert log.events == [("text", b"x")]


BAD_UTF8 = [
    b"\x80",
    b"\xbf",
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xce",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"abc\xe2\x82",
    b"\xf0\x9f\x98",
]
GOOD_UTF8 = [
    "κόσμε",
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    "\ufffe",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "é✓😀",
    "Hello-µ@ßöäüàá-UTF-8!!",
]


@pytest.mark.parametrize("data", BAD_UTF8)
def test_invalid_utf8(data: bytes) -> None:
    assert run(masked(TEXT, data)) == [("error", 1007)]
    assert run(masked(BINARY, data)) == [("binary", data)]
    assert run(masked(CLOSE, b"\x03\xe8" + data)) == [("error", 1007)]
    for cut in range(1, len(data)):
        stream = masked(TEXT, data[:cut], fin=False) + masked(CONTINUATION, data[cut:])
        assert run(stream) == [("error", 1007)]


@pytest.mark.parametrize("string", GOOD_UTF8)
def test_valid_utf8_also_when_cut_inside_a_character(string: str) -> None:
    data = string.encode()
    assert run(masked(TEXT, data)) == [("text", data)]
    for cut in range(len(data) + 1):
        stream = masked(TEXT, data[:cut], fin=False) + masked(CONTINUATION, data[cut:])
        assert run(stream) == [("text", data)]


def test_invalid_utf8_is_told_at_the_fragment_that_has_it() -> None:
    assert run(masked(TEXT, b"ok\xff", fin=False)) == [("error", 1007)]


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
def test_close_codes_a_peer_may_send(code: int) -> None:
    reason = "bye ✓"
    assert run(masked(CLOSE, code.to_bytes(2, "big") + reason.encode())) == [("close", (code, reason))]


@pytest.mark.parametrize(
    "code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535]
)
def test_close_codes_a_peer_may_not_send(code: int) -> None:
    assert run(masked(CLOSE, code.to_bytes(2, "big"))) == [("error", 1002)]


def test_close_frame_data() -> None:
    assert run(masked(CLOSE)) == [("close", (frames.NO_STATUS, ""))]
    assert run(masked(CLOSE, b"\x03")) == [("error", 1002)]
    longest = b"\x03\xe8" + b"r" * 123
    assert run(masked(CLOSE, longest)) == [("close", (1000, "r" * 123))]


def test_nothing_after_a_close_frame_is_read() -> None:
    assert run(masked(CLOSE, b"\x03\xe8") + masked(TEXT, b"late")) == [("close", (1000, ""))]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_our_frames(size: int) -> None:
    data = b"z" * size
    wire = frames.frame(BINARY, data)
    assert wire == masked(BINARY, data, mask=None)


def test_our_close_frames() -> None:
    assert frames.close_frame(1000) == b"\x88\x02\x03\xe8"
    assert frames.close_frame(frames.NO_STATUS) == b"\x88\x00"
    assert frames.close_frame(4008, "slow") == b"\x88\x06\x0f\xa8slow"
    long = frames.close_frame(1000, "é" * 100)
    assert len(long) <= 127
    assert long[4:].decode() == "é" * 61


def test_the_receiver_may_be_replaced_in_mid_stream() -> None:
    first, second = Log(), Log()
    parser = FrameParser(first, first, 100)

    class Switch(Log):
        def text(self, data: bytes) -> None:
            super().text(data)
            parser.receiver = second

    switch = Switch()
    parser.receiver = switch
    parser.feed(masked(TEXT, b"1") + masked(TEXT, b"2") + masked(PING, b"3"))
    assert switch.events == [("text", b"1")]
    assert second.events == [("text", b"2")]
    assert first.events == [("ping", b"3")]


def test_the_python_mask_agrees_with_the_c_one() -> None:
    rng = random.Random(1)
    for n in (0, 1, 2, 3, 4, 5, 100, 1000):
        data, mask = rng.randbytes(n), rng.randbytes(4)
        expected = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        assert parser._apply_mask(data, mask) == expected
        assert n == 0 or parser.apply_mask(data, mask) == expected


# ------------------------------------------------------------------ properties

some_frames = st.one_of(
    st.builds(lambda s: masked(TEXT, s.encode()), st.text(max_size=40)),
    st.builds(lambda b: masked(BINARY, b), st.binary(max_size=300)),
    st.builds(lambda b: masked(PING, b), st.binary(max_size=20)),
    st.builds(lambda b: masked(TEXT, b, fin=False), st.binary(max_size=5)),
    st.builds(lambda b, f: masked(CONTINUATION, b, fin=f), st.binary(max_size=5), st.booleans()),
    st.builds(lambda b: masked(CLOSE, b), st.binary(max_size=5)),
    st.binary(max_size=8),
)


@given(st.lists(some_frames, max_size=12), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_the_pieces_a_stream_comes_in_change_nothing(parts: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(parts)
    assert run(stream, sizes, max_size=1000) == run(stream, max_size=1000)


@given(st.binary(max_size=400))
def test_no_stream_does_worse_than_a_protocol_error(stream: bytes) -> None:
    run(stream, [7])


messages = st.lists(st.one_of(st.text(max_size=60).map(str.encode), st.binary(max_size=60)), max_size=6)


@given(messages, st.randoms(use_true_random=False))
def test_fragmented_any_way_messages_come_out_whole(messages: list[bytes], rng: random.Random) -> None:
    stream, expected = b"", []
    for data in messages:
        try:
            data.decode()
            kind = TEXT
        except UnicodeDecodeError:
            kind = BINARY
        expected.append(("text" if kind == TEXT else "binary", data))
        cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(0, 4)))
        bounds = [0, *cuts, len(data)]
        pieces = [data[a:b] for a, b in itertools.pairwise(bounds)]
        for i, piece in enumerate(pieces):
            stream += masked(
                kind if i == 0 else CONTINUATION, piece, fin=i == len(pieces) - 1, mask=rng.randbytes(4)
            )
    assert run(stream, [rng.randint(1, 30)]) == expected
