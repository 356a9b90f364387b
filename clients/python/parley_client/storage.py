"""Where pending messages outlive the program. Several programs of one user may use one storage."""

import asyncio
import copy
import json
import sqlite3
import threading
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from parley_client.errors import Json

#: Seconds in which another program's write is waited for.
BUSY = 10.0


class Storage(Protocol):
    """Each method answers at once or by an awaitable. An item is JSON with an `id`; a box belongs to one user
    at one server."""

    def list(self, box: str) -> list[Json] | Awaitable[list[Json]]: ...

    def put(self, box: str, item: Json) -> object: ...

    def remove(self, box: str, id: str) -> object: ...


class MemoryStorage:
    """Gone with the program: for tests, and where nothing has to be kept."""

    def __init__(self) -> None:
        self._boxes: dict[str, dict[str, Json]] = {}

    def list(self, box: str) -> list[Json]:
        return copy.deepcopy([*self._boxes.get(box, {}).values()])

    def put(self, box: str, item: Json) -> None:
        self._boxes.setdefault(box, {})[item["id"]] = copy.deepcopy(item)

    def remove(self, box: str, id: str) -> None:
        self._boxes.get(box, {}).pop(id, None)


Rows = list[tuple[str]]


class SqliteStorage:
    """A file, which is made where it is not there. What was put is on the disk; nothing of it holds up the
    event loop."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()

    async def list(self, box: str) -> list[Json]:
        rows = await asyncio.to_thread(self._do, "SELECT item FROM pending WHERE box = ?", box)
        return [json.loads(item) for (item,) in rows]

    async def put(self, box: str, item: Json) -> None:
        statement = "INSERT OR REPLACE INTO pending (box, id, item) VALUES (?, ?, ?)"
        await asyncio.to_thread(self._do, statement, box, item["id"], json.dumps(item))

    async def remove(self, box: str, id: str) -> None:
        await asyncio.to_thread(self._do, "DELETE FROM pending WHERE box = ? AND id = ?", box, id)

    def _do(self, statement: str, *values: str) -> Rows:
        with self._lock, closing(sqlite3.connect(self._path, timeout=BUSY)) as file, file:
            file.execute("CREATE TABLE IF NOT EXISTS pending (box, id, item, PRIMARY KEY (box, id))")
            return file.execute(statement, values).fetchall()
