"""Classifies the drivers' errors: may be repeated, exists already, or simply wrong."""

import sqlite3
from collections.abc import Collection

import asyncpg  # type: ignore[import-untyped]

from storage.errors import AlreadyExists, Away, RolledBack, StorageError, StorageUnavailable
from storage.health import ReadOnly

DRIVER_ERRORS: tuple[type[Exception], ...] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    sqlite3.Error,
    OSError,
    TimeoutError,
    # Values that cannot be stored at all: lone surrogates, integers past 64 bits.
    UnicodeError,
    OverflowError,
)

#: By SQLSTATE class: connection, transaction rollback (deadlock), resources, operator intervention
#: (shutdown, starting up), system, configuration.
_REPEATABLE_CLASSES = ("08", "40", "53", "57", "58", "F0")
#: A transaction that another one stood in the way of (serialization, deadlock): it is known not to have been.
_ROLLED_BACK = ("40001", "40P01")
#: A prepared statement that is not there, or somebody else's: ours are prepared on their own connection.
_LOST = ("26000", "42P05")
#: What such an error means.
POOLER = (
    "a pooler hands out the server's connections for a transaction each: set DATABASE_POOL_MODE=transaction, "
    "or the pooler's own mode to session"
)
#: Lock not available; a transaction cut off by the server after it idled.
_REPEATABLE_STATES = ("55P03", "25P03")
#: A server that is shutting down, was ended, or is starting; one that is no primary any more, or not yet.
_AWAY_CLASSES, _AWAY_STATES = ("08",), ("57P01", "57P02", "57P03", "57P05")
_READ_ONLY = "25006"
_REPEATABLE_SQLITE = ("BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "PROTOCOL", "NOMEM")


def translate(error: Exception) -> StorageError:
    """The error to raise instead of a driver's."""
    text = f"{type(error).__name__}: {str(error) or 'no answer in time'}"
    if isinstance(error, asyncpg.UniqueViolationError):
        return AlreadyExists(text)
    if isinstance(error, sqlite3.IntegrityError) and "UNIQUE" in str(error):
        return AlreadyExists(text)
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _LOST:
        return StorageUnavailable(f"{POOLER} ({text})")
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _ROLLED_BACK:
        return RolledBack(text)
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate == _READ_ONLY:
        return ReadOnly(text)
    if _away(error):
        return Away(text)
    return StorageUnavailable(text) if _repeatable(error) else StorageError(text)


def _away(error: Exception) -> bool:
    named = _named(error, _AWAY_CLASSES, _AWAY_STATES, ("BUSY", "LOCKED"))
    # What is left is asyncpg's about its connection or about values, the network's, and time that ran out.
    return not isinstance(error, ValueError | OverflowError) if named is None else named


def _repeatable(error: Exception) -> bool:
    named = _named(error, _REPEATABLE_CLASSES, _REPEATABLE_STATES, _REPEATABLE_SQLITE)
    # What is left is asyncpg's about its connection, the network's, and time that ran out.
    return not isinstance(error, UnicodeError | OverflowError) if named is None else named


def _named(
    error: Exception, classes: Collection[str], states: Collection[str], sqlite: Collection[str]
) -> bool | None:
    """Whether a database's own name for its error is one of these; None: no database named it."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate or "")
        return state[:2] in classes or state in states
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "") or ""
        return name.removeprefix("SQLITE_").split("_")[0] in sqlite
    return None
