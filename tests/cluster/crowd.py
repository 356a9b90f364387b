"""A crowd over a cluster: each person connects to any node, recovers as the official client does, writes, and
is strict about what it sees. What it reports first is what a user would complain about.
"""

import asyncio
import itertools
import json
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.support.inbox import Received
from tests.support.server import Server, mint
from tests.support.sioclient import HandshakeRefused, SioWebSocket

GONE = (OSError, ConnectionError, ConnectionClosed, HandshakeRefused, TimeoutError)


class Wrong(AssertionError):
    """Lost, twice, or out of order."""


class Room:
    """What one person knows of a session."""

    def __init__(self) -> None:
        self.joined = False
        self.have = 0  # revision
        self.rows: dict[str, int] = {}
        self.text: dict[str, list[Any]] = {}  # stream -> [text, next index, ended]
        self.early: list[Received] = []


class _Socket(SioWebSocket):
    def __init__(self, ws_url: str, person: "Person") -> None:
        super().__init__(ws_url)
        self._person = person

    def add(self, event: Received) -> None:
        super().add(event)
        self._person.on_event(event)

    def _message(self, body: str) -> None:
        if body.startswith("3"):
            self._person.on_ack()
        super()._message(body)


class Person:
    def __init__(self, crowd: "Crowd", name: str, rooms: Sequence[str]) -> None:
        self.crowd, self.name = crowd, name
        self.rooms = {room: Room() for room in rooms}
        self.pid: str | None = None
        self.offset: str | None = None
        self.socket: _Socket | None = None
        self.ready = asyncio.Event()
        self.recovered = self.refused = 0
        self.story: deque[tuple[Any, ...]] = deque(maxlen=400)

    # --- the connection

    async def live(self, first: Server) -> None:
        """Be connected, for as long as the crowd is there: to `first`, later to any node."""
        node: Server | None = first
        while True:
            if node is None:
                await asyncio.sleep(0.05)
                node = self.crowd.any_node()
                continue
            with suppress(*GONE):
                async with asyncio.timeout(10):
                    socket = _Socket(node.ws_url, self)
                    await socket.__aenter__()
                try:
                    await self._use(socket)
                finally:
                    self.ready.clear()
                    self.socket = None
                    self.offset = socket.offset or self.offset
                    socket.abort()
                    with suppress(*GONE):
                        await socket.__aexit__()
            await asyncio.sleep(random.uniform(0.02, 0.1))
            node = self.crowd.any_node()

    async def _use(self, socket: _Socket) -> None:
        auth = {"pid": self.pid, "offset": self.offset} if self.pid else {}
        socket.offset = self.offset
        answer = await socket.connect(self.crowd.token(self.name), **{k: v for k, v in auth.items() if v})
        if "sid" not in answer:
            return
        recovered = self.pid is not None and answer.get("pid") == self.pid
        if recovered:
            self.recovered += 1
        else:
            self.refused += 1
            for room in self.rooms.values():
                room.joined, room.early = False, []
        self.story.append(("", f"connects to {socket.url[:30]} after {self.offset}", recovered))
        self.pid = answer.get("pid")
        self.socket = socket
        for name, room in self.rooms.items():
            while not room.joined:
                await self._join(socket, name, room)
        self.ready.set()
        await socket.closed(timeout=600)

    async def _join(self, socket: _Socket, name: str, room: Room) -> None:
        reply = await socket.emit("join", {"session_id": name, "after_revision": room.have, "limit": 500})
        if not reply["ok"]:
            await asyncio.sleep(0.1)
            return
        messages, last = list(reply["messages"]), reply["last_revision"]
        while reply["has_more"]:
            after = messages[-1]["revision"]
            reply = await socket.emit("history", {"session_id": name, "after_revision": after, "limit": 500})
            messages += reply["messages"]
        if last < room.have:
            raise self.wrong(name, f"join answers r{last} after r{room.have} was seen")
        for message in messages:
            room.rows[message["message_id"]] = message["revision"]
            if message["message_type"] == "stream":
                ended = message["status"] != "streaming"
                room.text[message["message_id"]] = [message["content"] if ended else "", 0, ended]
        for stream in reply.get("streams", ()):
            room.text[stream["message_id"]] = [stream["content"], stream["next_index"], False]
        room.have = max([last, *(m["revision"] for m in messages)])
        open_ones = [(s["message_id"], s["next_index"]) for s in reply.get("streams", ())]
        self.story.append((name[-6:], f"joined at r{last}", reply.get("position"), open_ones))
        room.joined = True
        early, room.early = room.early, []
        for event in early:
            self.on_event(event)

    # --- what is seen

    def wrong(self, room: str, why: str) -> Wrong:
        story = "\n".join(map(str, [each for each in self.story if each[0] in ("", room[-6:])][-40:]))
        error = Wrong(f"{self.name} in {room[-6:]}: {why}\n{story}")
        self.crowd.failures.append(error)
        return error

    def on_ack(self) -> None:
        """What came for a room before its join was answered is in the answer; what follows is not."""
        for room in self.rooms.values():
            if not room.joined:
                room.early.clear()

    def on_event(self, event: Received) -> None:
        data = event.data
        if not isinstance(data, dict) or event.name.startswith("@"):
            return
        name = data.get("session_id", "")
        room = self.rooms.get(name)
        if room is None:
            return
        if event.name not in ("typing", "presence", "system"):
            what = (data.get("message_id"), data.get("revision"), data.get("index"), data.get("count"))
            self.story.append((name[-6:], event.name, *what, event.position, room.joined))
        if not room.joined:
            room.early.append(event)
        elif event.name == "stream_chunk":
            self._chunk(data["session_id"], room, data)
        elif "revision" in data:
            self._durable(data["session_id"], room, event.name, data)

    def _durable(self, name: str, room: Room, kind: str, data: dict[str, Any]) -> None:
        row, revision = data["message_id"], data["revision"]
        if revision <= room.have:
            raise self.wrong(name, f"{kind} r{revision} again (has r{room.have})")
        created = kind in ("message", "stream_start")
        if created == (row in room.rows):
            raise self.wrong(name, f"{kind} r{revision}: the message is {'known' if created else 'unknown'}")
        room.rows[row] = room.have = revision
        if kind == "stream_start":
            room.text[row] = ["", 0, False]
        elif kind == "stream_end":
            text = room.text[row]
            text[0], text[2] = data.get("content", text[0]), True
        elif row in room.text or data.get("message_type") == "stream":
            room.text[row] = [data.get("content"), 0, data.get("status") != "streaming"]
        sent = self.crowd.sent.get(data.get("content", ""))
        if created and sent is not None:
            self.crowd.deliveries.append(time.monotonic() - sent)

    def mine(self, stream: str) -> bool:
        """Its own chunks do not come back to the connection that writes them."""
        return stream.startswith(f"st-{self.name}-")

    def _chunk(self, name: str, room: Room, data: dict[str, Any]) -> None:
        if self.mine(data["message_id"]):
            return
        text = room.text.get(data["message_id"])
        if text is None or text[2]:
            raise self.wrong(name, f"a chunk of a stream that is {'ended' if text else 'unknown'}")
        if data["index"] != text[1]:
            raise self.wrong(
                name, f"chunk {data['index']}+{data['count']} of {data['message_id']}, has {text[1]}"
            )
        text[0] += data["content"]
        text[1] += data["count"]

    # --- what is done

    async def call(self, command: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Until it is answered with a yes or a final no; `payload` is fit to be repeated."""
        began = time.monotonic()
        while True:
            await self.ready.wait()
            socket = self.socket
            if socket is None:
                continue
            with suppress(*GONE):
                tried = time.monotonic()
                reply: dict[str, Any] = await socket.emit(command, payload, timeout=15)
                self.crowd.latency.append(time.monotonic() - tried)
                if reply["ok"] or not reply["error"]["retryable"]:
                    self.crowd.slowest = max(self.crowd.slowest, time.monotonic() - began)
                    return reply
                self.crowd.put_off += 1
            await asyncio.sleep(0.1)

    async def say(self, room: str) -> None:
        key = f"{self.name}-{next(self.crowd.numbers)}"
        self.crowd.sent[key] = time.monotonic()
        payload = {"session_id": room, "content": key, "client_message_id": key, "reply": False}
        reply = await self.call("message", payload)
        if not reply["ok"]:
            raise self.wrong(room, f"refused: {reply}")
        self.crowd.acked[key] = (room, reply["message_id"], reply["seq"])

    async def edit(self, room: str) -> None:
        mine = [a for k, a in self.crowd.acked.items() if a[0] == room and k.startswith(f"{self.name}-")]
        if mine:
            message_id = random.choice(mine[-5:])[1]
            content = f"edited {next(self.crowd.numbers)}"
            await self.call("edit", {"session_id": room, "message_id": message_id, "content": content})

    async def stream(self, room: str) -> None:
        stream = f"st-{self.name}-{next(self.crowd.numbers)}"
        begin = {"session_id": room, "message_id": stream}
        reply = await self.call("stream_start", begin)
        if not reply["ok"]:
            return
        pieces = [f"<{n}>" for n in range(random.randint(3, 12))]
        index = 0
        while index < len(pieces):
            chunk = {**begin, "index": index, "content": pieces[index]}
            reply = await self.call("stream_chunk", chunk)
            if reply["ok"]:
                index = reply["next_index"]
            elif reply["error"]["code"] == "INDEX_CONFLICT":
                index = reply["error"]["details"]["next_index"]
            else:
                return  # its end came first: interrupted
            await asyncio.sleep(random.uniform(0, 0.03))
        await self.call("stream_end", begin)


class Crowd:
    """`people` in `rooms` sessions over the nodes; use it in `async with`, then `await settle()`."""

    def __init__(self, nodes: Sequence[Server], *, people: int, rooms: int, pace: float = 0.05) -> None:
        self.nodes = nodes
        self.allowed: Callable[[Server], bool] = lambda node: node.running
        self._people, self._rooms, self._pace = people, rooms, pace
        self.people: list[Person] = []
        self.rooms: list[str] = []
        self.acked: dict[str, tuple[str, str, int]] = {}
        self.sent: dict[str, float] = {}
        self.latency: list[float] = []
        self.deliveries: list[float] = []  # seconds from a message's sending to its arrival somewhere
        self.slowest = 0.0
        self.stall = 0.0  # seconds for which this process itself did not come to its turn
        self.put_off = 0  # retryable refusals
        self.numbers = itertools.count(1)
        self.failures: list[Wrong] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    def any_node(self) -> Server | None:
        live = [node for node in self.nodes if self.allowed(node)]
        return random.choice(live) if live else None

    def token(self, name: str) -> str:
        if name == "p0":
            return mint(name)  # everything is p0's; its token names them for the others
        return mint(name, sessions=self.rooms, session_role="member")

    async def __aenter__(self) -> "Crowd":
        names = [f"p{n}" for n in range(self._people)]
        async with self.nodes[0].api(names[0]) as api:
            for _ in range(self._rooms):
                made = await api.post("/api/chat/sessions", json={})
                self.rooms.append(made.json()["session_id"])
        for name in names:
            mine = random.sample(self.rooms, k=max(1, round(len(self.rooms) * 0.7)))
            self.people.append(Person(self, name, mine))
        for n, person in enumerate(self.people):  # every node has somebody to lose
            first = self.nodes[n % len(self.nodes)]
            self._tasks.append(asyncio.create_task(person.live(first)))
        async with asyncio.timeout(20):
            await asyncio.gather(*(person.ready.wait() for person in self.people))
        self._writers = [asyncio.create_task(self._write(person)) for person in self.people]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._writers, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._writers, *self._tasks, return_exceptions=True)

    async def _write(self, person: Person) -> None:
        while not self._stop.is_set():
            room = random.choice(list(person.rooms))
            dice = random.random()
            if dice < 0.7:
                await person.say(room)
            elif dice < 0.85:
                await person.edit(room)
            else:
                await person.stream(room)
            if person.socket is not None:
                with suppress(*GONE):
                    payload = {"session_id": room, "is_typing": True}
                    await person.socket.write("42" + json.dumps(["typing", payload]))
            await asyncio.sleep(random.expovariate(1 / self._pace))

    def since(self) -> int:
        """A place in `latency`."""
        return len(self.latency)

    async def flow(self, count: int, timeout: float = 30) -> None:
        """Until so many more messages were acknowledged."""
        goal = len(self.acked) + count
        async with asyncio.timeout(timeout):
            while len(self.acked) < goal:
                self.check()
                now = time.monotonic()
                await asyncio.sleep(0.02)
                self.stall = max(self.stall, time.monotonic() - now - 0.02)

    async def run(self, seconds: float) -> None:
        """Go on for so long."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            self.check()
            await asyncio.sleep(0.05)
            self.stall = max(self.stall, time.monotonic() - now - 0.05)

    def check(self) -> None:
        if self.failures:
            raise self.failures[0]
        for task in (*self._tasks, *self._writers):
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]

    async def settle(self, timeout: float = 40) -> None:
        """Stop writing; everybody ends up with exactly what the database has, and all that was acknowledged
        is there, once and in order."""
        self._stop.set()
        async with asyncio.timeout(timeout):
            await asyncio.gather(*self._writers)
            for room in self.rooms:
                await self._compare(room)
        self.check()

    async def _compare(self, room: str) -> None:
        while True:
            rows, last = await self._stored(room)
            members = [person for person in self.people if room in person.rooms]
            if all(p.rooms[room].have == last and p.rooms[room].joined for p in members):
                break
            self.check()
            await asyncio.sleep(0.1)
        seqs = [row["seq"] for row in rows]
        assert sorted(seqs) == list(range(1, len(seqs) + 1)), "a gap in seq"
        by_id = {row["message_id"]: row for row in rows}
        for key, (where, message_id, seq) in self.acked.items():
            if where == room:
                assert by_id[message_id]["seq"] == seq, f"{key} was acknowledged as {seq}"
        keys = [row["client_message_id"] for row in rows if row["client_message_id"]]
        assert len(keys) == len(set(keys)), "stored twice"
        for person in members:
            mine = person.rooms[room]
            for row in rows:
                if row["message_id"] not in mine.rows:
                    raise person.wrong(room, f"seq {row['seq']} was never seen")
                if mine.rows[row["message_id"]] != row["revision"]:
                    raise person.wrong(room, f"seq {row['seq']} at r{mine.rows[row['message_id']]}")
                text = mine.text.get(row["message_id"])
                if text is None or person.mine(row["message_id"]) or not text[2]:
                    continue
                if text[0] != row["content"]:
                    raise person.wrong(room, f"{text[0]!r} was seen of {row['content']!r}")

    async def _stored(self, room: str) -> tuple[list[dict[str, Any]], int]:
        node = self.any_node()
        assert node is not None
        rows: list[dict[str, Any]] = []
        async with node.api(self.people[0].name) as api:
            after = 0
            while True:
                page = (
                    await api.get(
                        f"/api/chat/sessions/{room}/messages", params={"after_revision": after, "limit": 500}
                    )
                ).json()
                rows += page["messages"]
                if not page["has_more"]:
                    return rows, page["last_revision"]
                after = page["messages"][-1]["revision"]

    # --- figures

    def percentile(self, share: float, since: int = 0) -> float:
        values = sorted(self.latency[since:])
        return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0

    def slowest_delivery(self, since: int = 0) -> float:
        """Of 99 in a hundred."""
        values = sorted(self.deliveries[since:])
        return values[min(len(values) - 1, int(len(values) * 0.99))] if values else 0.0

    @property
    def recoveries(self) -> int:
        return sum(person.recovered for person in self.people)

    def told(self) -> str:
        again = sum(person.refused for person in self.people) - len(self.people)
        return (
            f"{len(self.acked)} acknowledged, 0 lost, 0 twice, 0 out of order; "
            f"{self.recoveries} recovered, {again} synced anew"
        )
