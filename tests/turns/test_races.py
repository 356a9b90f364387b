"""What comes at the same moment, from people and workers at two nodes or at one."""

import asyncio

from tests.agents.worker import Worker
from tests.support.doors import enter, new_session
from tests.turns.conftest import Place
from tests.turns.scene import Scene, scene
from tests.turns.waits import ask_approval, say

#: Questions while somebody joins.
ASKED = 40


async def test_stops_in_the_last_moment(place: Place) -> None:
    """By the question and by the answer, in two tabs, while its producer ends it: one end, and all hear the
    same."""
    async with scene(*place) as at, enter("websocket", place.back, "alice", at.session_id) as other_tab:
        outcomes = set()
        for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0]):
            question, _, answer = await at.begun()
            ending = (
                at.worker.call("stream_end", session_id=at.session_id, message_id=answer),
                at.alice.call("stream_cancel", message_id=question),
                other_tab.call("stream_cancel", message_id=answer),
            )
            replies = dict(zip(order, await asyncio.gather(*(ending[n] for n in order)), strict=True))
            ends = [
                await door.wait_event("stream_end", lambda end, a=answer: end["message_id"] == a)
                for door in (at.alice, other_tab)
            ]
            turn = (await at.alice.call("turns", limit=1))["turns"][0]
            assert (turn["message_id"], turn["state"]) == (question, "done")
            said = {turn["outcome"], *(end["status"] for end in ends)}
            assert said == {replies[1]["status"]} == {replies[2]["status"]}
            assert replies[0]["ok"] or replies[0]["error"]["code"] == "STREAM_CLOSED"
            outcomes |= said
        assert outcomes <= {"complete", "cancelled"}


async def test_a_stop_and_the_first_word(place: Place) -> None:
    """Either the answer never began, or it began and was stopped."""
    async with scene(*place) as at:
        for order in ([0, 1], [1, 0], [0, 1], [1, 0]):
            question = await at.ask("first")
            request = await at.worker.request()
            both = (at.worker.begin(request), at.alice.call("stream_cancel", message_id=question))
            replies = dict(zip(order, await asyncio.gather(*(both[n] for n in order)), strict=True))
            assert replies[1]["status"] == "cancelled"
            turn = (await at.alice.call("turns", limit=1))["turns"][0]
            assert (turn["state"], turn["outcome"]) == ("done", "cancelled")
            begun = replies[0]["ok"]
            assert ("answer_id" in turn) == begun, (replies[0], turn)
            assert begun or replies[0]["error"]["code"] == "STREAM_CLOSED"
        assert await at.open() == []


async def test_two_people_write_at_once(place: Place) -> None:
    async with place.front.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
    session_id = await new_session(place.front, agent_id=made.json()["id"], members=("bob",))
    async with (
        Worker(place.back, made.json()["id"]) as worker,
        enter("websocket", place.front, "alice", session_id) as alice,
        enter("socketio", place.back, "bob", session_id) as bob,
    ):
        sent = await asyncio.gather(*(door.message(f"{n}") for n in range(4) for door in (alice, bob)))
        asked = [each["message_id"] for each in sorted(sent, key=lambda each: each["seq"])]
        answered = []
        for _ in asked:
            request = await worker.request()
            answered.append(request["message"]["message_id"])
            await worker.write(request, "so")
        assert answered == asked
        assert worker.requests.empty()
        turns = (await bob.call("turns"))["turns"]
        assert [(turn["message_id"], turn["outcome"]) for turn in reversed(turns)] == [
            (question, "complete") for question in asked
        ]


async def all_done(at: Scene, newest: int) -> list[tuple[str, str]]:
    """The newest questions, the oldest first: (id, outcome)."""
    turns = (await at.alice.call("turns", limit=newest))["turns"]
    assert {turn["state"] for turn in turns} == {"done"}
    assert await at.open() == []
    return [(turn["message_id"], turn["outcome"]) for turn in reversed(turns)]


async def test_an_edit_at_the_moment_of_its_turn(place: Place) -> None:
    """It is answered once: as it was, or as it is."""
    async with scene(*place) as at:
        for order in ([0, 1], [1, 0], [0, 1]):
            first, _, answer = await at.begun()
            second = await at.ask("second")
            both = (at.end(answer), at.alice.call("edit", message_id=second, content="better"))
            replies = dict(zip(order, await asyncio.gather(*(both[n] for n in order)), strict=True))
            assert replies[1] and replies[1]["ok"]
            request = await at.worker.request()
            assert request["message"]["message_id"] == second
            assert request["message"]["content"] in ("second", "better")
            await at.worker.write(request, "so")
            assert (await at.alice.history())[-2]["content"] == "better"
            assert await all_done(at, 2) == [(first, "complete"), (second, "complete")]
            assert at.worker.requests.empty()


async def test_an_approval_while_its_question_is_deleted(place: Place) -> None:
    """Whichever is first: nothing is paid, and nothing stays open."""
    async with scene(*place) as at, enter("websocket", place.back, "alice", at.session_id) as other_tab:
        for order in ([0, 1], [1, 0], [0, 1]):
            question, _, answer = await at.begun()
            assert (await ask_approval(at.worker, at.session_id, answer))["ok"]
            both = (say(at.alice, answer), other_tab.call("delete", message_id=question))
            replies = dict(zip(order, await asyncio.gather(*(both[n] for n in order)), strict=True))
            assert replies[1]["ok"]
            assert replies[0]["ok"] or replies[0]["error"]["code"] == "CONFLICT"
            end = await at.alice.wait_event(
                "stream_end", lambda e, a=answer: (e["message_id"], e["status"]) == (a, "cancelled")
            )
            assert end["interrupts"][0]["answer"].get("why", "given") in ("stopped", "given")
            assert await all_done(at, 1) == [(question, "cancelled")]
            while not at.worker.requests.empty():
                claim = {"message_id": answer, "fence": at.worker.requests.get_nowait()["fence"]}
                late = await at.worker.call("stream_start", session_id=at.session_id, **claim)
                assert late["error"]["code"] == "STREAM_CLOSED"


async def test_regenerate_at_the_moment_of_the_end(place: Place) -> None:
    """It is still open, or it is answered anew."""
    async with scene(*place) as at:
        for order in ([0, 1], [1, 0], [0, 1]):
            question, _, answer = await at.begun()
            both = (at.end(answer), at.alice.call("regenerate", message_id=answer))
            replies = dict(zip(order, await asyncio.gather(*(both[n] for n in order)), strict=True))
            again = replies[1]
            assert again
            if again["ok"]:
                await at.worker.write(await at.worker.request(), "otherwise")
            else:
                assert again["error"]["code"] == "STREAM_OPEN"
            assert await all_done(at, 1) == [(question, "complete")]
            assert at.worker.requests.empty()


async def test_who_joins_again_while_answers_end(place: Place) -> None:
    """With more to catch up than the page at hand has: no question is told as open whose answer is told as
    ended. Nobody would tell such a reader of its end."""
    session = await new_session(place.front, "alice", members=("bob",), agent_id=1)
    async with (
        enter("socketio", place.front, "alice", session) as alice,
        enter("socketio", place.front, "bob", session) as bob,
    ):
        said = [
            alice.call("message", content=f"{n}", client_message_id=f"{n}", reply=False) for n in range(60)
        ]
        await asyncio.gather(*said)

        async def ask() -> None:
            for number in range(ASKED):
                await alice.call("message", content="hello", client_message_id=f"question {number}")

        asking, open_after_all = asyncio.create_task(ask()), []
        while not asking.done():
            reply = await bob.call("join", after_revision=59, limit=500)
            ended = {each["message_id"] for each in reply["messages"] if each["status"] == "complete"}
            open_after_all += [turn for turn in reply["turns"] if turn.get("answer_id") in ended]
        await asking
    assert open_after_all == []
