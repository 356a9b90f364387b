"""An older session store, row by row: a good row becomes a session, a bad one a sentence that says why.

The store is an SQLite file with a table `sessions` (`session_id` text primary key, `user_id`, `metadata` JSON
text, `created_at`, `expires_at`, `last_activity`, `request_count`). It is only read.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import sqlalchemy as sa

from storage.database import Database, SqlConnection
from storage.errors import StorageError, StorageUnavailable
from storage.records import SessionRecord
from storage.statement import Statement, among, to_json
from storage.tables import ID_LENGTH, USER_LENGTH, sessions

#: Rows in one transaction.
BATCH = 1000
NEEDED = ("session_id", "user_id", "created_at", "expires_at")
KNOWN = (*NEEDED, "metadata", "last_activity", "request_count")

_FIELDS = SessionRecord.__struct_fields__
_values = {name: sa.bindparam(name, type_=sessions.c[name].type) for name in _FIELDS}
_PRESENT = Statement(
    sa.select(sessions.c.session_id, sessions.c.user_id).where(among(sessions.c.session_id, "ids"))
)
_PUT = Statement(sessions.insert().values(_values))


@dataclass(frozen=True, slots=True)
class Misfit:
    """A row that was left out: its place in the file, its id as far as it can be read, and why."""

    row: int
    session_id: str
    problem: str


@dataclass(slots=True)
class ImportTally:
    """Counts of the rows so far."""

    rows: int = 0
    imported: int = 0
    present: int = 0
    misfits: int = 0


class NotAStore(Exception):
    """The file is no older session store that can be read."""


def count(file: Path) -> int:
    """Rows of the store. Raises NotAStore."""
    with closing(_open(file)) as store, _reading():
        return int(store.execute("SELECT count(*) FROM sessions").fetchone()[0])


def rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """Texts come as bytes: a damaged one must not end the reading. Raises NotAStore."""
    with closing(_open(file)) as store, _reading():
        present = {row[1].decode() for row in store.execute("PRAGMA table_info(sessions)")}
        missing = [name for name in NEEDED if name not in present]
        if missing:
            raise NotAStore(
                f"its table sessions lacks {', '.join(missing)}" if present else "no table sessions"
            )
        names = [name for name in KNOWN if name in present]
        for row in store.execute(f"SELECT {', '.join(names)} FROM sessions"):
            yield dict(zip(names, row, strict=True))


def _open(file: Path) -> sqlite3.Connection:
    if not file.is_file():
        raise NotAStore(f"no file {file}")
    store = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    store.text_factory = bytes
    return store


class _reading:
    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise NotAStore(str(error)) from error


# --- one row


class _Unfit(Exception):
    pass


def session_of(row: Mapping[str, Any], default_ttl_hours: float) -> SessionRecord | str:
    """The session that a row describes, or what is wrong with it. Times without a zone are UTC."""
    try:
        return _session(row, default_ttl_hours)
    except _Unfit as error:
        return str(error)


def _session(row: Mapping[str, Any], default_ttl_hours: float) -> SessionRecord:
    session_id = _text(row["session_id"], "session_id", ID_LENGTH)
    user_id = _text(row["user_id"], "user_id", USER_LENGTH)
    created_at, expires_at = _time(row["created_at"], "created_at"), _time(row["expires_at"], "expires_at")
    active = row.get("last_activity")
    last_activity = created_at if active is None else _time(active, "last_activity")
    if expires_at < created_at:
        _refuse("expires_at", "before created_at")
    # The lifetime it slides by: what was left when it was last used.
    ttl_hours = (expires_at - last_activity) / timedelta(hours=1)
    # The same on every run, so that a repeat makes no second one.
    digest = hashlib.blake2s(session_id.encode(), digest_size=16, person=b"import")
    return SessionRecord(
        session_id=session_id,
        trace_id=f"trace_{digest.hexdigest()}",
        user_id=user_id,
        agent_id=None,
        title=None,
        status="active",
        metadata=_object(row.get("metadata")),
        ttl_hours=ttl_hours if ttl_hours > 0 else default_ttl_hours,
        created_at=created_at,
        updated_at=max(created_at, last_activity),
        last_activity=last_activity,
        expires_at=expires_at,
        request_count=_count(row.get("request_count")),
        created_via="import",
    )


def _refuse(name: str, problem: str) -> NoReturn:
    raise _Unfit(f"{name}: {problem}")


def _text(value: Any, name: str, most: int) -> str:
    if isinstance(value, int):
        value = str(value).encode()
    if not isinstance(value, bytes):
        _refuse(name, "missing" if value is None else "not a text")
    try:
        text: str = value.decode()
    except UnicodeDecodeError:
        _refuse(name, "not UTF-8")
    if not text.strip():
        _refuse(name, "empty")
    if len(text) > most:
        _refuse(name, f"longer than {most} characters")
    if "\0" in text:
        _refuse(name, "holds a NUL")
    return text


def _time(value: Any, name: str) -> datetime:
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if not isinstance(value, bytes):
            _refuse(name, "missing")
        time = datetime.fromisoformat(value.decode().strip())
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        # A year that a client's calendar can show, and that leaves room to slide.
        if not 1970 <= time.year <= 9000:
            _refuse(name, "out of range")
        return time
    except (ValueError, OverflowError, OSError):
        _refuse(name, "not a time")


def _object(value: Any) -> dict[str, Any]:
    if value is None or value == b"":
        return {}
    if not isinstance(value, bytes):
        _refuse("metadata", "not a text")
    try:
        found = json.loads(value.decode(), parse_constant=lambda word: _refuse("metadata", f"holds {word}"))
        text = to_json(found)
    except (ValueError, RecursionError, StorageError):
        _refuse("metadata", "not JSON that can be stored")
    if not isinstance(found, dict):
        _refuse("metadata", "not a JSON object")
    if "\\u0000" in text.replace("\\\\", ""):
        _refuse("metadata", "holds a NUL")
    return found


def _count(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse("request_count", "not a whole number")
    if not 0 <= value < 2**63:
        _refuse("request_count", "out of range")
    return value


# --- into a database


async def take_in(
    db: Database, batch: Sequence[tuple[int, SessionRecord]], *, dry_run: bool
) -> tuple[int, int, list[Misfit]]:
    """(imported, already there, misfits) of rows with their places. One transaction: all or nothing.

    What is there is left as it is: live clients may have gone on with it. Raises StorageUnavailable.
    """
    try:
        return await _take_in(db, batch, dry_run)
    except StorageUnavailable:
        raise
    except StorageError as error:
        if len(batch) == 1:
            row, record = batch[0]
            return 0, 0, [Misfit(row, record.session_id, str(error))]
    # One of them cannot be stored: find it, and let its neighbours pass.
    imported, present, misfits = 0, 0, []
    for one in batch:
        more = await take_in(db, [one], dry_run=dry_run)
        imported, present = imported + more[0], present + more[1]
        misfits += more[2]
    return imported, present, misfits


async def _take_in(
    db: Database, batch: Iterable[tuple[int, SessionRecord]], dry_run: bool
) -> tuple[int, int, list[Misfit]]:
    taken = list(batch)

    async def work(connection: SqlConnection) -> tuple[int, int, list[Misfit]]:
        new: list[SessionRecord] = []
        misfits: list[Misfit] = []
        present = 0
        ids = [record.session_id for _, record in taken]
        owners = {row[0]: row[1] for row in await connection.fetch_all(_PRESENT, ids=ids)}
        for number, record in taken:
            owner = owners.get(record.session_id)
            if owner is None:
                new.append(record)
            elif owner == record.user_id:
                present += 1
            else:
                problem = "session_id: another user has a session of this id here"
                misfits.append(Misfit(number, record.session_id, problem))
        if new and not dry_run:
            rows = [{name: getattr(record, name) for name in _FIELDS} for record in new]
            await connection.execute_many(_PUT, rows)
        return len(new), present, misfits

    return await db.transact(work, limit=60)
