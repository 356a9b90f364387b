"""Questions to a busy agent, and questions that are stopped, with a worker under the test's control."""

import asyncio

from tests.support.doors import enter
from tests.turns.conftest import Place
from tests.turns.scene import scene


async def test_questions_wait_and_are_answered_in_their_order(place: Place) -> None:
    async with scene(*place) as at:
        first, _, answer = await at.begun()
        second, third = await at.ask("second"), await at.ask("third")
        await at.told(second, "queued")
        await at.told(third, "queued")
        assert await at.open() == [(first, "running"), (second, "queued"), (third, "queued")]
        assert at.worker.requests.empty()
        await at.end(answer)
        request = await at.worker.request()
        assert request["message"]["message_id"] == second
        assert [m["content"] for m in request["history"]] == ["first", "so "]
        await at.worker.write(request, "two")
        request = await at.worker.request()
        assert request["message"]["message_id"] == third
        assert [m["content"] for m in request["history"]] == ["first", "so ", "second", "two"]
        await at.worker.write(request, "three")
        turns = (await at.alice.call("turns"))["turns"]
        assert [(t["message_id"], t["state"], t["outcome"]) for t in turns] == [
            (question, "done", "complete") for question in (third, second, first)
        ]


async def test_a_question_that_waits_is_stopped(place: Place) -> None:
    async with scene(*place) as at:
        _, _, answer = await at.begun()
        second, third = await at.ask("second"), await at.ask("third")
        await at.told(third, "queued")
        stopped = await at.alice.call("stream_cancel", message_id=second)
        assert stopped["status"] == "cancelled"
        assert (await at.told(second, "done"))["outcome"] == "cancelled"
        again = await at.alice.call("stream_cancel", message_id=second)
        assert again["status"] == "cancelled"
        await at.end(answer)
        assert (await at.worker.request())["message"]["message_id"] == third
        told = [turn["state"] for turn in at.alice.named("turn") if turn["message_id"] == second]
        assert told == ["queued", "done"]


async def test_a_stop_before_the_first_word(place: Place) -> None:
    async with scene(*place) as at:
        question = await at.ask("first")
        request = await at.worker.request()
        assert (await at.alice.call("stream_cancel", message_id=question))["status"] == "cancelled"
        async with asyncio.timeout(10):
            assert await at.worker.cancelled.get() == question
        late = await at.worker.begin(request)
        assert (late["ok"], late["error"]["code"]) == (False, "STREAM_CLOSED")
        assert (await at.told(question, "done"))["outcome"] == "cancelled"
        second = await at.ask("second")
        assert (await at.worker.request())["message"]["message_id"] == second


async def test_who_comes_later_knows_what_was_not_answered(place: Place) -> None:
    """No answer says so; one that was deleted shows it itself."""
    async with scene(*place) as at:
        first, _, answer = await at.begun()
        stopped, deleted = await at.ask("second"), await at.ask("third")
        await at.alice.call("stream_cancel", message_id=stopped)
        await at.alice.call("delete", message_id=deleted)
        await at.end(answer)
        await at.alice.wait_event("stream_end")
        last = await at.ask("fourth")
        await at.worker.write(await at.worker.request(), "so")
        told = [{"message_id": stopped, "outcome": "cancelled"}]
        async with enter("websocket", place.back, "alice", at.session_id) as late:
            assert late.joined["unanswered"] == told
            seen = late.joined["last_revision"]
            assert (await late.call("history"))["unanswered"] == told
            assert (await late.call("history", tree=True))["unanswered"] == told
            assert "unanswered" not in await late.call("history", limit=2), "it is in another page"
            assert (await late.call("history", after_revision=seen))["unanswered"] == told
        async with enter("websocket", place.back, "alice", at.session_id, after_revision=seen) as late:
            assert (late.joined["messages"], late.joined["unanswered"]) == ([], told)
        async with enter("websocket", place.back, "alice", at.session_id, limit=1) as late:
            assert late.joined["turns"] == []
        assert {first, last} == {t["message_id"] for t in (await at.alice.call("turns"))["turns"]} - {
            stopped,
            deleted,
        }
        await at.alice.call("regenerate", message_id=stopped)
        await at.worker.write(await at.worker.request(), "so")
        async with enter("websocket", place.back, "alice", at.session_id) as late:
            assert "unanswered" not in late.joined


async def test_the_call_that_stops_an_answer_takes_its_question(place: Place) -> None:
    async with scene(*place) as at, at.node.api() as api, at.node.api("mallory") as stranger:
        await at.begun()
        waits = await at.ask("second")
        url = f"/api/chat/streams/{waits}/cancel"
        assert (await stranger.post(url)).json()["error"]["code"] == "STREAM_NOT_FOUND"
        assert (await api.post(url)).json()["status"] == "cancelled"
        said = await at.alice.call("message", content="a note", reply=False)
        refused = await api.post(f"/api/chat/streams/{said['message_id']}/cancel")
        assert refused.json()["error"]["code"] == "STREAM_NOT_FOUND"
        assert (await api.get(f"/api/chat/streams/{waits}")).json()["error"]["code"] == "STREAM_NOT_FOUND"


async def test_an_answer_is_stopped_by_its_question(place: Place) -> None:
    async with scene(*place) as at:
        question, _, answer = await at.begun()
        assert (await at.alice.call("stream_cancel", message_id=question))["status"] == "cancelled"
        end = await at.alice.wait_event("stream_end")
        assert (end["message_id"], end["status"]) == (answer, "cancelled")
        assert await at.open() == []


async def test_an_interruption_keeps_the_text(place: Place) -> None:
    async with scene(*place) as at:
        _, _, answer = await at.begun(piece="half of it")
        second = await at.ask("stop, and this", when_busy="interrupt")
        end = await at.alice.wait_event("stream_end")
        assert (end["message_id"], end["status"]) == (answer, "cancelled")
        request = await at.worker.request()
        assert request["message"]["message_id"] == second
        assert [m["content"] for m in request["history"]] == ["first", "half of it"]


async def test_parallel_questions_wait_for_nothing(place: Place) -> None:
    async with scene(*place) as at:
        first, _, _ = await at.begun()
        second = await at.ask("second", when_busy="parallel")
        assert (await at.worker.request())["message"]["message_id"] == second
        assert await at.open() == [(first, "running"), (second, "running")]


async def test_a_busy_agent_may_reject(place: Place) -> None:
    async with scene(*place, when_busy="reject") as at:
        _, _, answer = await at.begun()
        refused = await at.alice.call("message", content="second")
        assert (refused["ok"], refused["error"]["code"]) == (False, "AGENT_BUSY")
        assert [m["content"] for m in await at.alice.history() if m["sender_type"] == "user"] == ["first"]
        await at.end(answer)
        second = await at.ask("second")
        assert (await at.worker.request())["message"]["message_id"] == second


async def test_a_repeat_of_a_question_is_not_busy(place: Place) -> None:
    async with scene(*place, when_busy="reject") as at:
        first = await at.alice.call("message", content="first", client_message_id="1")
        again = await at.alice.call("message", content="first", client_message_id="1")
        assert (again["message_id"], again["duplicate"]) == (first["message_id"], True)
        async with at.node.api() as api:
            url = f"/api/chat/sessions/{at.session_id}/messages"
            refused = await api.post(url, json={"content": "second"})
            asked = await api.post(f"{url}/stream", json={"content": "second", "stream": False})
        for reply in (refused, asked):
            assert (reply.status_code, reply.json()["error"]["code"]) == (409, "AGENT_BUSY")


async def test_who_waits_for_an_answer_hears_that_there_is_none(place: Place) -> None:
    """By whatever node the question was given up, and however often it is asked again."""
    async with scene(*place) as at, at.node.api() as api, at.node.api("backend", "service") as backend:
        _, _, answer = await at.begun()
        url = f"/api/chat/sessions/{at.session_id}/messages/stream"
        body = {"content": "second", "stream": False, "client_message_id": "2"}
        asking = asyncio.create_task(api.post(url, json=body))
        await at.alice.wait_event("turn", lambda turn: turn["state"] == "queued")
        await backend.delete(f"/api/chat/agents/{at.agent}")
        await at.alice.call("stream_cancel", message_id=answer)
        async with asyncio.timeout(10):
            given_up = await asking
        assert (given_up.status_code, given_up.json()["error"]["code"]) == (404, "AGENT_NOT_FOUND")


async def test_a_question_that_waits_is_edited_and_deleted(place: Place) -> None:
    async with scene(*place) as at:
        _, _, answer = await at.begun()
        second, third = await at.ask("second"), await at.ask("third")
        await at.alice.call("edit", message_id=third, content="third, better")
        await at.alice.call("delete", message_id=second)
        assert (await at.told(second, "done"))["outcome"] == "deleted"
        await at.end(answer)
        request = await at.worker.request()
        assert request["message"]["content"] == "third, better"


async def test_who_asked_is_erased(place: Place) -> None:
    """What waits, and what a worker has, is done; all hear of it, and the next one is begun."""
    async with scene(*place) as at, place.back.api("backend", "service") as backend:
        url = f"/api/chat/sessions/{at.session_id}/participants/bob"
        assert (await backend.put(url, json={"role": "member"})).status_code == 200
        async with enter("websocket", place.back, "bob", at.session_id) as bob:
            asked = [(await bob.message(text))["message_id"] for text in ("first", "second")]
            await at.worker.request()
            last = await at.ask("third")
            erased = await backend.delete("/api/server/users/bob")
            assert erased.json()["messages"] == 2, erased.text
        for question in asked:
            assert (await at.told(question, "done"))["outcome"] == "deleted"
        async with asyncio.timeout(10):
            assert {await at.worker.cancelled.get(), await at.worker.cancelled.get()} == set(asked)
        request = await at.worker.request()
        assert request["message"]["message_id"] == last
        await at.worker.write(request, "so")


async def test_a_question_is_deleted_while_its_worker_thinks(place: Place) -> None:
    async with scene(*place) as at:
        question = await at.ask("first")
        request = await at.worker.request()
        await at.alice.call("delete", message_id=question)
        async with asyncio.timeout(10):
            assert await at.worker.cancelled.get() == question
        late = await at.worker.begin(request)
        assert late["error"]["code"] == "STREAM_CLOSED"
        assert [m["sender_type"] for m in await at.alice.history()] == ["user"]


async def test_a_request_waits_for_its_turn(place: Place) -> None:
    async with scene(*place) as at:
        _, _, answer = await at.begun()
        url = f"/api/chat/sessions/{at.session_id}/messages/stream"
        async with at.node.api() as api:
            asking = asyncio.create_task(api.post(url, json={"content": "second", "stream": False}))
            await at.alice.wait_event("turn", lambda turn: turn["state"] == "queued")
            await at.end(answer)
            await at.worker.write(await at.worker.request(), "two")
            assert (await asking).json()["message"]["content"] == "two"
