"""A client of Parley: sessions as observable stores, over Socket.IO and REST."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self, cast
from urllib.parse import quote

from parley_client.door import Door
from parley_client.errors import Json, ParleyError, as_error, closed
from parley_client.observable import Errands
from parley_client.pending import PendingBox
from parley_client.rest import Rest, Token, query
from parley_client.session import SessionStore
from parley_client.sessions import SessionsStore
from parley_client.shown import FileAddress, FoundPage
from parley_client.storage import MemoryStorage, Storage

#: Before a signed address ends it is asked for anew.
EARLY = timedelta(seconds=10)
#: Sessions whose messages are known, also while nobody looks at them; files whose addresses are.
REMEMBERED, FILES = 30, 500
#: Seconds in which what was just said gets into the storage before a client closes.
KEPT = 5.0
#: Seconds until a token is asked for again by who has none: doubled each time, up to the second.
AGAIN = (0.5, 8.0)


class Parley:
    """Asks for nothing and connects to nothing before somebody subscribes or acts. Use it in `async with`, or
    `close` it.

    `url` is where Parley is, with its path. `token` is one, or what gives a fresh one (awaitable or not),
    from your own backend: it is called at each connect and before a token ends, and always for the same user.
    `storage` keeps pending messages: `SqliteStorage(path)` over a restart, else they are in memory.
    """

    def __init__(self, url: str, *, token: Token, storage: Storage | None = None) -> None:
        #: One's own key; None before there is a token.
        self.me: str | None = None
        self.closed = False
        self.errands = Errands()
        self.rest = Rest(url, token)
        self.box = PendingBox(storage or MemoryStorage(), self._say, self._pending)
        self.sessions = SessionsStore(self)
        self._door: Door | None = None
        self._stores: dict[str, SessionStore] = {}
        self._addresses: dict[str, FileAddress] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def session(self, session_id: str) -> SessionStore:
        """The store of a session: for one id always the same."""
        store = self._stores.get(session_id)
        if store is None:
            store = self._stores[session_id] = SessionStore(self, session_id)
        return store

    async def search(
        self, q: str, *, session_id: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> FoundPage:
        """Messages by their words, and titles."""
        asked = query(q=q, session_id=session_id, limit=limit, cursor=cursor)
        return cast(FoundPage, await self.rest.call("GET", f"/api/chat/search{asked}"))

    async def file_url(self, file_id: str) -> FileAddress:
        """Signed addresses of a file: asked for again before they end."""
        known = self._addresses.get(file_id)
        if known and datetime.fromisoformat(known["expires_at"]) - EARLY > datetime.now(UTC):
            return known
        asked = await self.rest.call("GET", f"/api/chat/files/{quote(file_id, safe='')}/url")
        if len(self._addresses) > FILES:
            self._addresses.clear()
        self._addresses[file_id] = cast(FileAddress, asked)
        return self._addresses[file_id]

    async def presence(self, status: Literal["online", "away"]) -> None:
        """Of this connection, in all sessions."""
        await self.call("presence", {"status": status})

    async def reconnect(self) -> None:
        """Once more, where a person had to mend something: they signed in again."""
        await self.rest.token(fresh=True)
        if (door := self.open()) is not None:
            door.link.reconnect()
        for store in list(self._stores.values()):
            if store.watched and store.snapshot.connection == "refused":
                await store.reopen()

    async def close(self) -> None:
        """For good: what one asks for afterwards is `CLOSED`. What is pending stays in the storage."""
        if self.closed:
            return
        self.closed = True
        await self.box.close(KEPT)
        if self._door is not None:
            await self._door.close()
        await self.errands.end()
        await self.rest.close()
        error = closed()
        self._connected("offline", error)
        for store in self._stores.values():
            store.told("offline", error)

    # --- for the stores

    def open(self) -> Door | None:
        """The door, which begins to connect with the first call."""
        if self._door is None and not self.closed:
            self._door = Door(self.rest, self._event, self._connected)
            self._door.link.open()
            self.errands.run(self._known())
        return self._door

    async def _known(self) -> None:
        """Who one is: whose pending messages are whose."""
        pause = AGAIN[0]
        while True:
            try:
                self.me = await self.rest.me()
                break
            except (ParleyError, ValueError, LookupError) as failure:
                self.sessions.told("offline", as_error(failure))
            await asyncio.sleep(pause)
            pause = min(AGAIN[1], pause * 2)
            await self._fresh_token()
        await self.box.open(f"{self.rest.base} {self.me}")

    async def _fresh_token(self) -> None:
        try:
            await self.rest.token(fresh=True)
        except ParleyError:
            return  # asked again

    def enter(self, store: SessionStore) -> None:
        self._stores[store.id] = store  # it may have been forgotten
        if (door := self.open()) is not None and store.watched:
            door.enter(store)

    def leave(self, store: SessionStore) -> None:
        if store.watched or self._door is None or self.closed:
            return
        self._door.leave(store)
        for id, old in list(self._stores.items()):
            if len(self._stores) > REMEMBERED and not old.watched:
                del self._stores[id]

    async def call(self, name: str, payload: Json) -> Json:
        """A command, when there is a connection: its reply, or a `ParleyError`."""
        door = self.open()
        if door is None or self.closed:
            raise closed()
        return await door.link.call(name, payload)

    def tell(self, name: str, payload: Json) -> None:
        if (door := self.open()) is not None:
            door.link.tell(name, payload)

    async def activate(self, session_id: str) -> None:
        await self.sessions.update(session_id, status="active")

    def was_read(self, session_id: str, unread_count: int) -> None:
        self.sessions.was_read(session_id, unread_count)

    def knows(self, session_id: str, message_id: str) -> bool:
        return self.session(session_id).knows(message_id)

    async def _say(self, session_id: str, payload: Json) -> Json:
        return await self.call("message", {"session_id": session_id, **payload})

    def _pending(self, session_id: str) -> None:
        if not self.closed:
            self.session(session_id).waits(self.box.of(session_id))

    def _event(self, name: str, data: Json, strange: bool) -> None:
        self.sessions.event(name, data)
        if strange or data.get("event") in ("activity", "added"):
            return  # of sessions that one has not joined
        store: Any = self._stores.get(data.get("session_id", ""))
        if store is not None:
            store.event(name, data)

    def _connected(self, word: str, error: ParleyError | None) -> None:
        self.sessions.told(word, error)
        self.box.connected(word == "online" and not self.closed)
