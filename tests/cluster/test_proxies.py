"""deploy/'s nginx and HAProxy configurations, with and without stickiness, in front of three nodes."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest

from server.doctor.examine import TRIES
from server.doctor.wire import Polling, Target
from tests.cluster.conftest import Nodes
from tests.cluster.proxies import haproxy, nginx, states, statuses
from tests.support.doors import enter, new_session
from tests.support.jsclient import JsClients, JsSocket
from tests.support.services import Haproxy, Nginx, Redis

FRONTS: dict[str, Callable[..., Nginx | Haproxy]] = {
    "nginx": lambda nodes: nginx(nodes),
    "nginx sticky": lambda nodes: nginx(nodes, "upstream-sticky.conf"),
    "haproxy": lambda nodes: haproxy(nodes),
    "haproxy sticky": lambda nodes: haproxy(nodes, "haproxy-sticky.cfg"),
}


@pytest.fixture(scope="module")
def nodes(steady: Nodes) -> Nodes:
    return steady


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest, nodes: Nodes) -> Iterator[Nginx | Haproxy]:
    with FRONTS[request.param](list(nodes)) as service:
        yield service


async def connect_all(js: JsClients, url: str, session: str, token: str, each: int) -> list[JsSocket]:
    """So many clients that poll, and so many that begin by polling and upgrade."""
    kinds = [["polling"]] * each + [["polling", "websocket"]] * each
    clients = list(await asyncio.gather(*(js.open(url, token, transports=kind) for kind in kinds)))
    replies = await asyncio.gather(*(c.emit("join", {"session_id": session}, timeout=20) for c in clients))
    assert all(reply["ok"] for reply in replies)
    return clients


async def chat(clients: list[JsSocket], session: str, text: str) -> None:
    marks = [client.mark() for client in clients]
    payload = {"session_id": session, "content": text, "reply": False}
    reply = await clients[0].emit("message", payload)
    assert reply["ok"], reply
    async with asyncio.timeout(20):
        for client, mark in zip(clients, marks, strict=True):
            await client.wait_event("message", lambda m: m["content"] == text, since=mark, timeout=20)


async def test_clients_of_every_kind_connect_and_chat(
    nodes: Nodes, front: Nginx | Haproxy, js: JsClients
) -> None:
    session = await new_session(nodes[0], "alice")
    before = statuses(front)  # a connection without a request, which tells that it listens, counts too
    clients = await connect_all(js, front.url, session, nodes[0].token("alice"), 6)
    await chat(clients, session, "to all")
    for client in clients[6:]:
        await client.wait_event("upgrade")
    await chat(clients[::-1], session, "after the upgrade")
    counts = statuses(front)
    assert not counts.get("400"), counts
    assert counts.get("4xx") == before.get("4xx"), counts


async def test_an_event_stream_and_a_file_size_pass(nodes: Nodes, front: Nginx | Haproxy) -> None:
    session = await new_session(nodes[0], "alice")
    behind = nodes[0]
    async with enter("websocket", behind, "alice", session) as alice, behind.api("alice") as api:
        api.base_url = front.url  # type: ignore[assignment]
        path = f"/api/chat/sessions/{session}/messages/stream"
        async with api.stream("POST", path, json={"content": "echo this"}) as answer:
            if answer.status_code == 404:  # a session without an agent
                assert await answer.aread()
            else:
                assert answer.headers["content-type"].startswith("text/event-stream")
        assert (await api.get("/metrics")).status_code == 404
        assert (await api.get("/healthz")).status_code == 200
        await alice.message("still here", reply=False)


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
async def test_clients_recover_when_their_node_is_killed(
    new_cluster: Callable[..., Nodes], redis: Redis, js: JsClients, kind: str
) -> None:
    nodes = new_cluster(redis.url, TRUSTED_PROXIES="127.0.0.1/32")
    session = await new_session(nodes[0], "alice")
    with FRONTS[kind](list(nodes)) as front:
        clients = await connect_all(js, front.url, session, nodes[0].token("alice"), 6)
        await chat(clients, session, "one")
        marks = [client.mark() for client in clients]
        nodes[1].kill9()
        async with asyncio.timeout(20):
            while True:
                states = [await client.state() for client in clients]
                if all(state["connected"] for state in states) and any(
                    client.named("connect", mark) for client, mark in zip(clients, marks, strict=True)
                ):
                    break
                await asyncio.sleep(0.1)
            with contextlib.suppress(TimeoutError):  # those still on their way
                await chat(clients, session, "two")
        for client, mark in zip(clients, marks, strict=True):
            await client.wait_event("message", lambda m: m["content"] == "two", timeout=20)
            contents = [m["content"] for m in client.named("message")]
            assert contents == ["one", "two"]
            assert all(again["recovered"] for again in client.named("connect", mark))


@pytest.mark.parametrize("kind", FRONTS)
async def test_an_outage_of_redis_stops_nothing_behind_a_balancer(
    new_cluster: Callable[..., Nodes], own_redis: Redis, js: JsClients, kind: str
) -> None:
    """No node is ready then. Who comes is let in all the same, polls, talks, and finds its node again."""
    nodes = new_cluster(own_redis.url)
    session = await new_session(nodes[0], "alice")
    with FRONTS[kind](list(nodes)) as front:
        await asyncio.to_thread(own_redis.kill9)
        for node in nodes:
            async with asyncio.timeout(20), node.api(None) as api:
                while (await api.get("/readyz")).status_code != 503:
                    await asyncio.sleep(0.1)
        if isinstance(front, Haproxy):
            async with asyncio.timeout(20):
                while states(front, "nodes") != {"DOWN"}:
                    await asyncio.sleep(0.1)
        async with nodes[0].api("alice") as api:
            api.base_url = front.url  # type: ignore[assignment]
            assert (await api.get("/healthz")).status_code == 200
            said = await api.post(f"/api/chat/sessions/{session}/messages", json={"content": "said"})
            assert said.status_code == 201, said.text
        client = await js.open(front.url, nodes[0].token("alice"), transports=["websocket"])
        reply = await client.emit("join", {"session_id": session}, timeout=20)
        assert reply["ok"], reply
        await chat([client], session, "by WebSocket")
        if "sticky" in kind:  # nodes cannot pass polls on to each other now
            await poll(front.url, nodes[0].token("alice"))


async def poll(url: str, token: str) -> None:
    """A browser's polling, with its cookies, over a fresh connection each."""
    target = Target(url, token)
    async with target.client() as client:
        polling = Polling(target, client)
        await polling.open()
        assert (await polling.send(f'40{{"token":"{token}"}}')).status_code == 200
        assert (await polling.receive()).text.startswith("40{")
        for _ in range(TRIES):
            assert (await polling.send('42["presence",{"status":"online"}]')).status_code == 200
