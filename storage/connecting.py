"""Opens connections to a PostgreSQL address: host after host, with the TLS that it asks for.

The one place where a driver is told how to connect: the pool and the migrations both come here.
"""

import asyncio
import random
import socket
from typing import Any
from urllib.parse import urlencode

import asyncpg  # type: ignore[import-untyped]

from storage.address import Address
from storage.tls import context

#: Errors of one host after which the next is tried; a refused password is the same at all of them.
_NEXT = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.TargetServerAttributeNotMatched,
)
#: Statements that a connection keeps prepared: as many as asyncpg keeps by itself.
_CACHE = 100
_SOCKET_OPTIONS = {
    "keepalives": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "keepalives_idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "keepalives_interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "keepalives_count": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "tcp_user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
}


class Connector:
    """One address. The host that answered last is asked first."""

    def __init__(self, address: Address, *, limit: float) -> None:
        """`limit`: seconds for all hosts together, where the address says nothing of its own.

        Raises ValueError that names what cannot be kept.
        """
        self._address = address
        self._hosts = list(address.hosts)
        if address.random_host:
            random.shuffle(self._hosts)
        #: Seconds for one host; None: as long as it takes.
        self._each: float | None = address.connect_timeout or limit / len(self._hosts)
        if self._each == float("inf"):
            self._each = None
        #: Seconds until all hosts have been tried.
        self.patience = None if self._each is None else self._each * len(self._hosts)
        self._options = self._fixed()

    def _fixed(self) -> dict[str, Any]:
        """The arguments that all connections have in common."""
        address, tls = self._address, self._address.tls
        promised = context(tls)
        settings = {"application_name": address.application_name}
        if address.options is not None:
            settings["options"] = address.options
        fixed: dict[str, Any] = {
            "user": address.user,
            "password": address.password,
            "passfile": address.passfile,
            "database": address.database,
            # Not False for "disable": asyncpg would look at PGSSLMODE.
            "ssl": tls.mode if promised is None else promised,
            "server_settings": settings,
            "statement_cache_size": _CACHE
            if address.statement_cache_size is None
            else address.statement_cache_size,
        }
        if address.pooled:
            fixed["statement_cache_size"] = 0
        if promised is None and tls.mode != "disable":
            fixed["dsn"] = _dsn(address)
        return fixed

    async def connect(self, **more: Any) -> asyncpg.Connection:
        """`more` goes to the driver. Raises what the driver raises for the last host that was tried."""
        for target in self._targets():
            failure: Exception | None = None
            for host, port in list(self._hosts):
                try:
                    return await self._connect(host, port, target, more)
                except _NEXT as error:
                    failure = error
        assert failure is not None
        raise failure

    def _targets(self) -> list[str]:
        return ["standby", "any"] if self._address.target == "prefer-standby" else [self._address.target]

    async def _connect(self, host: str, port: int, target: str, more: dict[str, Any]) -> asyncpg.Connection:
        options = {**self._options, **more}
        async with asyncio.timeout(self._each):
            raw = await asyncpg.connect(
                host=host, port=port, target_session_attrs=target, timeout=None, **options
            )
        self._keep_alive(raw, host)
        if self._hosts[0] != (host, port):
            self._hosts.remove((host, port))
            self._hosts.insert(0, (host, port))
        return raw

    def _keep_alive(self, raw: asyncpg.Connection, host: str) -> None:
        if host.startswith("/"):
            return
        end = raw._transport.get_extra_info("socket")
        # libpq keeps its connections alive unless told otherwise.
        for name, value in {"keepalives": 1, **self._address.keepalive}.items():
            if value > 0 or name == "keepalives":
                end.setsockopt(*_SOCKET_OPTIONS[name], value)


def _dsn(address: Address) -> str:
    """A client's certificate for modes that may end without TLS: asyncpg takes it from a URL alone."""
    tls = address.tls
    given = {
        "sslcert": tls.cert,
        "sslkey": tls.key,
        "sslpassword": tls.password,
        "ssl_min_protocol_version": tls.least,
        "ssl_max_protocol_version": tls.most,
    }
    return "postgresql://?" + urlencode({name: value for name, value in given.items() if value})
