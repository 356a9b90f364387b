"""The tests' own tools: what other tests rely on without looking."""

import asyncio

from tests.conftest import LONG
from tests.support.processes import listening
from tests.support.proxy import Proxy
from tests.support.server import ROOT
from tests.support.services import Haproxy, Nginx, Postgres, Redis

NGINX = """
events {}
http { access_log off; server { listen 127.0.0.1:{port}; location / { return 200 hello; } } }
"""
HAPROXY = """
defaults
    mode http
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend all
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string hello
"""


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_proxy_faults() -> None:
    async with asyncio.timeout(20):
        echo = await asyncio.start_server(_echo, "127.0.0.1", 0)
        async with echo, Proxy(echo.sockets[0].getsockname()[1]) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"one")
            assert await reader.read(10) == b"one"

            proxy.freeze()
            writer.write(b"two")
            proxy.resume()
            assert await reader.read(10) == b"two"

            proxy.cut_after(2)
            writer.write(b"three")
            assert await reader.readexactly(2) == b"th"
            assert await _broken(reader)
            writer.close()

            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"four")
            assert await reader.read(10) == b"four"
            proxy.half_open()
            assert await _broken(reader)
            assert proxy.connections == 1
            writer.close()

            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"five")
            assert await reader.read(10) == b"five"
            assert proxy.connections == 2
            proxy.cut()
            assert await _broken(reader)
            writer.close()


async def _broken(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(10) == b""
    except ConnectionResetError:
        return True


def test_postgres_keeps_its_port_and_its_commits(own_postgres: tuple[Postgres, str]) -> None:
    cluster, _ = own_postgres
    assert cluster.sql("SHOW fsync") == "on"
    assert cluster.sql("SHOW synchronous_commit") == "on"
    cluster.sql("CREATE TABLE kept (n int)")
    cluster.sql("INSERT INTO kept VALUES (1)")
    cluster.kill9()
    assert not listening(cluster.port)
    cluster.start()
    assert cluster.sql("SELECT n FROM kept") == "1"


def test_redis_comes_back_empty_on_its_port(own_redis: Redis) -> None:
    own_redis.cli("SET", "key", "value")
    own_redis.kill9()
    assert not listening(own_redis.port)
    own_redis.start()
    assert own_redis.cli("GET", "key") == ""


def test_front_ends_start() -> None:
    with Nginx(NGINX) as nginx, Haproxy(HAPROXY) as haproxy:
        assert listening(nginx.port)
        assert listening(haproxy.port)


def test_the_files_that_come_first_are_there() -> None:
    for name in LONG:
        assert (ROOT / "tests" / name).exists(), name
