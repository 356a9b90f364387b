"""Upgrade requests that are read without uvicorn's parser: what it would have read, or nothing."""

import asyncio

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from server.engine import endings
from server.engine.opening import Opening, RequestPatience, upgrade_request
from server.engine.protocol import HEAD_LIMIT
from server.engine.takers import Takers
from tests.engine.test_protocol import UPGRADE

LINES = UPGRADE.split(b"\r\n")[1:-2]


class Parsed:
    """What httptools tells of a request."""

    def __init__(self, data: bytes) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            assert upgrade.args[0] == len(data)  # nothing follows
        assert self.parser.should_upgrade()

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def head(target: bytes, lines: list[bytes]) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", *lines, b"", b""])


bytes_of_a_head = st.binary(max_size=12)
line = st.one_of(
    st.sampled_from([*LINES, b"A:", b"a: \t b \t", b"Origin: http://x", b"X: \xe9", b" folded", b"No colon"]),
    st.sampled_from([b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close", b"A : b"]),
    st.builds(lambda name, value: name + b":" + value, bytes_of_a_head, bytes_of_a_head),
)
target = st.one_of(
    st.sampled_from([b"/", b"/a?b=c%20d", b"*", b"http://x/", b"/a b", b"/\xe9", b"/#a"]), line
)


@given(target, st.lists(line, max_size=6), st.binary(max_size=3))
def test_what_is_read_is_what_the_parser_reads(target: bytes, more: list[bytes], after: bytes) -> None:
    data = head(target, [*LINES, *more]) + after
    found = upgrade_request(data)
    if found is not None:
        parsed = Parsed(data)
        assert parsed.complete
        # RFC 9112 section 5 has white space at both ends of a value, llhttp leaves it at the second
        assert found == (parsed.target, [(name, value.strip(b" \t")) for name, value in parsed.headers])


def test_an_ordinary_request_is_read() -> None:
    found = upgrade_request(head(b"/x?y=1", [*LINES, b"Origin:http://a "]))
    assert found is not None
    assert (found[0], list(found[1])[-1]) == (b"/x?y=1", (b"origin", b"http://a"))


def test_lines_of_one_name_are_one_list() -> None:
    assert upgrade_request(head(b"/", [*LINES, b"Connection: keep-alive"])) is not None
    assert upgrade_request(head(b"/", [b"Connection: keep-alive", *LINES])) is not None


@pytest.mark.parametrize(
    "data",
    [
        UPGRADE[:-1],
        UPGRADE + b"\x81\x80abcd",
        UPGRADE.replace(b"GET", b"POST"),
        UPGRADE.replace(b"1.1", b"1.0"),
        UPGRADE.replace(b"\r\n", b"\n"),
        head(b"/", []),
        head(b"/", [line for line in LINES if not line.startswith(b"Upgrade")]),
        head(b"/", [line for line in LINES if not line.startswith(b"Connection")]),
        head(b"/", [line.replace(b"Connection: upgrade", b"Connection: x-upgrade") for line in LINES]),
        head(b"/", [*LINES, b"Upgrade: h2c"]),
        head(b"/", [*LINES, b"Content-Length: 0"]),
        head(b"/", [*LINES, b"Transfer-Encoding: chunked"]),
        head(b"/", [*LINES, b"Expect: 100-continue"]),
        head(b"/", [*LINES, b"A: b\x00"]),
        head(b"/", [*LINES, b"A b: c"]),
        head(b"/" + b"a" * HEAD_LIMIT, LINES),
    ],
)
def test_everything_else_is_the_parsers(data: bytes) -> None:
    assert upgrade_request(data) is None


class Transport:
    """One that can be closed."""

    closed = False
    protocol: object = None

    def close(self) -> None:
        self.closed = True

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol


async def test_who_says_nothing_is_let_go_when_the_server_stops_and_forgotten() -> None:
    state, transport, patience = ServerState(), Transport(), RequestPatience()
    opening = Opening(patience, Takers(), None, state, {})
    opening.connection_made(transport)
    assert list(map(id, state.connections)) == [id(opening)] and len(patience) == 1
    opening.shutdown()
    assert transport.closed
    opening.connection_lost(None)
    assert not state.connections and len(patience) == 0


async def test_what_it_becomes_has_the_connection_to_itself() -> None:
    class Kind:
        def connection_made(self, transport: Transport) -> None:
            state.connections.add(self)  # type: ignore[arg-type]

    state, transport, patience = ServerState(), Transport(), RequestPatience()
    opening = Opening(patience, Takers(), None, state, {})
    opening.connection_made(transport)
    opening._hand_over(now := Kind())
    assert state.connections == {now} == {transport.protocol}
    assert len(patience) == 0


async def test_one_timer_waits_for_all_and_for_each_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Opening] = []

    class Slow(Opening):
        def too_slow(self) -> None:
            told.append(self)
            self.connection_lost(None)

    patience, openings = RequestPatience(), []
    for seconds in (0.01, 0.02, 600):
        monkeypatch.setattr(endings, "HEAD_TIMEOUT", seconds)
        openings.append(Slow(patience, Takers(), None, ServerState(), {}))
        openings[-1].connection_made(Transport())
    async with asyncio.timeout(10):
        while len(patience) > 1:
            await asyncio.sleep(0.01)
    assert told == openings[:2]
    assert patience._timer is not None and patience._timer.when() > asyncio.get_running_loop().time() + 60
    openings[2].connection_lost(None)
    assert len(patience) == 0
