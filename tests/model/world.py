"""One run: nodes, clients, faults in random order, then rest, then the verdict."""

from copy import deepcopy

from .client import Client
from .design import LOG_SIZE
from .node import Node
from .redis import Redis
from .sim import Sim, Violation
from .sql import Sql

ROOMS = ("A", "B")


class World:
    def __init__(self, seed, design, actions=None, tracing=False, often=()):
        self.design = design
        self.sim = sim = Sim(seed, tracing)
        rng = sim.rng
        # How often a call's request or answer is lost: any such loss costs a node all its recoveries.
        self.chaos = rng.choice((0.0, 0.0, 0.002, 0.01))
        self.sql = Sql(design, ROOMS)
        self.redis = Redis(sim, design)
        self.nodes = {name: Node(self, name) for name in ("N1", "N2", "N3")[: rng.choice((2, 2, 3))]}
        self.clients = [Client(self, f"c{i}") for i in range(rng.randint(1, 3))]
        self.actions = actions or rng.randint(4, 30)
        self.count = 0
        # Some runs are calm in some respect, so that deep states are reached in the others.
        always = ("write", "join", "reconnect", *often)
        menu = [(a, w) for a, w in self.MENU if rng.random() < 0.7 or a in always]
        # And in each run some things happen much more often.
        often = often or rng.sample([a for a, _ in menu], 3)
        self.menu = [(a, w * 6 if a in often else w) for a, w in menu]

    MENU = (
        ("write", 10),
        ("edit", 3),
        ("stream", 4),
        ("cancel", 1),
        ("join", 5),
        ("leave", 1.5),
        ("drop", 4),
        ("half_open", 4),
        ("reconnect", 8),
        ("ping_timeout", 1),
        ("tick", 6),
        ("kill_node", 1),
        ("pause_node", 1),
        ("resume_node", 2),
        ("sub_eof", 1.5),
        ("sub_deaf", 1),
        ("redis_restart", 0.6),
        ("redis_flush", 0.4),
        ("redis_save", 1),
        ("redis_down", 0.6),
        ("redis_up", 2),
        ("redis_hang", 0.8),
        ("redis_unhang", 2.5),
        ("cut_off", 0.8),
        ("rejoin", 2),
        ("expire_record", 0.3),
        ("expire_log", 0.5),
        ("sql_down", 0.5),
        ("sql_up", 2),
        ("janitor", 0.7),
    )

    def run(self):
        sim, rng = self.sim, self.sim.rng
        if rng.random() < 0.8:
            sim.drain()  # the nodes are on the bus before anybody comes
        for client in self.clients:
            for room in ROOMS:
                if rng.random() < 0.8:
                    client.want[room] = True
            client.dial(rng.choice(list(self.nodes.values())))
        sim.run(rng.randint(0, 150))
        names, weights = zip(*self.menu, strict=False)
        for _ in range(self.actions):
            getattr(self, rng.choices(names, weights)[0])()
            sim.run(rng.choice((0, 1, 2, 3, 5, 8, 13, 30, 80)))
            self.check_memory()
        self.rest()
        # Everything heals: now once more with nothing failing, and nobody may need the polls.
        for room in ROOMS:
            for client in self.clients:
                self.count += 1
                client.write(("create", room, f"m{self.count}"))
        sim.drain()
        for client in self.clients:
            client.check()

    def check_acks(self):
        """I5: whatever state Redis is in (down, hung, cut off), every write is answered."""
        if self.redis.up and not self.redis.hung and not self.redis.cut_off:
            self.redis_hang()
        self.sim.drain()
        for client in self.clients:
            if client.link and client.link.server_open and client.connected:
                waiting = [b for what, b in client.refs.values() if what in ("write", "join", "leave")]
                if waiting:
                    raise Violation(f"I5 {client.name} waits for {waiting}")

    def check_memory(self):
        for meta in self.redis.data.metas.values():
            if len(meta.entries) > LOG_SIZE:
                raise Violation("I6 log")

    def rest(self):
        """No more faults; every client connects; every node polls until nothing moves."""
        self.chaos = 0.0
        self.sql_up()
        self.resume_node()
        self.check_acks()
        self.redis_up(), self.redis_unhang()
        self.redis.cut_off.clear()
        for name, node in list(self.nodes.items()):
            node.paused = False
            if node.killed:
                self.nodes[name] = Node(self, name)
        for node in self.nodes.values():  # pings time out
            for conn in [c for c in node.conns if not c.link.client_open]:
                node.drop(conn)
        for sub in self.redis.subs:
            if sub.deaf and self.nodes.get(sub.node.name) is not sub.node:
                sub.eof = True
        self.sim.drain()
        for round_ in range(6):
            for client in self.clients:
                if client.link is None or not client.link.server_open:
                    if client.link:
                        client.hang_up("clean")
                    client.dial(self.sim.rng.choice(list(self.nodes.values())))
            self.sim.drain()
            if round_ == 1:
                self.janitor(everything=True)
            for node in self.nodes.values():
                node.spawn(node.tick())
            self.sim.drain()
        for client in self.clients:
            if client.unsent:
                for op in client.unsent:
                    client.emit("write", op)
                client.unsent = []
        self.sim.drain()

    # --- what clients do

    def any_client(self, connected=None):
        found = [c for c in self.clients if connected is None or c.connected == connected]
        return self.sim.rng.choice(found) if found else None

    def write(self):
        client = self.any_client(True)
        if client:
            self.count += 1
            client.write(("create", self.sim.rng.choice(ROOMS), f"m{self.count}"))

    def edit(self):
        client, room = self.any_client(True), self.sim.rng.choice(ROOMS)
        rows = list(self.sql.rows[room])
        if client and rows:
            client.write(("edit", room, self.sim.rng.choice(rows[-3:])))

    def stream(self):
        client = self.any_client(True)
        if client:
            self.count += 1
            client.write(("create", self.sim.rng.choice(ROOMS), f"s{self.count}", {"stream": True}))

    def join(self):
        client = self.any_client()
        client.join(self.sim.rng.choice(ROOMS))

    def leave(self):
        client = self.any_client()
        client.leave(self.sim.rng.choice(ROOMS))

    def drop(self):
        client = self.any_client()
        if client.link:
            client.hang_up("clean")

    def half_open(self):
        client = self.any_client()
        if client.link:
            client.hang_up("half-open")

    def reconnect(self):
        client = self.any_client(False)
        node = self.sim.rng.choice(list(self.nodes.values()))
        if client and not node.killed and not node.paused:
            if client.link:
                client.hang_up("half-open")
            client.dial(node)

    # --- what fails

    def any_node(self):
        return self.sim.rng.choice([n for n in self.nodes.values()])

    def ping_timeout(self):
        node = self.any_node()
        for conn in [c for c in node.conns if not c.link.client_open]:
            if not node.killed:
                node.drop(conn)

    def tick(self):
        node = self.any_node()
        if not node.killed:
            node.spawn(node.tick())

    def kill_node(self):
        node = self.any_node()
        if node.killed:
            self.nodes[node.name] = Node(self, node.name)
            return
        self.sim.note(f"--- {node.name} is killed")
        node.killed = True
        self.sim.kill(node)
        for conn in node.conns:
            conn.link.server_open = False
        self.redis.subs = [s for s in self.redis.subs if s.node is not node]
        for client in self.clients:
            # what was on the wire may still arrive, or not
            if client.link and not client.link.server_open and self.sim.chance(0.5):
                client.hang_up("clean")

    def pause_node(self):
        node = self.any_node()
        self.sim.note(f"--- {node.name} stands still")
        node.paused = True

    def resume_node(self):
        for node in self.nodes.values():
            node.paused = False

    def janitor(self, everything=False):
        """Any node ends the streams whose producer is gone (or seems to be)."""
        node = self.any_node()
        if node.killed:
            return
        for room in ROOMS:
            for row in list(self.sql.rows[room].values()):
                if row.stream and not row.closed:
                    alive = any(row.id in n.producers for n in self.nodes.values() if not n.killed)
                    if not alive or (not everything and self.sim.chance(0.3)):
                        node.spawn(node.end_for(room, row.id, row.text))

    def cancel(self):
        self.janitor()

    def sub_eof(self):
        node = self.any_node()
        sub = node.sub
        if sub and sub in self.redis.subs:
            self.sim.note(f"--- {node.name}'s subscriber connection is reset")
            keep = self.sim.rng.randint(0, len(sub.queue))
            while len(sub.queue) > keep:
                sub.queue.pop()
            sub.eof = True
            self.redis.subs.remove(sub)

    def sub_deaf(self):
        node = self.any_node()
        if node.sub and node.sub in self.redis.subs:
            self.sim.note(f"--- {node.name}'s subscriber connection goes deaf")
            node.sub.deaf = True

    def redis_restart(self):
        how = self.sim.rng.choice(("empty", "snapshot"))
        self.sim.note(f"--- redis restarts, {how}")
        self.redis.restart(how)

    def redis_flush(self):
        self.sim.note("--- redis loses its data (FLUSHALL); connections stay")
        self.redis.data = type(self.redis.data)()

    def redis_save(self):
        self.redis.saved = deepcopy(self.redis.data)

    def redis_down(self):
        self.sim.note("--- redis cannot be reached")
        self.redis.up = False
        for sub in self.redis.subs:
            sub.eof = True
        self.redis.subs = []

    def redis_up(self):
        self.redis.up = True

    def redis_hang(self):
        self.sim.note("--- redis hangs")
        self.redis.hung = True

    def redis_unhang(self):
        self.redis.hung = False

    def cut_off(self):
        node = self.any_node()
        self.sim.note(f"--- {node.name} is cut off from redis")
        self.redis.cut_off[node.name] = True
        for sub in [s for s in self.redis.subs if s.node is node]:
            sub.deaf = True
            self.redis.subs.remove(sub)

    def rejoin(self):
        self.redis.cut_off.clear()

    def expire_record(self):
        records = self.redis.data.records
        if records:
            del records[self.sim.rng.choice(list(records))]

    def expire_log(self):
        metas = self.redis.data.metas
        if metas:
            room = self.sim.rng.choice(list(metas))
            self.sim.note(f"--- the log of {room} expires")
            del metas[room]

    def sql_down(self):
        self.sim.note("--- SQL stops")
        self.sql.up = False

    def sql_up(self):
        self.sql.up = True
