"""`clients/python` under a test's control, as `tests.support.storeclient` has `clients/js`."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parley_client import Parley, ParleyError, SessionState, SessionStore, SqliteStorage

#: What the server may answer to a reader who does as he likes.
LAWFUL = (
    "UNAVAILABLE", "STREAM_OPEN", "STREAM_CLOSED", "STREAM_NOT_FOUND", "MESSAGE_NOT_FOUND", "CONFLICT",
    "AGENT_BUSY", "LIMIT_REACHED",
)  # fmt: skip


class Faults(logging.Handler):
    """What the client could not take in."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []
        logging.getLogger("parley_client").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(f"{record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


class PyStores:
    """Any number of tabs; what each storage keeps is a file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.faults = folder, Faults()
        self._numbers = itertools.count()

    def new_name(self) -> str:
        return f"tab {next(self._numbers)}"

    def tab(self, name: str, url: str, token: str | Sequence[str], *, storage: str = "", **_: str) -> "PyTab":
        return PyTab(self, name, url, token, self.folder / f"{storage or name}.db")


class PyTab:
    """A client of one user. A reload is another one with the same storage."""

    def __init__(self, stores: PyStores, name: str, url: str, token: str | Sequence[str], file: Path) -> None:
        self.stores, self.name, self.url, self.file = stores, name, url, file
        self._tokens = [token] if isinstance(token, str) else list(token)
        self.faults: list[str] = []
        self.parley = self._made()
        self._deeds: set[asyncio.Task[Any]] = set()

    def _made(self) -> Parley:
        return Parley(self.url, token=self._token, storage=SqliteStorage(self.file))

    async def _token(self) -> str:
        return self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]

    async def open(self, *sessions: str | None) -> "PyTab":
        """Subscribes to these sessions, and to the list for None."""
        self.parley = self._made()
        for session in sessions:
            if session is None:
                self.parley.sessions.subscribe(lambda: None)
            else:
                self._watch(self.parley.session(session))
        return self

    def _watch(self, store: SessionStore) -> None:
        """Every snapshot is in order, and shares what did not change."""
        before = store.snapshot

        def look() -> None:
            nonlocal before
            now = store.snapshot
            seqs = [message["seq"] for message in now.messages]
            if seqs != sorted(set(seqs)):
                self.faults.append(f"out of order: {seqs}")
            ids = {each.get("client_message_id") or each["message_id"] for each in now.messages}
            if len(ids) != len(now.messages):
                self.faults.append("shown twice")
            before = now

        store.subscribe(look)

    async def close(self) -> None:
        for task in list(self._deeds):
            task.cancel()
        await asyncio.gather(*self._deeds, return_exceptions=True)
        await self.parley.close()

    async def reload(self, *sessions: str | None) -> "PyTab":
        await self.close()
        return await self.open(*sessions)

    async def do(self, command: str, *, session: str = "", **given: Any) -> Any:
        """As the tabs of `clients/js`: close, say, fiddle, whole."""
        if command == "close":
            return await self.close()
        if command == "whole":
            return await self._whole(self.parley.session(session))
        act = {"say": self._say, "fiddle": self._fiddle}[command]
        return act(self.parley.session(session), **given)

    def _say(self, store: SessionStore, *, text: str, more: dict[str, Any]) -> None:
        store.send(text, **{"client_message_id": text, **more})

    async def _whole(self, store: SessionStore) -> dict[str, Any]:
        while store.snapshot.has_older:
            await store.load_older(200)
        return {"messages": list(store.snapshot.messages), "faults": self.faults + self.stores.faults.told}

    async def until(
        self, session: str, holds: Callable[[SessionState], object], *, timeout: float = 20
    ) -> SessionState:
        store = self.parley.session(session)
        try:
            async with asyncio.timeout(timeout):
                return await store.until(holds)
        except TimeoutError:
            raise TimeoutError(f"{self.name} never came to it: {str(store.snapshot)[-3000:]}") from None

    async def quiet(self, session: str, *, timeout: float) -> None:
        """Nothing is on its way."""

        def holds(now: SessionState) -> bool:
            written = any(message["status"] == "streaming" for message in now.messages)
            return now.connection == "online" and not now.pending and not now.turns and not written

        await self.until(session, holds, timeout=timeout)

    def _fiddle(self, store: SessionStore, *, kind: str, number: int) -> None:
        """Something that a reader may do to what is shown, without waiting."""
        task = asyncio.create_task(self._done(store, kind, number))
        self._deeds.add(task)
        task.add_done_callback(self._deeds.discard)

    def _deed(self, store: SessionStore, kind: str, number: int) -> Any:
        messages, me = store.snapshot.messages, store.snapshot.me
        mine = [each for each in messages if each["sender_id"] == me and not each.get("deleted_at")]
        answers = [each for each in messages if each["sender_type"] == "agent"]
        versions = [each["siblings"] for each in messages if len(each.get("siblings", ())) > 1]
        own = mine[number % len(mine)]["message_id"] if mine else None
        answer = answers[number % len(answers)]["message_id"] if answers else None
        match kind:
            case "edit" if own:
                return store.edit(own, f"edited {number}")
            case "branch" if own:
                return store.edit(own, f"otherwise {number}", branch=True)
            case "remove" if own:
                return store.remove(own)
            case "regenerate" if answer:
                return store.regenerate(answer)
            case "select" if versions:
                return store.select(versions[0][number % len(versions[0])])
            case "stop":
                return store.stop()
            case "read":
                return store.mark_read()
            case "typing":
                store.typing()
            case "older":
                return store.load_older()
        return None

    async def _done(self, store: SessionStore, kind: str, number: int) -> None:
        """What the server will not have is no fault."""
        try:
            if (work := self._deed(store, kind, number)) is not None:
                await work
        except ParleyError as error:
            if error.code not in LAWFUL:
                self.faults.append(f"{kind}: {error}")
