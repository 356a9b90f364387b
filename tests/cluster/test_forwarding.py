"""What a node believes of a request that another passed on, and what of one that only says so."""

import asyncio
from typing import Any

import httpx
import pytest

from events.signing import Signer
from server.forwarding import FRESH, HEADER, Forwarding
from storage.errors import Unavailable
from tests.cluster.conftest import Nodes
from tests.support.doors import new_session
from tests.support.sioclient import SioPolling, SioWebSocket

ONE, TWO = "node_" + "1" * 16, "node_" + "2" * 16


def forwarding(
    node: str, now: float = 1000.0, secret: str = "s" * 32, address: str | None = None
) -> Forwarding:
    async def address_of(owner: str) -> str | None:
        return address

    return Forwarding(
        node, address_of, lambda scope: scope["client"][0], Signer(secret, "nodes"), lambda: now, patience=5
    )


def request(query: bytes = b"EIO=4&sid=x", **more: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/socket.io/", "query_string": query,
        "headers": [(b"x-forwarded-for", b"6.6.6.6")], "client": ("10.0.0.2", 1),
    }  # fmt: skip
    return scope | more


def stamped(by: Forwarding, scope: dict[str, Any], client: str = "9.9.9.9") -> dict[str, Any]:
    stamp = by._stamp({**scope, "client": (client, 1)})
    return {**scope, "headers": [*scope["headers"], stamp]}


async def test_a_signed_request_has_its_clients_address() -> None:
    one, two = forwarding(ONE), forwarding(TWO)
    accepted = two.accept(stamped(one, request()))
    assert accepted["client"] == ("9.9.9.9", 0) and accepted["parley.forwarded"]
    assert accepted["headers"] == []  # what it was forwarded for is known


@pytest.mark.parametrize("how", ["another secret", "another path", "another time", "made up", "no stamp"])
async def test_a_request_that_only_says_so_is_taken_as_it_is(how: str) -> None:
    two = forwarding(TWO)
    scope = stamped(forwarding(ONE), request())
    if how == "another secret":
        scope = stamped(forwarding(ONE, secret="t" * 32), request())
    elif how == "another path":
        scope["query_string"] = b"EIO=4&sid=y"
    elif how == "another time":
        scope = stamped(forwarding(ONE, now=1000.0 - FRESH - 1), request())
    elif how == "made up":
        scope = request(headers=[(HEADER, b"1000 9.9.9.9 AAAA")])
    else:
        scope = request()
    accepted = two.accept(scope)
    assert accepted["client"] == ("10.0.0.2", 1) and "parley.forwarded" not in accepted
    assert HEADER not in [name for name, _ in accepted["headers"]]


async def asked(node: Forwarding, sid: str, **more: Any) -> tuple[bool, int | None]:
    """(answered, status)."""
    sent: list[dict[str, Any]] = []
    bodies = asyncio.Queue[dict[str, Any]]()
    bodies.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message: Any) -> None:
        sent.append(message)

    answered = await node.elsewhere(sid, request(**more), bodies.get, send)
    return answered, sent[0]["status"] if sent else None


async def test_sessions_of_nobody() -> None:
    gone = forwarding(ONE)
    sid = forwarding(TWO).new_sid()
    assert sid.startswith("2" * 16)
    assert await asked(gone, sid) == (True, 410)  # its node is gone: the client begins anew
    assert await asked(gone, gone.new_sid()) == (False, None)  # our own, and over
    assert await asked(gone, "no sid of ours") == (False, None)
    # once is enough: nodes that do not agree must not send it round
    assert await asked(gone, sid, **{"parley.forwarded": True}) == (False, None)
    dead = forwarding(ONE, address="http://127.0.0.1:9")
    assert await asked(dead, sid) == (True, 410)
    await gone.close()
    await dead.close()


async def test_an_address_that_was_known_is_used_while_redis_is_away() -> None:
    answers: list[Any] = ["http://127.0.0.1:9", Unavailable()]

    async def address_of(owner: str) -> str | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    now = [1000.0]
    node = Forwarding(
        ONE, address_of, lambda scope: "", Signer("s" * 32, "nodes"), lambda: now[0], patience=5
    )
    assert await node._address("2" * 16) == "http://127.0.0.1:9"
    now[0] += 60
    assert await node._address("2" * 16) == "http://127.0.0.1:9"
    await node.close()


async def test_a_polling_client_that_asks_another_node_each_time(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice")
    async with SioPolling(steady[0].url) as client:
        client.url = steady[1].url + "/socket.io/"
        await client.connect(steady[0].token("alice"))
        client.url = steady[2].url + "/socket.io/"
        assert (await client.emit("join", {"session_id": session}))["ok"]
        for at in (0, 1, 2, 1):
            client.url = steady[at].url + "/socket.io/"
            reply = await client.emit("message", {"session_id": session, "content": str(at), "reply": False})
            assert reply["ok"]
        await client.wait_event("message", lambda m: m["content"] == "1")


async def test_an_upgrade_that_comes_to_another_node(steady: Nodes) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        url = steady[0].url + "/socket.io/?EIO=4&transport=polling"
        opened = (await http.get(url)).text
        sid = opened.split('"sid":"')[1].split('"')[0]
        async with SioWebSocket(steady[1].ws_url, query={"sid": sid}) as socket:
            await socket.write("2probe")
            async with asyncio.timeout(10):
                while "3probe" not in socket.packets:
                    await asyncio.sleep(0.01)
            await socket.write("5")
            answer = await socket.connect(steady[0].token("alice"))
            assert "sid" in answer
