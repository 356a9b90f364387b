"""A value that changes, and who wants to know."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Observable(Generic[T]):
    def __init__(self, first: T) -> None:
        self._snapshot = first
        self._listeners: dict[object, Callable[[], object]] = {}
        self._telling = False

    @property
    def snapshot(self) -> T:
        """The same object until something changes; what did not change in it stays the same object, too. To
        be looked at, not to be changed."""
        return self._snapshot

    @property
    def watched(self) -> bool:
        return bool(self._listeners)

    def subscribe(self, listener: Callable[[], object]) -> Callable[[], None]:
        """`listener()` after changes, once for all that came together. Gives back what ends it. Needs a
        running event loop."""
        own = object()  # the same function may come twice
        self._listeners[own] = listener
        if len(self._listeners) == 1:
            self._started()

        def end() -> None:
            if self._listeners.pop(own, None) is not None and not self._listeners:
                self._ended()

        return end

    async def changes(self) -> AsyncIterator[T]:
        """What is shown, and whatever it changes to: the newest, where several came together. Subscribes
        while it is iterated; `aclosing` ends it at once where a loop is left."""
        changed = asyncio.Event()
        changed.set()
        end = self.subscribe(changed.set)
        try:
            while True:
                await changed.wait()
                changed.clear()
                yield self._snapshot
        finally:
            end()

    async def until(self, holds: Callable[[T], object]) -> T:
        """The first snapshot of which this is true."""
        async with aclosing(self.changes()) as changes:  # type: ignore[type-var]
            async for snapshot in changes:
                if holds(snapshot):
                    return snapshot
        raise AssertionError("changes have no end")

    def _set(self, snapshot: T) -> None:
        self._snapshot = snapshot
        if self._listeners and not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        loop = asyncio.get_running_loop()
        for listener in list(self._listeners.values()):
            loop.call_soon(listener)

    def _started(self) -> None:
        """The first listener came."""

    def _ended(self) -> None:
        """The last one is gone."""


class Errands:
    """Tasks that nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            told = {"message": "parley: an errand failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(told)

    async def settled(self, within: float) -> bool:
        """Whether all of them, and those that they began, ended by themselves in so many seconds."""
        until = asyncio.get_running_loop().time() + within
        while self._tasks and (left := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        return not self._tasks

    async def end(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
