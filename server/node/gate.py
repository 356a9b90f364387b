"""Builds the checks at the doors: who may come in, and the limits of everything."""

from dataclasses import dataclass

from events.names import Names
from events.ratelimit import RateLimits
from server.identity.auth import Authenticator
from server.identity.origins import Origins
from server.identity.revoked import Revoked
from server.journal import Journal
from server.node.core import Core
from server.node.delivering import Delivering
from server.node.stores import Stores
from server.places import Places
from server.requests import Requests


@dataclass(frozen=True)
class Gate:
    authenticator: Authenticator
    origins: Origins
    revoked: Revoked
    names: Names
    limits: RateLimits
    requests: Requests
    places: Places
    journal: Journal


def build_gate(core: Core, stores: Stores, delivering: Delivering) -> Gate:
    settings, monotonic = core.settings, core.outside.monotonic
    revoked, names = Revoked(stores.revocations, stores.clock), Names(stores.people, stores.clock)
    limits = RateLimits(
        delivering.backends.buckets,
        delivering.backends.own_buckets,
        enabled=settings.rate_limit_enabled,
        figures=settings.model_dump(),
    )
    journal = Journal(monotonic)
    core.after_commit.follow(journal.committed)
    return Gate(
        authenticator=Authenticator(settings, stores.token_clock, revoked=revoked.refuses, heard=names.heard),
        origins=Origins(settings),
        revoked=revoked,
        names=names,
        limits=limits,
        requests=Requests(limits),
        places=Places(delivering.hub, settings.ws_max_connections, monotonic),
        journal=journal,
    )
