"""A session under way on several nodes, into which a fault comes: what it costs those who are there and those
who come back, and how long.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.cluster.conftest import SHORT
from tests.support.doors import new_session
from tests.support.page import KINDS, Page
from tests.support.server import Server

#: Seconds: what is promised for a fault of Redis, and the nodes' poll of the database.
REDIS, POLL = 5.0, 3.0
#: Of the nodes: a producer may be silent for as long as a store is away.
SETTINGS = {"STREAM_LEASE": "60"}
#: Beyond a bound for a machine that is busy with other tests.
SLACK = 2.0
#: Until a page that is not right counts as lost.
PATIENCE = 25.0
#: Rooms with more users are told a number (PRESENCE_EVENTS_MAX).
LISTED = 100

#: The fault itself; returns when the store answers again.
Strike = Callable[[], Awaitable[None]]
#: What is done between its beginning and the strike is what the store may lose.
Fault = Callable[["Scene"], AbstractAsyncContextManager[Strike]]


@dataclass
class Stream:
    """One that a page writes."""

    page: Page
    name: str
    pieces: list[str] = field(default_factory=list)
    index: int = 0
    gone: bool = False  # its start was lost

    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class Outcome:
    """Over all pages; times in seconds after the strike, of the slowest."""

    acknowledged: int = 0
    gone: int = 0  # what the database itself lost
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    wrong: int = 0  # `recovered: true` that was none
    live: float = 0.0  # until all who were there are right
    back: float = 0.0  # until all who came back are
    presence: float = 0.0
    came: int = 0  # how many came back
    recovered: int = 0  # and were told that they missed nothing
    ghosts: set[str] = field(default_factory=set)  # who was said to have gone, and was there all the time
    why: list[str] = field(default_factory=list)

    def held(self, within: float, presence: float = float(SHORT["NODE_LEASE"])) -> None:
        """The promise: nothing lost but by the store, nothing twice, no wrong `true`, and soon."""
        assert (self.lost, self.doubled, self.reordered, self.wrong) == (0, 0, 0, 0), (self, *self.why)
        assert max(self.live, self.back) < within, self
        assert self.presence < presence + SLACK, self


class Scene:
    """`alice` writes on the first node, `bob` on the last; each node has readers at each door. `loses`: the
    fault takes the database's last stretch, too.
    """

    def __init__(self, nodes: Sequence[Server], session: str, members: int, *, loses: bool = False) -> None:
        self.nodes, self.session, self.members, self.loses = nodes, session, members, loses
        self.alone = members == 1
        self.outcome = Outcome()
        self.alice, self.bob = self.page("socketio", "alice"), self.page("websocket", "bob")
        self.live: list[Page] = []
        self.acked: dict[str, bool] = {}  # word -> whether the fault may have taken it
        self.in_stretch = False
        self.old = ""  # a message of bob's
        self.streams: tuple[Stream, ...] = ()  # alice's, and bob's
        self._numbers = itertools.count(1)
        self._seq = 0

    def page(self, kind: str, user: str) -> Page:
        """A session of one member has that one at all doors."""
        user = "alice" if self.alone else user
        page = Page(kind, user, self.session, self.nodes[0].token(user))
        page.refuge = self._refuge
        return page

    def _refuge(self, node: Server) -> Server:
        """The node itself, unless it is dead."""
        return next((each for each in (node, *self.nodes) if each.running), node)

    async def begin(self) -> None:
        await self.alice.come(self.nodes[0])
        await self.bob.come(self.nodes[-1])
        self.live = [self.alice, self.bob]
        for at, node in enumerate(self.nodes):
            for kind in KINDS:
                self.live.append(self.page(kind, f"{kind}-{at}"))
                await self.live[-1].come(node)
        crowd = [self.page("websocket", user) for user in _crowd(self.members)]
        for start in range(0, len(crowd), 20):
            some = enumerate(crowd[start : start + 20])
            await asyncio.gather(*[page.come(self.nodes[n % len(self.nodes)]) for n, page in some])
        self.live += crowd

    async def end(self) -> None:
        await asyncio.gather(*[page.leave() for page in self.live])

    # --- what is said

    async def ask(self, page: Page, command: str, /, **payload: Any) -> dict[str, Any]:
        """Repeated until it is answered for good, as an application does."""
        async with asyncio.timeout(60):
            while True:
                try:
                    reply = await page.call(command, **payload)
                    if reply["ok"] or not reply["error"]["retryable"]:
                        return reply
                except (ConnectionError, ConnectionClosed):
                    await page.again()
                await asyncio.sleep(0.05)

    async def say(self, page: Page, count: int) -> None:
        for _ in range(count):
            word = f"{page.user} {next(self._numbers)}"
            reply = await self.ask(page, "message", content=word, client_message_id=word, reply=False)
            assert reply["ok"], reply
            self.acked[word] = self.in_stretch
            self._seq = reply["seq"]

    async def start(self, page: Page) -> Stream:
        stream = Stream(page, f"st-{next(self._numbers)}-{self.session}")
        page.own[stream.name] = stream.text
        reply = await self.ask(page, "stream_start", message_id=stream.name)
        assert reply["ok"], reply
        return stream

    async def write(self, stream: Stream, count: int) -> None:
        stream.pieces += [f"<{len(stream.pieces) + n}>" for n in range(count)]
        while stream.index < len(stream.pieces) and not stream.gone:
            piece = {"index": stream.index, "content": stream.pieces[stream.index]}
            reply = await self.ask(stream.page, "stream_chunk", message_id=stream.name, **piece)
            if reply["ok"]:
                stream.index = reply["next_index"]
            elif reply["error"]["code"] == "INDEX_CONFLICT":
                stream.index = reply["error"]["details"]["next_index"]
            else:
                self._lost(stream, reply)

    async def finish(self, stream: Stream) -> None:
        if not stream.gone:
            reply = await self.ask(stream.page, "stream_end", message_id=stream.name)
            if not reply["ok"]:
                self._lost(stream, reply)

    def _lost(self, stream: Stream, reply: dict[str, Any]) -> None:
        """Only where the database lost its start, or the log's text and all nodes' with it."""
        assert self.loses, (stream, reply)
        assert reply["error"]["code"] in ("STREAM_NOT_FOUND", "STREAM_CLOSED"), (stream, reply)
        stream.gone = True

    # --- a fault

    async def play(self, *faults: Fault) -> Outcome:
        """One after the other."""
        for fault in faults:
            await self._play(fault)
        for page in self.live:
            self._count(page)
            self.outcome.ghosts |= page.gone - {"goes", *(f"away-{kind}" for kind in KINDS)}
        return self.outcome

    async def _play(self, fault: Fault) -> None:
        away = [self.page(kind, f"away-{kind}") for kind in KINDS]
        went, came = self.page("websocket", "goes"), self.page("websocket", "comes")
        for page in (*away, went):
            await page.come(self.nodes[-1])
        first = await self.start(self.alice)
        await self.write(first, 3)
        await asyncio.gather(self.say(self.alice, 3), self.say(self.bob, 3))
        self.old = (await self.ask(self.bob, "message", content="old", reply=False))["message_id"]
        await self._all((*away, *self.live), lambda page: self.old in page.messages)
        for page in away:
            await page.cut()
        async with fault(self) as strike:
            self.in_stretch = True
            await asyncio.gather(self.say(self.alice, 5), self.say(self.bob, 5))
            edit = await self.ask(self.bob, "edit", message_id=self.old, content="edited")
            assert edit["ok"], edit
            second = await self.start(self.bob)
            self.streams = (first, second)
            for stream in self.streams:
                await self.write(stream, 5)
            assert (await self.ask(self.alice, "read", seq=self._seq))["ok"]
            await went.leave()
            await came.come(self.nodes[-1])
            self.live.append(came)
            await self._all(self.live, lambda page: second.name in page.messages)
            for page in self.live:
                page.returned = False
            await strike()
            self.in_stretch = False
            struck = time.monotonic()
            tasks = [asyncio.create_task(self._goes_on(stream)) for stream in self.streams]
            for n, page in enumerate(away):
                node = self._refuge(self.nodes[n % len(self.nodes)])
                tasks.append(asyncio.create_task(page.come(node)))
            await asyncio.gather(*tasks)
            self.live += away
            self.outcome.came += len(away)
            self.outcome.recovered += sum(page.recovered for page in away)
            told = asyncio.create_task(self._presence(struck))
            await self._right(struck)
            self.outcome.presence = max(self.outcome.presence, await told)
        for page in (*away, came):
            self._count(page)
            self.live.remove(page)
            await page.leave()

    async def _goes_on(self, stream: Stream) -> None:
        await self.say(stream.page, 5)
        await self.write(stream, 5)
        await self.finish(stream)

    async def _right(self, struck: float) -> None:
        """Whoever was there and whoever came back shows what is stored, and that is all that was said."""
        outcome = self.outcome
        stored = await self.stored()
        words = {message["content"] for message in stored.values()}
        missing = {word for word in self.acked if word not in words}
        outcome.acknowledged += len(self.acked)
        outcome.gone += len(missing)
        if lost := [word for word in missing if not (self.loses and self.acked[word])]:
            outcome.lost += len(lost)
            outcome.why.append(f"acknowledged, not stored: {lost}")
        self.acked = {}
        for stream in self.streams:
            if not stream.gone:
                assert stored[stream.name]["content"] == stream.text()
                assert stored[stream.name]["status"] == "complete"
        newcomer = self.page("websocket", "alice")
        await newcomer.come(self.nodes[0])
        marks = newcomer.marks
        await newcomer.leave()
        truth = {name: (m["revision"], m["content"]) for name, m in stored.items()}

        def right(page: Page) -> bool:
            return page.messages == truth and (page.marks == marks or (self.loses and not page.returned))

        async def wait(page: Page) -> float:
            try:
                return await page.until(lambda: right(page), PATIENCE) - struck
            except TimeoutError:
                outcome.why.append(f"{page} has {_difference(page, truth)}, marks {page.marks} for {marks}")
                if page.returned and page.recovered:
                    outcome.wrong += 1
                else:
                    outcome.lost += 1
                return PATIENCE

        times = await asyncio.gather(*[wait(page) for page in self.live])
        for page, took in zip(self.live, times, strict=True):
            if page.returned:
                outcome.back = max(outcome.back, took)
            else:
                outcome.live = max(outcome.live, took)

    async def stored(self) -> dict[str, dict[str, Any]]:
        async with self.nodes[0].api("alice") as api:
            answer = await api.get(f"/api/chat/sessions/{self.session}/messages", params={"limit": 500})
            assert answer.status_code == 200, answer.text
            page = answer.json()
        assert not page["has_more"]
        stored = {message["message_id"]: message for message in page["messages"]}
        seqs = sorted(message["seq"] for message in stored.values())
        assert seqs == list(range(1, len(seqs) + 1)), "a gap in seq"
        return stored

    async def _presence(self, struck: float) -> float:
        """Until all who were there all the time have been told who is, one by one."""
        if self.alone or self.members > LISTED:
            return 0.0
        users = {page.user for page in self.live}
        there = [page for page in self.live if not page.returned]

        def told(page: Page) -> bool:
            here = {user for user, status in page.online.items() if status != "offline"}
            return page.returned or here == users

        return await self._all(there, told, struck) - struck

    @staticmethod
    async def _all(pages: Iterable[Page], right: Callable[[Page], bool], since: float = 0) -> float:
        """When the last of them was right."""
        waits = [page.until(partial(right, page), PATIENCE) for page in pages]
        return max(await asyncio.gather(*waits), default=since)

    def _count(self, page: Page) -> None:
        page.look()
        self.outcome.doubled += page.doubled
        self.outcome.reordered += page.reordered
        if page.doubled or page.reordered:
            self.outcome.why.append(f"{page}: {page.doubled} twice, {page.reordered} out of order")


def _crowd(members: int) -> list[str]:
    return [f"u{n}" for n in range(members)] if members > LISTED else []


def _difference(page: Page, truth: dict[str, tuple[int, str]]) -> str:
    lacks = {name: held for name, held in truth.items() if page.messages.get(name) != held}
    besides = {name: held for name, held in page.messages.items() if truth.get(name) != held}
    return f"not {lacks} but {besides}"


@asynccontextmanager
async def scene(nodes: Sequence[Server], members: int = 10, *, loses: bool = False) -> AsyncIterator[Scene]:
    """`members` is 1, ten or so (one of each kind), or hundreds."""
    users = ["bob", "goes", "comes", *(f"away-{kind}" for kind in KINDS), *_crowd(members)]
    users += [f"{kind}-{at}" for kind in KINDS for at in range(len(nodes))]
    session = await new_session(nodes[0], "alice", members=() if members == 1 else tuple(users))
    made = Scene(nodes, session, members, loses=loses)
    await made.begin()
    try:
        yield made
    finally:
        await made.end()
