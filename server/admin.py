"""The Socket.IO Admin UI, to look at and not to touch; only with ADMIN_PASSWORD (contract, section 10)."""

import hmac
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from socketio.exceptions import ConnectionRefusedError as Refused

from server.engine import stock
from server.engine.server import Server
from server.peer import network_of
from server.services import Services

NAMESPACE = "/admin"
#: Wrong passwords from one network in a minute; then even the right one has to wait there, or there would be
#: nothing to guess against.
PER_NETWORK = 5
#: Wrong passwords from everywhere in a minute; then each network has one try, which nobody else can take.
IN_ALL = 50
MINUTE = 60.0
NETWORKS = 10_000


class Attempts:
    """Wrong passwords of the last minute. `clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()  # by network
        self._all: deque[float] = deque(maxlen=IN_ALL)

    def allowed(self, address: str) -> bool:
        recent = self._recent(network_of(address))
        return len(recent) < (1 if self._under_attack() else PER_NETWORK)

    def _under_attack(self) -> bool:
        return len(self._all) == IN_ALL and self._all[0] > self._clock() - MINUTE

    def _recent(self, network: str) -> list[float]:
        return [time for time in self._wrong.get(network, ()) if time > self._clock() - MINUTE]

    def wrong(self, address: str) -> None:
        now, network = self._clock(), network_of(address)
        recent = self._recent(network)
        self._wrong.pop(network, None)
        self._wrong[network] = [*recent, now]
        self._all.append(now)
        if len(self._wrong) > NETWORKS:
            self._wrong.popitem(last=False)


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
