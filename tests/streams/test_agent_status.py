"""What a stream's producer does while it writes nothing: told to the room and to who joins, never stored."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.doors import enter
from tests.support.server import Server
from tests.turns.scene import Scene, scene


@pytest.fixture
async def at(shared_server: Server) -> AsyncIterator[Scene]:
    async with scene(shared_server) as made:
        yield made


async def does(at: Scene, answer_id: str, status: str | None, **more: Any) -> dict[str, Any]:
    where = {"session_id": at.session_id, "message_id": answer_id}
    return await at.worker.call("agent_status", **where, status=status, **more)


async def joined(at: Scene) -> list[Any]:
    """What one who joins now is told of the open streams' producers."""
    async with enter("socketio", at.node, "alice", at.session_id) as late:
        return [stream.get("agent_status") for stream in late.joined["streams"]]


async def test_the_room_is_told(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    assert await joined(at) == [None]
    revision = (await at.alice.call("history"))["last_revision"]
    for _ in range(2):
        assert await does(at, answer_id, "searching", detail="the archive") == {"ok": True}
    assert await joined(at) == [{"status": "searching", "detail": "the archive"}]
    await does(at, answer_id, "thinking")
    assert await joined(at) == [{"status": "thinking"}]
    await does(at, answer_id, None)
    assert await joined(at) == [None]
    await does(at, answer_id, "thinking")
    await at.end(answer_id)
    await at.alice.wait_event("stream_end")
    told = [
        (each["message_id"], each["status"], each.get("detail")) for each in at.alice.named("agent_status")
    ]
    assert told == [
        (answer_id, "searching", "the archive"),
        (answer_id, "thinking", None),
        (answer_id, None, None),
        (answer_id, "thinking", None),
    ]
    assert await joined(at) == []
    page = await at.alice.call("history")
    assert page["last_revision"] == revision + 1  # the end's
    assert "agent_status" not in str(page["messages"])


async def test_it_needs_no_id_where_one_stream_is_open(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    assert (await at.worker.call("agent_status", session_id=at.session_id, status="thinking"))["ok"]
    told = await at.alice.wait_event("agent_status")
    assert (told["session_id"], told["message_id"], told["status"]) == (at.session_id, answer_id, "thinking")


async def test_the_end_was_before(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    await at.end(answer_id)
    assert (await does(at, answer_id, "thinking"))["error"]["code"] == "STREAM_CLOSED"


async def test_only_its_producer_tells(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    refused = await at.alice.call("agent_status", message_id=answer_id, status="thinking")
    assert refused["error"]["code"] == "FORBIDDEN"
    assert await joined(at) == [None]


@pytest.mark.parametrize(
    "given",
    [{"status": ""}, {"status": "x" * 51}, {"status": "<b>"}, {"status": "thinking", "detail": "x" * 201}],
)
async def test_it_is_short(at: Scene, given: dict[str, str]) -> None:
    _, _, answer_id = await at.begun()
    assert (await does(at, answer_id, **given))["error"]["code"] == "VALIDATION_ERROR"
