"""What is measured: each scenario's load and which figure it is run for."""

from dataclasses import dataclass, replace
from typing import Literal

Figure = Literal["delivery", "connect", "memory", "stall", "latency", "rate", "irrelevant", "redis"]
Group = Literal["echo", "product"]


@dataclass(frozen=True)
class Scenario:
    """One load. `echo` ones speak join, say and echo; `product` ones the contract's commands.

    conns, rooms: connections, joining room i mod rooms. speaker: one more connection per
    room that does not join, or the room's first member. rate: broadcasts per second and
    room, 0 for as fast as they are delivered. payload: bytes. duration: seconds. nodes: with
    Redis between them, if there are several; spectators: how many of them have no member.
    """

    name: str
    title: str
    group: Group
    figure: Figure
    conns: int
    rooms: int
    load: str = "broadcast"
    speaker: Literal["publisher", "member"] = "publisher"
    rate: float = 0
    window: int = 1
    payload: int = 100
    duration: float = 1.5
    idle: float = 0
    stall: int = 0
    join: bool = True
    most_runs: int = 99
    database: Literal["sqlite", "postgresql"] = "sqlite"
    nodes: int = 1
    spectators: int = 0
    ours_only: bool = False

    @property
    def people(self) -> int:
        """Connections that need a token: the members, one publisher a room, one silent one a spectator."""
        return self.conns + (self.rooms if self.speaker == "publisher" else 0) + self.spectators

    def load_args(self) -> list[str]:
        """The load generator's options."""
        args = ["--conns", str(self.conns), "--rooms", str(self.rooms), "--load", self.load]
        args += ["--speaker", self.speaker, "--window", str(self.window), "--payload", str(self.payload)]
        args += ["--duration", f"{self.duration:g}", "--idle", f"{self.idle:g}"]
        if self.rate:
            args += ["--rate", f"{self.rate:g}"]
        if self.stall:
            args += ["--stall", str(self.stall)]
        if self.load == "none":
            args += ["--warmup", "0"]
        if not self.join:
            args += ["--no-join"]
        return args

    def quick(self) -> "Scenario":
        """The same in less time: enough to see that it works and about how it stands."""
        return replace(self, duration=min(self.duration, 1), most_runs=1)


ECHO = (
    Scenario("room1000", "room of 1000", "echo", "delivery", 1000, 1),
    Scenario("room100", "room of 100", "echo", "delivery", 100, 1),
    # Several messages to one socket at once: what leaving in one write is worth.
    Scenario("room100w8", "room of 100, 8 in flight", "echo", "delivery", 100, 1, window=8),
    Scenario("rooms100x10", "100 rooms of 10", "echo", "delivery", 1000, 100),
    # 200 conversations, two readers each: as fast as they are delivered, and at the pace of a language model.
    Scenario("tokens", "tokens 200x(1→2)", "echo", "delivery", 400, 200, payload=60),
    Scenario("tokens50", "tokens at 50/s", "echo", "delivery", 400, 200, rate=50, payload=60, duration=2),
    Scenario("ack", "event → ack", "echo", "delivery", 50, 50, load="ack", speaker="member"),
    # The same offered load for everybody, well below what the slowest can do.
    Scenario("rate100", "room of 100 at 100 msg/s", "echo", "latency", 100, 1, rate=100, duration=2),
    Scenario(
        "connect",
        "set-up",
        "echo",
        "connect",
        2000,
        200,
        load="none",
        speaker="member",
        duration=0,
        idle=1,
    ),
    Scenario(
        "idle10k",
        "10,000 idle connections",
        "echo",
        "memory",
        10_000,
        1000,
        load="none",
        speaker="member",
        duration=0,
        idle=5,
        most_runs=1,
    ),
    # More than the kernel's buffers of a reader that stopped reading hold: 4 MB/s to each.
    Scenario(
        "calm",
        "100 readers at 4 MB/s",
        "echo",
        "stall",
        100,
        1,
        rate=200,
        payload=20_000,
        duration=5,
        most_runs=1,
    ),
    Scenario(
        "stall",
        "the same, 10 of them stalled",
        "echo",
        "stall",
        100,
        1,
        rate=200,
        payload=20_000,
        duration=5,
        stall=10,
        most_runs=1,
    ),
)

PRODUCT = (
    Scenario(
        "typing",
        "typing, 100 rooms of 10",
        "product",
        "delivery",
        1000,
        100,
        load="typing",
        speaker="member",
    ),
    Scenario(
        "chunks",
        "stream_chunk, 200 streams at 50/s → 2",
        "product",
        "delivery",
        400,
        200,
        load="chunks",
        rate=50,
        payload=24,
        duration=2,
    ),
    # The same of what a model thinks: a part that is not text.
    Scenario(
        "deltas",
        "stream_delta, 200 streams at 50/s → 2",
        "product",
        "delivery",
        400,
        200,
        load="deltas",
        rate=50,
        payload=24,
        duration=2,
        ours_only=True,
    ),
    # What Redis spends on them between two nodes.
    Scenario(
        "chunks2",
        "stream_chunk over two nodes",
        "product",
        "redis",
        400,
        200,
        load="chunks",
        rate=25,
        payload=24,
        duration=2,
        database="postgresql",
        nodes=2,
        ours_only=True,
    ),
    Scenario(
        "setup",
        "set-up with a JWT",
        "product",
        "connect",
        2000,
        200,
        load="none",
        speaker="member",
        duration=0,
        idle=1,
    ),
    # What of it is the join: reading the session, its messages and who is there.
    Scenario(
        "setup0",
        "set-up with a JWT, nothing joined",
        "product",
        "connect",
        2000,
        200,
        load="none",
        speaker="member",
        duration=0,
        idle=1,
        join=False,
    ),
    Scenario(
        "product10k",
        "10,000 idle connections, JWT",
        "product",
        "memory",
        10_000,
        1000,
        load="none",
        speaker="member",
        duration=0,
        idle=5,
        most_runs=1,
    ),
    # 200 senders, two to a session, each waiting for its acknowledgement.
    Scenario(
        "messages",
        "messages, 200 senders, PostgreSQL",
        "product",
        "rate",
        200,
        100,
        load="messages",
        speaker="member",
        duration=3,
        database="postgresql",
        ours_only=True,
    ),
    Scenario(
        "messages-sqlite",
        "messages, 200 senders, SQLite",
        "product",
        "rate",
        200,
        100,
        load="messages",
        speaker="member",
        duration=3,
        ours_only=True,
    ),
    # What one acknowledged message costs the node, where few arrive together.
    Scenario(
        "acks",
        "message → ack, 50 senders, PostgreSQL",
        "product",
        "delivery",
        50,
        25,
        load="messages",
        speaker="member",
        duration=3,
        database="postgresql",
        ours_only=True,
    ),
    # What recovery costs: the same fan-out without positions and log, and with them.
    Scenario(
        "volatile1000",
        "typing, room of 1000",
        "product",
        "delivery",
        1001,
        1,
        load="typing",
        speaker="member",
        ours_only=True,
    ),
    Scenario(
        "logged1000",
        "stream_chunk, room of 1000",
        "product",
        "delivery",
        1000,
        1,
        load="chunks",
        payload=24,
        ours_only=True,
    ),
    Scenario(
        "cluster",
        "typing, 100 rooms of 10 over two nodes",
        "product",
        "delivery",
        1000,
        100,
        load="typing",
        speaker="member",
        nodes=2,
        database="postgresql",
        most_runs=2,
    ),
    # What a node spends on the messages of rooms in which it has nobody.
    Scenario(
        "irrelevant",
        "typing in rooms of another node",
        "product",
        "irrelevant",
        20,
        10,
        load="typing",
        speaker="member",
        rate=500,
        idle=3,
        duration=3,
        most_runs=1,
        nodes=2,
        spectators=1,
        database="postgresql",
    ),
)

SCENARIOS = {scenario.name: scenario for scenario in (*ECHO, *PRODUCT)}

#: Server CPU (or memory, set-up) of Parley to that of Node socket.io and of stock python-socketio, at most.
LIMITS: dict[str, tuple[float | None, float | None]] = {
    "room1000": (0.65, 0.15),
    "room100": (0.80, 0.30),
    "room100w8": (0.25, 0.10),
    "rooms100x10": (0.50, 0.12),
    "tokens": (0.55, 0.12),
    "ack": (0.70, 0.25),
    "typing": (0.90, None),
    "chunks": (0.90, None),
    "setup": (0.75, 0.25),
    "product10k": (0.35, 0.10),
    "cluster": (0.70, None),
}


@dataclass(frozen=True)
class Bound:
    """A median of ours, or its ratio to another, that is no pair of `LIMITS`; (scenario, contender) each."""

    what: str
    figure: str
    ours: tuple[str, str]
    theirs: tuple[str, str] | None = None
    least: float | None = None
    most: float | None = None


_MESSAGES, _EACH = ("messages", "parley"), ("messages", "one-by-one")
_WRITER, _PGBENCH = ("messages", "writer"), ("messages", "pgbench")
_CHUNKS, _STALL = ("chunks", "parley"), ("stall", "parley")
_RATE, _CPU = "delivered_per_s", "us_per_delivery"
BOUNDS = (
    Bound("messages/s through Socket.IO, to one transaction each", _RATE, _MESSAGES, _EACH, least=4),
    Bound("messages/s through Socket.IO, to pgbench", _RATE, _MESSAGES, _PGBENCH, least=1),
    Bound("messages/s through Socket.IO on SQLite", _RATE, ("messages-sqlite", "parley"), least=5000),
    Bound("messages/s of the writer alone, to one transaction each", _RATE, _WRITER, _EACH, least=9),
    Bound("the writer's CPU per message, to one transaction each", _CPU, _WRITER, _EACH, most=0.08),
    Bound("p99 of chunks, µs", "p99_us", _CHUNKS, most=20_000),
    Bound(
        "CPU per delivery with position and log, to without",
        _CPU,
        ("logged1000", "parley"),
        ("volatile1000", "parley"),
        most=1.05,
    ),
    Bound(
        "CPU per delivery of a reasoning's delta, to a chunk", _CPU, ("deltas", "parley"), _CHUNKS, most=1.1
    ),
    Bound("MiB of growth beside ten stalled readers", "rss_growth_mib", _STALL, most=16),
    Bound("p99 of the healthy beside them, to undisturbed", "p99_us", _STALL, ("calm", "parley"), most=2),
    Bound("µs for a message of another node's room", "us_per_irrelevant", ("irrelevant", "parley"), most=2),
)
