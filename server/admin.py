"""The Socket.IO Admin UI, to look at and not to touch; only with ADMIN_PASSWORD (contract, section 10)."""

import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from socketio.exceptions import ConnectionRefusedError as Refused

from server.engine.server import Server
from server.services import Services

NAMESPACE = "/admin"
#: Wrong passwords from one address, and from all of them together, in a minute; then even the right one has
#: to wait, or there would be nothing to guess against.
PER_ADDRESS, IN_ALL = 5, 50
MINUTE = 60.0
ADDRESSES = 10_000


class Attempts:
    """Wrong passwords of the last minute. `clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()
        self._all: list[float] = []

    def allowed(self, address: str) -> bool:
        now = self._clock()
        self._all = [time for time in self._all if time > now - MINUTE]
        recent = [time for time in self._wrong.get(address, ()) if time > now - MINUTE]
        return len(recent) < PER_ADDRESS and len(self._all) < IN_ALL

    def wrong(self, address: str) -> None:
        now = self._clock()
        recent = [time for time in self._wrong.pop(address, ()) if time > now - MINUTE]
        self._wrong[address] = [*recent, now]
        self._all.append(now)
        if len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)


def offer(sio: Server, services: Services, clock: Callable[[], float]) -> None:
    """Offer it at `/admin`; without a password there is no such namespace."""
    password = services.settings.admin_password
    if password is None:
        return
    attempts = Attempts(clock)

    def right(given: Any) -> bool:
        word = given.get("password") if isinstance(given, dict) else None
        return isinstance(word, str) and hmac.compare_digest(word.encode(errors="replace"), password.encode())

    admin = sio.instrument(auth=right, mode="production", read_only=True, namespace=NAMESPACE)

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

    sio.on("connect", connect, namespace=NAMESPACE)
    services.at_stop.append(admin.shutdown)
