"""An asyncio event loop in virtual time: a second passes in no time, and a node can be stopped or killed.

Callbacks keep asyncio's order. Chance comes from outside alone: from the network, the stores, and the faults.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any

#: Callbacks in one run: far more than any schedule needs, so that a loop that never rests is found.
MOST_CALLBACKS = 3_000_000

#: Times that a coroutine may wait on its way out.
MOST_AWAITS = 1000

#: Seconds between two arrivals on one connection: timers of one moment run in any order.
TICK = 1e-6


class Call(asyncio.TimerHandle):
    """A callback to come: asyncio's handle without what it does for debugging. Most of a schedule's time goes
    into these."""

    __slots__ = ()

    def __init__(
        self, when: float, call: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self._when = when
        self._callback: Callable[..., object] | None = call
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False

    # In the loop's heap it stands behind its moment: those of one moment have no order.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __lt__(self, other: object) -> bool:
        return False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = None, ()


class Process:
    """Whatever runs in `context` belongs to one process: it can stand still, or be gone without a word."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self.loop = loop
        self.dead = False
        self.frozen = False
        self.thawed = -1.0  # when it last went on
        self.waiting: deque[Call] = deque()
        self.context: Context = copy_context()
        self.context.run(_process.set, self)

    def freeze(self) -> None:
        """As SIGSTOP does: nothing of it runs, and what was sent to it waits."""
        self.frozen = True

    def thaw(self) -> None:
        self.frozen, self.thawed = False, self.loop.time()
        waiting, self.waiting = self.waiting, deque()
        self.loop.take_back(waiting)

    def kill(self) -> None:
        """As SIGKILL does: no handler, no `finally`; so its tasks must not be collected before the end."""
        self.dead = True
        self.waiting.clear()
        self.loop.left += asyncio.all_tasks(self.loop)

    def soon(self, call: Callable[..., object], *args: Any) -> None:
        self.loop.call_soon(call, *args, context=self.context)

    def later(self, delay: float, call: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return self.loop.call_later(delay, call, *args, context=self.context)


_process: ContextVar[Process | None] = ContextVar("process", default=None)


def current_process() -> Process | None:
    return _process.get()


class VirtualLoop(asyncio.BaseEventLoop):
    """`time()` moves only when nothing is left to do before the next timer."""

    _ready: deque[Call]
    _scheduled: list[tuple[float, Call]]  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._callbacks = 0
        self._over = False
        self.failure: Exception | None = None
        self.left: list[asyncio.Task[Any]] = []  # by processes that were killed

    def time(self) -> float:
        return self._now

    def take_back(self, handles: deque[Call]) -> None:
        self._ready.extendleft(reversed(handles))

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Call:
        call = Call(self._now, callback, args, context)
        self._ready.append(call)
        return call

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        call = Call(when, callback, args, context)
        heappush(self._scheduled, (when, call))
        return call

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Call:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0][1]._cancelled:
            heappop(scheduled)
        if not ready:
            if not scheduled:
                raise RuntimeError("everything waits, and nothing will come")
            self._now = max(self._now, scheduled[0][0])
        while scheduled and scheduled[0][0] <= self._now:
            ready.append(heappop(scheduled)[1])
        for _ in range(len(ready)):
            call = ready.popleft()
            if not call._cancelled:
                self._run(call)
        if self.failure is not None:
            raise self.failure
        if self._callbacks > MOST_CALLBACKS:
            raise RuntimeError("the schedule never comes to rest")

    def _run(self, call: Call) -> None:
        process = call._context.get(_process)
        if process is not None and (process.dead or process.frozen):
            if not process.dead:
                process.waiting.append(call)
            return
        self._callbacks += 1
        try:
            call._context.run(call._callback, *call._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does
            self.call_exception_handler({"message": "in a callback", "exception": error, "handle": call})

    def fail(self, error: Exception) -> None:
        """The simulation itself is wrong: the run ends with this."""
        self.failure = self.failure or error

    def give_up(self) -> None:
        """The end: coroutines are closed where they stand, and what their `finally` asks for is not done."""
        self._over = True
        tasks = asyncio.all_tasks(self)
        asyncio._set_running_loop(self)
        try:
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
        finally:
            asyncio._set_running_loop(None)
        self._ready.clear()
        self._scheduled.clear()
        self.left.clear()
        self.close()

    def _check_closed(self) -> None: ...

    def _process_events(self, event_list: Any) -> None: ...

    def _write_to_self(self) -> None: ...

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """A thread's work is done at once."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)
        return future

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        if self._over:
            return
        process = None
        task = context.get("task") or context.get("future")
        if task is not None and hasattr(task, "get_context"):
            process = task.get_context().get(_process)
        if process is None or not process.dead:
            super().default_exception_handler(context)


def _close(coroutine: Any) -> None:
    """To its end. A node that stops waits on its way out: left there, its rest would run in another schedule,
    whenever it is collected."""
    for _ in range(MOST_AWAITS):
        try:
            if coroutine is not None:
                coroutine.close()
            return
        except RuntimeError:
            continue
        except BaseException:  # noqa: BLE001 - it has ended
            return
