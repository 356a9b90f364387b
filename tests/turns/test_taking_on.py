"""An answer that has waited is gone on with: while somebody stops it, or where nobody can."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from events.answering import Answering
from events.errors import Internal, StreamClosed
from events.streams import Streams
from events.tasks import Tasks
from storage.ops import Committed, EndStream, Op
from storage.pieces import Run
from storage.records import MessageRecord, TurnRecord
from tests.turns.conftest import Place
from tests.turns.scene import scene
from tests.turns.waits import ask_approval, go_on, say

WAITS = MessageRecord(
    *("s", "a", 2, 3, None, "agent", "1", "stream", "waiting", "so ", {}, "q", datetime.now(UTC)),
    interrupts=[{"id": "i1", "reason": "confirmation", "answer": {"status": "resolved"}}],
)


async def test_a_stop_while_it_is_gone_on_with(place: Place) -> None:
    async with scene(*place) as at:
        for order in ([0, 1], [1, 0], [0, 1], [1, 0]):
            question, _, answer = await at.begun(piece="I am about to pay. ")
            assert (await ask_approval(at.worker, at.session_id, answer))["ok"]
            assert (await say(at.alice, answer))["ok"]
            request = await at.worker.request()
            both = (
                go_on(at.worker, request, end=False),
                at.alice.call("stream_cancel", message_id=question),
            )
            replies = dict(zip(order, await asyncio.gather(*(both[n] for n in order)), strict=True))
            assert replies[1]["status"] == "cancelled"
            if replies[0]["ok"]:
                async with asyncio.timeout(10):
                    assert await at.worker.cancelled.get() in (question, answer)
            else:
                assert replies[0]["error"]["code"] == "STREAM_CLOSED"
            where = {"session_id": at.session_id, "message_id": answer}
            late = await at.worker.call("stream_end", **where)
            assert late["error"]["code"] == "STREAM_CLOSED"
            turn = (await at.alice.call("turns", limit=1))["turns"][0]
            assert (turn["message_id"], turn["outcome"]) == (question, "cancelled")
            while not at.worker.cancelled.empty():
                at.worker.cancelled.get_nowait()
        assert await at.open() == []


class Parts:
    """Of a node that is about to write the answer on: `stored` is its message in the database."""

    def __init__(self) -> None:
        self.stored = WAITS
        self.did: list[str] = []
        self.tasks = Tasks("streams")
        bus = SimpleNamespace(signal=lambda where, name, body: self.did.append(name))
        hub = SimpleNamespace(connections={})
        unused: Any = None
        same: Any = self
        delivery: Any = SimpleNamespace(bus=bus, hub=hub, live=False)
        observer: Any = SimpleNamespace(stream=lambda status: None)
        self.streams = Streams(
            *(same, unused, same, same, same, unused, delivery, observer, lambda: 0.0, self.tasks),
            held=1.0,
            max_size=1000,
            max_per_user=1,
        )

    async def submit(self, op: Op) -> Committed:
        status = op.status if isinstance(op, EndStream) else "streaming"
        done = structs.replace(self.stored, status=status)
        self.did.append(status)
        if isinstance(op, EndStream):
            self.stored = done
        return Committed(op, done, False, 2, 4)

    async def get(self, _: str) -> MessageRecord:
        return self.stored

    async def written(self, _: str) -> list[Run]:
        return [Run("", "so ", 1)]

    async def renew(self, _: object) -> None: ...


async def test_it_was_stopped_before_it_was_taken_on() -> None:
    """By another node, which found nobody who writes it: it is not written on here."""
    node = Parts()
    node.stored = structs.replace(WAITS, status="cancelled")
    with pytest.raises(StreamClosed) as refused:
        await node.streams.resume(("agent", "1"), "", WAITS, 2)
    assert refused.value.details == {"status": "cancelled"}
    assert not node.streams.open


@pytest.mark.parametrize("status", ["waiting", "streaming"])
async def test_who_takes_it_on_meanwhile_is_told_of_the_stop(status: str) -> None:
    """After its commit, too: it was in nobody's hands before."""
    node = Parts()
    node.stored = structs.replace(WAITS, status=status)
    assert await node.streams.cancel("s", "a") == "cancelled"
    assert node.did[-2:] == ["cancelled", "cancel"]


class Claims:
    """What a node's `Answering` is made of: it claims `next`, one after the other."""

    def __init__(self, *turns: TurnRecord, **replies: Any) -> None:
        self.next, self.kept = list(turns), list[TurnRecord]()
        unused: Any = None
        same: Any = self
        streams: Any = SimpleNamespace(writing=SimpleNamespace(), open={})
        delivery: Any = SimpleNamespace(hub=SimpleNamespace(rooms={}))
        told: Any = SimpleNamespace(**replies)
        self.answering = Answering(same, same, same, unused, streams, told, delivery, lambda: 0.0)

    async def claim(self, *_: object) -> list[TurnRecord]:
        return [self.next.pop(0)] if self.next else []

    async def keep(self, claimed: list[TurnRecord], _: object) -> None:
        self.kept = claimed

    async def get(self, which: object) -> Any:
        if isinstance(which, int):
            return SimpleNamespace(id=which)
        return WAITS if which == "a" else structs.replace(WAITS, message_id="q", sender_type="user")

    async def nothing(self, *_: object) -> list[Any]:
        return []

    written = taken_up_by = mend = stuck = nothing


async def test_what_cannot_be_gone_on_with_fails() -> None:
    """Its turn ends with it, as it does."""
    told: list[tuple[str, type[Exception], int]] = []
    done = asyncio.Event()

    async def go_on(*_: object) -> None:
        raise RuntimeError("not this one")

    async def fail_on(answer: MessageRecord, error: Exception, fence: int) -> None:
        told.append((answer.message_id, type(error), fence))
        done.set()

    turn = TurnRecord("q", "s", 1, 1, "queue", "waiting", fence=2, answer_id="a")
    node = Claims(turn, go_on=go_on, fail_on=fail_on)
    node.answering.go_on("s")
    async with asyncio.timeout(5):
        await done.wait()
    assert told == [("a", Internal, 2)]
    await node.answering.close()


async def test_the_later_of_two_claims_is_kept() -> None:
    """A question that is asked again, while nobody here knows yet that its first answer has begun."""
    asked: list[asyncio.Future[str]] = []

    async def reply(*_: object, **__: object) -> str:
        asked.append(asyncio.get_running_loop().create_future())
        if len(asked) > 1:
            asked[-2].cancel()
        return await asyncio.shield(asked[-1])

    turns = [TurnRecord("q", "s", 1, 1, "queue", "running", fence=fence) for fence in (1, 2)]
    node = Claims(*turns, reply=reply)
    for number in (1, 2):
        node.answering.go_on("s")
        async with asyncio.timeout(5):
            while len(asked) < number:
                await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    await node.answering.sweep()
    assert node.kept == [turns[1]]
    await node.answering.close()
