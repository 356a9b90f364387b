"""What the client of Python makes of snapshots and events, without a server, as `test_merge.py` has it."""

import json
from functools import reduce
from typing import Any

import pytest

from parley_client import MemoryStorage, ParleyError, merge
from parley_client.known import EMPTY, Known
from parley_client.pending import PendingBox
from tests.support.server import ROOT

Json = dict[str, Any]
EXAMPLES = json.loads((ROOT / "tests" / "people" / "folds.json").read_text())


def said(seq: int, **more: Any) -> Json:
    own = {"message_id": f"m{seq}", "seq": seq, "revision": seq, "content": f"text {seq}", "metadata": {}}
    return {**own, "sender_type": "user", "sender_id": "a", "status": "complete", **more}


def reply(*messages: Json, **more: Any) -> Json:
    return {
        "session": {"agent": {"id": 1}}, "messages": list(messages), "has_more": False,
        "last_seq": messages[-1]["seq"] if messages else 0,
        "last_revision": max([0, *(message["revision"] for message in messages)]),
        "online": [], "read_marks": {}, "streams": [], "turns": [], "lineage": "l", **more,
    }  # fmt: skip


def start(seq: int, **more: Any) -> tuple[str, Json]:
    own = {"message_id": f"m{seq}", "seq": seq, "revision": seq, "sender_type": "agent", "sender_id": "1"}
    return "stream_start", {**own, "metadata": {}, "reply_to": None, "timestamp": "t", **more}


def chunk(seq: int, index: int, content: str) -> tuple[str, Json]:
    return "stream_chunk", {"message_id": f"m{seq}", "index": index, "count": 1, "content": content}


def end(seq: int, revision: int, **more: Any) -> tuple[str, Json]:
    spent = {"tokens_used": None, "latency_ms": None}
    return "stream_end", {
        "message_id": f"m{seq}",
        "revision": revision,
        "status": "complete",
        **spent,
        **more,
    }


def tell(state: Known, *events: tuple[str, Json]) -> Known:
    return reduce(lambda before, event: merge.event(before, *event), events, state)


def joined(*messages: Json, **more: Any) -> Known:
    return merge.joined(EMPTY, reply(*messages, **more), False)


def texts(state: Known) -> list[str]:
    return [message["content"] for message in state.messages]


def ids(state: Known) -> str:
    return " ".join(message["message_id"] for message in state.messages)


def test_a_stream_with_a_hole() -> None:
    """A chunk changes its message alone; what is missing is asked for; a repeat is nothing."""
    before = tell(joined(said(1), said(2)), start(3), chunk(3, 0, "a"))
    state = tell(before, chunk(3, 1, "b"))
    assert state.messages[0] is before.messages[0] and texts(state) == ["text 1", "text 2", "ab"]
    assert tell(state, chunk(3, 1, "b")) is state
    state = tell(state, chunk(3, 5, "later"))
    assert (state.holes, texts(state)[2], tell(state, end(3, 9)).holes) == (("m3",), "ab", ("m3",))
    state = merge.refilled(state, "m3", {"content": "abcde later", "status": "streaming", "next_index": 6})
    assert state.holes == () and texts(tell(state, chunk(3, 6, "!")))[2] == "abcde later!"
    assert tell(state, end(3, 9)).holes == ()


def test_what_changed_meanwhile() -> None:
    state = joined(said(1), said(2, revision=7))
    late = tell(state, ("message_updated", said(2, revision=6, content="before")))
    assert texts(late) == ["text 1", "text 2"]
    state = merge.joined(state, reply(said(1, revision=9, content="after")), True)
    assert texts(state) == ["after", "text 2"]
    assert texts(merge.joined(state, reply(said(5), reset=True), True)) == ["text 5"]
    # A page of changes, an event, the next page: what lies between is not taken for known.
    page = reply(said(3, revision=10), has_more=True, last_revision=40)
    state = tell(merge.joined(state, page, True), ("message", said(9, revision=41)))
    assert (state.revision, state.behind) == (10, True)
    state = merge.changed(state, reply(said(4, revision=40)))
    assert (state.revision, state.behind, ids(state)) == (41, False, "m1 m2 m3 m4 m9")


def test_branches() -> None:
    """Behind m1 come m2 and m3."""
    versions: Json = {"parent_id": "m1", "siblings": ["m2", "m3"]}
    first = said(1, parent_id=None)
    state = merge.path(joined(said(1), said(2)), reply(first, said(3, **versions)))
    assert ids(state) == "m1 m3"
    state = tell(state, ("message", said(4, parent_id="m3")))
    assert (ids(state), state.stale) == ("m1 m3 m4", False)
    state = tell(state, ("message", said(5, parent_id="m2")))
    assert (ids(state), state.stale) == ("m1 m3 m4", True)
    back = reply(first, said(2, **versions), said(5, parent_id="m2"))
    assert ids(merge.path(tell(state, ("message", said(6, parent_id="m5"))), back)) == "m1 m2 m5 m6"
    gone = said(2, revision=8, content=None, deleted_at="t")
    assert tell(state, ("message_deleted", gone)).stale


def test_turns() -> None:
    """As they are told, whatever a page says that was read before."""
    turn = {"message_id": "m1", "seq": 1, "state": "running", "when_busy": "queue"}
    state = tell(joined(said(1), turns=[turn]), start(2, reply_to="m1"))
    assert [each["answer_id"] for each in state.turns] == ["m2"]
    state = tell(state, end(2, 3, content="x"))
    assert state.turns == () == merge.path(state, reply(said(1), turns=[turn])).turns


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each["name"])
def test_the_fold_of_parts(example: Json) -> None:
    told = [(name, {"message_id": "m1", "index": at, "count": 1, **data})
            for at, (name, data) in enumerate(example["events"])]  # fmt: skip
    (message,) = tell(joined(), start(1), *told).messages
    content = example["content"]
    plain = [{"id": "text", "type": "text", "text": content}] if content else []
    assert (message["parts"], message["content"]) == (example.get("parts", plain), content)


# What is pending.


class Refusing:
    """A server that refuses what `refuses` has, and a box before it."""

    def __init__(self, storage: Any, *refuses: str) -> None:
        self.refuses, self.sent = set(refuses), list[str]()
        self.box = PendingBox(storage, self._send, lambda _: None)

    async def _send(self, session_id: str, payload: Json) -> Json:
        id = payload["client_message_id"]
        self.sent.append(id)
        if id in self.refuses:
            raise ParleyError("VALIDATION_ERROR")
        return {"ok": True, "duplicate": True, "message_id": id}

    def shown(self) -> list[str]:
        return [f"{item.id} {item.state}" for item in self.box.of("s")]

    async def settled(self) -> list[str]:
        for errands in (self.box.errands, self.box._writes):
            assert await errands.settled(5)
        return self.shown()


def words(id: str) -> Json:
    return {"client_message_id": id, "content": id}


async def test_what_is_said_before_the_storage_was_read_comes_behind_what_was_kept() -> None:
    storage = MemoryStorage()
    for order, id in enumerate(("old1", "old2"), 1):
        storage.put("me", {"id": id, "session_id": "s", "order": order, "at": "t", "payload": words(id)})
    server = Refusing(storage)
    server.box.add("s", words("A"))
    assert server.shown() == ["A saving"]
    await server.box.open("me")
    last = server.box.add("s", words("B"))
    server.box.connected(True)
    await last
    assert server.sent == ["old1", "old2", "A", "B"]
    assert await server.settled() == storage.list("me") == []


async def test_what_was_refused_is_said_once_more_elsewhere() -> None:
    storage = MemoryStorage()
    here, there = Refusing(storage, "one"), Refusing(storage, "one")
    for server in (here, there):
        await server.box.open("me")
        server.box.connected(True)
        if server is here:
            with pytest.raises(ParleyError):
                await here.box.add("s", words("one"))
        assert await server.settled() == ["one failed"]
    there.refuses.clear()
    there.box.retry("one")
    assert await there.settled() == []
    here.box.connected(True)
    assert await here.settled() == [] and here.sent == ["one"]


async def test_what_no_storage_takes_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryStorage):
        def put(self, box: str, item: Json) -> None:
            raise OSError("full")

    server = Refusing(Full(), "two")
    await server.box.open("me")
    server.box.connected(True)
    with pytest.raises(ParleyError):
        await server.box.add("s", words("two"))
    server.refuses.clear()
    server.box.connected(False)
    server.box.retry("two")
    await server.settled()
    server.box.connected(True)
    assert await server.settled() == [] and server.sent == ["two", "two"]
    assert "not kept over a restart: full" in caplog.text
