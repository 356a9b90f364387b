"""Work in the background: each task is kept until it is done, its failure is logged, and all end together.

Knows no subject. A task that serves one subject alone and is awaited by name is that subject's own.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("parley.tasks")


class Tasks:
    """One owner's tasks; `name` says in the log whose they are."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begins with the loop's next turn."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: work in the background failed", self._name, exc_info=error)

    async def drain(self) -> None:
        """Returns when all is done, and what that began, too."""
        while self._running:
            await asyncio.wait(self._running)

    async def stop(self) -> None:
        """Cancels all, and returns when they have ended."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)
