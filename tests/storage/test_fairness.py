"""Turns for a few places: one user's flood waits behind itself."""

import asyncio

from storage.fairness import Fair


class Crowd:
    """Who is in, in the order in which they came."""

    def __init__(self, fair: Fair) -> None:
        self.fair, self.inside = fair, list[str]()

    def ask(self, who: str) -> "asyncio.Task[None]":
        return asyncio.create_task(self._enter(who))

    async def _enter(self, who: str) -> None:
        await self.fair.enter(who)
        self.inside.append(who)

    async def leave(self, who: str) -> None:
        self.fair.leave(who)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_who_comes_after_a_flood_is_next() -> None:
    crowd = Crowd(Fair(2, 2))
    tasks = [crowd.ask("flood") for _ in range(100)]
    await asyncio.sleep(0)
    tasks += [crowd.ask(who) for who in ("alice", "bob")]
    await asyncio.sleep(0)
    assert crowd.inside == ["flood", "flood"]
    for _ in range(3):
        await crowd.leave("flood")
    assert crowd.inside == ["flood"] * 3 + ["alice", "bob"]
    for task in tasks:
        task.cancel()


async def test_one_user_leaves_places_to_others() -> None:
    crowd = Crowd(Fair(3, 2))
    tasks = [crowd.ask("flood") for _ in range(5)] + [crowd.ask("alice") for _ in range(2)]
    await asyncio.sleep(0)
    assert crowd.inside == ["flood", "flood", "alice"]
    await crowd.leave("flood")
    # Whose turn it is may have one more, and has it before those who have all that they may.
    assert crowd.inside == ["flood", "flood", "alice", "flood"]
    await crowd.leave("flood")
    assert crowd.inside[4:] == ["alice"]
    for task in tasks:
        task.cancel()


async def test_a_place_is_not_lost_with_who_gave_up() -> None:
    crowd = Crowd(Fair(1, 1))
    await crowd.fair.enter("alice")
    waiting, next_one, last = crowd.ask("bob"), crowd.ask("carol"), crowd.ask("dave")
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    crowd.fair.leave("alice")
    next_one.cancel()  # the place is hers already, and she does not know
    await asyncio.gather(waiting, next_one, return_exceptions=True)
    await last
    assert crowd.inside == ["dave"]
    await crowd.leave("dave")
    await asyncio.wait_for(crowd.fair.enter("erin"), 1)
