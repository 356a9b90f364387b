"""examples/chat with 5,000 messages, all of them loaded, while an answer comes at 200 chunks a second."""

import asyncio
import json

import pytest

from scripts import build_chat
from tests.faults.test_models import Row
from tests.people.conftest import SETTINGS
from tests.people.telling import tell
from tests.support.doors import enter, new_session
from tests.support.server import Server

pytestmark = [pytest.mark.faults, pytest.mark.browser, pytest.mark.timeout(180)]

MESSAGES, AT_ONCE, SECONDS = 5000, 50, 10


async def test_a_long_conversation(sqlite_url: str, new_server: type[Server], row: Row) -> None:
    node = new_server(sqlite_url, **SETTINGS)
    build_chat.main(environ={"PATH": ""}, data=node.folder / "data")
    async with node.api("backend", "service") as api:
        agent = (await api.post("/api/chat/agents", json={"name": "Fast", "kind": "remote"})).json()
    session = await new_session(node, "olga", agent_id=agent["id"])
    async with enter("socketio", node, "olga", session) as door:
        sent = []
        for start in range(0, MESSAGES, AT_ONCE):
            texts = [
                f"message {at}: " + "some words of it " * (at % 9) for at in range(start, start + AT_ONCE)
            ]
            sent += await asyncio.gather(*(door.call("message", content=each, reply=False) for each in texts))
    token = node.token(str(agent["id"]), "agent")
    first = min(sent, key=lambda reply: reply["seq"])["message_id"]
    told = await tell("chat.mjs", "long", node.url, agent["name"], token, session, first, str(SECONDS))
    seen = json.loads(told)
    row(
        f"{seen['written']} chunks in {SECONDS} s: shift {seen['shift']}, a key is taken in after "
        f"{seen['handled']:.0f} ms and seen after {seen['slow']} ms (INP), "
        f"the longest task takes {seen['longest']:.1f} ms of a processor"
    )
