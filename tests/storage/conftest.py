"""A connected database of either kind, a clock that stands still until told, and rows to begin with."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from storage.agents import Agents
from storage.database import Database
from storage.files import Files
from storage.messages import Messages
from storage.ops import Committed, NewMessage
from storage.participants import Participants
from storage.records import FileRecord, SessionRecord
from storage.sessions import Sessions
from storage.writer import Writer


def file_parts(*file_ids: str) -> list[dict[str, Any]]:
    """Of a message that posts these files."""
    return [{"type": "file", "id": f"part {file_id}", "file_id": file_id} for file_id in file_ids]


class StillClock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


class Store:
    """All of storage over one database, as a node has it."""

    def __init__(self, db: Database, clock: StillClock) -> None:
        self.db, self.clock = db, clock
        self.sessions, self.messages = Sessions(db), Messages(db)
        self.participants, self.files, self.agents = Participants(db), Files(db), Agents(db)
        self.batches: list[list[Committed]] = []
        self.follow: Callable[[Sequence[Committed]], None] = lambda batch: None
        self.writer = Writer(db, clock, self._committed)
        self.writer.start()
        self._numbers = count(1)

    def _committed(self, batch: Sequence[Committed]) -> None:
        self.batches.append(list(batch))
        self.follow(batch)

    async def close(self) -> None:
        await self.writer.stop()
        await self.db.disconnect()

    async def session(self, session_id: str = "s", **given: Any) -> SessionRecord:
        now = self.clock.now
        values: dict[str, Any] = {
            "session_id": session_id,
            "trace_id": f"trace-{session_id}",
            "user_id": "alice",
            "agent_id": None,
            "title": None,
            "status": "active",
            "metadata": {},
            "ttl_hours": 24.0,
            "created_at": now,
            "updated_at": now,
            "last_activity": now,
            "expires_at": now + timedelta(hours=given.get("ttl_hours", 24)),
        }
        return await self.sessions.create(SessionRecord(**(values | given)))

    def new(self, content: str = "hello", session_id: str = "s", **given: Any) -> NewMessage:
        values: dict[str, Any] = {
            "session_id": session_id,
            "message_id": f"m{next(self._numbers)}",
            "client_message_id": None,
            "sender_type": "user",
            "sender_id": "alice",
            "message_type": "text",
            "content": content,
        }
        return NewMessage(**(values | given))

    async def say(self, content: str = "hello", session_id: str = "s", **given: Any) -> Committed:
        return await self.writer.submit(self.new(content, session_id, **given))

    def file(self, file_id: str = "f1", session_id: str = "s", **given: Any) -> FileRecord:
        values: dict[str, Any] = {
            "file_id": file_id,
            "session_id": session_id,
            "message_id": None,
            "file_name": "a.png",
            "file_type": "image/png",
            "file_size": 3,
            "file_url": f"/files/{file_id}",
            "thumbnail_url": None,
            "uploaded_by": "alice",
            "uploaded_at": self.clock.now,
        }
        return FileRecord(**(values | given))


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.connect()
    yield database
    await database.disconnect()


@pytest.fixture
async def store(db: Database, clock: StillClock) -> AsyncIterator[Store]:
    one = Store(db, clock)
    yield one
    await one.writer.stop()


@pytest.fixture
async def other_store(database_url: str, clock: StillClock) -> AsyncIterator[Store]:
    """Another node on the same database."""
    database = Database(database_url)
    await database.connect()
    one = Store(database, clock)
    yield one
    await one.close()
