"""Who is measured: the peers and ours, each as a command that listens on a port."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bench.before import BEFORE
from bench.build import HERE, ROOT, Tools, node_env
from bench.scenarios import Group

SECRET = "the-secret-of-a-benchmark-on-loopback-alone"
PEERS = HERE / "peers"


@dataclass(frozen=True)
class Contender:
    """`{port}` in the command is replaced. `product`: needs a database, sessions and tokens of its own.

    `root`: the tree whose code runs. `most_runs`: those that nothing is held against need fewer repeats.
    """

    name: str
    title: str
    group: Group
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    product: bool = False
    root: Path = ROOT
    most_runs: int = 99


def contenders(tools: Tools, earlier: Mapping[str, Path] = MappingProxyType({})) -> list[Contender]:
    """In the order of the tables; names are what `--only` takes. `earlier`: builds' trees, by revision."""
    node = node_env(tools)
    jwt = {"JWT_SECRET_KEY": SECRET}
    stock = (str(tools.stock), str(PEERS / "python_socketio.py"), "{port}")
    ours = ("-m", "bench.echo", "--port", "{port}")
    serve = ("-m", "server", "serve")
    found = [
        Contender("floor", "C, one send() each", "echo", (str(tools.floor), "{port}"), most_runs=2),
        Contender(
            "uws",
            "uWebSockets (Bun)",
            "echo",
            (str(tools.bun), str(PEERS / "bun_ws.js"), "{port}"),
            most_runs=2,
        ),
        Contender("ws", "Node ws", "echo", ("node", str(PEERS / "node_ws.js"), "{port}"), node, most_runs=1),
        Contender(
            "node", "Node socket.io", "echo", ("node", str(PEERS / "node_socketio.js"), "{port}"), node
        ),
        Contender("stock", "python-socketio, stock", "echo", stock),
        Contender("stock-gc", "python-socketio, tuned gc", "echo", (*stock, "--gc"), most_runs=1),
        Contender("parley", "Parley", "echo", (sys.executable, *ours)),
        Contender(
            "node",
            "Node socket.io",
            "product",
            ("node", str(PEERS / "node_relay.js"), "{port}"),
            {**node, **jwt},
        ),
        Contender("stock", "python-socketio, stock", "product", (*stock, "--relay"), jwt),
        Contender("parley", "Parley", "product", (sys.executable, *serve), jwt, product=True),
    ]
    for revision, root in earlier.items():
        name, title, python = f"{BEFORE} {revision}", f"Parley, {revision}", sys.executable
        found.append(Contender(name, title, "echo", (python, *ours), root=root))
        found.append(Contender(name, title, "product", (python, *serve), jwt, product=True, root=root))
    for version, interpreter in tools.others.items():
        name, title = f"parley-{version}", f"Parley, Python {version}"
        found.append(Contender(name, title, "echo", (str(interpreter), *ours)))
        found.append(Contender(name, title, "product", (str(interpreter), *serve), jwt, product=True))
    return found
