"""What has to be done from time to time, whoever asks: activity written, expired sessions ended, streams
kept and ended, old conversations purged. Knows no subject's rules."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from events.errors import ChatError
from events.tasks import Tasks
from storage.errors import StorageError

log = logging.getLogger("parley.janitor")


@dataclass(frozen=True)
class Job:
    """`name` stands in the log; `every` in seconds, from the end of one run to the next."""

    name: str
    every: float
    work: Callable[[], Awaitable[object]]


class Janitor:
    """Each job runs at its own interval, one run at a time. Raises ValueError where two have one name."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs: dict[str, Job] = {}
        for job in jobs:
            if job.name in self._jobs:
                raise ValueError(f"two jobs are called {job.name}")
            self._jobs[job.name] = job
        self._tasks = Tasks("janitor")

    def start(self) -> None:
        for job in self._jobs.values():
            self._tasks.spawn(self._run(job))

    async def _run(self, job: Job) -> None:
        while True:
            await asyncio.sleep(job.every)
            try:
                # Each run in a task of its own: one that was inside a transaction when the database went
                # away may not recover.
                await asyncio.create_task(self._once(job))
            except (StorageError, ChatError) as error:
                log.info("%s: %s", job.name, error or type(error).__name__)
            except Exception:
                log.exception("%s failed", job.name)

    async def _once(self, job: Job) -> None:
        await job.work()

    async def stop(self) -> None:
        await self._tasks.stop()
