"""Questions that steer an answer while it is written: taken up by it, or answered next."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from events.steering import Steer, Steering
from events.tasks import Tasks
from storage.records import MessageRecord, TurnRecord
from storage.tree import CommonPaths, Tree
from tests.agents.test_openai import openai_session
from tests.agents.test_tools import PATIENT
from tests.agents.toolservers import calling, tool_server
from tests.agents.upstream import Plan, answer, upstream
from tests.support.doors import enter
from tests.support.server import Server
from tests.turns.conftest import Place
from tests.turns.scene import Scene, scene
from tests.turns.test_waiting_tools import WHERE


@pytest.fixture
async def at(place: Place) -> AsyncIterator[Scene]:
    async with scene(*place, when_busy="steer") as made:
        yield made


async def take_up(at: Scene, answer_id: str, *questions: str, index: int | None = None) -> dict[str, Any]:
    step = {"type": "step", "id": f"heard {questions[0]}", "steered": list(questions)}
    where = {"session_id": at.session_id, "message_id": answer_id}
    return await at.worker.call("stream_part", **where, part=step, index=index)


async def outcomes(at: Scene) -> list[tuple[str, str, str, str]]:
    """The oldest first."""
    turns = (await at.alice.call("turns"))["turns"]
    return [(t["message_id"], t["state"], t["answer_id"], t["outcome"]) for t in reversed(turns)]


async def test_it_is_taken_up(at: Scene) -> None:
    first, _, answer_id = await at.begun()
    second = await at.ask("and mind this")
    told = await at.worker.steer()
    assert (told["session_id"], told["message_id"]) == (at.session_id, answer_id)
    assert (told["message"]["message_id"], told["message"]["content"]) == (second, "and mind this")
    assert (await take_up(at, answer_id, second))["ok"]
    taken = await at.told(second, "running")
    assert taken["answer_id"] == answer_id
    shown = await at.alice.wait_event("stream_part")
    assert (shown["message_id"], shown["part"]["steered"]) == (answer_id, [second])
    assert await at.open() == [(first, "running"), (second, "running")]
    third = await at.ask("third", when_busy="queue")
    await at.end(answer_id)
    request = await at.worker.request()
    assert request["message"]["message_id"] == third
    # Whoever reads it later finds the answer behind all that it answers.
    assert [m["message_id"] for m in request["history"]] == [first, second, answer_id]
    await at.worker.write(request, "three")
    assert (await outcomes(at))[:2] == [
        (first, "done", answer_id, "complete"),
        (second, "done", answer_id, "complete"),
    ]


async def test_what_is_not_taken_up_is_answered_next(at: Scene) -> None:
    first, _, answer_id = await at.begun()
    second, third = await at.ask("second"), await at.ask("third")
    for question in (second, third):
        assert (await at.worker.steer())["message"]["message_id"] == question
    await take_up(at, answer_id, third)
    await at.end(answer_id)
    request = await at.worker.request()
    assert request["message"]["message_id"] == second
    own = await at.worker.write(request, "two")
    assert await outcomes(at) == [
        (first, "done", answer_id, "complete"),
        (second, "done", own, "complete"),
        (third, "done", answer_id, "complete"),
    ]


async def test_the_end_says_what_was_taken_up(at: Scene) -> None:
    """Piece and end in one breath: the parts are committed, and nothing is answered twice."""
    _, _, answer_id = await at.begun()
    second = await at.ask("second")
    await at.worker.steer()
    where = {"session_id": at.session_id, "message_id": answer_id}
    await asyncio.gather(take_up(at, answer_id, second), at.worker.call("stream_end", **where))
    await at.alice.wait_event("stream_end")
    assert (await outcomes(at))[1] == (second, "done", answer_id, "complete")
    third = await at.ask("third")
    assert (await at.worker.request())["message"]["message_id"] == third


async def test_nothing_is_open(at: Scene) -> None:
    first = await at.ask("first")
    assert (await at.worker.request())["message"]["message_id"] == first
    assert at.worker.steers.empty()


async def test_it_comes_before_the_first_word(at: Scene) -> None:
    await at.ask("first")
    request = await at.worker.request()
    second = await at.ask("second")
    await at.told(second, "queued")
    answer_id = await at.worker.write(request, "so ", end=False)
    told = await at.worker.steer()
    assert (told["message_id"], told["message"]["message_id"]) == (answer_id, second)


async def test_it_is_edited_while_it_waits(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    second = await at.ask("second")
    assert (await at.worker.steer())["message"]["content"] == "second"
    await at.alice.call("edit", message_id=second, content="second, better")
    told = await at.worker.steer()
    assert (told["message"]["message_id"], told["message"]["content"]) == (second, "second, better")
    await take_up(at, answer_id, second)
    assert (await at.told(second, "running"))["answer_id"] == answer_id


async def test_it_is_stopped_while_it_waits(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    second = await at.ask("second")
    await at.worker.steer()
    assert (await at.alice.call("stream_cancel", message_id=second))["status"] == "cancelled"
    async with asyncio.timeout(10):
        assert await at.worker.cancelled.get() == second
    await take_up(at, answer_id, second)
    await at.end(answer_id)
    turns = (await at.alice.call("turns"))["turns"]
    assert [(turn["outcome"], turn.get("answer_id")) for turn in turns] == [
        ("cancelled", None),
        ("complete", answer_id),
    ]


async def test_it_is_stopped_once_it_was_taken_up(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    second = await at.ask("second")
    await at.worker.steer()
    await take_up(at, answer_id, second)
    await at.told(second, "running")
    assert (await at.alice.call("stream_cancel", message_id=second))["status"] == "cancelled"
    end = await at.alice.wait_event("stream_end")
    assert (end["message_id"], end["status"]) == (answer_id, "cancelled")
    assert [(turn[0], turn[3]) for turn in await outcomes(at)][1] == (second, "cancelled")


async def test_only_what_was_meant_for_it_is_taken_up(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    waits = await at.ask("in line", when_busy="queue")
    note = (await at.alice.call("message", content="a note", reply=False))["message_id"]
    await take_up(at, answer_id, waits, note, "no question")
    await at.end(answer_id)
    assert (await at.worker.request())["message"]["message_id"] == waits


async def test_an_answer_is_told_of_so_much_alone(at: Scene) -> None:
    """Its writer keeps it, and whoever asks may say much: the rest is answered next."""
    _, _, answer_id = await at.begun()
    asked = [await at.ask(f"{number} " + "x" * 200_000) for number in range(3)]
    last = await at.ask("and this")
    told = [(await at.worker.steer())["message"]["message_id"] for _ in range(3)]
    assert told == [*asked[:2], last]
    await take_up(at, answer_id, *told)
    await at.end(answer_id)
    assert (await at.worker.request())["message"]["message_id"] == asked[2]
    assert at.worker.steers.empty()


async def test_who_waits_for_the_answer_reads_the_one_that_took_it_up(at: Scene) -> None:
    _, _, answer_id = await at.begun()
    url = f"/api/chat/sessions/{at.session_id}/messages/stream"
    async with at.node.api() as api:
        asking = asyncio.create_task(api.post(url, json={"content": "second", "stream": False}))
        told = await at.worker.steer()
        await take_up(at, answer_id, told["message"]["message_id"])
        await at.told(told["message"]["message_id"], "running")
        await at.end(answer_id)
        async with asyncio.timeout(10):
            assert (await asking).json()["message"]["message_id"] == answer_id


async def test_a_model_hears_of_it_between_two_calls(shared_server: Server, tmp_path: Any) -> None:
    """It calls its tool until it does."""

    def choose(asked: dict[str, Any]) -> Plan:
        told = [m["content"] for m in asked["messages"] if m["role"] == "user"]
        return answer("Both.") if "and this" in told else calling(("add", {"a": 1, "b": 1}))

    with tool_server(tmp_path) as (url, _):
        async with upstream(answer("unused")) as served:
            served.choose = choose
            session_id = await openai_session(
                shared_server, served, tools=[{"url": url}], tool_limits={"rounds": 100}, **PATIENT
            )
            async with enter("websocket", shared_server, "alice", session_id) as alice:
                await alice.message("this")
                await alice.wait_event("stream_start")
                second = (await alice.message("and this", when_busy="steer"))["message_id"]
                end = await alice.wait_event("stream_end")
                turns = (await alice.call("turns"))["turns"]
                assert [(t["answer_id"], t["outcome"]) for t in turns] == [
                    (end["message_id"], "complete")
                ] * 2
                [told] = [m for m in await alice.history() if m["message_type"] == "stream"]
    steps = [part.get("steered") for part in told["parts"] if part["type"] == "step"]
    assert steps[-1] == [second] and told["content"] == "Both."
    assert [each["role"] for each in served.asked[-1]["messages"][-2:]] == ["tool", "user"]


async def test_a_model_that_waited_knows_what_it_took_up(shared_server: Server, tmp_path: Any) -> None:
    """It asks the page once it has heard it."""

    def choose(asked: dict[str, Any]) -> Plan:
        if "Delft" in [m["content"] for m in asked["messages"]]:
            return answer("Both.")
        told = [m["content"] for m in asked["messages"] if m["role"] == "user"]
        return calling(("where", {})) if "and this" in told else calling(("add", {"a": 1, "b": 1}))

    with tool_server(tmp_path) as (url, _):
        async with upstream(answer("unused")) as served:
            served.choose = choose
            session_id = await openai_session(
                shared_server,
                served,
                tools=[{"url": url}],
                page_tools=[WHERE],
                tool_limits={"rounds": 100},
                **PATIENT,
            )
            async with enter("websocket", shared_server, "alice", session_id) as alice:
                await alice.message("this")
                await alice.wait_event("stream_start")
                await alice.message("and this", when_busy="steer")
                waits = await alice.wait_event("stream_end")
                [asked] = waits["interrupts"]
                where = {"message_id": waits["message_id"], "interrupt_id": asked["id"]}
                assert (await alice.call("answer", **where, status="resolved", payload="Delft"))["ok"]
                await alice.wait_event("stream_end", lambda end: end["status"] == "complete")
    said = [(m["role"], m["content"]) for m in served.asked[-1]["messages"]]
    assert said[-3:-2] == [("user", "and this")]


async def test_a_model_that_does_not_look_is_asked_next(shared_server: Server) -> None:
    begun = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await begun.wait()
        await answer("One.")(writer)

    async with upstream(slow, answer("Two.")) as served:
        session_id = await openai_session(shared_server, served, **PATIENT)
        async with enter("websocket", shared_server, "alice", session_id) as alice:
            await alice.message("first")
            second = (await alice.message("second", when_busy="steer"))["message_id"]
            await alice.wait_event("turn", lambda turn: turn["message_id"] == second)
            begun.set()
            start = await alice.wait_event("stream_start", lambda start: start["reply_to"] == second)
            await alice.wait_event("stream_end", lambda end: end["message_id"] == start["message_id"])
    assert [each["content"] for each in served.asked[1]["messages"]] == ["first", "One.", "second"]


async def test_an_answer_that_has_not_begun_is_awaited_in_silence() -> None:
    """Though other streams are open in the room, of people."""
    waits = [TurnRecord("q", "s", 1, 1, "queue", "running"), TurnRecord("steers", "s", 2, 1, "steer")]
    said: list[bytes] = []

    async def open_turns(_: str) -> list[TurnRecord]:
        return waits

    async def paths(_: str) -> CommonPaths:
        return CommonPaths(Tree((), 3))

    def signal(_: str, name: str, body: bytes) -> None:
        said.append(body)
        steering.heard(body)

    streams: Any = SimpleNamespace(open={"other": SimpleNamespace(room="s")}, writing=SimpleNamespace())
    delivery: Any = SimpleNamespace(bus=SimpleNamespace(signal=signal))
    questions: Any = SimpleNamespace(open=open_turns, paths=paths)
    unused: Any = None
    tasks = Tasks("steering")
    steering = Steering(questions, unused, streams, delivery, unused, tasks, unused)
    steering.look("s")
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(said) == 1
    steering.begun("s")
    waits[0] = TurnRecord("q", "s", 1, 1, "queue", "running", answer_id="a")
    for _ in range(20):
        await asyncio.sleep(0)
    assert [msgspec.msgpack.decode(body)[1] for body in said] == [None, "a"]
    await tasks.stop()


async def test_one_answer_asks_the_database_once_at_a_time() -> None:
    """Whatever its pieces say, and whoever writes it."""
    asked: list[list[str]] = []
    goes_on = asyncio.Event()

    async def take_up(_: str, __: str, question_ids: list[str]) -> list[TurnRecord]:
        asked.append(question_ids)
        await goes_on.wait()
        return []

    writing = SimpleNamespace()
    unused: Any = None
    questions: Any = SimpleNamespace(take_up=take_up)
    streams: Any = SimpleNamespace(open={}, writing=writing)
    tasks = Tasks("steering")
    Steering(questions, unused, streams, unused, unused, tasks, unused)
    answer = SimpleNamespace(message_id="a", room="s", owner=("agent", "1"))
    of_a_person = SimpleNamespace(message_id="b", room="s", owner=("user", "eve"))
    writing.on_steered(answer, ["first"])
    for _ in range(5):
        await asyncio.sleep(0)
    for number in range(5000):
        writing.on_steered(answer, [f"{number % 2000}"])
        writing.on_steered(of_a_person, [f"{number}"])
    for _ in range(5):
        await asyncio.sleep(0)
    assert asked == [["first"]]
    goes_on.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert [len(each) for each in asked] == [1, 1000]
    await tasks.stop()


async def test_a_worker_that_is_behind_is_not_cut_off() -> None:
    """What steers its answer waits in line, until it has read what it was told before."""
    message = MessageRecord(
        "s", "q", 2, 2, None, "user", "alice", "text", "sent", "and mind this", {}, None, datetime.now(UTC)
    )

    async def get(_: str) -> MessageRecord:
        return message

    async def files_with(_: object) -> dict[str, Any]:
        return {}

    told: list[object] = []
    sink = SimpleNamespace()
    worker = SimpleNamespace(sink=sink, send=told.append)
    hub = SimpleNamespace(connections={"worker": worker})
    answer = SimpleNamespace(message_id="a", room="s", steers=None, inbox=None, conn_id="worker", ending=None)
    streams: Any = SimpleNamespace(open={"a": answer}, writing=SimpleNamespace())
    store: Any = SimpleNamespace(get=get, files_with=files_with)
    delivery: Any = SimpleNamespace(hub=hub)
    tasks, unused = Tasks("steering"), cast(Any, None)
    steering = Steering(unused, store, streams, delivery, time.time, tasks, unused)
    for has_room in (False, True):
        sink.may_push = lambda _, has_room=has_room: has_room
        steering.heard(msgspec.msgpack.encode(Steer("s", "a", ["q"])))
        await tasks.drain()
        assert len(told) == has_room
