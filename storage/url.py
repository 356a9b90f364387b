"""The spellings of a database address, and where they lead. PostgreSQL's parameters: `storage.address`."""

from pathlib import Path
from urllib.parse import urlsplit

from storage.address import parse
from storage.tls import context

_DIALECTS = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+asyncpg": "postgresql",
    "postgresql+psycopg": "postgresql",
    "postgresql+psycopg2": "postgresql",
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
}


def dialect_of(url: str) -> str:
    """ "postgresql" or "sqlite". Raises ValueError for anything else."""
    scheme = url.partition("://")[0].lower()
    if scheme not in _DIALECTS or "://" not in url:
        raise ValueError(f"not a database URL that is understood: {scheme}://…")
    return _DIALECTS[scheme]


def check(url: str) -> str:
    """The plain spelling of an address that can be kept, with all that it asks for.

    Raises ValueError that names what is wrong, and never repeats a value.
    """
    if dialect_of(url) == "sqlite":
        sqlite_file(url)
    else:
        context(parse(url).tls)
    return plain(url)


def plain(url: str, driver: str = "") -> str:
    """The same address with the plain scheme, and `+driver` where a driver is asked for."""
    dialect = dialect_of(url)
    rest = url.partition("://")[2]
    return f"{dialect}{'+' + driver if driver else ''}://{rest}"


def pooled(url: str) -> str:
    """The same PostgreSQL address, behind a pooler that hands out its connections for a transaction each."""
    if dialect_of(url) == "sqlite" or parse(url).pooled:
        return url
    return f"{url}{'&' if '?' in url else '?'}pgbouncer=true"


def sqlite_file(url: str) -> Path:
    """The file of an SQLite address: `sqlite:///relative`, `sqlite:////absolute`.

    Raises ValueError for a database in memory: it would be another one for each connection.
    """
    path = urlsplit(plain(url)).path.removeprefix("/")
    if not path or path == ":memory:":
        raise ValueError("a database in memory cannot be shared by connections: name a file")
    return Path(path)
