"""What has to be done from time to time, whoever asks: activity written, expired sessions ended, streams
kept and ended, old conversations purged. Knows no subject's rules."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from events.errors import ChatError
from events.tasks import Tasks
from storage.errors import StorageError

log = logging.getLogger("parley.janitor")

Work = Callable[[], Awaitable[object]]


class Janitor:
    """Each piece of work runs at its own interval (seconds), one run at a time."""

    def __init__(self) -> None:
        self._work: list[tuple[str, float, Work]] = []
        self._tasks = Tasks("janitor")

    def every(self, seconds: float, name: str, work: Work) -> None:
        self._work.append((name, seconds, work))

    def start(self) -> None:
        for each in self._work:
            self._tasks.spawn(self._run(*each))

    async def _run(self, name: str, seconds: float, work: Work) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                # Each run in a task of its own: one that was inside a transaction when the database went
                # away may not recover.
                await asyncio.create_task(self._once(work))
            except (StorageError, ChatError) as error:
                log.info("%s: %s", name, error or type(error).__name__)
            except Exception:
                log.exception("%s failed", name)

    async def _once(self, work: Work) -> None:
        await work()

    async def stop(self) -> None:
        await self._tasks.stop()
