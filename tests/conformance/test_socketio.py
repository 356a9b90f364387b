"""Every case of the Socket.IO protocol's test suite (socketio/socket.io-protocol) that is not Engine.IO's,
restated, and what its document says besides."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.conformance.servers import application
from tests.engine.kit import BINARY, LIMIT, TEXT, Polling, Raw, engineio, serving, socketio

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quick() -> AsyncIterator[int]:
    async with serving(application(0.3, 0.2, LIMIT)) as port:
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow() -> AsyncIterator[int]:
    async with serving(application(25, 20, LIMIT)) as port:
        yield port


@pytest.fixture(params=["300/200 ms", "25/20 s"])
def port(request: pytest.FixtureRequest, quick: int, slow: int) -> int:
    return quick if request.param == "300/200 ms" else slow


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Raw]:
    raw, _ = await socketio(port)
    async with raw:
        assert await raw.next_text() == '42["auth",{}]'
        yield raw


# Connecting


@pytest.mark.parametrize("auth", [None, {"token": "123"}])
@pytest.mark.parametrize("namespace", ["", "/custom,"])
async def test_connect(port: int, namespace: str, auth: dict[str, str] | None) -> None:
    raw, _ = await engineio(port)
    async with raw:
        raw.text(f"40{namespace}" + (json.dumps(auth) if auth else ""))
        answer = await raw.next_text()
        assert answer.startswith("40" + namespace)
        handshake = json.loads(answer[2 + len(namespace) :])
        assert list(handshake) == ["sid"]
        assert isinstance(handshake["sid"], str)
        event = json.dumps(["auth", auth or {}], separators=(",", ":"))
        assert await raw.next_text() == f"42{namespace}{event}"


async def test_connect_by_polling_answers_in_one_payload(slow: int) -> None:
    async with Polling(slow) as session:
        assert await session.post('40{"token":"123"}') == (200, "ok")
        packets = []
        while len(packets) < 2:
            packets += await session.packets()
        assert packets[0].startswith('40{"sid":')
        assert packets[1] == '42["auth",{"token":"123"}]'


async def test_unknown_namespace(port: int) -> None:
    raw, _ = await engineio(port)
    async with raw:
        raw.text("40/random")
        assert await raw.next_text() == '44/random,{"message":"Invalid namespace"}'


@pytest.mark.parametrize("packet", ["4abc", "4", "40abc", "40[]", '40"x"', "47", "44{}", "40/x,[1]"])
async def test_invalid_handshake(port: int, packet: str) -> None:
    raw, _ = await engineio(port)
    async with raw:
        raw.text(packet)
        await raw.closed()


async def test_no_handshake() -> None:
    async with serving(application(25, 20, connect_timeout=1.0)) as port:
        raw, _ = await engineio(port)
        async with raw:
            await raw.closed()


# Leaving


async def test_disconnect_from_the_main_namespace(quick: int) -> None:
    async with connected(quick) as raw:
        raw.text("41")
        assert await raw.receive() == (TEXT, b"2")


async def test_disconnect_from_a_custom_namespace(port: int) -> None:
    async with connected(port) as raw:
        raw.text("40/custom")
        assert (await raw.next_text()).startswith("40/custom,")
        assert await raw.next_text() == '42/custom,["auth",{}]'
        raw.text("41/custom")
        raw.text('42["message","message to main namespace"]')
        assert await raw.next_text() == '42["message-back","message to main namespace"]'


# Messages


async def test_plain_text(port: int) -> None:
    async with connected(port) as raw:
        raw.text('42["message",1,"2",{"3":[true]}]')
        assert await raw.next_text() == '42["message-back",1,"2",{"3":[true]}]'


async def test_plain_text_with_ack(port: int) -> None:
    async with connected(port) as raw:
        raw.text('42456["message-with-ack",1,"2",{"3":[false]}]')
        assert await raw.next_text() == '43456[1,"2",{"3":[false]}]'


@pytest.mark.parametrize(("id", "event", "kind"), [("", "message", "5"), ("789", "message-with-ack", "6")])
async def test_binary_attachments(port: int, id: str, event: str, kind: str) -> None:
    placeholders = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    async with connected(port) as raw:
        raw.text(f'452-{id}["{event}",{placeholders}]')
        raw.frame(BINARY, b"\x01\x02\x03")
        raw.frame(BINARY, b"\x04\x05\x06")
        name = "" if id else '"message-back",'
        assert await raw.next_text() == f"4{kind}2-{id}[{name}{placeholders}]"
        assert await raw.receive() == (BINARY, b"\x01\x02\x03")
        assert await raw.receive() == (BINARY, b"\x04\x05\x06")


INVALID = [
    "4abc", "42{}", "42", "42[]", "42[1]", '42abc["message-with-ack",1]', "42[", "4212", '42["message",NaN]',
    '42["message","\\ud800"]', '42["message","\\u0000"]', '42["connect",1]', '42["disconnect"]',
    '42["newListener"]', '42["connect_error"]', '45-["message"]', '45x-["message"]', '4599999999999-["m"]',
    '4533-["message"]', '42123456789012345678901["message"]', "43[1]", '451-["message",1]',
]  # fmt: skip


@pytest.mark.parametrize("packet", INVALID)
async def test_invalid_packets_close_the_connection(slow: int, packet: str) -> None:
    async with connected(slow) as raw:
        raw.text(packet)
        if packet.startswith("451-"):
            raw.text('42["message","text where an attachment is due"]')
        await raw.closed()


async def test_invalid_placeholders(slow: int) -> None:
    for placeholder in (
        '{"_placeholder":true,"num":1}',
        '{"_placeholder":true}',
        '{"_placeholder":true,"num":"0"}',
    ):
        async with connected(slow) as raw:
            raw.text(f'451-["message",{placeholder}]')
            raw.frame(BINARY, b"\x01")
            await raw.closed()


async def test_a_binary_message_that_nothing_announced(slow: int) -> None:
    async with connected(slow) as raw:
        raw.frame(BINARY, b"\x01")
        await raw.closed()


async def test_attachments_are_limited_in_sum(slow: int) -> None:
    async with connected(slow) as raw:
        raw.text('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        raw.frame(BINARY, bytes(600_000))
        raw.frame(BINARY, bytes(600_000))
        await raw.closed()


async def test_an_unknown_acknowledgement_is_ignored(slow: int) -> None:
    async with connected(slow) as raw:
        raw.text("4377[1]")
        raw.text('42["message",1]')
        assert await raw.next_text() == '42["message-back",1]'


async def test_an_event_of_a_namespace_that_was_left_is_ignored(slow: int) -> None:
    async with connected(slow) as raw:
        raw.text('42/custom,["message",1]')
        raw.text('42["message",2]')
        assert await raw.next_text() == '42["message-back",2]'
