"""A PostgreSQL address as libpq reads it: hosts, names, parameters and their environment variables.

Knows no driver: how what an address asks for is kept is in `storage.tls` and `storage.connecting`.
Documentation: PostgreSQL, "Connection URIs" and "Parameter Key Words". Errors never repeat a value.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TARGETS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
#: Where libpq looks for a socket: Debian's folder, then the one of PostgreSQL's own builds.
_SOCKET_FOLDERS = ("/var/run/postgresql", "/tmp")
#: Seconds: libpq's least; what is less cannot be told from a busy server.
_LEAST_CONNECT_TIMEOUT = 2

#: Parameters that are honoured, and the variables that libpq reads where the URL does not say.
_HONOURED: Mapping[str, str] = {
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslpassword": "",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "application_name": "PGAPPNAME",
    "fallback_application_name": "",
    "options": "PGOPTIONS",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "keepalives": "",
    "keepalives_idle": "",
    "keepalives_interval": "",
    "keepalives_count": "",
    "tcp_user_timeout": "",
}
#: Parameters of which only these values can be kept.
_LIMITED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "channel_binding": ("PGCHANNELBINDING", ("prefer", "disable")),
    "gssencmode": ("PGGSSENCMODE", ("prefer", "disable")),
    "sslnegotiation": ("PGSSLNEGOTIATION", ("postgres",)),
    "sslsni": ("PGSSLSNI", ("1",)),
    "sslcompression": ("PGSSLCOMPRESSION", ("0",)),
    "sslcertmode": ("PGSSLCERTMODE", ("allow",)),
    "replication": ("", _NO),
    "client_encoding": ("PGCLIENTENCODING", ("utf8", "utf-8", "unicode", "auto")),
}
#: Parameters of libpq that change how safe a connection is, or where it leads, and that no driver here has.
_REFUSED: Mapping[str, str] = {
    "service": "PGSERVICE",
    "servicefile": "",
    "hostaddr": "PGHOSTADDR",
    "sslcrldir": "PGSSLCRLDIR",
    "requirepeer": "PGREQUIREPEER",
    "require_auth": "PGREQUIREAUTH",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "gssdelegation": "PGGSSDELEGATION",
    "min_protocol_version": "PGMINPROTOCOLVERSION",
    "max_protocol_version": "PGMAXPROTOCOLVERSION",
}
#: Parameters that mean something where they are empty. Any other that a template had no value for would fall
#: back to a default, perhaps a weaker one.
_MAY_BE_EMPTY = frozenset(
    [
        "host",
        "port",
        "dbname",
        "user",
        "password",
        "passfile",
        "sslpassword",
        "options",
        "application_name",
        "fallback_application_name",
    ]
)
#: Parameters of our own and of other drivers; psql knows none of them.
_OURS = ("ssl", "statement_cache_size", "prepared_statement_cache_size", "pgbouncer")


@dataclass(frozen=True, slots=True)
class Tls:
    """What is asked of a connection's encryption. Paths as given; None: libpq's place in ~/.postgresql."""

    mode: str = "prefer"
    rootcert: str | None = None
    cert: str | None = None
    key: str | None = None
    password: str = field(default="", repr=False)
    crl: str | None = None
    least: str = "TLSv1.2"
    most: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """One reading of a `postgresql://` address. A host that begins with "/" is a socket's folder."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str | None
    password: str | None = field(repr=False)
    passfile: str | None
    tls: Tls
    #: Seconds for one host; None where the address does not say, infinite where it says 0.
    connect_timeout: float | None
    application_name: str
    options: str | None
    target: str
    random_host: bool
    #: Socket options by libpq's names, in its units.
    keepalive: Mapping[str, int]
    #: Prepared statements kept by a connection; None where the address does not say.
    statement_cache_size: int | None
    #: Behind a pooler that hands out its connections for a transaction each.
    pooled: bool


def parse(url: str, environ: Mapping[str, str] | None = None) -> Address:
    """Raises ValueError that names the parameter which is wrong, unknown or cannot be kept."""
    given = _Given(url, os.environ if environ is None else environ)
    hosts = _hosts(given)
    database = given.get("dbname")
    if not database:
        raise ValueError("names no database on the server")
    return Address(
        hosts=hosts,
        database=database,
        user=given.get("user"),
        password=given.get("password"),
        passfile=given.get("passfile"),
        tls=_tls(given),
        connect_timeout=_connect_timeout(given),
        application_name=given.get("application_name") or given.get("fallback_application_name") or "parley",
        options=given.get("options"),
        target=given.choice("target_session_attrs", _TARGETS),
        random_host=given.choice("load_balance_hosts", ("disable", "random")) == "random",
        keepalive=_keepalive(given),
        statement_cache_size=_cache(given),
        pooled=given.choice("pgbouncer", (*_NO, *_YES)) in _YES,
    )


class _Given:
    """Parameters by name: those of the URL, and where it is silent those of the environment."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        head, _, query = url.partition("://")[2].partition("?")
        self.netloc, _, path = head.partition("/")
        self._values: dict[str, str] = {}
        #: What a message calls a parameter: as it was given.
        self._names: dict[str, str] = {}
        self.hosts = ""
        self._from_head(unquote(path))
        self._from_query(query)
        self._from_environment(environ)
        self._check()

    def _from_head(self, database: str) -> None:
        credentials, at, self.hosts = self.netloc.rpartition("@")
        if at:
            user, colon, password = credentials.partition(":")
            if user:
                self._values["user"] = unquote(user)
            if colon:
                self._values["password"] = unquote(password)
        if database:
            self._values["dbname"] = database

    def _from_query(self, query: str) -> None:
        asked: dict[str, str] = {}
        for part in filter(None, query.split("&")):
            name, found, value = part.partition("=")
            name = unquote(name)
            if not found:
                raise ValueError("has a parameter without a value")
            self._know(name)
            value = unquote(value)
            if not value and name not in _MAY_BE_EMPTY:
                raise ValueError(f"has {name} without a value")
            if name in asked and asked[name] != value:
                raise ValueError(f"has {name} twice, and not the same")
            asked[name] = self._values[name] = value

    def _know(self, name: str) -> None:
        if name in _REFUSED:
            raise ValueError(f"has {name}, which cannot be kept here")
        known = [*_HONOURED, *_LIMITED, *_OURS]
        if name not in known:
            near = get_close_matches(name, known, 1)
            shown = name if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name) else "one"
            raise ValueError(f"has a parameter that is unknown: {shown}" + (f" ({near[0]}?)" if near else ""))

    def _from_environment(self, environ: Mapping[str, str]) -> None:
        limited = {name: variable for name, (variable, _) in _LIMITED.items()}
        for name, variable in {**_HONOURED, **limited}.items():
            value = environ.get(variable) if variable else None
            said = name in self._values or (name == "sslmode" and "ssl" in self._values)
            if value and not said and not (name == "host" and self.hosts):
                self._values[name], self._names[name] = value, variable
        for name, variable in _REFUSED.items():
            if variable and environ.get(variable) and name not in self._values:
                raise ValueError(
                    f"would be changed by {variable} of the environment, which cannot be kept here"
                )

    def _check(self) -> None:
        for name, (_, allowed) in _LIMITED.items():
            value = self._values.get(name)
            if value is not None and value.lower() not in allowed:
                raise ValueError(
                    f"has a value of {self.named(name)} that cannot be kept here: {name} may be "
                    + " or ".join(dict.fromkeys(allowed))
                )

    def named(self, name: str) -> str:
        return self._names.get(name, name)

    def get(self, name: str) -> str | None:
        return self._values.get(name) or None

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.get(name)
        if value is None:
            return allowed[0]
        if value not in allowed:
            raise ValueError(f"has {self.named(name)} that is not one of {', '.join(allowed)}")
        return value

    def whole(self, name: str) -> int | None:
        value = self.get(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,9}", value.strip()):
            raise ValueError(f"has {self.named(name)} that is not a whole number")
        return int(value)

    def file(self, name: str) -> str | None:
        """The path of a file that was named: it must be there."""
        value = self.get(name)
        if value is not None and not os.access(value, os.R_OK):
            raise ValueError(f"has {self.named(name)} that names no file which can be read")
        return value


def _hosts(given: _Given) -> tuple[tuple[str, int], ...]:
    named = given.get("host")
    specs = [_host_and_port(each) for each in given.hosts.split(",")] if given.hosts and not named else []
    hosts = [host for host, _ in specs] if specs else (named or "").split(",")
    ports = [port for _, port in specs]
    if named or not any(ports):
        ports = (given.get("port") or "").split(",")
        if len(ports) == 1:
            ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ValueError(f"has {given.named('port')} of another count than its hosts")
    return tuple((host or _default_host(), _port(port)) for host, port in zip(hosts, ports, strict=True))


def _host_and_port(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"\[([^\]]*)\](?::([^:]*))?|([^:]*)(?::([^:]*))?", text)
    if found is None:
        raise ValueError("has an invalid host: an IPv6 address stands in brackets")
    return unquote(found[1] or found[3] or ""), unquote(found[2] or found[4] or "")


def _default_host() -> str:
    there = (folder for folder in _SOCKET_FOLDERS if any(Path(folder).glob(".s.PGSQL.*")))
    return next(there, "localhost")


def _port(text: str) -> int:
    if not text:
        return 5432
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError("has a port that is not a number from 1 to 65535")
    return int(text)


def _tls(given: _Given) -> Tls:
    system = given.get("sslrootcert") == "system"
    mode, spelled = given.get("sslmode"), _mode_of_ssl(given.get("ssl"))
    if mode and spelled and not _agree(spelled, mode):
        raise ValueError("has ssl and sslmode that contradict each other")
    mode = mode or spelled or ("verify-full" if system else "prefer")
    if mode not in MODES:
        raise ValueError(f"has {given.named('sslmode')} that is not one of {', '.join(MODES)}")
    if system and mode != "verify-full":
        raise ValueError("has sslrootcert=system, which needs sslmode=verify-full")
    least = given.get("ssl_min_protocol_version") or "TLSv1.2"
    most = given.get("ssl_max_protocol_version")
    for name, version in (("ssl_min_protocol_version", least), ("ssl_max_protocol_version", most)):
        if version not in (*_TLS_VERSIONS, None):
            raise ValueError(f"has {given.named(name)} that is not one of {', '.join(_TLS_VERSIONS)}")
    if most is not None and _TLS_VERSIONS.index(most) < _TLS_VERSIONS.index(least):
        raise ValueError("has ssl_max_protocol_version below the least")
    return Tls(
        mode=mode,
        rootcert="system" if system else given.file("sslrootcert"),
        cert=given.file("sslcert"),
        key=given.file("sslkey"),
        password=given.get("sslpassword") or "",
        crl=given.file("sslcrl"),
        least=least,
        most=most,
    )


def _mode_of_ssl(value: str | None) -> str | None:
    """libpq takes `ssl=true` for `sslmode=require`; SQLAlchemy's and asyncpg's spelling is a mode."""
    if value is None:
        return None
    lowered = value.lower()
    return "require" if lowered in _YES else "disable" if lowered in _NO else lowered


def _agree(spelled: str, mode: str) -> bool:
    """Whether `ssl` asks for nothing that `sslmode` does not keep: one that verifies encrypts, too."""
    return spelled == mode or (spelled == "require" and mode in ("verify-ca", "verify-full"))


def _connect_timeout(given: _Given) -> float | None:
    seconds = given.whole("connect_timeout")
    if seconds is None:
        return None
    return float("inf") if seconds <= 0 else float(max(seconds, _LEAST_CONNECT_TIMEOUT))


def _keepalive(given: _Given) -> dict[str, int]:
    names = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
    found = {name: given.whole(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _cache(given: _Given) -> int | None:
    found = [given.whole(name) for name in ("statement_cache_size", "prepared_statement_cache_size")]
    sizes = [size for size in found if size is not None]
    if any(size < 0 for size in sizes):
        raise ValueError("has statement_cache_size below 0")
    return min(sizes, default=None)
