"""Repeats a transaction that the database rolled back in favour of another: nothing of it has happened."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from storage.errors import AlreadyExists, RolledBack

#: Seconds before the next try, at most: those who met must not meet again. Together far below a call's limit.
PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2)

T = TypeVar("T")


async def repeated(work: Callable[[], Awaitable[T]]) -> T:
    """`work` is one whole transaction, and begins anew each time. Raises RolledBack after the last try."""
    for pause in PAUSES:
        try:
            return await work()
        except RolledBack:
            await asyncio.sleep(random.uniform(0, pause))
    return await work()


async def insert_once(
    insert: Callable[[], Awaitable[object]], is_stored: Callable[[], Awaitable[bool]]
) -> None:
    """An insert that may be tried twice: its id is taken then, by itself. Raises AlreadyExists where, as
    `is_stored` finds, somebody else has it."""
    try:
        await insert()
    except AlreadyExists:
        if not await is_stored():
            raise
