"""A place in the order of commits: its outcome, once there is one.

As a future, but that who has asked to be told of the outcome is told at once, and not in a turn of the event
loop of its own: with many acknowledgements a turn for each costs more than most of what they say.
"""

import asyncio
import logging
from collections.abc import Callable, Generator
from functools import partial
from typing import Generic, TypeVar

LOG = logging.getLogger("parley.writer")

T = TypeVar("T")


class CommitPlace(Generic[T]):
    """Whoever awaits one may give that up; the operation goes on all the same."""

    __slots__ = ("_done", "_failure", "_result", "_told")

    def __init__(self) -> None:
        self._done = False
        self._result: T | None = None
        self._failure: BaseException | None = None
        self._told: list[Callable[[CommitPlace[T]], object]] = []

    def done(self) -> bool:
        return self._done

    def exception(self) -> BaseException | None:
        """None also where there is no outcome yet."""
        return self._failure

    def result(self) -> T:
        """Raises what the operation failed with; asyncio.InvalidStateError where there is no outcome yet."""
        if self._failure is not None:
            raise self._failure
        if not self._done:
            raise asyncio.InvalidStateError("there is no outcome yet")
        return self._result  # type: ignore[return-value]  # it is what `set_result` was given

    def set_result(self, result: T) -> None:
        self._result = result
        self._tell()

    def set_exception(self, failure: BaseException) -> None:
        self._failure = failure
        self._tell()

    def pass_on(self, other: "CommitPlace[T]") -> None:
        """The outcome that there is, to another place."""
        if self._failure is not None:
            other.set_exception(self._failure)
        else:
            other.set_result(self.result())

    def _tell(self) -> None:
        self._done = True
        told, self._told = self._told, []
        for tell in told:
            try:
                tell(self)
            except Exception:
                LOG.exception("who waited for a commit failed")

    def add_done_callback(self, tell: Callable[["CommitPlace[T]"], object]) -> None:
        """`tell` is called with the place: with its outcome, or now where there is one."""
        if self._done:
            tell(self)
        else:
            self._told.append(tell)

    def __await__(self) -> Generator[object, None, T]:
        if not self._done:
            waiter = asyncio.get_running_loop().create_future()
            self._told.append(partial(_wake, waiter))
            yield from waiter
        return self.result()


def _wake(waiter: "asyncio.Future[None]", place: CommitPlace[T]) -> None:
    if not waiter.done():
        waiter.set_result(None)
