"""The AI SDK's chats behind a balancer without stickiness: a node is killed in mid-answer."""

from collections.abc import Callable

from tests.agents.worker import Worker
from tests.cluster.conftest import Nodes
from tests.cluster.proxies import nginx
from tests.support.aisdk import AISdk, Chat
from tests.support.services import Redis


async def test_a_node_dies_in_mid_answer(new_cluster: Callable[..., Nodes], redis: Redis) -> None:
    """Pages that read at it are told that they were cut off, and a refresh shows all of the answer, once;
    pages at other nodes notice nothing."""
    nodes, pages = new_cluster(redis.url), AISdk()
    async with nodes[0].api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Mine", "kind": "remote"})
        agent = made.json()["id"]
    with nginx(nodes, "upstream.conf") as front:

        async def page(sdk: int, number: int) -> Chat:
            name, api = f"{sdk}-{number}", f"{front.url}/api/ai/chat?sdk={sdk}&agent_id={agent}"
            await pages.call("chat", name=name, sdk=sdk, id="chat", api=api, token=nodes[0].token())
            return Chat(pages, name, "chat")

        async with Worker(nodes[0], agent) as worker:
            asker = await page(7, 0)
            await asker.send("go", apart=True)
            request = await worker.request()
            message_id = await worker.write(request, "One, ", end=False)
            readers = [await page(sdk, 1 + number) for number in range(2) for sdk in (5, 6, 7)]
            for reader in readers:
                await reader.act("resumeStream", apart=True)
            for reader in (asker, *readers):
                await reader.until("text === 'One, '")
            nodes[0].kill9()
        async with Worker(nodes[1], agent) as again:
            where = {"session_id": "chat", "message_id": message_id}
            reply = await again.call("stream_start", **where)
            assert reply["next_index"] == 1, reply
            await again.call("stream_chunk", **where, index=1, content="two.")
            states = [await each.until("chat.status === 'error' || text === 'One, two.'") for each in readers]
            cut = [state for state in states if state["status"] == "error"]
            assert 0 < len(cut) < len(readers)
            fresh = [await page(sdk, 9) for sdk in (5, 6, 7)]
            for reader in fresh:
                await reader.act("resumeStream", apart=True)
                await reader.until("text === 'One, two.'")
            await again.call("stream_end", **where)
            for reader in fresh:
                shown = await reader.until("chat.status === 'ready' && text === 'One, two.'")
                assert [message["id"] for message in shown["messages"]] == [message_id]
    pages.close()
