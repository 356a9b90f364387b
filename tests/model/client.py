"""A person's client: it keeps what it was told, comes back by itself, and finds fault with what is wrong."""

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.model.loop import TICK
from tests.model.node import Node
from tests.support.saying import Said, say
from tests.support.shown import Shown

if TYPE_CHECKING:
    from tests.model.world import World

#: Seconds until a connect without an answer is given up, and until a dead peer is noticed.
PATIENCE, PING = 8.0, 10.0
#: Seconds until a command is answered: its deadline (`events.dispatch.DEADLINE`), and that of one before it.
ANSWERED = 32.0
#: What only members of a room are told.
_OF_MEMBERS = ("message", "message_updated", "message_deleted", "stream_chunk", "stream_end")


class Wrong(AssertionError):
    """A promise was broken."""


class Gone(Exception):
    """The connection ended before the answer came."""


class Refused(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["code"])
        self.error = error


class Socket:
    """A connection between a client and a node: bytes arrive in order, or not at all."""

    def __init__(self, client: "Client", node: Node) -> None:
        self.client, self.node, self.world = client, node, client.world
        self.open = True  # as the client sees it
        self.linked = True  # bytes arrive
        self.admission: asyncio.Task[None] | None = None
        self._up = self._down = 0.0

    def to_node(self, call: str, *args: Any) -> None:
        if self.linked:
            loop = self.world.loop
            self._up = max(self._up + TICK, loop.time() + self.world.latency())
            loop.call_at(self._up, self._at_node, call, args, context=self.node.process.context)

    def _at_node(self, call: str, args: tuple[Any, ...]) -> None:
        if self.linked or call == "gone":
            getattr(self.node, call)(self, *args)

    def to_client(self, data: bytes) -> None:
        if self.linked:
            loop = self.world.loop
            self._down = max(self._down + TICK, loop.time() + self.world.latency())
            loop.call_at(self._down, self._at_client, data, context=self.world.nobody)

    def _at_client(self, data: bytes) -> None:
        if self.open and self.linked:
            for line in data.splitlines():
                self.client.heard(self, line)

    def had_time(self, began: float) -> bool:
        """Whether its node could have answered what was asked then: it stood still in none of that time."""
        process = self.node.process
        return (
            self.open and self.linked and not process.dead and not process.frozen and process.thawed < began
        )

    # --- its end

    def closed_by_node(self) -> None:
        loop = self.world.loop
        self._down = max(self._down + TICK, loop.time() + self.world.latency())
        loop.call_at(self._down, self._end, context=self.world.nobody)

    def node_died(self) -> None:
        """The kernel says so, or nobody does."""
        delay = self.world.latency() if self.world.chance(0.5) else PING
        self.linked = False
        self.world.loop.call_later(delay, self._end, context=self.world.nobody)

    def _end(self) -> None:
        self.linked = False
        if self.open:
            self.open = False
            self.client.lost(self)

    def hang_up(self, how: str) -> None:
        """By the client: `clean` tells the node, `half-open` leaves it to its pings."""
        if not self.open:
            return
        self.open = False
        if how == "clean":
            loop = self.world.loop
            at = max(self._up + TICK, loop.time() + self.world.latency())
            loop.call_at(at, self._at_node, "gone", (), context=self.node.process.context)
            loop.call_at(at, self._cut, context=self.world.nobody)
        else:
            self.linked = False
            self.node.process.later(self.world.rng.uniform(1, PING), self._at_node, "gone", ())
        self.client.lost(self)

    def _cut(self) -> None:
        self.linked = False


class View:
    """What a page shows of one session."""

    def __init__(self) -> None:
        self.joined = False
        self.revision = 0
        self.lineage: str | None = None
        self.messages: dict[str, dict[str, Any]] = {}
        self.streams: dict[str, Shown] = {}  # by message id
        self.reads: dict[str, int] = {}
        self.told: dict[str, int] = {}  # read marks from before the database went back: no event undoes one
        self.typing: set[str] = set()
        self.online: set[str] = set()
        self.sure = True  # no word of typing was missed: it is not replayed


class Client:
    """One user with one page."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.views: dict[str, View] = {}  # of the sessions it wants to be in
        self.socket: Socket | None = None
        self.connected = False
        self.pid: str | None = None
        self.offset: str | None = None
        self.acked: dict[str, str] = {}  # client_message_id -> message_id
        self.rewinds = 0  # of the database
        self.edited: dict[str, int] = {}  # message_id -> number of its last acknowledged edit
        self._edits = 0
        self.said: dict[str, list[Said]] = {}  # of its own streams
        self.recoveries = self.resyncs = 0
        self.stopped = False
        self.log: list[str] = []
        self._refs = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._joins: dict[Any, tuple[str, View]] = {}
        self._leaves: set[str] = set()
        self._left: set[str] = set()  # rooms whose last events may still be on their way
        self._ended = asyncio.Event()
        self._welcome: asyncio.Future[dict[str, Any]] | None = None
        self._numbers = 0
        self.task = world.spawn(self._live())

    def note(self, text: str) -> None:
        if self.world.tells:
            self.log.append(f"{self.world.loop.time():9.3f} {self.name}: {text}")

    def wrong(self, text: str) -> None:
        self.world.wrong(f"{self.name}: {text}")

    @property
    def waits(self) -> bool:
        """For an answer."""
        return bool(self._waiting)

    # --- connecting

    async def _live(self) -> None:
        delay = 0.0
        while not self.stopped:
            await asyncio.sleep(delay)
            node = self.world.some_node()
            if node is None:
                delay = 0.5
                continue
            if await self._dial(node):
                delay = 0.0
                await self._ended.wait()
            delay = self.world.rng.uniform(0.05, 1.5)

    async def _dial(self, node: Node) -> bool:
        self._ended = asyncio.Event()
        self._left.clear()
        self.socket = socket = Socket(self, node)
        self._welcome = asyncio.get_running_loop().create_future()
        socket.to_node("connect", self.name, self.pid, self.offset)
        try:
            async with asyncio.timeout(PATIENCE):
                welcome = await self._welcome
        except (TimeoutError, Gone):
            socket.hang_up("clean")
            return False
        self.note(f"connected to {node.name}: {welcome}")
        for room, view in list(self.views.items()):
            if not view.joined:
                self.world.spawn(self.join(room))
        return True

    def lost(self, socket: Socket) -> None:
        if socket is not self.socket:
            return
        self.note("lost its connection")
        self.connected = False
        self.socket = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(Gone())
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_exception(Gone())
        self._ended.set()

    async def call(self, name: str, **payload: Any) -> dict[str, Any]:
        """Raises Gone, Refused. The reply tells, too, whether the database went back meanwhile."""
        socket, rewinds = self.socket, self.rewinds
        if socket is None or not self.connected:
            raise Gone
        self._refs += 1
        ref = self._refs
        future = self._waiting[ref] = asyncio.get_running_loop().create_future()
        began = self.world.loop.time()
        socket.to_node("command", name, payload, ref)
        try:
            async with asyncio.timeout(ANSWERED * len(self._waiting)):
                reply = await future
        except TimeoutError:
            if socket.had_time(began):
                self.wrong(f"{name} was never answered")
            socket.hang_up("clean")
            raise Gone from None
        finally:
            self._waiting.pop(ref, None)
        if "error" in reply:
            raise Refused(reply["error"])
        return {**reply, "rewound": self.rewinds != rewinds}

    # --- what it hears

    def heard(self, socket: Socket, line: bytes) -> None:
        if socket is not self.socket:
            return
        kind, _, rest = line.partition(b"\t")
        if kind == b"C":
            if self._welcome is not None and not self._welcome.done():
                self._welcome.set_result(json.loads(rest))
                # What follows in the same write is heard after the answer was taken in.
                self._taken_in(json.loads(rest))
        elif kind == b"A":
            ref, _, body = rest.partition(b"\t")
            reply = json.loads(body)
            future = self._waiting.get(int(ref))
            if future is not None and not future.done():
                if future in self._joins and "error" not in reply:
                    self.snapshot(*self._joins.pop(future), reply)
                future.set_result(reply)
        else:
            name, position, body = rest.split(b"\t", 2)
            if position:
                self.offset = position.decode()
            self.event(name.decode(), json.loads(body))

    def _taken_in(self, welcome: dict[str, Any]) -> None:
        self.connected = True
        if not welcome["recovered"]:
            self.pid, self.offset = welcome["pid"], None
            for view in self.views.values():
                view.joined = False
            return
        self.recoveries += 1
        for view in self.views.values():
            view.sure = False
        # The reply to a join was lost with the connection, its membership was not.
        self._left.update(room for room, view in self.views.items() if not view.joined)
        for room in self._leaves:  # so may a `leave` have been: what has no reply is repeated
            self._tell_leave(room)

    async def join(self, room: str) -> None:
        view = self.views.setdefault(room, View())
        self._leaves.discard(room)
        while self.views.get(room) is view and not self.stopped and not view.joined:
            socket = self.socket
            if socket is None or not self.connected:
                return  # the next connection asks again
            self._refs += 1
            ref = self._refs
            future = self._waiting[ref] = asyncio.get_running_loop().create_future()
            self._joins[future] = (room, view)
            asked: dict[str, Any] = {"session_id": room, "limit": 500}
            if view.revision:
                asked["after_revision"] = view.revision
            if view.lineage is not None:
                asked["lineage"] = view.lineage
            began = self.world.loop.time()
            socket.to_node("command", "join", asked, ref)
            try:
                async with asyncio.timeout(ANSWERED * len(self._waiting)):
                    reply = await future
            except TimeoutError:
                if socket.had_time(began):
                    self.wrong("join was never answered")
                socket.hang_up("clean")
                return
            except Gone:
                return
            finally:
                self._joins.pop(future, None)
                self._waiting.pop(ref, None)
            if "error" in reply:
                if not reply["error"]["retryable"]:
                    self.wrong(f"join was refused: {reply['error']}")
                    return
                await asyncio.sleep(0.5)

    def snapshot(self, room: str, view: View, reply: dict[str, Any]) -> None:
        """A join's reply, taken in before whatever comes behind it."""
        if self.views.get(room) is not view:
            return
        self.resyncs += 1
        self.note(f"joins {room}: r{reply['last_revision']}, {len(reply['messages'])} messages")
        if reply.get("reset"):
            view.messages.clear()
            view.revision = 0
        view.joined = True
        view.lineage = reply.get("lineage", view.lineage)
        view.streams.clear()
        for message in reply["messages"]:
            view.messages[message["message_id"]] = message
        if reply["has_more"]:
            self.wrong("a page of 500 is not enough")
        view.revision = reply["last_revision"]
        for stream in reply["streams"]:
            view.streams[stream["message_id"]] = Shown(stream)
        view.told.clear()
        view.reads = {str(user): seq for user, seq in _pairs(reply["read_marks"])}
        view.typing.clear()
        view.sure = True
        view.online = {each["user_id"] for each in reply["online"]}

    def event(self, name: str, told: dict[str, Any]) -> None:
        room = told.get("session_id", "")
        view = self.views.get(room)
        if view is None:
            return  # it has left
        if not view.joined:
            if room not in self._left and name in _OF_MEMBERS:
                self.wrong(f"{name} of {room} before the reply to join")
            return
        if self.world.tells:
            self.note(f"{room} {name} {_brief(told)}")
        if "revision" in told:
            if told["revision"] <= view.revision:
                self.wrong(f"{name} r{told['revision']} of {room} came after r{view.revision}")
            view.revision = told["revision"]
        if name in ("message", "message_updated", "message_deleted"):
            view.messages[told["message_id"]] = told
            view.typing.discard(told.get("sender_id", ""))
        elif name == "stream_start":
            # Until a database that went back is found out, things of both histories are told.
            if told["message_id"] in view.streams and not self.rewinds:
                self.wrong(f"stream {told['message_id']} begins twice")
            view.messages[told["message_id"]] = {**told, "content": "", "status": "streaming"}
            view.streams[told["message_id"]] = Shown()
        elif name in ("stream_chunk", "stream_delta", "stream_part"):
            self._piece(view, name, told)
        elif name == "stream_end":
            stream = view.streams.pop(told["message_id"], None)
            if stream is None:
                if "content" not in told:
                    self.wrong(f"stream {told['message_id']} ends without text")
                    return
                stream = Shown()
            stream.take(name, told)
            content, parts = stream.as_message
            message = view.messages.setdefault(told["message_id"], {})
            message |= {"content": content, "status": told["status"], "revision": told["revision"]}
            message["parts"] = parts
        elif name == "read":
            view.reads[told["user_id"]] = max(told["seq"], view.reads.get(told["user_id"], 0))
        elif name == "typing":
            (view.typing.add if told["is_typing"] else view.typing.discard)(told["user_id"])
        elif name == "system":
            if told["event"] == "user_joined":
                view.online.add(told["user_id"])
            elif told["event"] == "user_left":
                view.online.discard(told["user_id"])
                view.typing.discard(told["user_id"])
        elif name == "presence":
            (view.online.discard if told["status"] == "offline" else view.online.add)(told["user_id"])
        elif name == "session":
            self._session(room, view, told)

    def _session(self, room: str, view: View, told: dict[str, Any]) -> None:
        if told["event"] == "reset":
            self.note(f"{room} is told to begin anew")
            view.joined = False
            self._left.add(room)
            self.world.spawn(self.join(room))

    def _piece(self, view: View, name: str, told: dict[str, Any]) -> None:
        if told["message_id"] in self.said:
            return  # a producer's connection does not get its own chunks back, its next one may
        stream = view.streams.get(told["message_id"])
        if stream is None:
            self.wrong(f"a piece of {told['message_id']}, which is not open")
            return
        have = stream.parts.next_index
        if told["index"] < have:
            self.wrong(f"piece {told['index']} of {told['message_id']} twice: has {have}")
        elif told["index"] > have:
            self.wrong(f"pieces before {told['index']} of {told['message_id']} are missing: has {have}")
        elif name == "stream_delta" and told["part"] not in stream.parts:
            self.wrong(f"piece {told['index']} of {told['message_id']} is of an unknown part: {told}")
        else:
            stream.take(name, told)

    def database_went_back(self) -> None:
        """What was acknowledged and is lost was the database's to keep."""
        self.rewinds += 1
        self.acked = {key: id for key, id in self.acked.items() if self._stored(key, id)}
        self.edited.clear()
        for view in self.views.values():
            view.told = dict(view.reads)

    # --- what it does

    def leave(self, room: str) -> None:
        if self.views.pop(room, None) is not None:
            self._leaves.add(room)
            self._tell_leave(room)

    def _tell_leave(self, room: str) -> None:
        if self.socket is not None and self.connected:
            self._refs += 1
            self._left.add(room)
            self.socket.to_node("command", "leave", {"session_id": room}, self._refs)

    async def insist(self, name: str, **payload: Any) -> dict[str, Any] | None:
        """Until it is answered; None where the answer is a refusal for good."""
        while not self.stopped:
            try:
                return await self.call(name, **payload)
            except Gone:
                await asyncio.sleep(0.3)
            except Refused as refused:
                if not refused.error["retryable"]:
                    return None
                await asyncio.sleep(0.3)
        return None

    async def write(self, room: str) -> None:
        self._numbers += 1
        key = f"{self.name}.{self._numbers}"
        reply = await self.insist("message", session_id=room, content=f"text {key}", client_message_id=key)
        if reply is not None and (not reply["rewound"] or self._stored(key, reply["message_id"])):
            self.acked[key] = reply["message_id"]

    def _stored(self, key: str, message_id: str) -> bool:
        return self.world.sql.by_client_key(self.name, key) == [message_id]

    async def change(self, room: str, name: str) -> None:
        """Edit or delete one of the last messages of one's own."""
        view = self.views.get(room)
        mine = [m for m in view.messages.values() if m.get("sender_id") == self.name] if view else []
        if mine:
            message = self.world.rng.choice(mine[-3:])
            self._edits += 1
            number = self._edits
            more = {"content": f"edit {number} by {self.name}"} if name == "edit" else {}
            with suppress(Gone, Refused):
                await self.call(name, session_id=room, message_id=message["message_id"], **more)
                if name == "edit":
                    self.edited[message["message_id"]] = max(
                        number, self.edited.get(message["message_id"], 0)
                    )

    async def produce(self, room: str) -> None:
        """A stream, begun again after whatever interrupts it."""
        self._numbers += 1
        stream = f"{self.name}-s{self._numbers}"
        said = self.said[stream] = say(self.world.rng, stream, self.world.rng.randint(0, 12))
        while not self.stopped:
            begun = await self.insist("stream_start", session_id=room, message_id=stream)
            if begun is None or begun.get("status", "streaming") != "streaming":
                return
            try:
                at = begun["next_index"]
                while at < len(said):
                    command, payload = said[at]
                    told = {"session_id": room, "message_id": stream, "index": at, **payload}
                    at = (await self.call(command, **told))["next_index"]
                    await asyncio.sleep(self.world.rng.choice((0, 0, 0.02, 0.3)))
                await self.call("stream_end", session_id=room, message_id=stream, index=len(said))
                return
            except Gone:
                continue
            except Refused as refused:
                if not refused.error["retryable"] and refused.error["code"] != "INDEX_CONFLICT":
                    return
                await asyncio.sleep(0.2)

    async def say(self, name: str, **payload: Any) -> None:
        """Once, whatever becomes of it."""
        with suppress(Gone, Refused):
            await self.call(name, **payload)


def _pairs(marks: Any) -> list[tuple[str, int]]:
    if isinstance(marks, dict):
        return list(marks.items())
    return [(mark["user_id"], mark["seq"]) for mark in marks]


def _brief(told: dict[str, Any]) -> str:
    kept = (
        "message_id",
        "revision",
        "seq",
        "index",
        "count",
        "status",
        "user_id",
        "event",
        "is_typing",
        "content",
    )
    return " ".join(f"{key}={told[key]}" for key in kept if key in told)
