"""The base of every subject of a node, and the lists in which a subject enters itself to hear of
something."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from events.clock import Clock
from events.observer import Observer
from events.signing import Signer
from events.tasks import Tasks
from server.backends import Choose, choose
from server.config import Settings
from storage.database import Database
from storage.ops import Committed

#: Told of each group commit, before anybody who waits for it goes on. Neither raises nor blocks.
Follower = Callable[[Sequence[Committed]], None]
#: Takes a message between nodes: its channel and body.
Hearer = Callable[[str, bytes], None]


def open_database(settings: Settings) -> Database:
    return Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
    )


@dataclass(frozen=True)
class Outside:
    """The world outside of a node's process. The simulation in `tests/model/` gives it others."""

    clock: Clock = time.time
    monotonic: Clock = time.monotonic
    database: Callable[[Settings], Database] = open_database
    backends: Choose = choose


class AfterCommit:
    """The followers of the writer's commits, in the order in which they began to follow."""

    def __init__(self) -> None:
        self._followers: list[Follower] = []

    def follow(self, follower: Follower) -> None:
        self._followers.append(follower)

    def __call__(self, batch: Sequence[Committed]) -> None:
        for follower in self._followers:
            follower(batch)


class Signals:
    """Messages from other nodes (or, on one node, from itself), by name. One that nobody takes is passed
    over: its sender may be of a newer release."""

    def __init__(self) -> None:
        self._hearers: dict[str, Hearer] = {}

    def on(self, name: str, hearer: Hearer) -> None:
        if name in self._hearers:
            raise ValueError(f"two take the signal {name}")
        self._hearers[name] = hearer

    def heard(self, channel: str, name: str, body: bytes) -> None:
        if (hearer := self._hearers.get(name)) is not None:
            hearer(channel, body)


@dataclass(frozen=True)
class Core:
    """`processes` share the machine."""

    settings: Settings
    observer: Observer
    outside: Outside
    processes: int = 1
    node_id: str = field(default_factory=lambda: f"node_{secrets.token_hex(8)}")
    tasks: Tasks = field(default_factory=lambda: Tasks("node"))
    after_commit: AfterCommit = field(default_factory=AfterCommit)
    signals: Signals = field(default_factory=Signals)


def signer(settings: Settings, purpose: str) -> Signer:
    assert settings.secret_key is not None  # `Settings.load` sees to it
    return Signer(settings.secret_key, purpose)
