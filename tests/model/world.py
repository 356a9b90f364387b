"""One schedule: nodes, people, faults in random order; then rest, and the verdict."""

import asyncio
import contextvars
import gc
import random
import secrets
from collections.abc import Coroutine
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from events import ids
from events.clock import when
from storage.participants import Participants
from storage.records import SessionRecord
from storage.sessions import Sessions
from tests.model.client import Client, Wrong
from tests.model.loop import VirtualLoop
from tests.model.node import Node
from tests.model.redis import Data, Server
from tests.model.sql import SimulatedDatabase, Sql
from tests.model.steered import STEERED
from tests.model.verdict import REST, ROOMS, WHOLE, Judge

#: When the simulation begins, in epoch seconds.
EPOCH = 1_800_000_000.0
#: What happens, and how often.
MENU = (
    ("write", 12),
    ("edit", 3),
    ("delete", 1),
    ("produce", 5),
    ("read", 2),
    ("type", 3),
    ("join", 3),
    ("leave", 1.5),
    ("drop", 5),
    ("half_open", 5),
    ("kill_node", 1),
    ("start_node", 2),
    ("freeze_node", 1),
    ("thaw_node", 2),
    ("redis_restart", 0.6),
    ("redis_flush", 0.4),
    ("redis_save", 1),
    ("redis_down", 0.6),
    ("redis_hang", 0.8),
    ("redis_recover", 3),
    ("cut_off", 0.8),
    ("rejoin", 2),
    ("reset_links", 1),
    ("deafen", 1),
    ("lose_key", 1),
    ("sql_down", 0.5),
    ("sql_recover", 2),
)

#: The past itself changes: a store goes back to what it once had, a node's clock jumps.
PAST = (
    ("redis_save", 2),
    ("redis_back", 2),
    ("sql_save", 2),
    ("sql_back", 2),
    ("clock", 2),
)


#: How often each of `STEERED` comes, where a schedule asks for it.
STEERED_WEIGHT = 2


class World(Judge):
    """`seed` names the schedule. `often` are actions that come more often than others: those of `STEERED`
    come in no other schedule."""

    #: Another kind of world has other actions.
    actions_of = MENU
    always = ("write", "join")

    def __init__(
        self, seed: int, actions: int | None = None, often: tuple[str, ...] = (), past: bool = False
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.actions = actions or self.rng.randint(5, 40)
        self.loop = VirtualLoop()
        self.nobody = contextvars.Context()
        self.slow = self.rng.choice((1.0, 1.0, 10.0))
        self.failure: str | None = None
        self.tells = False  # what happens in it
        self.story: list[str] = []
        always = (*self.always, *often)
        menu = [
            (name, weight)
            for name, weight in (*self.actions_of, *(PAST if past else ()))
            if self.rng.random() < 0.7 or name in always
        ]
        menu += [(name, STEERED_WEIGHT) for name in STEERED if name in often]
        often = often or tuple(self.rng.sample([name for name, _ in menu], 3))
        self.menu = [(name, weight * 6 if name in often else weight) for name, weight in menu]
        self._tasks: set[asyncio.Task[Any]] = set()

    def node_of(self, name: str) -> Node:
        return Node(self, name)

    def client_of(self, name: str) -> Client:
        return Client(self, name)

    # --- what everybody uses

    def time(self) -> float:
        return EPOCH + self.loop.time()

    def latency(self) -> float:
        return self.rng.choice((0.0002, 0.0005, 0.001, 0.003)) * self.slow * self.rng.uniform(0.5, 1.5)

    def chance(self, of: float) -> bool:
        return self.rng.random() < of

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self.failure is None:
            self.failure = f"the simulation itself: {task.exception()!r}"

    def wrong(self, text: str) -> None:
        if self.failure is None:
            self.failure = f"{self.loop.time():.3f} {text}"

    def note(self, text: str) -> None:
        if self.tells:
            self.story.append(f"{self.loop.time():9.3f} --- {text}")

    # --- the run

    def run(self) -> None:
        """Raises Wrong where a promise was broken."""
        random.seed(self.seed)
        chance = random.Random(self.seed)
        secrets._sysrand = chance  # type: ignore[attr-defined]
        # Of the ids alone: what a library draws for a statement, it draws once in a process.
        ids.os = SimpleNamespace(urandom=chance.randbytes)  # type: ignore[attr-defined]
        for pool in (ids._bytes, ids._letters):
            pool.refill()
        # What a schedule leaves behind must not end in the next one, whenever it is collected.
        gc.disable()
        try:
            self.loop.run_until_complete(self.loop.create_task(self._run(), context=contextvars.Context()))
        finally:
            self._close()
        if self.failure is not None:
            raise Wrong(f"seed {self.seed}: {self.failure}")

    async def _run(self) -> None:
        rng = self.rng
        self.redis = Server(self.time, self.latency)
        self.saved: Data | None = None
        self.sql_saved: Any = None
        # Who knew what the database has lost, and its lineage for as long as none of them has said so.
        self.unnoticed: tuple[list[Node], str | None] | None = None
        self.marks_lost: dict[str, dict[str, int]] = {}
        self.sql = Sql(self.latency)
        self.nodes = {name: self.node_of(name) for name in ("N1", "N2", "N3")[: rng.choice((1, 2, 2, 3))]}
        if rng.random() < 0.8:
            await asyncio.wait(
                [asyncio.create_task(n.started.wait()) for n in self.nodes.values()], timeout=9
            )
        people = ("ann", "bob", "cho")[: rng.randint(1, 3)]
        await self._make_sessions(people)
        self.clients = [self.client_of(name) for name in people]
        for client in self.clients:
            for room in ROOMS:
                if rng.random() < 0.8:
                    self.spawn(client.join(room))
        await asyncio.sleep(rng.choice((0, 0.01, 1)))
        names, weights = zip(*self.menu, strict=True)
        while self.actions:
            self.actions -= 1  # one that is to be the last sets it to 0
            name = rng.choices(names, weights)[0]
            if name in STEERED:
                await STEERED[name](self)
            else:
                getattr(self, f"do_{name}")()
            await asyncio.sleep(rng.choice((0, 0, 0.001, 0.005, 0.02, 0.1, 0.5, 2, 7)))
            if self.failure:
                return
        await self._rest()
        if not self.failure:
            self._verdict()
        if not self.failure:
            await self._epilogue()

    async def _make_sessions(self, people: tuple[str, ...]) -> None:
        database, now = SimulatedDatabase(self.sql), when(self.time())
        for room in ROOMS:
            record = SessionRecord(
                session_id=room, trace_id=f"trace_{room}", user_id=people[0], agent_id=None, title=None,
                status="active", metadata={}, ttl_hours=24.0, created_at=now, updated_at=now,
                last_activity=now, expires_at=now + timedelta(hours=24),
            )  # fmt: skip
            await Sessions(database).create(record)
            for person in people[1:]:
                await Participants(database).put(room, person, "member", now)

    async def _rest(self) -> None:
        """No more faults; everybody comes back; time passes."""
        self.note("rest")
        self.do_rejoin()
        self.redis.recover()
        self.sql.recover()
        self.do_thaw_node()
        self.do_start_node(everything=True)
        for wire in self.redis.wires:
            if wire.deaf:
                wire.reset()
        if self.seed % WHOLE == 0:
            await self._rest_for(REST)
        else:
            await self._rest_until_still(REST)

    async def _epilogue(self) -> None:
        """Once more with nothing failing: nobody may need a poll for what is said now."""
        before = {room: self.sql.last_revision(room) for room in ROOMS}
        told = []
        for client in self.clients:
            for room in client.views:
                told.append(asyncio.create_task(client.write(room)))
        if told:
            await asyncio.wait(told, timeout=3)
        await asyncio.sleep(0.5)
        for client in self.clients:
            for room, view in client.views.items():
                if view.revision != self.sql.last_revision(room):
                    self.wrong(
                        f"{client.name} is at r{view.revision} of {room}, half a second after "
                        f"r{self.sql.last_revision(room)} (before: r{before[room]})"
                    )
        self._verdict()

    def _close(self) -> None:
        """Nothing of this schedule is left for the next: whatever still waits is given up without a word."""
        for node in getattr(self, "nodes", {}).values():
            node.process.kill()
        self.loop.give_up()
        gc.collect()

    # --- people

    def some_node(self) -> Node | None:
        found = [node for node in self.nodes.values() if node.alive and not node.process.frozen]
        return self.rng.choice(found) if found else None

    def _someone(self) -> tuple[Client, str]:
        client = self.rng.choice(self.clients)
        rooms = list(client.views) or list(ROOMS)
        return client, self.rng.choice(rooms)

    def do_write(self) -> None:
        client, room = self._someone()
        for _ in range(self.rng.choice((1, 1, 1, 5, 30))):
            self.spawn(client.write(room))

    def do_edit(self) -> None:
        client, room = self._someone()
        self.spawn(client.change(room, "edit"))

    def do_delete(self) -> None:
        client, room = self._someone()
        self.spawn(client.change(room, "delete"))

    def do_produce(self) -> None:
        client, room = self._someone()
        self.spawn(client.produce(room))

    def do_read(self) -> None:
        client, room = self._someone()
        last = (
            max((m.get("seq", 0) for m in client.views[room].messages.values()), default=0)
            if (room in client.views)
            else 0
        )
        if last:
            self.spawn(client.say("read", session_id=room, seq=last))

    def do_type(self) -> None:
        client, room = self._someone()
        self.spawn(client.say("typing", session_id=room, is_typing=self.chance(0.8)))

    def do_join(self) -> None:
        client = self.rng.choice(self.clients)
        self.spawn(client.join(self.rng.choice(ROOMS)))

    def do_leave(self) -> None:
        client, room = self._someone()
        client.leave(room)

    def do_drop(self) -> None:
        self._hang_up("clean")

    def do_half_open(self) -> None:
        self._hang_up("half-open")

    def _hang_up(self, how: str) -> None:
        client = self.rng.choice(self.clients)
        if client.socket is not None:
            self.note(f"{client.name}'s connection: {how}")
            client.socket.hang_up(how)

    # --- nodes

    def _node(self) -> Node:
        return self.rng.choice(list(self.nodes.values()))

    def do_kill_node(self) -> None:
        self.kill(self._node())

    def kill(self, node: Node) -> None:
        if node.alive:
            self.note(f"{node.name} is killed")
            node.kill()
            self._knew_what_was_lost(node)

    def _knew_what_was_lost(self, node: Node) -> None:
        """A node may die before it has asked the database that went back: then the operator says so."""
        if self.unnoticed is not None:
            witnesses, lineage = self.unnoticed
            if node in witnesses and self.sql.lineage() == lineage:
                self.sql.begin_lineage()

    def redis_forgets(self, node: Node) -> None:
        """The kernel closes a dead process's connections."""
        for wire in [w for w in self.redis.wires if w._owner is node.process]:
            wire._leave()

    def do_start_node(self, everything: bool = False) -> None:
        dead = [node for node in self.nodes.values() if not node.alive]
        for node in dead if everything else dead[:1]:
            self.note(f"{node.name} starts")
            self.nodes[node.name] = self.node_of(node.name)

    def do_freeze_node(self) -> None:
        node = self._node()
        if node.alive:
            self.note(f"{node.name} stands still")
            node.process.freeze()

    def do_thaw_node(self) -> None:
        for node in self.nodes.values():
            if node.alive and node.process.frozen:
                self.note(f"{node.name} goes on")
                node.process.thaw()

    # --- Redis

    def do_redis_restart(self) -> None:
        data = self.saved if self.chance(0.5) else None
        self.note(f"Redis restarts, {'from a snapshot' if data else 'empty'}")
        self.saved = None
        self.redis.restart(data)

    def do_redis_flush(self) -> None:
        self.note("Redis is emptied")
        self.redis.goes_back(Data())

    def do_redis_save(self) -> None:
        self.saved = self.redis.saved()

    def do_redis_down(self) -> None:
        self.note("Redis is down")
        self.redis.down()

    def do_redis_hang(self) -> None:
        self.note("Redis hangs")
        self.redis.hang()

    def do_redis_recover(self) -> None:
        self.redis.recover()

    def do_cut_off(self) -> None:
        node = self._node()
        self.note(f"{node.name} is cut off from Redis")
        self.redis.cut_off.add(node.process)

    def do_rejoin(self) -> None:
        cut, self.redis.cut_off = self.redis.cut_off, set()
        for wire in [w for w in self.redis.wires if w._owner in cut]:
            wire.reset()

    def do_reset_links(self) -> None:
        node = self._node()
        self.note(f"{node.name}'s connections to Redis are reset")
        for wire in [w for w in self.redis.wires if w._owner is node.process]:
            if self.chance(0.7):
                wire.reset()

    def do_deafen(self) -> None:
        wires = [w for w in self.redis.wires if w.channels]
        if wires:
            wire = self.rng.choice(wires)
            self.note("a subscriber's connection goes deaf")
            wire.deaf = True

    def do_lose_key(self) -> None:
        keys = [key for key in self.redis.data.values if not key.endswith(b":clock")]
        if keys:
            key = self.rng.choice(keys)
            self.note(f"Redis loses {key.decode()}")
            self.redis.drop(key)

    # --- the database

    def do_sql_down(self) -> None:
        refusing = self.chance(0.5)
        self.note(f"the database is down, and {'refuses' if refusing else 'is silent'}")
        self.sql.down(refusing)

    def do_sql_recover(self) -> None:
        self.sql.recover()

    def do_sql_save(self) -> None:
        self.sql_saved = self.sql.saved(), list(self.nodes.values())

    # --- the past changes

    def do_redis_back(self) -> None:
        # Only who is there can say that Redis was further on (docs/adr/0010, "What remains").
        if self.saved is not None and self.some_node() is not None:
            self.note("Redis goes back, in the same process")
            self.redis.goes_back(self.saved)
            self.saved = None

    def do_sql_back(self) -> None:
        if self.sql_saved is not None:
            self.note("the database goes back")
            saved, witnesses = self.sql_saved
            for room in ROOMS:
                self.marks_lost.setdefault(room, {}).update(self.sql.read_marks(room))
            self.sql.goes_back(saved)
            if not all(node.alive for node in witnesses):
                # Who knew what is lost may be gone: then the operator says so, or the timeline does.
                self.sql.begin_lineage()
            self.unnoticed = witnesses, self.sql.lineage()
            self.sql_saved = None
            for client in self.clients:
                client.database_went_back()

    def do_clock(self) -> None:
        node = self._node()
        node.offset = self.rng.choice((0.0, 3600.0, -3600.0, 600.0, -20.0))
        self.note(f"{node.name}'s clock is off by {node.offset} s")
