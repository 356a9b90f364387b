"""Work in the background is waited for, ended together, and its failures are not lost."""

import asyncio
import logging

import pytest

from events.tasks import Tasks


async def test_draining_waits_for_what_the_work_began_too() -> None:
    tasks, done = Tasks("a node"), list[str]()

    async def second() -> None:
        await asyncio.sleep(0)
        done.append("second")

    async def first() -> None:
        await asyncio.sleep(0)
        tasks.spawn(second())
        done.append("first")

    tasks.spawn(first())
    await tasks.drain()
    assert done == ["first", "second"]


async def test_stopping_ends_all_and_waits_until_they_have_ended() -> None:
    tasks, ended = Tasks("a node"), list[int]()
    begun = asyncio.Event()

    async def forever(number: int) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    running = [tasks.spawn(forever(number)) for number in range(3)]
    await begun.wait()
    await tasks.stop()
    assert sorted(ended) == [0, 1, 2]
    assert all(task.cancelled() for task in running)


async def test_a_failure_is_logged_with_whose_it_was(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks("a node")

    async def failing() -> None:
        raise LookupError("nothing there")

    with caplog.at_level(logging.ERROR, "parley.tasks"):
        tasks.spawn(failing())
        await tasks.drain()
    (line,) = [record for record in caplog.records if record.name == "parley.tasks"]
    assert "a node" in line.getMessage()
    assert line.exc_info is not None and isinstance(line.exc_info[1], LookupError)
