"""Questions and answers as people see them, in a real browser: turns.mjs has the stories."""

import pytest

from tests.people.telling import tell
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.mark.parametrize("story", ["stop", "line", "versions", "approval", "forms"])
async def test_turn_story(house: Server, story: str) -> None:
    async with house.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": f"Agent of {story}", "kind": "remote"})
    agent = made.json()
    await tell("turns.mjs", story, house.url, agent["name"], house.token(str(agent["id"]), "agent"))
