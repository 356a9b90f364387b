"""Group commit: many concurrent writes, one transaction."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from storage.database import Database
from storage.ops import Committed, DeleteMessage, EditMessage, EndStream, NewMessage, Op

__all__ = ["Committed", "DeleteMessage", "EditMessage", "EndStream", "NewMessage", "Op", "Writer"]


class Writer:
    def __init__(
        self, db: Database, clock: Callable[[], datetime], committed: Callable[[Sequence[Committed]], None]
    ) -> None:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    def submit(self, op: Op) -> asyncio.Future[Committed]:
        raise NotImplementedError
