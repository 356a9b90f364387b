"""What is asked for at the same time, of several nodes, goes to the cap and not past it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from migrations.run import upgrade
from tests.cluster.conftest import Nodes
from tests.support.doors import new_session
from tests.support.server import Server
from tests.support.services import Postgres, Redis

BASE = "/api/chat/sessions"
#: How many there may be, and how many of each kind of call come at once to each node.
CAP, ASKED = 5, 12
CAPS = {
    "MAX_PARTICIPANTS_PER_SESSION": str(CAP),
    "MAX_SESSIONS_PER_USER": str(CAP),
    "MAX_STORED_BYTES_PER_USER": str(CAP * 1000),
}

Call = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]


@pytest.fixture(scope="module")
def cluster(
    postgres: Postgres, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sequence[Server]]:
    name = postgres.create_database(postgres_template)
    with Redis() as redis:
        nodes = Nodes(tmp_path_factory.mktemp("capped"), postgres.url(name), redis.url, 2, **CAPS)
        try:
            yield nodes.start().servers
        finally:
            nodes.close()
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Server]]:
    """One node, with SQLite."""
    folder = tmp_path_factory.mktemp("alone")
    url = f"sqlite:///{folder}/parley.db"
    upgrade(url)
    with Server(folder, url, **CAPS) as node:
        yield [node]


@pytest.fixture(params=["cluster", "alone"])
def capped(request: pytest.FixtureRequest) -> Sequence[Server]:
    nodes: Sequence[Server] = request.getfixturevalue(request.param)
    return nodes


async def at_once(nodes: Sequence[Server], user: str, *calls: Call) -> Counter[Any]:
    """How often which answer came: each call on each node, `ASKED` times."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node.api(user)) for node in nodes]
        asked = [call(api, n) for n, api in enumerate(clients * ASKED) for call in calls]
        answers = await asyncio.gather(*asked)
    return Counter("ok" if a.is_success else a.json()["error"]["code"] for a in answers)


async def test_sessions_of_an_owner(capped: Sequence[Server]) -> None:
    """By themselves, and made in one step with their first message."""
    told = await at_once(
        capped,
        "ada",
        lambda api, n: api.post(BASE, json={}),
        lambda api, n: api.post("/api/chat", json={"content": "hi", "stream": False}),
    )
    assert told == {"ok": CAP, "LIMIT_REACHED": 2 * ASKED * len(capped) - CAP}
    async with capped[0].api("ada") as api:
        assert (await api.get(BASE)).json()["total"] == CAP


async def test_participants_of_a_session(capped: Sequence[Server]) -> None:
    room = await new_session(capped[0], "bob")
    told = await at_once(capped, "bob", lambda api, n: api.put(f"{BASE}/{room}/participants/u{n}", json={}))
    # Their owner is one of them.
    assert told == {"ok": CAP - 1, "LIMIT_REACHED": ASKED * len(capped) - CAP + 1}
    async with capped[0].api("bob") as api:
        assert (await api.get(f"{BASE}/{room}")).json()["participant_count"] == CAP


async def test_bytes_of_a_user(capped: Sequence[Server]) -> None:
    room = await new_session(capped[0], "eve")
    file = {"file": ("a.txt", b"x" * 1000, "text/plain")}
    told = await at_once(capped, "eve", lambda api, n: api.post(f"{BASE}/{room}/files", files=file))
    assert told == {"ok": CAP, "PAYLOAD_TOO_LARGE": ASKED * len(capped) - CAP}
