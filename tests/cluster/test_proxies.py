"""deploy/'s configurations of nginx, HAProxy, Caddy and Apache in front of three nodes."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from server.doctor.examine import TRIES
from server.doctor.wire import Polling, Target
from tests.cluster.conftest import Nodes, three_nodes
from tests.cluster.proxies import Front, apache, caddy, haproxy, nginx, states, statuses
from tests.support.doors import enter, new_session
from tests.support.jsclient import JsClients, JsSocket
from tests.support.services import Haproxy, Postgres, Redis

FRONTS: dict[str, Callable[..., Front]] = {
    "nginx": lambda nodes: nginx(nodes),
    "nginx sticky": lambda nodes: nginx(nodes, "upstream-sticky.conf"),
    "haproxy": lambda nodes: haproxy(nodes),
    "haproxy sticky": lambda nodes: haproxy(nodes, "haproxy-sticky.cfg"),
    "caddy": lambda nodes: caddy(nodes),
    "apache": lambda nodes: apache(nodes),
}


@pytest.fixture(scope="module")
def nodes(steady: Nodes) -> Nodes:
    return steady


@pytest.fixture(scope="module")
def mortal(
    postgres: Postgres, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    """Three nodes of which the second is killed, test by test."""
    with three_nodes(postgres, postgres_template, tmp_path_factory.mktemp("mortal")) as nodes:
        yield nodes


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest, nodes: Nodes) -> Iterator[Front]:
    with FRONTS[request.param](list(nodes)) as service:
        yield service


async def connect_all(js: JsClients, url: str, session: str, token: str, each: int) -> list[JsSocket]:
    """So many clients that poll, and so many that begin by polling and upgrade."""
    kinds = [["polling"]] * each + [["polling", "websocket"]] * each
    clients = list(await asyncio.gather(*(js.open(url, token, transports=kind) for kind in kinds)))
    replies = await asyncio.gather(*(c.emit("join", {"session_id": session}, timeout=20) for c in clients))
    assert all(reply["ok"] for reply in replies)
    return clients


async def say(client: JsSocket, session: str, text: str) -> dict[str, Any]:
    """Repeated, as an application does, where the connection went with its node before the answer came; the
    library keeps it until there is another one."""
    payload = {"session_id": session, "content": text, "reply": False, "client_message_id": text}
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.emit("message", payload)
            except RuntimeError as error:
                if "disconnected" not in str(error):
                    raise


async def chat(clients: list[JsSocket], session: str, text: str) -> None:
    marks = [client.mark() for client in clients]
    reply = await say(clients[0], session, text)
    assert reply["ok"], reply
    async with asyncio.timeout(20):
        for client, mark in zip(clients, marks, strict=True):
            await client.wait_event("message", lambda m: m["content"] == text, since=mark, timeout=20)


async def test_clients_of_every_kind_connect_and_chat(nodes: Nodes, front: Front, js: JsClients) -> None:
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


async def test_event_streams_and_files_pass(nodes: Nodes, front: Front) -> None:
    """A stream's events come one by one, as they are said, and a body as large as they may be is taken."""
    session = await new_session(nodes[0], "alice", agent_id=1)
    path = f"/api/chat/sessions/{session}"
    async with enter("websocket", nodes[0], "alice", session) as alice, nodes[0].api("alice") as api:
        api.base_url = front.url  # type: ignore[assignment]
        async with asyncio.timeout(20), api.stream("GET", f"{path}/events") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            lines = events.aiter_lines()
            for n in range(3):
                await alice.message(f"said {n}", reply=False)  # only when the one before has come
                while f"said {n}" not in await anext(lines):
                    pass
        async with asyncio.timeout(20):
            await alice.message("answer me")
            await alice.wait_event("stream_end")
        file = {"file": ("long.txt", b"a line of text\n" * 600_000, "text/plain")}
        assert (await api.post(f"{path}/files", files=file)).status_code == 201
        assert (await api.get("/metrics")).status_code == 404
        assert (await api.get("/healthz")).status_code == 200


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "caddy", "apache"])
async def test_clients_recover_when_their_node_is_killed(mortal: Nodes, js: JsClients, kind: str) -> None:
    nodes = mortal
    if not nodes[1].running:
        await nodes[1].start_async()
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


async def test_an_outage_of_redis_stops_nothing_behind_a_balancer(
    new_cluster: Callable[..., Nodes], own_redis: Redis, js: JsClients
) -> None:
    """No node is ready then. Who comes is let in all the same, polls, talks, and finds its node again."""
    nodes = new_cluster(own_redis.url)
    session = await new_session(nodes[0], "alice")
    with contextlib.ExitStack() as stack:
        fronts = {kind: stack.enter_context(make(list(nodes))) for kind, make in FRONTS.items()}
        await asyncio.to_thread(own_redis.kill9)
        for node in nodes:
            async with asyncio.timeout(20), node.api(None) as api:
                while (await api.get("/readyz")).status_code != 503:
                    await asyncio.sleep(0.1)
        for front in fronts.values():
            if isinstance(front, Haproxy):
                async with asyncio.timeout(20):
                    while states(front, "nodes") != {"DOWN"}:
                        await asyncio.sleep(0.1)
        for kind, front in fronts.items():
            async with nodes[0].api("alice") as api:
                api.base_url = front.url  # type: ignore[assignment]
                assert (await api.get("/healthz")).status_code == 200
                said = await api.post(f"/api/chat/sessions/{session}/messages", json={"content": kind})
                assert said.status_code == 201, (kind, said.text)
            client = await js.open(front.url, nodes[0].token("alice"), transports=["websocket"])
            reply = await client.emit("join", {"session_id": session}, timeout=20)
            assert reply["ok"], (kind, reply)
            await chat([client], session, f"{kind}, by WebSocket")
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
