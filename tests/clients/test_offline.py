"""What was typed while there was no connection arrives at the pace of its rate, in order, once."""

import asyncio
import json
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from events.access import Caller
from events.bounds import CAPS
from events.catalog import CATALOG
from events.dispatch import Dispatcher
from events.errors import RateLimited
from events.line import Line
from events.observer import Observer
from events.ratelimit import RateLimits
from events.waiting import Queue, Waiting
from storage.buckets import MemoryBuckets
from tests.engine.kit import Polling
from tests.support.doors import enter, new_session
from tests.support.jsclient import JsClients
from tests.support.proxy import Proxy
from tests.support.server import Server

RATE = 300


async def test_a_burst_after_a_cut(sqlite_url: str, new_server: Callable[..., Server], js: JsClients) -> None:
    """With the client's own `retries`, which takes a refusal for an answer."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE=str(RATE))
    session = await new_session(node, "alice")
    async with Proxy(node.port) as network:
        socket = await js.open(network.url, node.token("alice"), retries=3, ackTimeout=5000)
        network.refusing = True
        network.cut()
        await socket.wait_event("disconnect")
        said = [f"line {n}" for n in range(RATE + 15)]
        answers = [
            socket.emit_nowait(
                "message",
                {"session_id": session, "content": each, "client_message_id": each, "reply": False},
                timeout=60,
            )
            for each in said
        ]
        network.refusing = False
        assert all(answer["ok"] for answer in await asyncio.wait_for(asyncio.gather(*answers), 60))
    async with enter("rest", node, "alice", session) as alice:
        assert [m["content"] for m in await alice.history(order="asc")] == said


@pytest.mark.parametrize("rate", [60, 40])
async def test_a_flood_in_line_is_bounded(
    sqlite_url: str, new_server: Callable[..., Server], rate: int
) -> None:
    """A minute's messages go through, another minute's wait, and the rest is told when to come again."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE=str(rate))
    for kind in ("websocket", "socketio"):
        user = f"floods over {kind}"
        session = await new_session(node, user)
        async with enter(kind, node, user, session) as door:
            sends = [
                asyncio.create_task(door.call("message", content=f"{n}", reply=False))
                for n in range(2 * rate + 20)
            ]
            async with asyncio.timeout(10):
                while sum(send.done() for send in sends) < rate + 10:
                    await asyncio.wait(
                        [send for send in sends if not send.done()], return_when="FIRST_COMPLETED"
                    )
            answers = [send.result() for send in sends if send.done()]
            refused = [answer["error"] for answer in answers if not answer["ok"]]
            assert 5 <= len(refused) <= 20
            assert {error["code"] for error in refused} == {"RATE_LIMIT"}
            assert all(1000 <= error["retry_after"] <= 62_000 for error in refused)
            for send in sends:
                send.cancel()
            await asyncio.gather(*sends, return_exceptions=True)


async def test_a_slow_rate_is_one_too(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """Forty-five a minute: what is beyond them comes one and a third of a second after another."""
    rate = 45
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE=str(rate))

    async def say(kind: str) -> None:
        user = f"slow over {kind}"
        session = await new_session(node, user)
        said = [f"line {n}" for n in range(rate + 2)]
        async with enter(kind, node, user, session) as door:
            began = time.monotonic()
            sends = [door.call("message", content=each, reply=False) for each in said]
            assert all(answer["ok"] for answer in await asyncio.gather(*sends))
            assert time.monotonic() - began > 2.5
            assert [m["content"] for m in await door.history(order="asc")] == said

    await asyncio.gather(say("websocket"), say("socketio"))


async def test_a_rate_that_nobody_can_wait_for(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """One message in twelve seconds: who would wait for longer than clients do is told when to come."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="5")
    for kind in ("websocket", "socketio", "rest"):
        user = f"slow over {kind}"
        session = await new_session(node, user)
        async with enter(kind, node, user, session) as door:
            for _ in range(5):
                assert (await door.call("message", content="hello", reply=False))["ok"]
            refused = (await door.call("message", content="one more", reply=False))["error"]
            assert (refused["code"], refused["retryable"]) == ("RATE_LIMIT", True)
            assert 8000 < refused["retry_after"] <= 12_000


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A message beyond the eighth waits for seven seconds, and what comes behind it in its line, too."""
    from migrations.run import upgrade

    folder = tmp_path_factory.mktemp("slow")
    url = f"sqlite:///{folder}/parley.db"
    upgrade(url)
    with Server(folder, url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="8") as node:
        yield node


def _behind(session: str, each: int, count: int) -> list[tuple[str, dict[str, Any]]]:
    """More than any line holds, by number or by size."""
    padding = {"session_id": session, "is_typing": True, "x": "x" * each}
    return [("typing", padding)] * count


BEHIND = [pytest.param(10, 200, id="many"), pytest.param(200_000, 4, id="large")]


@pytest.mark.parametrize(("each", "count"), BEHIND)
async def test_a_line_over_polling_is_bounded(slow: Server, each: int, count: int) -> None:
    """Its POST is not answered, and who does not wait for that has ended."""
    user = f"polls {each}"
    session = await new_session(slow, user)
    said = {"session_id": session, "content": "hello", "reply": False}
    async with Polling(slow.port) as client:
        await client.post("40" + json.dumps({"token": slow.token(user)}))
        assert (await client.packets())[0][:2] == "40"
        for n in range(8):
            await client.post(f"42{n}" + json.dumps(["message", said]))
        answered: set[str] = set()
        while len(answered) < 8:
            answered |= {p for p in await client.packets() if p[:2] == "43"}
        first = [("presence", {"status": "away"}), ("message", said)]
        commands = [*first, *_behind(session, each, count)]
        body = "\x1e".join(f"42{n}" + json.dumps(command) for n, command in enumerate(commands, 100))
        posting = asyncio.create_task(client.post(body))
        while not any(packet.startswith("43100") for packet in await client.packets()):
            pass
        assert not posting.done()
        assert (await client.post("42" + json.dumps(["leave", {"session_id": session}])))[0] == 400
        assert (await client.get())[0] == 400
        await posting


@pytest.mark.parametrize("kind", ["websocket", "socketio"])
async def test_what_waits_in_line_is_all_answered_in_order(slow: Server, kind: str) -> None:
    """Reading pauses, and goes on."""
    user = f"waits over {kind}"
    session = await new_session(slow, user)
    async with enter(kind, slow, user, session) as door:
        for _ in range(8):
            assert (await door.call("message", content="hello", reply=False))["ok"]
        calls = [door.call("message", content="the ninth", reply=False)]
        for n in range(20):
            calls.append(door.call("history", limit=1, x="x" * 100_000) if n % 2 else door.call("history"))
        ninth, *answers = await asyncio.wait_for(asyncio.gather(*calls), 60)
        assert ninth["ok"]
        assert all(answer["ok"] for answer in answers), [a for a in answers if not a["ok"]][:1]


def test_what_waits_on_a_node_is_bounded_for_each_and_in_all() -> None:
    waiting = Waiting(1000 * 1000)
    many = {name: Queue(waiting) for name in ("a", "b", "c")}

    def put(name: str) -> int:
        count = 0
        while many[name].put(name, "message", {"content": "x" * 1000}, count, 0.0):
            count += 1
        return count

    assert put("a") > put("b") > put("c") > 50, "each a part of what the others left"
    name, payload, ref, _ = many["c"].next()
    assert (name, payload, ref) == ("message", {"content": "x" * 1000}, 0)
    for queue in many.values():
        queue.clear()
    assert waiting.size == 0 and waiting.add("d", 1000 * 1000) and not waiting.add("e", 1)


class Big(list[int]):
    """What JSON became; a weak reference tells when nobody has it any more."""


class Answers:
    def __init__(self) -> None:
        self.given: asyncio.Queue[Any] = asyncio.Queue()

    def answer(self, conn: Any, ref: Any, name: str, reply: Any) -> None:
        self.given.put_nowait((ref, reply))

    def hold_up(self, conn: Any, stop: bool) -> None: ...


@pytest.mark.parametrize("room", [True, False])
async def test_a_command_that_waits_for_its_rate_is_kept_in_counted_bytes(room: bool) -> None:
    limits = RateLimits(
        MemoryBuckets(time.monotonic),
        MemoryBuckets(time.monotonic),
        enabled=True,
        figures={cap.setting: 0 for cap in CAPS} | {"rate_limit_messages_per_minute": 600},
    )
    done: list[Any] = []

    def act(caller: Caller, conn: Any, command: Any) -> dict[str, Any]:
        done.append(command)
        return {}

    dispatcher = Dispatcher(
        cast(Any, SimpleNamespace(actions=dict.fromkeys(CATALOG, act))), limits, Observer()
    )
    dispatcher.waiting = Waiting(100_000 if room else 100)
    alice, answers = Caller("user", "alice"), Answers()
    conn = cast(Any, SimpleNamespace(caller=alice, heard_at=0.0, fenced=False))
    line = Line(dispatcher, conn, answers)
    with suppress(RateLimited):
        while True:
            limits.check(alice, "message")
    said = {"session_id": "s", "content": "hello", "metadata": {"big": Big([1, 2, 3])}}
    alive = weakref.ref(said["metadata"]["big"])  # type: ignore[index]
    line.put("message", said, 1)
    del said
    assert alive() is None
    assert dispatcher.waiting.size > 0 or not room
    ref, reply = await asyncio.wait_for(answers.given.get(), 20)
    assert ref == 1 and dispatcher.waiting.size == 0
    if room:
        assert reply == {} and done[0].metadata == {"big": [1, 2, 3]}
    else:
        assert reply.code == "RATE_LIMIT" and not done
