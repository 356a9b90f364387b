"""What readers think of messages: of each reader one, seen by its giver, counted for the owner."""

from typing import Any

import pytest

from tests.support.doors import KINDS, enter, new_session
from tests.support.server import Server


async def answered(server: Server, session_id: str, text: str = "an answer") -> str:
    """A message of the session's agent."""
    async with server.api("1", "agent") as api:
        sent = await api.post(f"/api/chat/sessions/{session_id}/messages", json={"content": text})
        assert sent.status_code == 201, sent.text
        message_id: str = sent.json()["message_id"]
        return message_id


def feedback(messages: list[dict[str, Any]]) -> list[Any]:
    return [message.get("feedback") for message in messages]


@pytest.mark.parametrize("kind", KINDS)
async def test_its_giver_sees_it_and_the_owner_the_sums(parley: Server, kind: str) -> None:
    session_id = await new_session(parley, "ann", members=("ben",), viewers=("cho",), agent_id=1)
    answer = await answered(parley, session_id)
    other = await answered(parley, session_id)
    async with enter(kind, parley, "ben", session_id) as ben:
        assert feedback(ben.joined["messages"]) == [None, None]
        for value, comment in (("down", "too long"), ("up", None), ("down", "wrong")):
            reply = await ben.call("feedback", message_id=answer, value=value, comment=comment)
            assert reply["ok"], reply
            assert (reply["message_id"], reply["value"], reply["comment"]) == (answer, value, comment)
        assert feedback(await ben.history()) == [{"value": "down", "comment": "wrong"}, None]
    async with enter(kind, parley, "cho", session_id) as viewer:
        assert (await viewer.call("feedback", message_id=answer, value="up"))["ok"]
        assert feedback(await viewer.history()) == [{"value": "up"}, None]
    async with enter(kind, parley, "ann", session_id) as owner:
        both = {"up": 1, "down": 1}
        assert feedback(owner.joined["messages"]) == [both, None]
        assert (await owner.call("feedback", message_id=other, value="up"))["ok"]
        assert feedback(await owner.history()) == [both, {"value": "up", "up": 1, "down": 0}]
        assert (await owner.call("feedback", message_id=other, value=None))["ok"]
        assert feedback(await owner.history()) == [both, None]
        # Somebody who joins again is told, too: also who comes first where there was none.
        async with enter(kind, parley, "ben", session_id) as again:
            assert feedback(again.joined["messages"]) == [{"value": "down", "comment": "wrong"}, None]


async def test_the_first_is_told_to_who_joins_a_room_that_is_known(either: Server) -> None:
    session_id = await new_session(either, "ann", members=("ben",), agent_id=1)
    answer = await answered(either, session_id)
    async with enter("websocket", either, "ben", session_id) as ben:
        async with enter("websocket", either, "ben", session_id) as before:
            assert feedback(before.joined["messages"]) == [None]
        assert (await ben.call("feedback", message_id=answer, value="up", comment="good"))["ok"]
        async with enter("socketio", either, "ben", session_id) as after:
            assert feedback(after.joined["messages"]) == [{"value": "up", "comment": "good"}]


async def test_what_is_refused(either: Server) -> None:
    session_id = await new_session(either, "ann", members=("ben",), agent_id=1)
    elsewhere = await new_session(either, "ben", agent_id=1)
    answer, others = await answered(either, session_id), await answered(either, elsewhere)
    async with enter("websocket", either, "ben", session_id) as ben:
        mine = (await ben.message("mine"))["message_id"]
        gone = await answered(either, session_id)
        async with either.api("ann") as api:
            await api.delete(f"/api/chat/sessions/{session_id}/messages/{gone}")
        for payload, code in (
            ({"message_id": answer}, "VALIDATION_ERROR"),
            ({"message_id": answer, "value": "sideways"}, "VALIDATION_ERROR"),
            ({"message_id": answer, "value": "up", "comment": "c" * 2001}, "VALIDATION_ERROR"),
            ({"message_id": answer, "value": None, "comment": "why"}, "VALIDATION_ERROR"),
            ({"message_id": mine, "value": "up"}, "FORBIDDEN"),
            ({"message_id": others, "value": "up"}, "MESSAGE_NOT_FOUND"),
            ({"message_id": gone, "value": "up"}, "MESSAGE_NOT_FOUND"),
            ({"message_id": "msg_nothing", "value": "up"}, "MESSAGE_NOT_FOUND"),
        ):
            error = (await ben.call("feedback", **payload))["error"]
            assert error["code"] == code, payload
        assert (await ben.call("feedback", message_id=answer, value="up", comment="c" * 2000))["ok"]
    async with either.api("mallory") as api:
        body = {"message_id": answer, "value": "down"}
        refused = await api.post(f"/api/chat/sessions/{session_id}/feedback", json=body)
        assert refused.json()["error"]["code"] == "SESSION_NOT_FOUND"


async def test_a_share_link_is_somebody_else(either: Server) -> None:
    """Its holder gives none for one who takes part without it, and sees nothing of theirs."""
    session_id = await new_session(either, "ann", members=("ben",), agent_id=1)
    answer = await answered(either, session_id)
    link = {"sessions": [session_id]}
    async with enter("websocket", either, "ben", session_id) as ben:
        assert (await ben.call("feedback", message_id=answer, value="up", comment="secret"))["ok"]
    async with enter("websocket", either, "ben", session_id, claims=link) as holder:
        assert feedback(holder.joined["messages"]) == [None]
        assert feedback(await holder.history()) == [None]
        refused = await holder.call("feedback", message_id=answer, value="down")
        assert refused["error"]["code"] == "FORBIDDEN"
    async with enter("rest", either, "guest", session_id, claims=link) as guest:
        assert (await guest.call("feedback", message_id=answer, value="down"))["ok"]
        assert feedback(await guest.history()) == [{"value": "down"}]


async def test_a_service_lists_all(either: Server) -> None:
    session_id = await new_session(either, "ann", members=("ben", "cho", "dan"), agent_id=1)
    answer = await answered(either, session_id)
    given = {"ben": ("up", None), "cho": ("down", "wrong"), "dan": ("up", "fine")}
    for sub, (value, comment) in given.items():
        async with either.api(sub) as api:
            body = {"message_id": answer, "value": value, "comment": comment}
            assert (await api.post(f"/api/chat/sessions/{session_id}/feedback", json=body)).is_success
    async with either.api("backend", "service") as backend:
        lines, cursor = [], None
        for _ in range(3):
            query = {"session_id": session_id, "limit": "1"} | ({"cursor": cursor} if cursor else {})
            page = (await backend.get("/api/server/feedback", params=query)).json()
            lines += page["feedback"]
            cursor = page["cursor"]
        assert (page["has_more"], cursor) == (False, None)
        told = [(line["user_id"], line["value"], line["comment"], line["message_id"]) for line in lines]
        assert told == [(sub, *given[sub], answer) for sub in ("dan", "cho", "ben")]
        everywhere = (await backend.get("/api/server/feedback")).json()["feedback"]
        assert everywhere[:3] == lines
        # It goes with its giver, and with its session.
        await backend.delete("/api/server/users/cho")
        page = (await backend.get("/api/server/feedback", params={"session_id": session_id})).json()
        assert [line["user_id"] for line in page["feedback"]] == ["dan", "ben"]
        await backend.delete(f"/api/chat/sessions/{session_id}?purge=true")
        page = (await backend.get("/api/server/feedback", params={"session_id": session_id})).json()
        assert page["feedback"] == []
        for bad in ("x", "1", "1-", f"{10**17}-1"):
            assert (await backend.get("/api/server/feedback", params={"cursor": bad})).status_code == 422
    async with either.api("ann") as api:
        assert (await api.get("/api/server/feedback")).status_code == 403
