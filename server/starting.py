"""Prepares a process to serve: sockets, file descriptors, and the log line "ready"."""

import logging
import resource
import socket
from typing import Any

from server.config import Settings
from server.config_values import masked
from server.contract import VERSION

log = logging.getLogger("parley.node")

#: Descriptors besides the clients' connections: log, files, Redis, workers' pipes.
SPARE = 100
BACKLOG = 2048


class CannotListen(Exception):
    """The text says on which address and why."""


def listen_at(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Bound, and not yet listening: nobody comes in before the node is ready. `shared`: with the other
    workers of one port. Raises CannotListen."""
    where = f"{host}:{port}"
    sockets: list[socket.socket] = []
    try:
        # A socket of its own for each kind: on a common one IPv4 addresses would come spelled as IPv6.
        found = [
            info
            for each in (("::", "0.0.0.0") if host == "::" else (host,))
            for info in socket.getaddrinfo(each, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ]
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sockets.append(_bound(family, kind, protocol, address, shared))
            if port == 0:
                break  # each would get another one
    except OSError as error:
        for each in sockets:
            each.close()
        raise CannotListen(f"cannot listen on {where}: {_reason(error)}") from error
    return sockets


def _bound(family: int, kind: int, protocol: int, address: Any, shared: bool) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _reason(error: OSError) -> str:
    text = (error.strerror or str(error)).lower()
    if "in use" in text:
        return f"{text}: another program has this port (SERVICE_PORT takes another one)"
    return text


def allow_descriptors(settings: Settings) -> Settings:
    """Raises the limit of descriptors to what WS_MAX_CONNECTIONS needs. If the machine does not allow it,
    there are fewer connections: a refusal needs a descriptor, too."""
    pool = settings.database_pool_size + settings.database_max_overflow + settings.redis_max_connections
    wanted = settings.ws_max_connections + pool + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return settings
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    told = (settings.ws_max_connections, wanted)
    if most < wanted:
        log.warning(
            "WS_MAX_CONNECTIONS=%d needs %d file descriptors, and this process may have %d: "
            "%d connections are taken. Raise its limit (ulimit -n, LimitNOFILE), or lower WS_MAX_CONNECTIONS",
            *told,
            max(soft, most),
            fewer := max(max(soft, most) // 2, max(soft, most) - pool - SPARE),
        )
        return settings.model_copy(update={"ws_max_connections": fewer})
    log.info("WS_MAX_CONNECTIONS=%d: file descriptors raised from %d to %d", told[0], soft, most)
    return settings


def url(settings: Settings, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.ws_use_ssl else 'http'}://{shown}:{port}"


def tell_ready(settings: Settings, where: str, **who: Any) -> None:
    """`who` serves: a node, or the nodes of all workers."""
    log.info(
        "ready",
        extra={
            "version": VERSION,
            "address": where,
            **who,
            "database": masked(settings.database_url, secret=True),
            "bus": masked(settings.redis_url, secret=True) or "none: one node alone",
        },
    )
