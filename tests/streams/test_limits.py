"""What a stream may be written at most, and an agent that answers nothing."""

import asyncio
from collections.abc import Callable

from tests.support.doors import enter, new_session
from tests.support.server import Server

PER_SECOND = 200


async def test_so_many_chunks_a_second(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """Who writes too fast is told for how long to wait, and loses nothing by it."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    session_id = await new_session(node)
    async with enter("websocket", node, "alice", session_id) as alice:
        message_id = (await alice.call("stream_start"))["message_id"]
        send = alice.client.send_nowait  # type: ignore[attr-defined]
        taken, refused = 0, []
        while not refused:  # the first burst is refused in part, unless the machine took a second for it
            burst = range(taken, taken + PER_SECOND + 20)
            replies = await asyncio.gather(
                *(send("stream_chunk", message_id=message_id, index=n, content="x") for n in burst)
            )
            refused = [r for r in replies if not r["ok"]]
            taken = max(r["next_index"] for r in replies if r["ok"])
        first = refused[0]["error"]
        assert (first["code"], first["retryable"]) == ("RATE_LIMIT", True)
        assert 0 < first["retry_after"] <= 1000
        assert taken >= PER_SECOND
        await asyncio.sleep(first["retry_after"] / 1000)
        reply = await alice.call("stream_chunk", message_id=message_id, index=taken, content="y")
        assert reply["next_index"] == taken + 1
        assert (await alice.call("stream_end", message_id=message_id))["ok"]
        assert (await alice.history())[0]["content"] == "x" * taken + "y"


async def test_an_agent_that_is_switched_off(node: Server) -> None:
    async with node.api("backend", "service") as api:
        agent_id = (await api.post("/api/chat/agents", json={"name": "Off", "kind": "echo"})).json()["id"]
        session_id = await new_session(node, agent_id=agent_id)
        assert (await api.patch(f"/api/chat/agents/{agent_id}", json={"is_active": False})).is_success
        assert (await api.get(f"/api/chat/agents/{agent_id}")).json()["is_active"] is False
    async with node.api("alice") as api:
        assert (await api.get(f"/api/chat/agents/{agent_id}")).json()["error"]["code"] == "AGENT_NOT_FOUND"
        assert (await api.get("/api/chat/agents/1")).is_success
    async with enter("websocket", node, "alice", session_id) as alice:
        await alice.message("are you there?")
        end = await alice.wait_event("stream_end")
        assert (end["status"], end["error"]["code"]) == ("failed", "AGENT_UNAVAILABLE")
