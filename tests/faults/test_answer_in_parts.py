"""An answer of every part on its way from a model to its readers: LiteLLM's real proxy before a scripted
upstream, tools of a real MCP server, two nodes, and one of them killed in the middle."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agents.toolservers import calling, reasoned, tool_server
from tests.agents.upstream import DONE, STREAM_HEAD, Plan, Upstream, framed, piece
from tests.cluster.conftest import Nodes
from tests.faults.models.servers import KEY
from tests.faults.test_cluster import Everything
from tests.faults.test_models import Row
from tests.support.doors import Door, RestDoor, enter, new_session
from tests.support.server import Server
from tests.support.shown import Shown, as_stored
from tests.support.sseclient import SseClient

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

#: What a whole answer is made of. The models' turns are three: tools, a thought and text around what happens.
WHOLE = ["reasoning", "text", "tool", "tool", "tool", "source", "source", "step", "reasoning", "text"]
KINDS = ("socketio", "websocket", "rest")


@pytest.fixture
def everything(tmp_path: Path) -> Iterator[Everything]:
    made = Everything(tmp_path)
    yield made
    made.close()


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "tools"
    folder.mkdir()
    with tool_server(folder) as (url, _):
        yield url


class Middle:
    """The model's last turn: it begins, and goes on when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    def plan(self) -> Plan:
        async def plan(writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD)
            for data in (reasoned("So "), reasoned("it is."), piece("They "), piece("have ")):
                writer.write(framed(data))
                await writer.drain()
            self.begun.set()
            await self.go_on.wait()
            for data in (piece("met."), piece(finish="stop"), piece(tokens=9), DONE):
                writer.write(framed(data))
            writer.write(b"0\r\n\r\n")

        return plan


@pytest.mark.parametrize("victim", ["readers", "writer"])
async def test_answer_in_parts(
    everything: Everything,
    scripted: Upstream,
    litellm: str,
    tools: str,
    victim: str,
    row: Row,
) -> None:
    middle = Middle()
    first = calling(("meet", {}), ("meet", {}), ("look", {}), text="Let me see.", thought="Two of them.")
    # Whoever stands between may ask again: what is said depends on what is asked.
    scripted.choose = lambda asked: middle.plan() if asked["messages"][-1]["role"] == "tool" else first
    nodes = cluster(everything, litellm, tools)
    writing, reading = nodes
    session_id = await new_session(
        writing,
        "alice",
        members=("bob", "carol", "dave", "eve"),
        agent_id=await agent(writing, litellm, tools),
    )
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(enter("websocket", writing, "alice", session_id))
        there = [
            await stack.enter_async_context(enter(kind, reading, name, session_id))
            for kind, name in zip(KINDS, ("bob", "carol", "dave"), strict=True)
        ]
        await alice.message("Do they meet?")
        message_id = (await alice.wait_event("stream_start", timeout=30))["message_id"]
        await asyncio.wait_for(middle.begun.wait(), 60)
        for reader in there:
            await said(reader, "They have ")
        readers = [(reader, Shown()) for reader in (alice, *there)]
        if victim == "readers":
            last = rest_of(there[2]).last_event_id
            reading.kill9()
            # They come to the other node: two by a snapshot, the event stream from where it was.
            readers = [(alice, Shown())] + [
                await late(stack, kind, writing, name, session_id)
                for kind, name in zip(KINDS[:2], ("bob", "carol"), strict=True)
            ]
            again = await stack.enter_async_context(resumed(there[2], writing, last))
            readers.append(await late(stack, "rest", writing, "eve", session_id))
        else:
            readers.append(await late(stack, "socketio", reading, "eve", session_id))
            again = None
            writing.kill9()
            readers = [each for each in readers if each[0] is not alice]
        middle.go_on.set()
        status = "complete" if victim == "readers" else "interrupted"
        for reader, shown in readers:
            end = await reader.wait_event("stream_end", timeout=60)
            assert end["status"] == status
            message = await stored(reader, message_id)
            assert shown.take_all(reader.events, message_id).as_message == as_stored(message), reader.kind
        if again is not None:
            await again.wait_event("stream_end", timeout=60)
            both = [*there[2].events, *again.events]
            assert Shown().take_all(both, message_id).as_message == as_stored(message)
        assert [part["type"] for part in message["parts"]] == WHOLE
        found = {part["id"]: part for part in message["parts"]}
        assert [found[f"tool-{n}"]["output"] for n in (1, 2)] == [{"result": "met"}] * 2
        assert found["source-1"]["url"] == "https://docs.example/b"
        assert found["reasoning-2"]["text"] == "So it is."
        text = "They have met." if victim == "readers" else "They have "
        assert message["content"] == f"Let me see.\n\n{text}"
    row(f"{len(readers)} readers, {len(message['parts'])} parts, {status}: all equal")


def cluster(everything: Everything, model: str, tools: str) -> Nodes:
    places = [url.removeprefix("http://").split("/")[0] for url in (model, tools)]
    hosts = f"{places[0]}=LITELLM_API_KEY,{places[1]}"
    return everything.start(2, UPSTREAM_HOSTS=hosts, LITELLM_API_KEY=KEY)


async def agent(node: Server, model: str, tools: str) -> int:
    config = {
        "base_url": model,
        "model": "tiny",
        "api_key_env": "LITELLM_API_KEY",
        "tools": [{"url": tools, "allow": ["meet", "look"]}],
    }
    async with node.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "T", "kind": "openai", "config": config})
        assert made.status_code == 201, made.text
        number: int = made.json()["id"]
        return number


async def said(reader: Door, text: str) -> None:
    """What is pushed has come: the text of the last turn so far."""

    def so_far(_: Any) -> bool:
        chunks = [e["content"] for e in reader.named("stream_chunk") if e.get("part") == "text-2"]
        return "".join(chunks).endswith(text)

    await reader.wait_event("stream_chunk", so_far, timeout=30)


async def late(
    stack: AsyncExitStack, kind: str, node: Server, name: str, session_id: str
) -> tuple[Door, Shown]:
    """A reader who comes in the middle."""
    door = await stack.enter_async_context(enter(kind, node, name, session_id))
    (open_one,) = door.joined["streams"]
    return door, Shown(open_one)


def rest_of(door: Door) -> SseClient:
    assert isinstance(door, RestDoor)
    return door.client


@asynccontextmanager
async def resumed(door: Door, node: Server, last_event_id: str | None) -> AsyncIterator[SseClient]:
    """The same event stream at another node, as a browser goes on with it."""
    url = f"{node.url}/api/chat/sessions/{door.session_id}/events"
    async with SseClient(url, door.token, last_event_id=last_event_id) as client:
        assert client.status == 200, client.json()
        yield client


async def stored(reader: Door, message_id: str) -> dict[str, Any]:
    return next(each for each in await reader.history() if each["message_id"] == message_id)
