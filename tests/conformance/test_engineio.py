"""Every case of the Engine.IO protocol's test suite (socketio/engine.io-protocol), restated, and what its
document says besides.

Run twice: with that suite's pings (300/200 ms), and with the product's, whose length no case waits for.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.engine import requests
from tests.conformance.servers import application
from tests.engine.kit import BINARY, TEXT, Http, Polling, Raw, engineio, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/engine.io/"
INTERVAL, TIMEOUT = 0.3, 0.2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quick() -> AsyncIterator[int]:
    async with serving(application(INTERVAL, TIMEOUT)) as port:
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow() -> AsyncIterator[int]:
    async with serving(application(25, 20)) as port:
        yield port


@pytest.fixture(params=["300/200 ms", "25/20 s"])
def port(request: pytest.FixtureRequest, quick: int, slow: int) -> int:
    return quick if request.param == "300/200 ms" else slow


async def get(
    port: int, query: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    async with await Http.connect(port) as http:
        assert isinstance(http, Http)
        return await http.request(method, f"{PATH}?{query}", headers=headers)


async def upgraded(session: Polling) -> Raw:
    """The session's WebSocket after "2probe" and "5"."""
    raw = await Raw.websocket(session.port, f"{PATH}?EIO=4&transport=websocket&sid={session.opening['sid']}")
    raw.text("2probe")
    assert await raw.receive() == (TEXT, b"3probe")
    raw.text("5")
    return raw


# Handshake


async def test_polling_opens_a_session(quick: int, slow: int) -> None:
    for port, interval, timeout in ((quick, 300, 200), (slow, 25000, 20000)):
        status, _, body = await get(port, "EIO=4&transport=polling")
        opening = json.loads(body[1:])
        assert (status, body[:1]) == (200, b"0")
        assert isinstance(opening.pop("sid"), str)
        assert opening == {
            "upgrades": ["websocket"], "pingInterval": interval, "pingTimeout": timeout,
            "maxPayload": 1000000,
        }  # fmt: skip


async def test_websocket_opens_a_session(quick: int) -> None:
    raw, opening = await engineio(quick, PATH)
    async with raw:
        assert isinstance(opening.pop("sid"), str)
        assert opening == {"upgrades": [], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1000000}


@pytest.mark.parametrize(
    "query", ["transport=polling", "EIO=abc&transport=polling", "EIO=3&transport=polling", "EIO=4",
              "EIO=4&transport=abc", "EIO=4&transport=websocket"],
)  # fmt: skip
async def test_polling_with_invalid_parameters(port: int, query: str) -> None:
    status, _, _ = await get(port, query)
    assert status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_polling_with_an_invalid_method(port: int, method: str) -> None:
    status, _, _ = await get(port, "EIO=4&transport=polling", method)
    assert status == 400


@pytest.mark.parametrize(
    "query", ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc",
              "EIO=4&transport=polling", "EIO=4&transport=websocket&sid=nobody"],
)  # fmt: skip
async def test_websocket_with_invalid_parameters(port: int, query: str) -> None:
    async with await Raw.connect(port) as raw:
        status, _, _ = await raw.upgrade(f"{PATH}?{query}")
        assert status == 400
        await raw.ended()


# Messages


@pytest.mark.parametrize(
    "body", ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", "4", "4é✓😀"]
)
async def test_polling_payloads(port: int, body: str) -> None:
    async with Polling(port, PATH) as session:
        assert await session.post(body) == (200, "ok")
        assert await session.get() == (200, body)


async def test_polling_brings_what_came_while_it_waited(port: int) -> None:
    async with Polling(port, PATH) as session:
        waiting = asyncio.create_task(session.packets())
        assert await session.post("4hello") == (200, "ok")
        assert await waiting == ["4hello"]


@pytest.mark.parametrize("body", ["abc", "", "4ok\x1e", "7", "0{}", "2", "b***", "bAQI", b"4\xff"])
async def test_polling_closes_upon_an_invalid_packet(port: int, body: str | bytes) -> None:
    async with Polling(port, PATH) as session:
        status, _ = await session.post(body)
        assert status == 400
        assert (await session.get())[0] == 400


async def test_polling_closes_upon_duplicate_polls(slow: int) -> None:
    async with Polling(slow, PATH) as session:
        first = asyncio.create_task(session.get())
        await asyncio.sleep(0.05)  # until the first one waits: nothing tells
        assert (await session.get())[0] == 400
        assert await first == (200, "1")
        assert (await session.get())[0] == 400


async def test_websocket_messages(port: int) -> None:
    raw, _ = await engineio(port, PATH)
    async with raw:
        raw.text("4hello")
        assert await raw.next_text() == "4hello"
        raw.frame(BINARY, b"\x01\x02\x03\x04")
        while (got := await raw.receive()) == (TEXT, b"2"):
            pass
        assert got == (BINARY, b"\x01\x02\x03\x04")


@pytest.mark.parametrize("packet", ["abc", "", "7", "0", "2"])
async def test_websocket_closes_upon_an_invalid_packet(port: int, packet: str) -> None:
    raw, _ = await engineio(port, PATH)
    async with raw:
        raw.text(packet)
        await raw.closed()


# Heartbeat


async def test_polling_pings(quick: int) -> None:
    async with Polling(quick, PATH) as session:
        for _ in range(3):
            assert await session.get() == (200, "2")
            assert await session.post("3") == (200, "ok")


async def test_websocket_pings_at_their_interval(quick: int) -> None:
    raw, _ = await engineio(quick, PATH)
    async with raw:
        began = time.monotonic()
        for _ in range(4):
            assert await raw.receive() == (TEXT, b"2")
            raw.text("3")
        assert time.monotonic() - began > 4 * INTERVAL * 0.8


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_dead_peer_is_noticed_within_interval_and_timeout(quick: int, transport: str) -> None:
    if transport == "websocket":
        raw, _ = await engineio(quick, PATH)
        async with raw:
            began = time.monotonic()
            await raw.closed()
            assert INTERVAL < time.monotonic() - began < INTERVAL + TIMEOUT + 1.0
    else:
        async with Polling(quick, PATH) as session:
            await asyncio.sleep(INTERVAL + TIMEOUT)  # the case's own wait
            assert (await session.get())[0] == 400


async def test_a_poll_that_waits_is_ended_by_the_ping_timeout(quick: int) -> None:
    async with Polling(quick, PATH) as session:
        assert await session.get() == (200, "2")
        assert await session.get() == (200, "1")
        assert (await session.get())[0] == 400


# Closing


async def test_polling_client_closes(port: int) -> None:
    async with Polling(port, PATH) as session:
        waiting = asyncio.create_task(session.get())
        await asyncio.sleep(0.02)  # until it waits: nothing tells
        assert await session.post("1") == (200, "ok")
        assert await waiting == (200, "6")
        assert (await session.get())[0] == 400


async def test_websocket_client_closes(port: int) -> None:
    raw, _ = await engineio(port, PATH)
    async with raw:
        raw.text("1")
        assert await raw.closed() == 1000


# Upgrade


async def test_upgrade(port: int) -> None:
    async with Polling(port, PATH) as session:
        sid = session.opening["sid"]
        async with await Raw.websocket(port, f"{PATH}?EIO=4&transport=websocket&sid={sid}") as raw:
            raw.text("2probe")
            assert await raw.receive() == (TEXT, b"3probe")
            assert await session.get() == (200, "6")
            raw.text("5")
            raw.text("4hello")
            assert await raw.receive() == (TEXT, b"4hello")


async def test_upgrade_ends_the_poll_that_waits(slow: int) -> None:
    async with Polling(slow, PATH) as session:
        waiting = asyncio.create_task(session.get())
        await asyncio.sleep(0.02)  # until it waits: nothing tells
        async with await upgraded(session) as raw:
            assert await waiting == (200, "6")
            raw.text("4hello")
            assert await raw.next_text() == "4hello"


async def test_what_comes_during_the_upgrade_goes_to_the_websocket_in_order(port: int) -> None:
    async with Polling(port, PATH) as session:
        sid = session.opening["sid"]
        assert await session.post("4one") == (200, "ok")
        async with await Raw.websocket(port, f"{PATH}?EIO=4&transport=websocket&sid={sid}") as raw:
            raw.text("2probe")
            assert await raw.receive() == (TEXT, b"3probe")
            assert await session.post("4two\x1ebAQI=") == (200, "ok")
            raw.text("5")
            raw.text("4three")
            got = [await raw.receive() for _ in range(4)]
            assert got == [(TEXT, b"4one"), (TEXT, b"4two"), (BINARY, b"\x01\x02"), (TEXT, b"4three")]


async def test_http_after_the_upgrade_is_refused(port: int) -> None:
    async with Polling(port, PATH) as session, await upgraded(session) as raw:
        raw.text("4hello")
        assert await raw.next_text() == "4hello"
        assert (await session.get())[0] == 400
        assert (await session.post("4late"))[0] == 400
        raw.text("4again")
        assert await raw.next_text() == "4again"


async def test_a_second_websocket_is_closed(port: int) -> None:
    async with Polling(port, PATH) as session, await upgraded(session) as raw:
        raw.text("4hello")
        assert await raw.next_text() == "4hello"
        sid = session.opening["sid"]
        async with await Raw.websocket(port, f"{PATH}?EIO=4&transport=websocket&sid={sid}") as second:
            await second.closed()
        raw.text("4again")
        assert await raw.next_text() == "4again"


@pytest.mark.parametrize("probe", ["4no probe", None])
async def test_after_a_failed_upgrade_polling_goes_on(slow: int, probe: str | None) -> None:
    async with Polling(slow, PATH) as session:
        sid = session.opening["sid"]
        async with await Raw.websocket(slow, f"{PATH}?EIO=4&transport=websocket&sid={sid}") as raw:
            if probe is None:
                raw.text("2probe")
                assert await raw.receive() == (TEXT, b"3probe")
            else:
                raw.text(probe)
                await raw.closed()
        assert await session.post("4hello") == (200, "ok")
        assert "4hello" in await _until(session)


async def _until(session: Polling) -> list[str]:
    """The first packets that are no NOOP: the server may not have seen yet that the WebSocket is gone."""
    while (packets := await session.packets()) == ["6"]:
        pass
    return packets


# Who may


async def test_cors_for_anybody(port: int) -> None:
    status, headers, _ = await get(port, "EIO=4&transport=polling", Origin="https://elsewhere.test")
    assert (status, headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in headers
    status, headers, _ = await get(
        port, "EIO=4&transport=polling", "OPTIONS", Origin="https://elsewhere.test"
    )
    assert (status, headers["access-control-allow-methods"]) == (204, "OPTIONS, GET, POST")


async def test_a_sid_is_of_no_use_with_other_credentials(slow: int) -> None:
    async with Polling(slow, PATH, headers={"Authorization": "Bearer mine"}) as session:
        assert await session.post("4hello") == (200, "ok")
        status, _, _ = await session.request("GET", session.target, headers={"Authorization": "Bearer other"})
        assert status == 400
        assert await session.get() == (200, "4hello")


async def test_a_body_beyond_the_limit_ends_the_session(slow: int) -> None:
    async with Polling(slow, PATH) as session:
        assert await session.post("4" + "x" * 999_999) == (200, "ok")
        assert (await session.get())[0] == 200
        assert (await session.post("4" + "x" * 1_000_000))[0] == 413
        assert (await session.get())[0] == 400


async def test_a_body_that_does_not_come_is_not_waited_for(
    slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "BODY_TIMEOUT", 0.1)
    for beginning in (b"", b"4hel"):
        async with Polling(slow, PATH) as session, await Raw.connect(slow) as raw:
            head = f"POST {session.target} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"
            raw.send(head.encode() + beginning)
            assert (await raw.response())[0] == 400
            assert (await session.get())[0] == 400


async def test_a_websocket_message_beyond_the_limit_is_1009(slow: int) -> None:
    raw, _ = await engineio(slow, PATH)
    async with raw:
        raw.text("4" + "x" * 1_000_000)
        assert await raw.closed() == 1009


async def test_a_client_that_hangs_up_while_it_polls_is_gone(slow: int) -> None:
    async with Polling(slow, PATH) as session:
        http = await Http.connect(slow)
        assert isinstance(http, Http)
        http.send(f"GET {session.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(0.05)  # until it waits: nothing tells
        await http.close()
        while (await session.post("6"))[0] == 200:  # until the server's loop comes to it
            pass
