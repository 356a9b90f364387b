"""Search over a database of either kind, with sessions and messages to begin with."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import pytest

from events.access import Caller
from events.search import SearchService
from events.sessions import SessionManager
from events.signing import Signer
from storage.agents import Agents
from storage.database import Database
from storage.participants import Participants
from storage.search import Search
from storage.sessions import Sessions
from storage.turns import Turns
from tests.storage.conftest import StillClock, Store


class Searched(Store):
    """A store and the search over it."""

    def __init__(self, db: Database) -> None:
        super().__init__(db, StillClock())
        manager = SessionManager(
            Sessions(db),
            Participants(db),
            Agents(db),
            cast(Any, None),
            lambda: self.clock().timestamp(),
            ttl_hours=24,
            limits=cast(Any, None),
        )
        self.turns = Turns()
        self.index = Search(db, self.turns)
        self.service = SearchService(self.index, manager, Signer("s" * 40, "search"), self.turns)

    async def ask(
        self, query: str, user: str | Caller = "alice", session_id: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """All results, however many pages they take."""
        caller = user if isinstance(user, Caller) else Caller("user", user)
        results: list[dict[str, Any]] = []
        cursor = None
        for _ in range(1000):
            page = await self.service.search(caller, query, session_id, limit, cursor)
            assert len(page["results"]) <= limit
            results += page["results"]
            cursor = page["cursor"]
            assert page["has_more"] == (cursor is not None)
            if cursor is None:
                break
        return results

    async def texts(self, query: str, **given: Any) -> list[str]:
        """What was found, as plain text."""
        shown = [one["snippet"] for one in await self.ask(query, **given)]
        return [text.replace("<mark>", "").replace("</mark>", "") for text in shown]

    async def say_all(self, texts: Iterable[tuple[str, str]]) -> None:
        """(session, text) of many messages; their ids are m0, m1, ..."""
        ops = [self.new(text, room, message_id=f"m{number}") for number, (room, text) in enumerate(texts)]
        await asyncio.gather(*map(self.writer.submit, ops))


@pytest.fixture
async def searched(database_url: str) -> AsyncIterator[Searched]:
    db = Database(database_url)
    await db.connect()
    store = Searched(db)
    yield store
    await store.close()
