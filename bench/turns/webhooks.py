"""The dearest input of every call on webhooks, for `bench.turns.calls`."""

from collections.abc import AsyncIterator, Callable

from bench.turns import texts
from bench.turns.world import World

BASE = "/api/server/webhooks"
#: As long as an address may be; nobody is there.
URL = "http://127.0.0.1:9/" + "x" * 1900


def on_one(
    method: str, path: str, body: dict[str, object] | None = None
) -> Callable[..., AsyncIterator[None]]:
    """A call on a webhook that is made for it, and deleted when it was measured."""

    async def run(world: World) -> AsyncIterator[None]:
        made = await world.service.post(BASE, json={"url": URL})
        webhook_id = made.raise_for_status().json()["webhook_id"]
        asked = None if body is None else body | {"unknown": texts.wide()}
        if path == "/replay":
            asked = {"session_id": World.hall}
        yield
        answer = await world.service.request(method, f"{BASE}/{webhook_id}{path}", json=asked)
        answer.raise_for_status()
        yield
        await world.service.delete(f"{BASE}/{webhook_id}")

    return run


async def add(world: World) -> AsyncIterator[None]:
    body = {"url": URL, "unknown": texts.wide()}
    yield
    made = await world.service.post(BASE, json=body)
    webhook_id = made.raise_for_status().json()["webhook_id"]
    yield
    await world.service.delete(f"{BASE}/{webhook_id}")


async def listed(world: World) -> AsyncIterator[None]:
    made = [await world.service.post(BASE, json={"url": URL}) for _ in range(20)]
    yield
    (await world.service.get(BASE)).raise_for_status()
    yield
    for each in made:
        await world.service.delete(f"{BASE}/{each.json()['webhook_id']}")
