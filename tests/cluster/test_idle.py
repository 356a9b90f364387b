"""The proxies' files let an idle connection go soon: one whose network went silent is no use to a browser."""

import asyncio
from collections.abc import Callable

import pytest

from tests.cluster.proxies import haproxy, nginx
from tests.support.server import Server
from tests.support.services import Haproxy, Nginx


@pytest.mark.parametrize("proxy", [nginx, haproxy])
async def test_an_idle_connection_ends_within_seconds(
    sqlite_url: str, new_server: Callable[..., Server], proxy: Callable[[list[Server]], Nginx | Haproxy]
) -> None:
    node = new_server(sqlite_url)
    with proxy([node, node, node]) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and b"connection: close" not in head.lower()
        async with asyncio.timeout(15):
            assert b"HTTP/1.1" not in await reader.read()
        writer.close()
