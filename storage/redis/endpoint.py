"""Where Redis is: a URL to a connected, authenticated `Link`; through Sentinel to the present master."""

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from storage.errors import BusUnavailable
from storage.redis.link import Link

log = logging.getLogger("parley.redis")

#: Seconds between two lines in the log about the same right that is missing.
TOLD_EVERY = 60.0
_FALSE = ("0", "false", "no", "none")
#: Options of a URL that ask for TLS, by redis-py's names; what else begins with "ssl" cannot be kept.
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")


def check(url: str) -> None:
    """Raises ValueError that names an option which would ask for TLS in vain; it repeats no value."""
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    for name in options:
        if name.startswith("ssl") and name not in _TLS_OPTIONS:
            raise ValueError(f"has {name}, which cannot be kept here: rediss:// asks for TLS")
        if name.startswith("ssl") and not parts.scheme.startswith("rediss"):
            raise ValueError(f"has {name}, but asks for no TLS: that is rediss://")
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not os.access(options[name], os.R_OK):
            raise ValueError(f"has {name} that names no file which can be read")
    for name, choices in (
        ("ssl_cert_reqs", ("required", "optional", *_FALSE)),
        ("ssl_check_hostname", ("1", "true", "yes", *_FALSE)),
    ):
        if options.get(name, choices[0]).lower() not in choices:
            raise ValueError(f"has {name} that is not one of {', '.join(choices)}")
    try:
        RedisEndpoint(url, 1.0).context()
    except (OSError, ssl.SSLError):
        raise ValueError("has ssl_ca_certs, ssl_certfile or ssl_keyfile without a certificate") from None


class RedisEndpoint:
    """A Redis by its URL: `redis://`, `rediss://` (TLS), `unix://`, and `redis+sentinel://` or
    `rediss+sentinel://[user:password@]host:port,host:port/db/master`.

    TLS options are those of redis-py's URLs: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`,
    `ssl_cert_reqs`, `ssl_check_hostname`. Sentinels with a password of their own: `sentinel_password`.
    """

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url)
        self._timeout = timeout
        self._told: dict[str, float] = {}  # rights that are missing: when the log told of it
        self.line_of: Callable[[str], str] = lambda text: ""  # of a script, that an error is about
        self._options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        self._user = unquote(user) or None
        self._password = unquote(password) or self._options.get("password")
        self._tls = parts.scheme.startswith("rediss")
        self._unix = unquote(parts.path) if parts.scheme == "unix" else None
        path = [] if self._unix else [part for part in parts.path.split("/") if part]
        self._sentinels: list[tuple[str, int]] = []
        self._master = ""
        if parts.scheme.endswith("+sentinel"):
            self._sentinels = [_host_port(each, 26379) for each in hosts.split(",")]
            named = [part for part in path if not part.isdigit()]
            self._master = named[0] if named else self._options.get("service_name", "mymaster")
        self._address = ("", 0) if self._unix or self._sentinels else _host_port(hosts, 6379)
        numbers = [part for part in path if part.isdigit()]
        self.db = int(self._options.get("db") or (numbers[0] if numbers else 0))

    async def connect(self, on_push: Callable[[Any], None] | None = None) -> tuple[Link, str]:
        """A link to the (present) master and that server's run id. Raises StorageUnavailable."""
        try:
            async with asyncio.timeout(self._timeout * 2):
                if self._sentinels:
                    return await self._through_sentinel(on_push)
                return await self._greet(self._address, on_push)
        except TimeoutError as error:
            raise BusUnavailable("Redis cannot be reached in time") from error
        except OSError as error:
            raise BusUnavailable(f"Redis cannot be reached: {error}") from error

    async def _through_sentinel(self, on_push: Callable[[Any], None] | None) -> tuple[Link, str]:
        """Redis's documentation, "Guidelines for Redis clients with support for Redis Sentinel"."""
        failure: Exception = BusUnavailable("no sentinel knows the master")
        for at, address in enumerate(self._sentinels):
            sentinel: Link | None = None
            try:
                async with asyncio.timeout(self._timeout):
                    sentinel = await self._open(address)
                    if password := self._options.get("sentinel_password"):
                        await sentinel.call("AUTH", password)
                    found = await sentinel.call("SENTINEL", "get-master-addr-by-name", self._master)
                    if found is None:
                        continue
                    link, run = await self._greet((found[0].decode(), int(found[1])), on_push)
                self._sentinels.insert(0, self._sentinels.pop(at))  # who answers is asked first
                return link, run
            except (OSError, TimeoutError, BusUnavailable) as error:
                failure = error
            finally:
                if sentinel is not None:
                    sentinel.close()
        raise BusUnavailable(f"no master through Sentinel: {failure}") from failure

    async def _greet(
        self, address: tuple[str, int], on_push: Callable[[Any], None] | None
    ) -> tuple[Link, str]:
        link = await self._open(address)
        try:
            if self._password:
                await link.call("AUTH", *filter(None, (self._user, self._password)))
            if self.db:
                await link.call("SELECT", self.db)
            about = (await link.call("INFO", "server")).decode()
            if self._sentinels and (await link.call("ROLE"))[0] != b"master":
                raise BusUnavailable("not the master any more")
        except BaseException:
            link.close()
            raise
        link.push_to(on_push)
        run = next(line[7:] for line in about.splitlines() if line.startswith("run_id:"))
        return link, run

    async def _open(self, address: tuple[str, int]) -> Link:
        loop = asyncio.get_running_loop()
        if self._unix:
            _, link = await loop.create_unix_connection(
                lambda: Link(self._timeout, self._refused), self._unix
            )
            return link
        host, port = address
        _, link = await loop.create_connection(
            lambda: Link(self._timeout, self._refused),
            host,
            port,
            ssl=self.context(),
            server_hostname=self._name(host),
        )
        return link

    def _refused(self, text: str) -> None:
        """A right is missing: that looks like an outage, and does not go away by itself."""
        now = asyncio.get_running_loop().time()
        if len(self._told) > 100:
            self._told.clear()
        if now >= self._told.get(text, float("-inf")) + TOLD_EVERY:
            self._told[text] = now
            where = self.line_of(text)
            log.error(
                "Redis refuses what this user may not do (docs/operations.md has its rights): %s%s",
                text,
                where,
            )

    def _name(self, host: str) -> str | None:
        return host if self._tls else None

    def context(self) -> ssl.SSLContext | None:
        """None without TLS."""
        if not self._tls:
            return None
        context = ssl.create_default_context(cafile=self._options.get("ssl_ca_certs"))
        check = self._options.get("ssl_check_hostname", "true").lower() not in _FALSE
        if self._options.get("ssl_cert_reqs", "required").lower() in _FALSE:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context.check_hostname = check
        if certificate := self._options.get("ssl_certfile"):
            context.load_cert_chain(certificate, self._options.get("ssl_keyfile"))
        return context


def _host_port(text: str, default: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or (text.endswith("]")):
        host, port = text, ""
    return host.strip("[]") or "127.0.0.1", int(port or default)
