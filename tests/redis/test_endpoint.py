"""Every kind of URL, against real servers: passwords, databases, Unix sockets, TLS, Sentinel."""

import asyncio
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.errors import StorageUnavailable
from storage.interfaces import Mark
from storage.redis.endpoint import RedisEndpoint, check
from tests.redis.conftest import durable, in_redis
from tests.support.certificate import Authority, self_signed
from tests.support.processes import end, free_port, listening, spawn, wait_until
from tests.support.services import Redis, program


class Special(Redis):
    """A server with other options, and the URL that leads to it."""

    def __init__(self, *options: str, url: str, port: int | None = None) -> None:
        super().__init__()
        self.options, self._url = options, url
        if port is not None:
            self.port = port

    def start(self) -> "Special":
        words = [word.replace("{folder}", str(self.folder)) for word in self.options]
        plain = [] if "--port" in words else ["--port", str(self.port)]
        command = [program("redis-server"), *plain, "--bind", "127.0.0.1", "--dir", str(self.folder), *words]
        self.process = spawn([*command, "--save", "", "--appendonly", "no"], log=self.log)
        wait_until(lambda: listening(self.port) or (self.folder / "socket").exists(), self.process, self.log)
        return self

    @property
    def url(self) -> str:
        return self._url.replace("{folder}", str(self.folder)).replace("{port}", str(self.port))


async def works(redis: Any) -> None:
    side = in_redis(redis)
    await side.bus.connect(side.ears)
    await side.bus.subscribe(["session:A"])
    await side.log.open("A", Mark(0, 0))
    await side.log.append("A", [durable(1)])
    await side.settled()
    assert [e.rev for e in side.ears.events] == [0, 1]
    await side.close()


async def test_a_password_and_a_database() -> None:
    with Special("--requirepass", "s3cr:t@", url="redis://:s3cr%3At%40@127.0.0.1:{port}/3") as redis:
        await works(redis)
        wrong = redis.url.replace("s3cr", "other")
        with pytest.raises(StorageUnavailable):
            await RedisEndpoint(wrong, 1.0).connect()


async def test_a_unix_socket() -> None:
    options = ("--port", "0", "--unixsocket", "{folder}/socket")
    with Special(*options, url="unix://{folder}/socket?db=1") as redis:
        await works(redis)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "redis.crt", tmp_path / "redis.key"
    for file, content in zip(files, self_signed(), strict=True):
        file.write_bytes(content)
    return files


async def test_tls(certificate: tuple[Path, Path]) -> None:
    crt, key = map(str, certificate)
    port = free_port()
    options = ("--port", "0", "--tls-port", str(port), "--tls-cert-file", crt, "--tls-key-file", key)
    options = (*options, "--tls-ca-cert-file", crt, "--tls-auth-clients", "no")
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={crt}"
    with Special(*options, url=url, port=port) as redis:
        await works(redis)
        link, _ = await RedisEndpoint(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none", 1.0).connect()
        link.close()
        with pytest.raises(StorageUnavailable):  # nobody we know has signed it
            await RedisEndpoint(f"rediss://127.0.0.1:{port}/0", 1.0).connect()
        with pytest.raises(StorageUnavailable):  # it does not speak plainly
            await RedisEndpoint(f"redis://127.0.0.1:{port}/0", 1.0).connect()


async def test_tls_that_is_asked_for_is_there(tmp_path: Path) -> None:
    authority = Authority()
    root = tmp_path / "root"
    root.write_bytes(authority.pem)
    past = {"begins": timedelta(days=-2), "ends": timedelta(days=-1)}
    for certificate, answered in (
        (authority.sign("127.0.0.1"), True),
        (authority.sign("127.0.0.1", **past), False),
        (authority.sign("redis.example.com"), False),
    ):
        crt, key, port = tmp_path / "crt", tmp_path / "key", free_port()
        crt.write_bytes(certificate[0])
        key.write_bytes(certificate[1])
        options = (
            "--port",
            "0",
            "--tls-port",
            str(port),
            "--tls-cert-file",
            str(crt),
            "--tls-key-file",
            str(key),
        )
        options = (*options, "--tls-ca-cert-file", str(root), "--tls-auth-clients", "no")
        with Special(*options, url="", port=port):
            asked = RedisEndpoint(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={root}", 1.0)
            if answered:
                link, _ = await asked.connect()
                link.close()
            else:
                with pytest.raises(StorageUnavailable, match="certificate"):
                    await asked.connect()


async def test_a_redis_without_tls_is_not_spoken_to(redis: Redis) -> None:
    with pytest.raises(StorageUnavailable):
        await RedisEndpoint(f"rediss://127.0.0.1:{redis.port}/0", 1.0).connect()
    with pytest.raises(StorageUnavailable):  # a Sentinel's connection is one, too
        await RedisEndpoint(f"rediss+sentinel://127.0.0.1:{redis.port}/0/mymaster", 1.0).connect()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://h/0?ssl_ca_certs=/x", "ssl_ca_certs"),
        ("redis://h/0?ssl=true", "ssl"),
        ("redis+sentinel://h/0/m?ssl_cert_reqs=required", "ssl_cert_reqs"),
        ("rediss://h/0?ssl_ca_certs=/nowhere", "ssl_ca_certs"),
        ("rediss://h/0?ssl_ca_data=x", "ssl_ca_data"),
        ("rediss://h/0?ssl_cert_reqs=requird", "ssl_cert_reqs"),
        ("rediss://h/0?ssl_check_hostname=nope", "ssl_check_hostname"),
    ],
)
def test_options_that_would_ask_in_vain_are_named(url: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"has {named}"):
        check(url)


async def test_sentinel_leads_to_the_master_and_to_the_next_one(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "sentinel.conf"
    with Redis() as first, Special("--replicaof", f"127.0.0.1 {first.port}", url="") as second:
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
            f"sentinel monitor mymaster 127.0.0.1 {first.port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n"
        )
        log = tmp_path / "log"
        process = spawn([program("redis-server"), str(config), "--sentinel"], log=log)
        try:
            wait_until(lambda: listening(port), process, log)

            def asked(*words: str) -> str:
                done = subprocess.run(
                    [program("redis-cli"), "-p", str(port), *words],
                    check=True, capture_output=True, text=True,
                )  # fmt: skip
                return done.stdout

            wait_until(lambda: str(second.port) in asked("SENTINEL", "replicas", "mymaster"), process, log)
            absent = free_port()

            class Url:
                url = f"redis+sentinel://127.0.0.1:{absent},127.0.0.1:{port}/0/mymaster"

            side = in_redis(Url(), timeout=1.0)  # type: ignore[arg-type]
            await side.bus.connect(side.ears)
            before = await side.bus.echo()
            first.kill9()
            async with asyncio.timeout(40):
                while not side.ears.lost:
                    await asyncio.sleep(0.01)
                while True:
                    try:
                        await side.bus.connect(side.ears)
                        after = await side.bus.echo()
                        break
                    except StorageUnavailable:
                        await asyncio.sleep(0.1)
            assert after > before  # a promoted replica begins a new epoch
            assert second.cli("ROLE").startswith("master")
            await side.close()
        finally:
            end(process)


async def test_nobody_there() -> None:
    with pytest.raises(StorageUnavailable):
        await RedisEndpoint(f"redis://127.0.0.1:{free_port()}/0", 0.5).connect()
    with pytest.raises(StorageUnavailable):
        await RedisEndpoint(f"redis+sentinel://127.0.0.1:{free_port()}/0/mymaster", 0.5).connect()
