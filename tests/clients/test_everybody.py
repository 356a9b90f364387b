"""One conversation, the same for every client: connect, upgrade, join, say, read an answer, lose the network,
miss nothing, be disconnected."""

from typing import Any

import pytest

from tests.clients.everybody import EVERYBODY, RECOVER, Socket, clients
from tests.support.doors import Door, enter, new_session
from tests.support.proxy import Proxy
from tests.support.server import Server

QUESTION = "what is the meaning of all this?"


@pytest.mark.parametrize("name", EVERYBODY)
async def test_a_conversation(parley: Server, name: str) -> None:
    session = await new_session(parley, name, agent_id=1, members=("bob",))
    async with (
        clients(name, parley) as opening,
        Proxy(parley.port) as network,
        enter("websocket", parley, "bob", session) as bob,
    ):
        socket = await opening.open(network.url, parley.token(name))
        await socket.wait_event("upgrade")
        joined = await socket.emit("join", {"session_id": session})
        assert joined["ok"] and joined["messages"] == []
        end = await _an_answer(socket, session)
        await _a_cut(socket, network, bob, {**joined, "last_revision": end["revision"]}, name in RECOVER)
        await _sent_away(socket, parley, name)


async def _an_answer(socket: Socket, session: str) -> dict[str, Any]:
    sent = await socket.emit("message", {"session_id": session, "content": QUESTION})
    assert sent["ok"]
    assert (await socket.wait_event("message"))["message_id"] == sent["message_id"]
    end = await socket.wait_event("stream_end")
    assert end["status"] == "complete"
    assert "".join(chunk["content"] for chunk in socket.named("stream_chunk")) == QUESTION
    return end


async def _a_cut(socket: Socket, network: Proxy, bob: Door, known: dict[str, Any], recovers: bool) -> None:
    """What was said meanwhile comes by itself, or with the join; in order, once; then it goes on."""
    mark = socket.mark()
    network.refusing = True
    network.cut()
    await socket.wait_event("disconnect", since=mark)
    said = [f"while away {n}" for n in range(3)]
    for content in said:
        await bob.message(content, reply=False)
    network.refusing = False
    back = await socket.connected(since=mark)
    came: list[dict[str, Any]] = []
    if recovers:
        assert back["recovered"]
    else:
        given = {
            "session_id": bob.session_id,
            "after_revision": known["last_revision"],
            "lineage": known["lineage"],
        }
        joined = await socket.emit("join", given)
        assert joined["ok"] and not joined.get("reset")
        came = joined["messages"]
    await bob.message("and here", reply=False)
    await socket.wait_event("message", lambda message: message["content"] == "and here", since=mark)
    came += socket.named("message", since=mark)
    assert [message["content"] for message in came] == [*said, "and here"]


async def _sent_away(socket: Socket, node: Server, sub: str) -> None:
    """By a backend: it is told so, and does not come back."""
    mark = socket.mark()
    async with node.api("backend", "service") as service:
        answer = await service.post("/api/server/disconnect", json={"user_id": sub})
        assert answer.status_code == 200
    told = await socket.wait_event("disconnect", since=mark)
    assert told["reason"].endswith("server disconnect")
    assert not (await socket.state())["active"]
