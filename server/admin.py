"""The Socket.IO Admin UI, to look at and not to touch; only with ADMIN_PASSWORD (contract, section 10)."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from socketio.exceptions import ConnectionRefusedError as Refused

from server.engine import stock
from server.engine.server import Server
from server.identity.peer import network_of
from server.services import Services
from storage.buckets import MemoryBuckets

NAMESPACE = "/admin"
#: Wrong passwords from one network in a minute; then even the right one has to wait there, or there would be
#: nothing to guess against.
PER_NETWORK = 5
#: Wrong passwords from everywhere in a minute; then each network has one try, which nobody else can take.
IN_ALL = 50
NETWORKS = 10_000


class Attempts:
    """Wrong passwords, in buckets that hold a minute's. Unlike `FailedTokens` they refuse the right one,
    too: a guesser would learn it from being let in. `clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._networks = MemoryBuckets(clock, NETWORKS)
        self._tries = MemoryBuckets(clock, NETWORKS)
        self._all = MemoryBuckets(clock)

    def allowed(self, address: str) -> bool:
        network = network_of(address)
        if self._all.wait("", *_a_minute(IN_ALL)) > 0.0:
            return self._tries.wait(network, *_a_minute(1)) <= 0.0
        return self._networks.wait(network, *_a_minute(PER_NETWORK)) <= 0.0

    def wrong(self, address: str) -> None:
        network = network_of(address)
        self._networks.take(network, *_a_minute(PER_NETWORK))
        self._tries.take(network, *_a_minute(1))
        self._all.take("", *_a_minute(IN_ALL))


def _a_minute(count: int) -> tuple[float, float]:
    """A bucket's capacity, and what it gets back in a second."""
    return float(count), count / 60.0


def offer(
    sio: Server, services: Services, clock: Callable[[], float]
) -> Callable[[], Awaitable[None]] | None:
    """Offer it at `/admin`; returns what ends it. Without a password there is no such namespace."""
    password = services.settings.admin_password
    if password is None:
        return None
    attempts = Attempts(clock)

    def right(given: Any) -> bool:
        word = given.get("password") if isinstance(given, dict) else None
        return isinstance(word, str) and hmac.compare_digest(word.encode(errors="replace"), password.encode())

    face = stock.Server(core=sio)
    admin = face.instrument(auth=right, mode="production", read_only=True, namespace=NAMESPACE)

    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        scope = environ.get("asgi.scope") or {}
        address = services.address_of(scope.get("client"), scope.get("headers", ()))
        if not attempts.allowed(address):
            raise Refused("too many attempts")
        try:
            await admin.admin_connect(sid, environ, auth)
        except Refused:
            attempts.wrong(address)
            raise

    face.on("connect", connect, namespace=NAMESPACE)
    end: Callable[[], Awaitable[None]] = admin.shutdown
    return end
