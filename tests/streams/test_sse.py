"""Answers over HTTP: asking, resuming, stopping, and the one call that does it all."""

from typing import Any

import pytest

from tests.support.doors import enter, new_session
from tests.support.server import Server
from tests.support.sseclient import SseClient

QUESTION = "what is the meaning of all this, please?"


def asking(node: Server, session_id: str, sub: str = "alice", **body: Any) -> SseClient:
    url = f"{node.url}/api/chat/sessions/{session_id}/messages/stream"
    last = body.pop("last_event_id", None)
    body = {"content": QUESTION, **body}
    return SseClient(url, node.token(sub), method="POST", body=body, last_event_id=last)


def following(node: Server, message_id: str, sub: str = "alice", **options: Any) -> SseClient:
    from_index = options.pop("from_index", None)
    query = "" if from_index is None else f"?from_index={from_index}"
    return SseClient(f"{node.url}/api/chat/streams/{message_id}{query}", node.token(sub), **options)


def text(client: SseClient) -> str:
    return "".join(c["content"] for c in client.named("stream_chunk"))


async def test_ask(node: Server) -> None:
    """The form of the answer; and the room sees the same stream."""
    session_id = await new_session(node, agent_id=1, members=("bob",))
    async with enter("websocket", node, "bob", session_id) as bob, asking(node, session_id) as answer:
        assert answer.response is not None
        headers = answer.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
        await answer.ended()
        assert answer.retry is not None
        first, *chunks, last = answer.events
        message_id = first.data["message_id"]
        sent = await bob.wait_event("message")
        assert first.data["type"] == "stream_start"
        assert first.data["request"] == {"message_id": sent["message_id"], "seq": sent["seq"]}
        assert first.position == f"{message_id}:0"
        assert text(answer) == QUESTION
        for chunk in chunks:
            assert chunk.data["type"] == "stream_chunk"
            assert chunk.position == f"{message_id}:{chunk.data['index'] + chunk.data['count']}"
        assert (last.data["type"], last.data["status"]) == ("stream_end", "complete")
        assert last.data["tokens_used"] == 10
        assert last.data["latency_ms"] > 0
        assert last.position == f"{message_id}:end"
        end = await bob.wait_event("stream_end")
        assert end["message_id"] == message_id
        assert "".join(c["content"] for c in bob.named("stream_chunk")) == QUESTION


async def test_asking_the_same_again_resumes_the_same_answer(node: Server) -> None:
    session_id = await new_session(node, agent_id=1)
    async with asking(node, session_id, client_message_id="q") as first:
        await first.wait_event("stream_chunk")
    async with asking(node, session_id, client_message_id="q") as second:
        await second.ended()
    async with asking(node, session_id, client_message_id="q") as third:
        await third.ended()
    message_id = first.events[0].data["message_id"]
    for again in (second, third):
        assert again.events[0].data == {**first.events[0].data, "message_id": message_id}
        assert text(again) == QUESTION
        assert again.events[-1].data["status"] == "complete"
    async with node.api() as api:
        page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()
        assert [m["sender_type"] for m in page["messages"]] == ["user", "agent"]


async def test_resume(node: Server) -> None:
    """In the middle by Last-Event-ID or by an index, and when it is over."""
    session_id = await new_session(node, agent_id=1)
    async with asking(node, session_id) as first:
        await first.wait_event("stream_chunk")
        message_id = first.events[0].data["message_id"]
    have = text(first)
    async with following(node, message_id, last_event_id=first.last_event_id) as rest:
        await rest.ended()
        assert have + text(rest) == QUESTION
        assert rest.events[-1].data["status"] == "complete"
    async with following(node, message_id, from_index=3) as part, following(node, message_id) as whole:
        for client in (part, whole):
            await client.ended()
            assert client.events[-1].data["status"] == "complete"
        assert text(whole) == QUESTION
        assert text(part) == QUESTION[15:]
        assert part.named("stream_chunk")[0]["index"] == 3


async def test_after_the_end_there_is_nothing(node: Server) -> None:
    """204 to who has the end; the end alone to who lacks that, or asks the same question again."""
    session_id = await new_session(node, agent_id=1)
    async with asking(node, session_id, client_message_id="q") as first:
        await first.ended()
    message_id = first.events[0].data["message_id"]
    assert first.last_event_id == f"{message_id}:end"
    async with following(node, message_id, last_event_id=first.last_event_id) as nothing:
        assert (nothing.status, await nothing.content()) == (204, b"")
    async with following(node, message_id, last_event_id=first.events[-2].position) as rest:
        await rest.ended()
        assert [(event.name, event.position) for event in rest.events] == [
            ("stream_end", f"{message_id}:end")
        ]
    again = asking(node, session_id, client_message_id="q", last_event_id=first.last_event_id)
    async with again:
        await again.ended()
        assert [event.name for event in again.events] == ["stream_start", "stream_end"]
        assert again.last_event_id == f"{message_id}:end"


async def test_an_id_of_another_stream_is_no_place_in_this_one(node: Server) -> None:
    session_id = await new_session(node, agent_id=1)
    async with asking(node, session_id) as first:
        await first.ended()
    for last in (first.events[-2].position, first.last_event_id):
        async with asking(node, session_id, last_event_id=last) as answer:
            await answer.ended()
            assert text(answer) == QUESTION
        async with following(node, answer.events[0].data["message_id"], last_event_id=last) as whole:
            await whole.ended()
            assert text(whole) == QUESTION


@pytest.mark.parametrize(
    "last", ["nonsense", "msg:", ":", "end", "msg:ends", "msg:-1", "msg:1e3", "msg:" + "9" * 30]
)
async def test_a_last_event_id_that_is_none(node: Server, last: str) -> None:
    session_id = await new_session(node, agent_id=1)
    async with asking(node, session_id) as first:
        await first.ended()
    async with following(node, first.events[0].data["message_id"], last_event_id=last) as refused:
        assert refused.status == 422


async def test_what_one_may_not_see_is_not_there(node: Server) -> None:
    session_id = await new_session(node, agent_id=1)
    async with asking(node, session_id) as answer:
        await answer.ended()
    sent = answer.events[0].data["request"]["message_id"]
    for message_id, sub in (
        (answer.events[0].data["message_id"], "eve"), ("msg_nothing", "alice"), (sent, "alice")
    ):  # fmt: skip
        async with following(node, message_id, sub) as refused:
            assert (refused.status, refused.json()["error"]["code"]) == (404, "STREAM_NOT_FOUND")
        async with node.api(sub) as api:
            stop = await api.post(f"/api/chat/streams/{message_id}/cancel")
            if message_id == sent:  # a question is no stream, but names the answer that is stopped
                assert stop.json() == {"status": "complete"}
            else:
                assert (stop.status_code, stop.json()["error"]["code"]) == (404, "STREAM_NOT_FOUND")


async def test_no_agent_and_nothing_stored(node: Server) -> None:
    session_id = await new_session(node)
    async with asking(node, session_id) as refused:
        assert (refused.status, refused.json()["error"]["code"]) == (404, "AGENT_NOT_FOUND")
    async with node.api() as api:
        page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()
        assert page["total"] == 0
        unknown = await api.post("/api/chat", json={"content": "hi", "agent_id": 4711})
        assert unknown.json()["error"]["code"] == "AGENT_NOT_FOUND"


async def test_stop(node: Server) -> None:
    session_id = await new_session(node, agent_id=1, viewers=("vera",))
    async with asking(node, session_id, content="word " * 400) as answer:
        await answer.wait_event("stream_chunk")
        path = f"/api/chat/streams/{answer.events[0].data['message_id']}/cancel"
        async with node.api("vera") as vera:
            assert (await vera.post(path)).status_code == 403
        async with node.api() as api:
            assert (await api.post(path)).json()["status"] == "cancelled"
            await answer.ended()
            assert answer.events[-1].data["status"] == "cancelled"
            page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()
            assert page["messages"][-1]["content"] == text(answer)


async def test_one_call_that_does_it_all(node: Server) -> None:
    """A session, the question, the answer; the same session again; and without streaming."""
    url, token = f"{node.url}/api/chat", node.token("frank")
    async with SseClient(url, token, method="POST", body={"content": QUESTION}) as answer:
        await answer.ended()
        assert [answer.events[0].name, answer.events[1].name] == ["session", "stream_start"]
        session_id = answer.events[0].data["session_id"]
        assert text(answer) == QUESTION
    body = {"content": "once more", "session_id": session_id}
    async with SseClient(url, token, method="POST", body=body) as answer:
        await answer.ended()
        assert answer.events[0].data["session_id"] == session_id
        assert text(answer) == "once more"
    async with node.api("frank") as api:
        whole = (await api.post("/api/chat", json={**body, "stream": False})).json()
        assert (whole["session_id"], whole["message"]["content"]) == (session_id, "once more")
        page = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()
        assert [m["content"] for m in page["messages"]] == [QUESTION] * 2 + ["once more"] * 4
    async with SseClient(url, node.token("eve"), method="POST", body=body) as refused:
        assert refused.status == 404
