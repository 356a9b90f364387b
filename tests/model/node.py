"""One node: everything that `server.node` builds, and a small door for simulated sockets."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from events import recovery
from events.access import Caller
from events.clock import Clock
from events.dispatch import Reply
from events.errors import ChatError
from events.event import POISON, Event, Kind, to_json
from events.line import Line
from events.observer import Observer
from events.outbox import Flusher, Sink
from events.room import Connection
from server.backends import Backends, choose
from server.config import Settings
from server.node.build import build
from server.node.core import Outside
from server.node.running import CannotServe, running
from server.services import Services
from storage.errors import StorageError
from tests.model.loop import Process
from tests.model.redis import SimulatedEndpoint
from tests.model.sql import SimulatedDatabase

if TYPE_CHECKING:
    from tests.model.client import Socket
    from tests.model.world import World

#: A node's settings: what is bounded is small, so that every bound is met.
SETTINGS = Settings.load(
    {
        "JWT_SECRET_KEY": "a-secret-of-the-tests-of-more-than-32-bytes",
        "DATABASE_URL": "sqlite:///simulated",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "RATE_LIMIT_ENABLED": "false",
        "RECOVERY_WINDOW": "20",
        "RECOVERY_LOG_SIZE": "40",
        "STREAM_LEASE": "6",
        "NODE_LEASE": "6",
        "NODE_URL": "http://127.0.0.1:1",
        "FILE_STORAGE_PATH": "/nonexistent",
    },
    None,
)


class Codec:
    """An event as a line: name, position, payload."""

    def __init__(self, poisoned: bool = False) -> None:
        self._poisoned = poisoned
        self.poisoned: Any = self if poisoned else Codec(True)

    def encode(self, event: Event) -> bytes:
        position = ""
        if event.kind <= Kind.LOGGED:
            position = POISON if self._poisoned or not event.pos else event.position
        return b"E\t%b\t%b\t%b\n" % (event.name.encode(), position.encode(), event.data)


CODEC = Codec()


class LineSink(Sink):
    """The node's end of a socket. What is written before the answer to CONNECT follows it."""

    __slots__ = ("before", "conn", "door", "socket")

    def __init__(self, flusher: Flusher, door: "Node", socket: "Socket") -> None:
        super().__init__(flusher)
        self.door, self.socket = door, socket
        self.conn: Connection | None = None
        self.before: list[bytes] | None = []

    def write(self, data: Any) -> None:
        if self.before is not None:
            self.before.append(bytes(data))
        else:
            self.socket.to_client(bytes(data))

    def opened(self, answer: bytes) -> None:
        before, self.before = self.before or [], None
        self.socket.to_client(b"".join([answer, *before]))

    def cut(self) -> None:
        self.socket.closed_by_node()
        self.door.gone(self.socket)


class Node:
    """A process of its own in the simulation. It keeps its name over restarts, nothing else."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.process = Process(world.loop)
        self.offset = 0.0  # seconds that its wall clock is ahead
        self.services: Services | None = None
        self.sinks: dict[Socket, LineSink] = {}
        self.lines: dict[Socket, Line] = {}
        self._numbers = 0
        self.started = asyncio.Event()
        self.process.context.run(self._build)
        self.task = world.loop.create_task(self._serve(), context=self.process.context)

    def _build(self) -> None:
        world = self.world

        def backends(
            settings: Settings, node_id: str, clock: Clock, monotonic: Clock, **hooks: Any
        ) -> Backends:
            found = choose(settings, node_id, clock, monotonic, **hooks)
            assert found.cluster is not None
            found.cluster.client.endpoint = SimulatedEndpoint(world.redis, settings.redis_timeout)
            return found

        self._built = build(
            SETTINGS,
            Observer(),
            Outside(
                clock=lambda: world.time() + self.offset,
                monotonic=world.loop.time,
                database=lambda _: SimulatedDatabase(world.sql),
                backends=backends,
            ),
        )

    async def _serve(self) -> None:
        try:
            async with running(self._built):
                self.services = self._built.services
                self.started.set()
                await asyncio.Event().wait()
        except (StorageError, CannotServe):
            self.world.nobody.run(
                self.kill
            )  # it does not start without its database; somebody starts it anew

    @property
    def alive(self) -> bool:
        return not self.process.dead

    def kill(self) -> None:
        self.process.kill()
        self.world.redis_forgets(self)
        self.world.sql.forget(self.process)
        for socket in list(self.sinks):
            socket.node_died()

    # --- the door; all of it runs in the node's process

    def connect(self, socket: "Socket", sub: str, pid: str | None, offset: str | None) -> None:
        if self.services is None:
            socket.closed_by_node()
            return
        self._numbers += 1
        services = self.services
        sink = LineSink(services.hub.flusher, self, socket)
        id = f"{self.name}-{self.process.loop.time():.0f}-{self._numbers}"
        conn = self.connection(id, sub, sink, services.clock())
        sink.conn = conn
        self.sinks[socket] = sink
        work = self._admit(socket, sink, conn, pid, offset)
        socket.admission = self.world.loop.create_task(work, context=self.process.context)

    def connection(self, id: str, sub: str, sink: LineSink, now: float) -> Connection:
        return Connection(id, Caller("user", sub), CODEC, sink, "socketio", now)

    async def _admit(
        self, socket: "Socket", sink: LineSink, conn: Connection, pid: str | None, offset: str | None
    ) -> None:
        services = self.services
        assert services is not None
        recovered = pid is not None and await services.takeover.recover(conn, pid, offset)
        if not recovered:
            conn.pid = recovery.new_pid(conn.id)
            waiting = services.membership.connected(conn)
            if waiting is not None:
                await waiting
        socket.admission = None
        if socket not in self.sinks:
            services.membership.disconnected(conn)
            return
        self.lines[socket] = Line(services.dispatcher, conn, self)
        sink.opened(b"C\t" + to_json({"pid": conn.pid, "recovered": recovered}) + b"\n")

    def command(self, socket: "Socket", name: str, payload: dict[str, Any], ref: int) -> None:
        line = self.lines.get(socket)
        if line is not None:
            line.put(name, payload, ref)

    def gone(self, socket: "Socket") -> None:
        """The node learns that a socket has ended."""
        sink, line = self.sinks.pop(socket, None), self.lines.pop(socket, None)
        if sink is None or sink.conn is None or self.services is None:
            return
        if socket.admission is not None:
            socket.admission.cancel()
            socket.admission = None
        if line is not None:
            line.close()
        self.services.membership.disconnected(sink.conn)

    # `events.line.Voice`

    def answer(self, conn: Connection, ref: int, name: str, reply: Reply | ChatError) -> None:
        told = {"error": reply.as_dict()} if isinstance(reply, ChatError) else {"ok": True, **reply}
        conn.sink.push(b"A\t%d\t%b\n" % (ref, to_json(told)))

    def hold_up(self, conn: Connection, stop: bool) -> None: ...


Told = Callable[[bytes], None]
