"""Activity in a session that a connection has not joined: how much of it is not read."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from events.event import Event, Kind, make
from events.tasks import Tasks
from events.unread import UnreadCounts
from tests.support.doors import LIVE, enter, new_session
from tests.support.server import Server


@pytest.mark.parametrize("kind", LIVE)
async def test_activity_says_how_much_is_unread(either: Server, kind: str) -> None:
    """Others' undeleted messages behind one's read mark, of the newest hundred."""
    ann, ben = f"ann {kind}", f"ben {kind}"
    home = await new_session(either, ben)
    session_id = await new_session(either, ann, members=(ben,))
    path = f"/api/chat/sessions/{session_id}"
    async with (
        enter(kind, either, ben, home) as door,
        either.api(ann) as writer,
        either.api(ben) as reader,
    ):

        async def said(count: int) -> int:
            """After so many messages more."""
            for number in range(count):
                sent = (await writer.post(f"{path}/messages", json={"content": f"{number}"})).json()
            told = await door.wait_event("session", lambda event: event.get("last_seq") == sent["seq"])
            return int(told["unread_count"])

        assert await said(3) == 3
        await reader.post(f"{path}/messages", json={"content": "mine"})
        first = (await writer.get(f"{path}/messages")).json()["messages"][0]
        await writer.delete(f"{path}/messages/{first['message_id']}")
        assert await said(1) == 3
        assert (await reader.post(f"{path}/read", json={"seq": 4})).json()["unread_count"] == 1
        assert await said(1) == 2
        assert await said(110) == 100
        listed = (await reader.get("/api/chat/sessions")).json()["sessions"]
        assert {line["session_id"]: line["unread_count"] for line in listed}[session_id] == 112


async def test_a_share_link_is_told_nothing_of_what_its_user_has_read(parley: Server) -> None:
    home = await new_session(parley, "cho", members=("dan",))
    session_id = await new_session(parley, "cho", members=("dan",))
    link = {"sessions": [home, session_id]}
    async with enter("socketio", parley, "dan", home, claims=link) as door, parley.api("cho") as writer:
        await writer.post(f"/api/chat/sessions/{session_id}/messages", json={"content": "hello"})
        told = await door.wait_event("session")
        assert (told["event"], told["last_message"]) == ("activity", "hello")
        assert "unread_count" not in told


async def test_an_older_message_told_later_does_not_hide_a_newer_one() -> None:
    """Each node tells of its own messages, once a second."""
    told: list[Event] = []
    page = SimpleNamespace(send=told.append, caller=SimpleNamespace(sessions=None))

    async def counted(asked: Any) -> dict[tuple[str, str], int]:
        return {(session_id, user): 2 for session_id, users in asked.items() for user in users}

    tasks = Tasks("unread")
    hub = cast(Any, SimpleNamespace(outside=lambda user, session_id: (page,)))
    unread = UnreadCounts(cast(Any, SimpleNamespace(of=counted)), hub, tasks)
    for seq in (2, 1):
        event = make("", "session", Kind.VOLATILE, {"event": "activity", "last_seq": seq}, 0.0)
        event.not_to, event.only_user, event.seq = "s", "ben", seq
        unread.tell(event)
    await tasks.drain()
    assert [msgspec.json.decode(event.data)["last_seq"] for event in told] == [2]
