"""Connections to upstreams: to an address that was checked, and to no other. Knows no HTTP."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from events.agents.upstreams import Address, Refused

#: Seconds for one address of a host, before the next is tried.
CONNECT = 5.0
#: Addresses of a host that are tried.
ADDRESSES = 4

#: Bytes of one read: what is made of them, however small the pieces, before anybody else has a turn.
READ = 16 * 1024

Admits = Callable[[str, int, Address], bool]


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """A name is looked up once, here: what `admits` has seen is what is connected to, so that a name which
    changes between two look-ups leads nowhere else. TLS still checks the name."""

    def __init__(self, admits: Admits) -> None:
        self._admits = admits
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's interface)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises Refused, or what httpcore raises where nobody answers."""
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in await self._addresses(host, port):
            try:
                return _SmallReads(
                    await self._network.connect_tcp(address, port, CONNECT, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            return (await admitted(self._admits, host, port))[:ADDRESSES]
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error


async def admitted(admits: Admits, host: str, port: int) -> list[str]:
    """The addresses that a name leads to and that may be connected to. Raises Refused where it leads to
    others alone; OSError, UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    allowed = [each for each in addresses if admits(host, port, ipaddress.ip_address(each))]
    if addresses and not allowed:
        raise Refused(f"{host}:{port} leads to {', '.join(addresses)}, which no setting allows")
    return allowed


class _SmallReads(httpcore.AsyncNetworkStream):
    """A connection that is read in small pieces."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(min(max_bytes, READ), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _SmallReads(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
