"""What a client received, in order, and waiting for more of it. Shared by all test clients."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Received:
    """One event as a client saw it."""

    name: str
    data: dict[str, Any]
    position: str | None = None
    extra: tuple[Any, ...] = field(default=())


class Inbox:
    """All events of one client. Nothing is consumed: look as often as you like."""

    def __init__(self, name: str = "client") -> None:
        self.name = name
        self.events: list[Received] = []
        self._news = asyncio.Event()
        self._ended: str | None = None

    def add(self, event: Received) -> None:
        self.events.append(event)
        self._news.set()

    def end(self, reason: str) -> None:
        """Nothing more will come: whoever waits is told at once."""
        self._ended = reason
        self._news.set()

    def reopen(self) -> None:
        self._ended = None

    def mark(self) -> int:
        """A place in the stream of events, for `since=`."""
        return len(self.events)

    def named(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        return [event.data for event in self.events[since:] if event.name == name]

    async def wait_event(
        self,
        name: str,
        where: Callable[[dict[str, Any]], bool] | None = None,
        *,
        since: int = 0,
        timeout: float = 10,
    ) -> dict[str, Any]:
        """The first event of that name for which `where` holds; may have come already."""
        event = await self.wait_received(name, where, since=since, timeout=timeout)
        return event.data

    async def wait_any(self, *names: str, timeout: float) -> Received:
        """The first event of any of these names; may have come already."""
        return await self._wait(names, None, 0, timeout)

    async def wait_received(
        self,
        name: str,
        where: Callable[[dict[str, Any]], bool] | None = None,
        *,
        since: int = 0,
        timeout: float = 10,
    ) -> Received:
        return await self._wait((name,), where, since, timeout)

    async def _wait(
        self,
        names: tuple[str, ...],
        where: Callable[[dict[str, Any]], bool] | None,
        since: int,
        timeout: float,
    ) -> Received:
        seen = since
        wanted = " or ".join(map(repr, names))
        try:
            async with asyncio.timeout(timeout):
                while True:
                    while seen < len(self.events):
                        event = self.events[seen]
                        seen += 1
                        if event.name in names and (where is None or where(event.data)):
                            return event
                    if self._ended is not None:
                        raise ConnectionError(
                            f"{self.name}: {self._ended}, no {wanted}: {self._summary(since)}"
                        )
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            message = f"{self.name}: no {wanted} in {timeout} s; came: {self._summary(since)}"
            raise TimeoutError(message) from None

    async def wait_count(
        self,
        name: str,
        count: int,
        where: Callable[[dict[str, Any]], bool] | None = None,
        *,
        since: int = 0,
        timeout: float = 15,
    ) -> list[dict[str, Any]]:
        """The first `count` matching events."""
        found: list[dict[str, Any]] = []
        place = since
        async with asyncio.timeout(timeout):
            while len(found) < count:
                while place < len(self.events) and len(found) < count:
                    event = self.events[place]
                    place += 1
                    if event.name == name and (where is None or where(event.data)):
                        found.append(event.data)
                if len(found) < count:
                    if self._ended is not None:
                        raise ConnectionError(f"{self.name}: {self._ended} after {len(found)} {name!r}")
                    self._news.clear()
                    await self._news.wait()
        return found

    async def wait_more(self) -> None:
        """Return when anything at all has come; ConnectionError when nothing will."""
        if self._ended is not None:
            raise ConnectionError(f"{self.name}: {self._ended}")
        self._news.clear()
        await self._news.wait()

    def _summary(self, since: int) -> str:
        return ", ".join(f"{e.name} {str(e.data)[:160]}" for e in self.events[since:][-20:]) or "nothing"
