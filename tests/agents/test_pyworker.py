"""The `Worker` of clients/python: it writes once and in order whatever breaks, and stops when it has to."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parley_client import Answer, AnswerFailed, ParleyError, Worker
from tests.agents.worker import Worker as BareWorker
from tests.support.doors import Door, enter, new_session
from tests.support.proxy import Proxy
from tests.support.server import Server

#: Seconds of a test's steps.
SOON = 10


class Script:
    """What a test's handler goes through: it `tells` where it is, and waits for what it is told."""

    def __init__(self) -> None:
        self.places: asyncio.Queue[str] = asyncio.Queue()
        self.go: asyncio.Queue[Any] = asyncio.Queue()

    def tell(self, place: str) -> None:
        self.places.put_nowait(place)

    async def at(self, place: str) -> None:
        async with asyncio.timeout(SOON):
            assert await self.places.get() == place


@asynccontextmanager
async def at_work(node: Server, agent: int, url: str = "", **given: Any) -> AsyncIterator[Worker]:
    """A worker whose handler comes later, connected: run until the block ends."""
    ready = asyncio.Event()
    token = node.token(str(agent), "agent")
    worker = Worker(url or node.url, token=token, ready=ready.set, **{"silence": 0.5, "grace": 0.0, **given})

    @worker.answers
    async def later(answer: Answer) -> None:
        raise AssertionError("the test gives another one")

    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(SOON):
            await ready.wait()
        yield worker
    finally:
        worker.stop()
        await running


async def ended(alice: Door, since: int = 0) -> dict[str, Any]:
    """The answer as history has it, once it is over."""
    end = await alice.wait_event("stream_end", since=since)
    return next(each for each in await alice.history() if each["message_id"] == end["message_id"])


async def test_a_handler_that_fails(
    node: Server, agent: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it has shown anything it is tried again; then its answer ends, and its words are nobody's."""
    monkeypatch.setattr("parley_client.worker.AGAIN", 0.01)
    session = await new_session(node, agent_id=agent)
    async with at_work(node, agent) as worker, enter("websocket", node, "alice", session) as alice:

        @worker.answers
        async def answer_it(answer: Answer) -> None:
            said = answer.question["content"]
            if said == "late" or answer.attempt < 2 or said == "never":
                if said == "late":
                    await answer.text(f"half {answer.attempt}")
                raise RuntimeError("a secret")
            if said == "coded":
                raise AnswerFailed("NO_SUCH_THING", "There is none")
            await answer.text(f"after {answer.attempt}")
            answer.finish(model="m-1", usage={"total_tokens": 7})

        seen = {}
        for said in ("at last", "late", "never", "coded"):
            mark = alice.mark()
            await alice.message(said)
            seen[said] = await ended(alice, mark)
    last = seen["at last"]
    assert (last["content"], last["status"], last["model"], last["tokens_used"]) == (
        "after 2", "complete", "m-1", 7,
    )  # fmt: skip
    told = {"code": "WORKER_FAILED", "message": "The agent failed"}
    assert (seen["late"]["content"], seen["late"]["error"]) == ("half 0", told)
    assert (seen["never"]["status"], seen["never"]["error"]) == ("failed", told)
    assert seen["coded"]["error"] == {"code": "NO_SUCH_THING", "message": "There is none"}
    assert "a secret" in caplog.text


async def test_parts_and_what_is_refused(node: Server, agent: int, caplog: pytest.LogCaptureFixture) -> None:
    """A handler hears of a part that the server will not have, and goes on; text that it will not have ends
    the answer."""
    session = await new_session(node, agent_id=agent)
    async with at_work(node, agent) as worker, enter("websocket", node, "alice", session) as alice:

        @worker.answers
        async def answer_it(answer: Answer) -> AsyncIterator[str]:
            yield "One. "
            try:
                await answer.source("ftp://no.where")
            except ParleyError as error:
                yield f"{error.code}. "
            if answer.question["content"] == "bad":
                await answer.delta("nothing", "text of no part")
                await asyncio.Event().wait()
            await answer.reasoning("hm")
            await answer.reasoning(", yes")
            call = await answer.tool("look", {"where": "here"}, title="Look")
            await call.error("dark")
            await answer.part({"type": "data", "name": "progress", "data": 1, "transient": True})
            await answer.text("Two", part="b")

        for said in ("good", "bad"):
            mark = alice.mark()
            await alice.message(said)
            answer = await ended(alice, mark)
            if said == "good":
                assert answer["content"] == "One. VALIDATION_ERROR. \n\nTwo"
                assert [(part["id"], part["type"]) for part in answer["parts"]] == [
                    ("text", "text"), ("reasoning-1", "reasoning"), ("tool-1", "tool"), ("b", "text"),
                ]  # fmt: skip
                assert (answer["parts"][1]["text"], answer["parts"][2]["error"]) == ("hm, yes", "dark")
    assert (answer["status"], answer["error"]["code"]) == ("failed", "VALIDATION_ERROR")


async def test_stop_ends_the_handler(node: Server, agent: int) -> None:
    """Named by the answer or by its question; the next question is answered."""
    script = Script()
    session = await new_session(node, agent_id=agent)
    async with at_work(node, agent) as worker, enter("websocket", node, "alice", session) as alice:

        @worker.answers
        async def answer_it(answer: Answer) -> None:
            await answer.text("so far")
            script.tell("writing")
            try:
                await asyncio.Event().wait()
            finally:
                script.tell("stopped")

        for by_question in (True, False):
            mark = alice.mark()
            sent = await alice.message("go on for ever")
            await script.at("writing")
            chunk = await alice.wait_event("stream_chunk", since=mark)
            named = sent["message_id"] if by_question else chunk["message_id"]
            assert (await alice.call("stream_cancel", message_id=named))["status"] == "cancelled"
            await script.at("stopped")
            assert (await ended(alice, mark))["content"] == "so far"


async def test_a_cut_in_mid_answer(node: Server, agent: int) -> None:
    """What the server had is not said twice, what it had not is said; silence does not end it."""
    script = Script()
    session = await new_session(node, agent_id=agent)
    async with (
        Proxy(node.port) as network,
        at_work(node, agent, network.url) as worker,
        enter("websocket", node, "alice", session) as alice,
    ):

        @worker.answers
        async def answer_it(answer: Answer) -> None:
            for number in range(300):
                await answer.text(f"{number} ")
                if number == 150:
                    await answer.tool("count", number, id="t")
                    script.tell("cut me")
                    await script.go.get()
                if number % 50 == 0:
                    await asyncio.sleep(0)
            script.tell("thinking")
            await script.go.get()
            await answer.text("end")

        await alice.message("count")
        await script.at("cut me")
        network.cut_after(700)  # in mid frame
        script.go.put_nowait(None)
        await script.at("thinking")
        network.half_open()
        await asyncio.sleep(2.5)  # longer than the lease
        script.go.put_nowait(None)
        answer = await ended(alice)
    assert answer["status"] == "complete"
    assert answer["content"] == "".join(f"{number} " for number in range(300)) + "end"


async def test_who_was_taken_over_stops(node: Server, agent: int) -> None:
    """Approved, and written on by one worker; then another connection of the agent claims it."""
    script = Script()
    session = await new_session(node, agent_id=agent)
    async with at_work(node, agent) as worker, enter("websocket", node, "alice", session) as alice:

        @worker.answers
        async def answer_it(answer: Answer) -> None:
            call = answer.call("pay") or await answer.tool("pay", {"eur": 5}, id="pay")
            if await answer.approved(call, "Pay?"):
                script.tell(f"fence {answer.request['fence']}")
            try:
                await asyncio.Event().wait()
            finally:
                script.tell("gone")

        await alice.message("pay")
        waits = await alice.wait_event("stream_end")
        assert waits["status"] == "waiting"
        where = {"message_id": waits["message_id"]}
        given = {"status": "resolved", "payload": {"approved": True}}
        assert (await alice.call("answer", **where, interrupt_id="pay", **given))["ok"]
        await script.at("fence 2")
        async with BareWorker(node, agent) as other:
            claimed = await other.call("stream_start", session_id=session, **where, fence=2)
            assert claimed["ok"], claimed
            await script.at("gone")
            for command, said in (("stream_chunk", {"content": "the other one's"}), ("stream_end", {})):
                assert (await other.call(command, session_id=session, **where, **said))["ok"]
        answer = (await alice.history())[-1]
    assert (answer["status"], answer["content"]) == ("complete", "the other one's")


async def test_it_drains_and_leaves_the_rest_to_others(node: Server, agent: int) -> None:
    """One place: the second question waits for it. Told to stop it finishes both, and takes nothing more."""
    script = Script()
    one, two, three = [await new_session(node, agent_id=agent) for _ in range(3)]
    async with (
        at_work(node, agent, concurrency=1, grace=SOON) as worker,
        enter("websocket", node, "alice", one) as first,
        enter("websocket", node, "alice", two) as second,
        enter("websocket", node, "alice", three) as third,
    ):

        @worker.answers
        async def answer_it(answer: Answer) -> None:
            script.tell(answer.question["content"])
            await answer.text(await script.go.get())

        await first.message("first")
        await script.at("first")
        await second.message("second")
        assert (await second.wait_event("agent_status"))["status"] == "queued"
        assert script.places.empty()
        worker.stop()
        async with BareWorker(node, agent) as other:
            await third.message("third")
            async with asyncio.timeout(4):  # without a word it would be five seconds
                await other.write(await other.request(), "by another one")
        script.go.put_nowait("A")
        await script.at("second")
        script.go.put_nowait("B")
        answers = [await ended(door) for door in (first, second, third)]
    assert [answer["content"] for answer in answers] == ["A", "B", "by another one"]


async def test_a_token_that_is_none_ends_it(
    node: Server, agent: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for token in (node.token("1", "agent") + "x", node.token("1", "agent", ttl=-60)):
        worker = Worker(node.url, token=token)
        worker.answers(lambda answer: asyncio.sleep(0))
        with pytest.raises(ParleyError) as refused:
            async with asyncio.timeout(SOON):
                await worker.run()
        assert refused.value.code in ("UNAUTHORIZED", "TOKEN_EXPIRED")
