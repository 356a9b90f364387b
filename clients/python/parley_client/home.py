"""What the stores need of the client that they belong to."""

import asyncio
from typing import Any, Protocol

from parley_client.errors import Json
from parley_client.observable import Errands
from parley_client.rest import Rest
from parley_client.shown import FoundPage


class Box(Protocol):
    """What is pending."""

    def add(self, session_id: str, payload: Json) -> "asyncio.Future[Any]": ...

    def retry(self, id: str) -> None: ...

    def discard(self, id: str) -> bool: ...

    def arrived(self, id: str, reply: Json) -> None: ...

    def settled(self, session_id: str) -> None: ...


class Home(Protocol):
    me: str | None
    closed: bool

    @property
    def rest(self) -> Rest: ...

    @property
    def errands(self) -> Errands: ...

    @property
    def box(self) -> Box: ...

    def open(self) -> object:
        """Begin to connect."""

    def enter(self, store: Any) -> None:
        """Join a session, as long as it is watched."""

    def leave(self, store: Any) -> None: ...

    async def call(self, name: str, payload: Json) -> Json: ...

    def tell(self, name: str, payload: Json) -> None: ...

    async def search(
        self, q: str, *, session_id: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> FoundPage: ...

    async def activate(self, session_id: str) -> None:
        """Open again what has ended."""

    def was_read(self, session_id: str, unread_count: int) -> None: ...

    def knows(self, session_id: str, message_id: str) -> bool:
        """Whether the session's store has this message."""
