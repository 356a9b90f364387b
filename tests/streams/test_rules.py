"""The rules of writing a stream, through every door."""

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from tests.support.doors import KINDS, Door, enter, new_session
from tests.support.server import Server

ALICE, BOB = "alice", "bob"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The producer's door."""
    name: str = request.param
    return name


async def begin(door: Door, **fields: Any) -> str:
    reply = await door.call("stream_start", **fields)
    assert reply["ok"], reply
    assert reply["next_index"] == 0
    message_id: str = reply["message_id"]
    return message_id


async def write(door: Door, message_id: str, *pieces: str, index: int = 0) -> None:
    for at, piece in enumerate(pieces, index):
        reply = await door.call("stream_chunk", message_id=message_id, index=at, content=piece)
        assert reply["ok"], reply
        assert reply["next_index"] == at + 1


async def stored(door: Door, message_id: str) -> dict[str, Any]:
    return next(m for m in await door.history() if m["message_id"] == message_id)


async def test_a_stream_from_start_to_end(node: Server, kind: str) -> None:
    session_id = await new_session(node, members=(BOB,))
    async with enter(kind, node, ALICE, session_id) as alice, enter("socketio", node, BOB, session_id) as bob:
        message_id = await begin(alice, metadata={"model": "m"})
        start = await bob.wait_event("stream_start")
        assert (start["message_id"], start["seq"], start["metadata"]) == (message_id, 1, {"model": "m"})
        assert (start["sender_type"], start["sender_id"]) == ("user", ALICE)
        assert (await stored(bob, message_id))["status"] == "streaming"
        await write(alice, message_id, "one ", "two ", "three")
        ended = await alice.call("stream_end", message_id=message_id)
        end = await bob.wait_event("stream_end")
        assert (end["message_id"], end["status"]) == (message_id, "complete")
        assert end["revision"] == ended["revision"] == start["revision"] + 1
        # Where the producer gives none: about four characters a token, and the time it took.
        assert end["tokens_used"] == 4
        assert 0 <= end["latency_ms"] < 5000
        chunks = bob.named("stream_chunk")
        assert "".join(c["content"] for c in chunks) == "one two three"
        assert sum(c["count"] for c in chunks) == 3
        assert "content" not in end
        message = await stored(bob, message_id)
        assert (message["content"], message["status"]) == ("one two three", "complete")
        assert message["metadata"] == {
            "model": "m", "tokens_used": 4, "latency_ms": message["latency_ms"]
        }  # fmt: skip
        # What it said itself comes back on the raw WebSocket alone (and on an event stream, which is
        # nobody's connection for writing).
        await alice.wait_event("stream_end")
        own = alice.named("stream_chunk")
        assert len(own) == (3 if kind in ("websocket", "rest") else 0)


async def test_indices(node: Server, kind: str) -> None:
    session_id = await new_session(node, members=(BOB,))
    async with (
        enter(kind, node, ALICE, session_id) as alice,
        enter("websocket", node, BOB, session_id) as bob,
    ):
        message_id = await begin(alice)
        await write(alice, message_id, "a", "b")
        repeat = await alice.call("stream_chunk", message_id=message_id, index=0, content="X")
        assert (repeat["ok"], repeat["next_index"]) == (True, 2)
        gap = await alice.call("stream_chunk", message_id=message_id, index=3, content="X")
        assert gap["error"]["code"] == "INDEX_CONFLICT"
        assert gap["error"]["next_index"] == gap["error"]["details"]["next_index"] == 2
        short = await alice.call("stream_end", message_id=message_id, index=3)
        assert (short["error"]["code"], short["error"]["next_index"]) == ("INDEX_CONFLICT", 2)
        await write(alice, message_id, "c", index=2)
        again = await alice.call("stream_start", message_id=message_id)
        assert (again["duplicate"], again["next_index"]) == (True, 3)
        await alice.call(
            "stream_end", message_id=message_id, index=3, tokens_used=11, latency_ms=22, status="failed",
            error={"code": "TIRED", "message": "no more"},
        )  # fmt: skip
        end = await bob.wait_event("stream_end")
        assert (end["tokens_used"], end["latency_ms"], end["status"]) == (11, 22, "failed")
        assert end["error"] == {"code": "TIRED", "message": "no more"}
        assert "".join(c["content"] for c in bob.named("stream_chunk")) == "abc"
        for command, payload in (("stream_chunk", {"content": "d"}), ("stream_end", {})):
            late = await alice.call(command, message_id=message_id, **payload)
            assert late["error"]["code"] == "STREAM_CLOSED"
        over = await alice.call("stream_start", message_id=message_id)
        assert (over["duplicate"], over["status"]) == (True, "failed")


async def test_who_may(node: Server) -> None:
    session_id = await new_session(node, members=(BOB,), viewers=("vera",))
    elsewhere = await new_session(node, BOB)
    async with (
        enter("websocket", node, ALICE, session_id) as alice,
        enter("socketio", node, BOB, session_id) as bob,
        enter("socketio", node, "vera", session_id) as vera,
        enter("socketio", node, BOB, elsewhere) as bob_elsewhere,
    ):
        message_id = await begin(alice, message_id="answer:1")
        assert message_id == "answer:1"
        for command, payload in (("stream_chunk", {"content": "x"}), ("stream_end", {})):
            reply = await bob.call(command, message_id=message_id, **payload)
            assert reply["error"]["code"] == "FORBIDDEN"
        for door in (bob, bob_elsewhere):
            taken = await door.call("stream_start", message_id=message_id)
            assert taken["error"]["code"] == "CONFLICT"
        odd = await bob.call("stream_start", message_id="not an id")
        assert odd["error"]["code"] == "VALIDATION_ERROR"
        for command in ("stream_start", "stream_cancel"):
            reply = await vera.call(command, message_id=message_id)
            assert reply["error"]["code"] == "FORBIDDEN"
        for command, payload in (
            ("stream_chunk", {"content": "x"}),
            ("stream_end", {}),
            ("stream_cancel", {}),
            ("stream_resume", {}),
        ):
            reply = await bob.call(command, message_id="nobody's", **payload)
            assert reply["error"]["code"] == "STREAM_NOT_FOUND", (command, reply)
        # The same caller's other connection may write.
        async with enter("socketio", node, ALICE, session_id) as phone:
            await write(phone, message_id, "from the phone")
        assert (await alice.call("stream_end", message_id=message_id))["ok"]


async def test_one_that_was_removed_writes_no_more(node: Server) -> None:
    session_id = await new_session(node, members=(BOB,))
    async with enter("socketio", node, BOB, session_id) as bob, node.api(ALICE) as api:
        message_id = await begin(bob)
        await write(bob, message_id, "a")
        assert (await api.delete(f"/api/chat/sessions/{session_id}/participants/{BOB}")).is_success
        async with asyncio.timeout(10):
            while (reply := await bob.call("stream_chunk", message_id=message_id, content=""))["ok"]:
                pass
        assert reply["error"]["code"] == "SESSION_NOT_FOUND"


async def test_older_clients(node: Server) -> None:
    """An id of their own; chunks and the end without it, and without an index."""
    session_id = await new_session(node, members=(BOB,))
    async with (
        enter("websocket", node, ALICE, session_id) as alice,
        enter("websocket", node, BOB, session_id) as bob,
    ):
        socket = alice.client  # type: ignore[attr-defined]
        await socket.send_object({"type": "stream_start", "message_id": "stream-1", "timestamp": 5})
        for piece in ("Once ", "upon ", "a time"):
            await socket.send_object({"type": "stream_chunk", "content": piece})
        await socket.send_object({"type": "stream_end"})
        for door in (alice, bob):
            end = await door.wait_event("stream_end")
            assert (end["message_id"], end["status"]) == ("stream-1", "complete")
            assert "".join(c["content"] for c in door.named("stream_chunk")) == "Once upon a time"
        assert [c["index"] for c in bob.named("stream_chunk")] == [0, 1, 2]
        # None open, and more than one: the id is needed.
        nothing = await alice.call("stream_chunk", content="x")
        assert nothing["error"]["code"] == "STREAM_NOT_FOUND"
        await begin(alice)
        await begin(alice)
        which = await alice.call("stream_chunk", content="x")
        assert which["error"]["details"]["field"] == "message_id"


async def test_silence_interrupts_and_signs_of_life_do_not(node: Server, kind: str) -> None:
    session_id = await new_session(node)
    async with enter(kind, node, ALICE, session_id) as alice:
        silent, thinking = await begin(alice), await begin(alice)
        await write(alice, silent, "and then ")

        async def thinks() -> None:
            while True:
                reply = await alice.call("stream_chunk", message_id=thinking, content="")
                assert reply["ok"], reply
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            signs = group.create_task(thinks())
            end = await alice.wait_event("stream_end")
            signs.cancel()
        assert (end["message_id"], end["status"]) == (silent, "interrupted")
        assert (await stored(alice, silent))["content"] == "and then "
        await write(alice, thinking, "eureka")
        assert (await alice.call("stream_end", message_id=thinking))["ok"]
        assert (await stored(alice, thinking))["content"] == "eureka"


async def test_too_long(node: Server, kind: str) -> None:
    session_id = await new_session(node)
    async with enter(kind, node, ALICE, session_id) as alice:
        message_id = await begin(alice)
        most = "é" * 2000  # 4,000 bytes of 4,096
        await write(alice, message_id, most)
        more = await alice.call("stream_chunk", message_id=message_id, content="é" * 49)
        assert more["error"]["code"] == "PAYLOAD_TOO_LARGE"
        end = await alice.wait_event("stream_end")
        assert (end["status"], end["error"]["code"]) == ("failed", "PAYLOAD_TOO_LARGE")
        assert (await stored(alice, message_id))["content"] == most


async def test_stop(node: Server, kind: str) -> None:
    """By anybody who may write; the text is kept and all are told."""
    session_id = await new_session(node, members=(BOB,))
    async with (
        enter("socketio", node, ALICE, session_id) as alice,
        enter(kind, node, BOB, session_id) as bob,
        enter("websocket", node, ALICE, session_id) as reader,
    ):
        message_id = await begin(alice)
        await write(alice, message_id, "so far")
        reply = await bob.call("stream_cancel", message_id=message_id)
        told = await alice.wait_event("stream_cancel")
        assert (reply["status"], told["message_id"]) == ("cancelled", message_id)
        for door in (alice, bob, reader):
            assert (await door.wait_event("stream_end"))["status"] == "cancelled"
        assert reader.named("stream_cancel") == []
        message = await stored(bob, message_id)
        assert (message["content"], message["status"]) == ("so far", "cancelled")
        late = await alice.call("stream_chunk", message_id=message_id, content="!")
        assert late["error"]["code"] == "STREAM_CLOSED"
        again = await bob.call("stream_cancel", message_id=message_id)
        assert again["status"] == "cancelled"


async def test_a_producer_whose_stream_another_node_has_ended(node: Server) -> None:
    """Its own node may find that in the database before anything else tells of it."""
    session_id = await new_session(node)
    async with enter("socketio", node, ALICE, session_id) as alice:
        message_id = await begin(alice)
        with (
            closing(sqlite3.connect(node.database_url.removeprefix("sqlite:///"))) as database,
            database,
        ):
            done = database.execute(
                "UPDATE chat_messages SET status = 'cancelled' WHERE message_id = ?", (message_id,)
            )
            assert done.rowcount == 1
        await write(alice, message_id, "so far")
        told = await alice.wait_event("stream_cancel")
        assert told["message_id"] == message_id
        late = await alice.call("stream_chunk", message_id=message_id, content="!")
        assert late["error"]["code"] == "STREAM_CLOSED"


async def test_stop_is_quick(node: Server) -> None:
    """The producer hears of it within 100 ms, of several tries: the machine has other things to do."""
    session_id = await new_session(node, members=(BOB,))
    took = []
    async with (
        enter("socketio", node, ALICE, session_id) as alice,
        enter("socketio", node, BOB, session_id) as bob,
    ):
        for _ in range(5):
            message_id = await begin(alice)
            mark = alice.mark()
            began = time.perf_counter()
            stopping = asyncio.create_task(bob.call("stream_cancel", message_id=message_id))
            await alice.wait_event("stream_cancel", since=mark)
            took.append(time.perf_counter() - began)
            assert (await stopping)["status"] == "cancelled"
    assert sorted(took)[1] < 0.1


async def test_stop_an_agent_that_has_just_finished(node: Server) -> None:
    """Its end is on its way to the database, which a lock keeps waiting: it stands, and is the answer."""
    session_id = await new_session(node, agent_id=1)
    path = node.database_url.removeprefix("sqlite:///")
    async with enter("websocket", node, ALICE, session_id) as alice, node.api(ALICE) as api:
        await alice.message("0123456789")
        first = await alice.wait_event("stream_chunk")
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            # The second and last piece.
            await alice.wait_event("stream_chunk", lambda chunk: chunk["index"] + chunk["count"] == 2)
            stopping = asyncio.create_task(alice.call("stream_cancel", message_id=first["message_id"]))
            (await api.get(f"/api/chat/sessions/{session_id}")).raise_for_status()
            database.execute("ROLLBACK")
        reply = await stopping
        end = await alice.wait_event("stream_end")
        assert (reply.get("status"), end["status"]) == ("complete", "complete")
        assert (await stored(alice, first["message_id"]))["content"] == "0123456789"


async def test_stop_ends_an_agent(node: Server) -> None:
    session_id = await new_session(node, agent_id=1)
    async with enter("websocket", node, ALICE, session_id) as alice:
        await alice.message("word " * 400)
        chunk = await alice.wait_event("stream_chunk")
        reply = await alice.call("stream_cancel", message_id=chunk["message_id"])
        assert reply["status"] == "cancelled"
        end = await alice.wait_event("stream_end")
        so_far = "".join(c["content"] for c in alice.named("stream_chunk"))
        assert end["status"] == "cancelled"
        assert (await stored(alice, chunk["message_id"]))["content"] == so_far
        assert 0 < len(so_far) < 2000


async def test_so_many_at_once(node: Server, kind: str) -> None:
    session_id = await new_session(node, f"busy-{kind}")
    async with enter(kind, node, f"busy-{kind}", session_id) as busy:
        open_ones = [await begin(busy) for _ in range(20)]
        reply = await busy.call("stream_start")
        assert reply["error"]["code"] == "RATE_LIMIT"
        assert reply["error"]["retryable"]
        # A repeat is not another one.
        again = await busy.call("stream_start", message_id=open_ones[0])
        assert again["duplicate"]
        assert (await busy.call("stream_end", message_id=open_ones[0]))["ok"]
        await begin(busy)


async def test_edit_and_delete(node: Server, kind: str) -> None:
    session_id = await new_session(node)
    async with enter(kind, node, ALICE, session_id) as alice:
        message_id = await begin(alice)
        await write(alice, message_id, "draft")
        edit = await alice.call("edit", message_id=message_id, content="x")
        assert edit["error"]["code"] == "STREAM_OPEN"
        mark = alice.mark()
        assert (await alice.call("delete", message_id=message_id))["ok"]
        await alice.wait_event("message_deleted", since=mark)
        names = [e.name for e in alice.events[mark:] if e.name in ("stream_end", "message_deleted")]
        assert names == ["stream_end", "message_deleted"]
        assert alice.named("stream_end")[-1]["status"] == "cancelled"
        message = await stored(alice, message_id)
        assert (message["content"], message["deleted_at"] is not None) == (None, True)


async def test_resume(node: Server, kind: str) -> None:
    session_id = await new_session(node, members=(BOB,))
    async with enter(kind, node, ALICE, session_id) as alice, enter("socketio", node, BOB, session_id) as bob:
        message_id = await begin(alice)
        await write(alice, message_id, "a", "b", "c")
        for from_index, content in ((0, "abc"), (1, "bc"), (3, "")):
            reply = await bob.call("stream_resume", message_id=message_id, from_index=from_index)
            assert (reply["content"], reply["next_index"], reply["status"]) == (content, 3, "streaming")
        await alice.call("stream_end", message_id=message_id)
        reply = await bob.call("stream_resume", message_id=message_id, from_index=2)
        assert (reply["content"], reply["next_index"], reply["status"]) == ("c", 3, "complete")


async def test_the_last_reader_leaves_and_it_goes_on(node: Server) -> None:
    session_id = await new_session(node, agent_id=1)
    text = "nobody needs to listen " * 4
    async with enter("websocket", node, ALICE, session_id) as alice:
        await alice.message(text)
        chunk = await alice.wait_event("stream_chunk")
    async with node.api(ALICE) as api:
        async with asyncio.timeout(10):
            while True:
                page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()
                answer = next(m for m in page["messages"] if m["message_id"] == chunk["message_id"])
                if answer["status"] != "streaming":
                    break
        assert (answer["status"], answer["content"]) == ("complete", text)


async def test_an_answer_or_none_and_another(node: Server, kind: str) -> None:
    """`reply: false` starts none; sending again with `reply_to` is how to regenerate one."""
    session_id = await new_session(node, agent_id=1)
    async with enter(kind, node, ALICE, session_id) as alice:
        await alice.message("quiet", reply=False)
        first = await alice.message("speak")
        end = await alice.wait_event("stream_end")
        second = await alice.message("speak", reply_to=first["message_id"])
        await alice.wait_event("stream_end", lambda e: e["message_id"] != end["message_id"])
        answers = [m for m in await alice.history() if m["sender_type"] == "agent"]
        assert [a["reply_to"] for a in answers] == [first["message_id"], second["message_id"]]
        assert [a["content"] for a in answers] == ["speak", "speak"]
