"""When a session ends, who brings it back, and in which words a payload is refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.doors import enter, new_session
from tests.support.server import Server

#: Hours of a session that ends while a test waits.
BRIEF = 0.5 / 3600


async def ended(api: httpx.AsyncClient, session: str) -> str:
    """Waits until it has; what a message is then told."""
    while True:
        answer = await api.post(f"/api/chat/sessions/{session}/messages", json={"content": "late"})
        if answer.status_code != 201:
            assert answer.status_code == 410
            text: str = answer.json()["error"]["message"]
            return text


async def test_zero_hours_are_for_ever(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, SESSION_TTL_HOURS="0")
    async with node.api("alice") as api:
        session = (await api.post("/api/chat/sessions", json={})).json()
        ends = datetime.fromisoformat(session["expires_at"])
        assert ends > datetime.now(UTC) + timedelta(days=365 * 90)
        brief = await api.post("/api/chat/sessions", json={"ttl_hours": 1})
        assert datetime.fromisoformat(brief.json()["expires_at"]) < datetime.now(UTC) + timedelta(hours=2)
        extended = await api.post(f"/api/chat/sessions/{session['session_id']}/extend", json={})
        assert datetime.fromisoformat(extended.json()["expires_at"]) >= ends
    async with enter("websocket", node, "alice", session["session_id"]) as alice:
        await alice.message("still here")


async def test_its_owner_brings_an_expired_session_back(either: Server) -> None:
    async with either.api("alice") as api, either.api("bob") as other:
        made = await api.post("/api/chat/sessions", json={"ttl_hours": BRIEF})
        session = made.json()["session_id"]
        path = f"/api/chat/sessions/{session}"
        assert (await api.put(f"{path}/participants/bob", json={"role": "member"})).status_code < 300
        await api.post(f"{path}/extend", json={"hours": BRIEF})
        # A message is an activity, and puts the end off: it is asked without one.
        while (await api.get(path)).json()["status"] != "expired":
            pass
        assert "extend" in await ended(api, session)
        assert (await other.post(f"{path}/extend", json={})).status_code == 403
        extended = await api.post(f"{path}/extend", json={"hours": 1})
        assert extended.status_code == 200, extended.text
        assert (await api.get(path)).json()["status"] == "active"
        assert (await other.post(f"{path}/messages", json={"content": "back"})).status_code == 201
        await api.delete(path)
        assert (await api.post(f"{path}/extend", json={})).json()["error"]["code"] == "SESSION_ARCHIVED"


@pytest.mark.parametrize(
    ("command", "payload", "told"),
    [
        ("message", {}, "content is required"),
        ("message", {"content": 7}, "content must be a string, not a whole number"),
        ("message", {"parts": [{"type": "picture"}]}, "parts[0].type is not one of the accepted values"),
        (
            "message",
            {"parts": [{"type": "file", "url": "ftp://a.example", "media_type": "image/png"}]},
            "parts[0].url must be an address that begins with http:// or https://",
        ),
        ("history", {"limit": 0}, "limit must be at least 1"),
        ("history", {"limit": "ten"}, "limit must be a whole number, not a string"),
        ("history", {"order": "up"}, "order is not one of the accepted values"),
        ("read", {"seq": None}, "seq must be a whole number, not null"),
    ],
)
async def test_a_payload_is_refused_in_our_words(
    parley: Server, command: str, payload: dict[str, object], told: str
) -> None:
    session = await new_session(parley)
    async with enter("websocket", parley, "alice", session) as alice:
        refused = (await alice.call(command, **payload))["error"]
    assert refused["message"] == told
    assert refused["details"]["field"] == told.split()[0]


async def test_rest_has_the_same_words(parley: Server) -> None:
    async with parley.api("alice") as api:
        session = await new_session(parley)
        told = await api.post(f"/api/chat/sessions/{session}/read", json={})
        assert told.json()["error"]["message"] == "seq is required"
        told = await api.get(f"/api/chat/sessions/{session}/messages", params={"limit": "many"})
        assert told.json()["error"]["message"].startswith("limit must be a whole number")
        told = await api.get("/api/chat/sessions/" + "x" * 300)
        assert "Expected" not in told.text
