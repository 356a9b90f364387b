"""Sessions over REST: creating, listing, changing, archiving, erasing, participants."""

from typing import Any

import pytest

from tests.support.doors import LIVE, enter, new_session
from tests.support.server import Server


async def test_creating_and_reading(either: Server) -> None:
    async with either.api("alice") as api, either.api("bob") as bob:
        body = {"title": "Lunch", "metadata": {"colour": "red"}, "agent_id": 1}
        created = await api.post("/api/chat/sessions", json=body, headers={"User-Agent": "test/1"})
        assert created.status_code == 201, created.text
        session = created.json()
        assert session["session_id"].startswith("sess_")
        assert session["trace_id"].startswith("trace_")
        assert (session["user_id"], session["title"], session["status"]) == ("alice", "Lunch", "active")
        assert session["metadata"]["colour"] == "red"
        assert session["expires_at"] > session["created_at"]

        path = f"/api/chat/sessions/{session['session_id']}"
        assert (await api.put(f"{path}/participants/bob", json={"role": "viewer"})).status_code == 200
        shown = (await api.get(path)).json()
        assert shown["agent"]["name"] == "Echo"
        assert set(shown["participants"]) == {"alice", "bob"}
        assert shown["participant_roles"] == {"alice": "owner", "bob": "viewer"}
        assert (shown["message_count"], shown["last_seq"], shown["last_revision"]) == (0, 0, 0)
        # Where it came from is for the owner's eyes.
        assert "test/1" in str(shown)
        assert "test/1" not in (await bob.get(path)).text


async def test_the_list_is_newest_activity_first(either: Server) -> None:
    owner = "lister"
    async with either.api(owner) as api:
        ids = [await new_session(either, owner, title=f"t{n}") for n in range(5)]
        sent = await api.post(f"/api/chat/sessions/{ids[0]}/messages", json={"content": "newest"})
        assert sent.status_code == 201
        page = (await api.get("/api/chat/sessions?limit=3")).json()
        assert (page["total"], page["has_more"]) == (5, True)
        first = page["sessions"][0]
        assert (first["session_id"], first["last_message"]) == (ids[0], "newest")
        assert first["last_message_at"] == sent.json()["created_at"]
        rest = (await api.get("/api/chat/sessions?limit=3&offset=3")).json()
        assert rest["has_more"] is False
        assert {s["session_id"] for s in page["sessions"] + rest["sessions"]} == set(ids)
        behind = (await api.get(f"/api/chat/sessions?limit=3&cursor={page['cursor']}")).json()
        assert behind == {"sessions": rest["sessions"], "has_more": False, "cursor": None}
        await api.delete(f"/api/chat/sessions/{ids[1]}")
        archived = (await api.get("/api/chat/sessions?status=archived")).json()
        assert [s["session_id"] for s in archived["sessions"]] == [ids[1]]
        assert (await api.get("/api/chat/sessions?agent_id=77")).json()["sessions"] == []
        for query in ("limit=0", "limit=x", "offset=-1", "status=asleep", "cursor=x", "cursor=1-%00"):
            refused = await api.get(f"/api/chat/sessions?{query}")
            assert refused.status_code == 422, query
            assert refused.json()["error"]["code"] == "VALIDATION_ERROR"


async def test_changing(either: Server) -> None:
    session = await new_session(either, "alice", members=("bob",), title="old", metadata={"a": 1})
    path = f"/api/chat/sessions/{session}"
    async with (
        either.api("alice") as api,
        either.api("bob") as bob,
        enter("socketio", either, "bob", session) as door,
    ):
        changed = await api.patch(path, json={"title": "new", "metadata": {"b": 2}})
        assert changed.status_code == 200, changed.text
        assert changed.json()["title"] == "new"
        assert (await door.wait_event("session"))["event"] == "updated"
        assert (await bob.patch(path, json={"title": "bob's"})).status_code == 403
        assert (await bob.delete(path)).status_code == 403
        assert (await bob.put(f"{path}/participants/carol", json={"role": "member"})).status_code == 403
        assert (await api.patch(path, json={"title": "x" * 201})).status_code == 422


async def test_extending(either: Server) -> None:
    session = await new_session(either, "alice", ttl_hours=1)
    async with either.api("alice") as api:
        path = f"/api/chat/sessions/{session}"
        before = (await api.get(path)).json()["expires_at"]
        extended = await api.post(f"{path}/extend", json={"hours": 3})
        assert extended.status_code == 200, extended.text
        assert extended.json()["session_id"] == session
        assert extended.json()["expires_at"] > before
        # Longer than SESSION_TTL_HOURS is for services.
        assert (await api.post("/api/chat/sessions", json={"ttl_hours": 1000})).status_code in (403, 422)
    async with either.api("billing", "service") as api:
        assert (await api.post("/api/chat/sessions", json={"ttl_hours": 1000})).status_code == 201


async def test_erasing(either: Server) -> None:
    session = await new_session(either, "alice", members=("bob",))
    path = f"/api/chat/sessions/{session}"
    async with either.api("alice") as api, either.api("bob") as bob:
        await api.post(f"{path}/messages", json={"content": "secret"})
        assert (await bob.delete(f"{path}?purge=true")).status_code == 403
        erased = await api.delete(f"{path}?purge=true")
        assert erased.status_code == 200
        assert erased.json()["session_id"] == session
        for request in (api.get(path), api.get(f"{path}/messages"), api.delete(path)):
            answer = await request
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "SESSION_NOT_FOUND"


async def test_an_idempotency_key_in_the_header(either: Server) -> None:
    session = await new_session(either, "alice")
    async with either.api("alice") as api:
        path = f"/api/chat/sessions/{session}/messages"
        first, again = [
            (await api.post(path, json={"content": "hi"}, headers={"Idempotency-Key": "k"})).json()
            for _ in range(2)
        ]
        assert first["status"] == "sent"
        assert again["duplicate"] is True
        assert again["message_id"] == first["message_id"]


async def test_http_itself(either: Server) -> None:
    """What is no call of ours answers in our form too."""
    async with either.api("alice") as api:

        def error(answer: Any, status: int) -> dict[str, Any]:
            assert answer.status_code == status, answer.text
            found: dict[str, Any] = answer.json()["error"]
            assert set(found) >= {"code", "message", "retryable"}
            return found

        error(await api.get("/api/chat/nothing"), 404)
        error(await api.put("/api/chat/sessions"), 405)
        error(await api.post("/api/chat/sessions", content=b"{"), 422)
        error(await api.post("/api/chat/sessions", content=b"[]"), 422)
        error(await api.post("/api/chat/sessions", content=b'"text"'), 422)
        error(await api.post("/api/chat/sessions", json={"title": 5}), 422)
        error(await api.post("/api/chat/sessions", json={"agent_id": 12345}), 404)
        error(await api.post("/api/chat/sessions", content=b'{"title": NaN}'), 422)
        big = b'{"title": "' + b"x" * 300_000 + b'"}'
        error(await api.post("/api/chat/sessions", content=big), 413)
        healthy = await api.get("/healthz")
        assert healthy.status_code == 200
        ready = await api.get("/readyz")
        assert ready.status_code == 200, ready.text


async def test_metrics_are_for_this_machine(either: Server) -> None:
    async with either.api(None) as api:
        answer = await api.get("/metrics")
        assert answer.status_code == 200
        assert "# HELP" in answer.text


@pytest.mark.parametrize("kind", LIVE)
async def test_who_is_added_is_told(parley: Server, kind: str) -> None:
    """Wherever one is, once; not again with another role, and again after a removal."""
    user = f"added by {kind}"
    elsewhere = await new_session(parley, user)
    session = await new_session(parley, "alice", title="Lunch")
    path = f"/api/chat/sessions/{session}/participants/{user}"
    async with enter(kind, parley, user, elsewhere) as door, parley.api("alice") as alice:
        for role in ("viewer", "member"):
            assert (await alice.put(path, json={"role": role})).status_code == 200
        assert (await alice.delete(path)).status_code == 200
        assert (await alice.put(path, json={"role": "member"})).status_code == 200
        told = await door.inbox.wait_count("session", 2, lambda event: event["event"] == "added")
        assert [(each["session_id"], each["title"], each["role"]) for each in told] == [
            (session, "Lunch", "viewer"),
            (session, "Lunch", "member"),
        ]
        assert [(each["session"]["session_id"], each["session"]["user_id"]) for each in told] == [
            (session, "alice")
        ] * 2


@pytest.mark.parametrize("kind", LIVE)
async def test_a_new_title_is_told(parley: Server, kind: str) -> None:
    session = await new_session(parley, "alice", title="old")
    async with enter(kind, parley, "alice", session) as door, parley.api("alice") as api:
        await api.patch(f"/api/chat/sessions/{session}", json={"title": "new"})
        # Of others of her sessions she is told, too.
        told = await door.wait_event("session", lambda event: event["event"] == "updated")
        assert (told["session_id"], told["title"]) == (session, "new")
