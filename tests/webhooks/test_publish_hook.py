"""The hook before publishing: what it says goes for every door, for messages and edits, in their order."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from events.errors import MessageRejected, Unavailable
from events.observer import Observer
from events.tasks import Tasks
from events.webhooks.gate import PublishGate, by_call
from storage.ops import EditMessage
from storage.place import CommitPlace
from tests.support.doors import KINDS, enter, new_session
from tests.support.receiver import Post, Receiver, answer
from tests.support.server import Server

SECRET = "whsec_" + "c2VjcmV0" * 5 + "c2Vj"
S = "/api/chat/sessions"


async def said(post: Post) -> bytes:
    """Words that begin with "wait" take their time; the others say what is answered."""
    assert post.verified(SECRET)["type"] == "message.publish"
    content = post.data["content"]
    if content.startswith("wait"):
        await asyncio.sleep(0.3)
    verdict: dict[str, Any] = {"action": "accept"}
    if "bad" in content:
        verdict = {"action": "reject", "reason": "bad words"}
    if "rough" in content:
        verdict = {"action": "change", "content": content.replace("rough", "soft")}
    if "broken" in content:
        return answer(500)
    if "nonsense" in content:
        return answer(200, body=b"[]")
    if "late" in content:
        await asyncio.sleep(2)
    return answer(200, body=json.dumps(verdict).encode())


@pytest.fixture(scope="module")
def node(port: int, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hook")
    with Server.on_sqlite(
        sqlite_template,
        folder,
        PUBLISH_HOOK_URL=f"http://127.0.0.1:{port}/hook",
        PUBLISH_HOOK_SECRET=SECRET,
        PUBLISH_HOOK_CALL="tests.webhooks.checking:check",
        PUBLISH_HOOK_TIMEOUT="1",
    ) as server:
        yield server


@pytest.fixture
async def hook(port: int) -> AsyncIterator[Receiver]:
    async with Receiver(said, port=port) as receiver:
        yield receiver


@pytest.mark.parametrize("kind", KINDS)
async def test_it_decides_at_every_door(node: Server, hook: Receiver, kind: str) -> None:
    session = await new_session(node)
    async with enter(kind, node, "alice", session) as alice:
        sent = await alice.call("message", content="hello")
        assert sent["ok"]
        assert (await alice.call("message", content="rough words"))["ok"]
        for content, reason in (("bad words", "bad words"), ("forbidden", "not here")):
            refused = await alice.call("message", content=content)
            assert refused["error"]["code"] == "MESSAGE_REJECTED"
            assert refused["error"]["message"] == reason
        assert (await alice.call("edit", message_id=sent["message_id"], content="rough edit"))["ok"]
        refused = await alice.call("edit", message_id=sent["message_id"], content="bad edit")
        assert refused["error"]["code"] == "MESSAGE_REJECTED"
        assert [m["content"] for m in await alice.history()] == ["soft edit", "soft words"]
    asked = [(post.data["event"], post.data["content"]) for post in hook.posts]
    assert ("message", "forbidden") not in asked  # the function was asked first
    assert ("edit", "rough edit") in asked


async def test_what_is_asked_by_questions_and_files_comes_by_it(node: Server, hook: Receiver) -> None:
    async with node.api("alice") as alice:
        calls = [
            ("/api/chat", {"content": "bad", "stream": False}),
            ("/v1/responses", {"model": "1", "input": "bad"}),
            ("/v1/chat/completions", {"model": "1", "messages": [{"role": "user", "content": "bad"}]}),
        ]
        for path, body in calls:
            refused = await alice.post(path, json=body)
            assert "MESSAGE_REJECTED" in refused.text, (path, refused.text)
        session = await new_session(node)
        file = {"file": ("a.txt", b"text", "text/plain")}
        refused = await alice.post(f"{S}/{session}/files", files=file, data={"message": "bad"})
        assert refused.json()["error"]["code"] == "MESSAGE_REJECTED"
        assert (await alice.get(f"{S}/{session}/messages")).json()["messages"] == []


async def test_people_stream_nothing_past_it(node: Server, hook: Receiver) -> None:
    """What is streamed is read before anybody could judge it."""
    session = await new_session(node)
    async with enter("socketio", node, "alice", session) as alice:
        assert (await alice.call("stream_start"))["error"]["code"] == "FORBIDDEN"
        assert await alice.history() == []


async def test_order_holds_and_a_slow_session_is_alone(node: Server, hook: Receiver) -> None:
    slow, other = await new_session(node), await new_session(node)
    async with (
        enter("websocket", node, "alice", slow) as alice,
        enter("websocket", node, "alice", other) as beside,
    ):
        waits = [asyncio.ensure_future(alice.call("message", content=f"wait {n}")) for n in range(3)]
        waits += [asyncio.ensure_future(alice.call("message", content=f"quick {n}")) for n in range(3)]
        assert (await beside.call("message", content="at once"))["ok"]
        assert not any(one.done() for one in waits)
        assert all(reply["ok"] for reply in await asyncio.gather(*waits))
        said = [message["content"] for message in await alice.history()]
        assert said == [f"wait {n}" for n in range(3)] + [f"quick {n}" for n in range(3)]


async def test_what_it_does_not_answer_for_is_not_stored(node: Server, hook: Receiver) -> None:
    session = await new_session(node)
    async with enter("socketio", node, "alice", session) as alice:
        for content in ("broken", "nonsense", "late"):
            refused = await alice.call("message", content=content)
            assert refused["error"]["code"] == "UNAVAILABLE", refused
        await hook.stop()
        assert (await alice.call("message", content="nobody there"))["error"]["code"] == "UNAVAILABLE"
        assert await alice.history() == []


class Stored:
    """In place of what a gate stands before."""

    def __init__(self) -> None:
        self.contents: list[str] = []

    def submit(self, account: str, op: Any, owner: Any = None) -> CommitPlace[Any]:
        self.contents.append(op.content)
        place: CommitPlace[Any] = CommitPlace()
        place.set_result(op)
        return place


def edit_of(number: int, content: str) -> EditMessage:
    return EditMessage("s", f"m{number}", content, "user", "alice")


async def test_who_sends_much_at_once_is_judged_for_all_of_it() -> None:
    """Where the hook is open, what waited for its turn too long passed unseen."""

    async def judge(data: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.25)
        return {"action": "reject"}

    stored: Any = Stored()
    gate = PublishGate(
        stored, [by_call(judge)], Observer(), Tasks("hook"), seconds=1.0, open_=True, largest=100
    )
    said = (gate.submit("alice", edit_of(number, "bad")) for number in range(24))
    done = await asyncio.gather(*said, return_exceptions=True)
    assert stored.contents == []
    assert {type(each) for each in done} == {MessageRejected, Unavailable}


async def test_where_it_is_open_what_it_does_not_answer_for_passes() -> None:
    """A function that is no coroutine is called in a thread, and has the same time."""

    def judge(data: dict[str, Any]) -> dict[str, Any] | None:
        if data["content"] == "late":
            time.sleep(0.2)
        if data["content"] == "raises":
            raise RuntimeError("a fault of the operator's")
        return {"action": "change", "content": "changed"} if data["content"] == "change" else None

    stored: Any = Stored()
    gate = PublishGate(
        stored, [by_call(judge)], Observer(), Tasks("hook"), seconds=0.05, open_=True, largest=100
    )
    said = ["late", "raises", "change", "as it is"]
    done = await asyncio.gather(*(gate.submit("alice", edit_of(*each)) for each in enumerate(said)))
    assert stored.contents == ["late", "raises", "changed", "as it is"]
    assert [op.content for op in done] == stored.contents  # type: ignore[attr-defined]
