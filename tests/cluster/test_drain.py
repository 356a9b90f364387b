"""SIGTERM: not ready at once, nobody new, answers finish, clients go elsewhere; the end comes in time."""

import asyncio
import signal
import time
from collections.abc import Callable

import httpx

from tests.cluster.conftest import Nodes
from tests.cluster.crowd import Crowd
from tests.cluster.proxies import nginx
from tests.support.doors import enter, new_session
from tests.support.rawclient import RawClient
from tests.support.server import Server, mint
from tests.support.services import Redis
from tests.support.sioclient import SioWebSocket
from tests.support.web import web_client

NewCluster = Callable[..., Nodes]


class Front:
    """A load balancer in a node's place, for a crowd."""

    running = True

    def __init__(self, port: int) -> None:
        self.url, self.ws_url = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"

    def api(self, sub: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {mint(sub)}"}
        return web_client(base_url=self.url, headers=headers, timeout=15)


async def ended(node: Server) -> int:
    assert node.process is not None
    return await asyncio.to_thread(node.process.wait, 30)


async def test_a_running_answer_is_finished_and_seen_elsewhere(new_cluster: NewCluster, redis: Redis) -> None:
    nodes = new_cluster(redis.url, 2, STREAM_DELAY_MS="100", STREAM_CHUNK_SIZE="5")
    session = await new_session(nodes[0], "alice", agent_id=1)
    words = "word " * 20
    async with enter("websocket", nodes[1], "alice", session) as reader:
        async with enter("websocket", nodes[0], "alice", session) as alice:
            await alice.message(words)
            await reader.wait_event("stream_chunk")
        assert nodes[0].process is not None
        nodes[0].process.send_signal(signal.SIGTERM)
        end = await reader.wait_event("stream_end", timeout=15)
        assert end["status"] == "complete"
        assert "".join(c["content"] for c in reader.named("stream_chunk")) == words
    assert await ended(nodes[0]) == 0


async def test_clients_are_sent_elsewhere_and_the_end_comes_in_time(
    new_cluster: NewCluster, redis: Redis
) -> None:
    nodes = new_cluster(redis.url, 2, SHUTDOWN_GRACE="4")
    session = await new_session(nodes[0], "alice")
    token = nodes[0].token("alice")
    async with SioWebSocket(nodes[0].ws_url) as sio, RawClient(nodes[0].ws_url, session, token) as raw:
        await sio.connect(token)
        assert (await sio.emit("join", {"session_id": session}))["ok"]
        await raw.welcome()
        await raw.send("message", content="one", reply=False)
        await sio.wait_event("message")
        # One that neither reads nor answers.
        deaf_reader, deaf = await asyncio.open_connection("127.0.0.1", nodes[0].port)
        deaf.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        assert nodes[0].process is not None
        nodes[0].process.send_signal(signal.SIGTERM)
        assert await raw.closed() == 1012
        await sio.closed()
        assert not any(packet.startswith("41") for packet in sio.packets)  # a client would not come back
        assert await ended(nodes[0]) == 0
        assert time.monotonic() - began < 10
        deaf.close()
        async with SioWebSocket(nodes[1].ws_url) as again:
            answer = await again.connect(token, pid=sio.pid, offset=sio.offset)
            assert answer["pid"] == sio.pid
            reply = await again.emit("message", {"session_id": session, "content": "two", "reply": False})
            assert reply["ok"]
            await again.wait_event("message")
            assert [m["content"] for m in again.named("message")] == ["two"]
        del deaf_reader


async def test_a_rolling_restart_under_load(new_cluster: NewCluster, redis: Redis) -> None:
    nodes = new_cluster(redis.url, TRUSTED_PROXIES="127.0.0.1/32")
    with nginx(list(nodes)) as balancer:
        async with Crowd([Front(balancer.port)], people=9, rooms=4) as crowd:  # type: ignore[list-item]
            await crowd.flow(40)
            for node in nodes:
                assert await node.stop_async() == 0
                await node.start_async()
                await crowd.flow(20)
            await crowd.settle()
            assert crowd.recoveries >= 9
