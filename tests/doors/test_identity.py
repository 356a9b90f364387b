"""Whose name one speaks in: identities are compared as they are written, and what the holder of a share link
may not change for those of the same name.
"""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.doors import KINDS, LIVE, enter, new_session
from tests.support.rawclient import RawClient
from tests.support.refusals import refusal
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket
from tests.support.sseclient import SseClient

every_door = pytest.mark.parametrize("kind", KINDS)
live_door = pytest.mark.parametrize("kind", LIVE)

BASE = "/api/chat/sessions"


def code(answer: httpx.Response) -> str:
    assert answer.is_error, answer.text
    found: str = answer.json()["error"]["code"]
    return found


def error(reply: dict[str, Any]) -> str:
    assert not reply["ok"], reply
    found: str = reply["error"]["code"]
    return found


# One spelling.


@every_door
@pytest.mark.parametrize("sub", ["01", "\uff11", "\u00b2", "1" * 30, "worker"])
async def test_an_agents_id_has_one_spelling(either: Server, kind: str, sub: str) -> None:
    session = await new_session(either, "alice", agent_id=1)
    found = await refusal(kind, either, either.token(sub, "agent"), session)
    assert found.code in ("UNAUTHORIZED", None if kind == "websocket" else "UNAUTHORIZED")
    assert found.closed in (None, 4001)
    async with either.api(sub, "agent") as api:
        for path in (BASE, "/api/chat/search?q=x", f"{BASE}/{session}"):
            assert code(await api.get(path)) == "UNAUTHORIZED"
    async with either.api("1", "agent") as api:
        listed = (await api.get(BASE, params={"limit": 100})).json()["sessions"]
        assert session in [one["session_id"] for one in listed]


async def test_names_are_compared_as_they_are_written(either: Server) -> None:
    """Neither case nor normal forms nor spaces nor escapes make one person of two."""
    names = [
        "Ada",
        "ada",
        "ada ",
        "\u00e4da",
        "a\u0308da",
        "a/da",
        "a%2Fda",
        "ad\u0430",
        "user:ada",
        "1",
        "01",
    ]
    session = await new_session(either, "owner")
    path = f"{BASE}/{session}"
    async with either.api("owner") as owner:
        for name in names:
            # A user whose name begins like a role is named with his own.
            key = f"user:{name}" if name.startswith("user:") else name
            added = await owner.put(f"{path}/participants/{quote(key, safe='')}", json={"role": "member"})
            assert added.status_code == 200, added.text
            async with either.api(name) as api:
                assert (await api.get(path)).json()["role"] == "member"
            for other in names:
                if other != name:
                    async with either.api(other) as api:
                        assert code(await api.get(path)) == "SESSION_NOT_FOUND", (name, other)
                        listed = (await api.get(BASE)).json()["sessions"]
                        assert session not in [one["session_id"] for one in listed], (name, other)
            removed = await owner.delete(f"{path}/participants/{quote(key, safe='')}")
            assert removed.json()["participants"] == ["owner"]


async def test_a_path_names_users_by_their_key(either: Server) -> None:
    session = await new_session(either, "owner")
    path = f"{BASE}/{session}/participants"
    async with either.api("owner") as owner:
        # "user:bob" is bob, spelt out; and it is told as everywhere.
        added = await owner.put(f"{path}/user:bob", json={"role": "viewer"})
        assert added.json()["participant_roles"] == {"owner": "owner", "bob": "viewer"}
        async with either.api("bob") as bob:
            assert (await bob.get(f"{BASE}/{session}")).json()["role"] == "viewer"
        removed = await owner.delete(f"{path}/user:bob")
        assert removed.json()["participants"] == ["owner"]
        for nobody in (
            "user:",
            "agent:01",
            "agent:x",
            "agent:",
            "service:",
            "agent:1",
            "service:x",
            "x" * 256,
        ):
            assert code(await owner.put(f"{path}/{nobody}", json={"role": "viewer"})) == "VALIDATION_ERROR"
        assert code(await owner.put(f"{path}/user:owner", json={"role": "viewer"})) == "VALIDATION_ERROR"
        # Bytes that are no UTF-8 are nobody's name, and not another's.
        assert code(await owner.put(f"{path}/a%ff", json={"role": "viewer"})) == "VALIDATION_ERROR"
        assert (await owner.put(f"{path}/a%EF%BF%BD", json={"role": "viewer"})).status_code == 200


async def test_the_longest_names_work_everywhere(either: Server) -> None:
    """What a token may say, the columns hold."""
    session = await new_session(either, "owner", agent_id=1)
    longest = {"user": "\U0001f600" * 255, "service": "s" * 247}
    async with either.api("owner") as owner:
        added = await owner.put(
            f"{BASE}/{session}/participants/{quote(longest['user'])}", json={"role": "member"}
        )
        assert added.status_code == 200, added.text
    for role, sub in longest.items():
        async with either.api(sub, role) as api:
            sent = await api.post(f"{BASE}/{session}/messages", json={"content": "hi", "reply": False})
            assert sent.status_code == 201, sent.text
            assert (await api.post(f"{BASE}/{session}/read", json={"seq": 1})).status_code == 200
            assert (await api.get(BASE)).status_code == 200
    async with either.api("s" * 248, "service") as api:
        assert code(await api.get(BASE)) == "UNAUTHORIZED"


async def test_a_restricted_agent_sees_its_own_sessions_alone(either: Server) -> None:
    mine = await new_session(either, "alice", agent_id=1)
    other = await new_session(either, "alice")
    async with either.api("alice") as alice:
        for session in (mine, other):
            sent = {"content": "peculiarly", "reply": False}
            assert (await alice.post(f"{BASE}/{session}/messages", json=sent)).status_code == 201
    async with either.api("1", "agent", sessions=[mine, other]) as agent:
        assert code(await agent.get(f"{BASE}/{other}")) == "SESSION_NOT_FOUND"
        listed = (await agent.get(BASE)).json()["sessions"]
        assert [one["session_id"] for one in listed] == [mine]
        found = (await agent.get("/api/chat/search", params={"q": "peculiarly"})).json()["results"]
        assert [one["session_id"] for one in found] == [mine]


# Share links.


async def test_a_share_link_removes_nobody(either: Server) -> None:
    session = await new_session(either, "alice", members=("bob",))
    path = f"{BASE}/{session}"
    for sub in ("guest", "bob"):
        for session_role in ("viewer", "member"):
            async with either.api(sub, sessions=[session], session_role=session_role) as link:
                for who in (sub, "bob", "carol", quote(f"user:{sub}")):
                    assert code(await link.delete(f"{path}/participants/{who}")) == "FORBIDDEN"
                    assert code(await link.put(f"{path}/participants/{who}", json={})) == "FORBIDDEN"
                assert (await link.get(path)).status_code == 200
    async with either.api("bob") as bob, either.api("alice") as alice:
        assert (await bob.get(path)).json()["participant_roles"] == {"alice": "owner", "bob": "member"}
        # Who takes part may leave, for good.
        assert code(await bob.delete(f"{path}/participants/alice")) == "VALIDATION_ERROR"
        assert code(await bob.delete(f"{path}/participants/carol")) == "FORBIDDEN"
        assert (await bob.delete(f"{path}/participants/bob")).json()["participants"] == ["alice"]
        assert code(await bob.delete(f"{path}/participants/bob")) == "SESSION_NOT_FOUND"
        assert (await alice.get(path)).json()["participants"] == ["alice"]


async def test_an_agent_leaves_no_session(either: Server) -> None:
    session = await new_session(either, "alice", agent_id=1)
    async with either.api("1", "agent") as agent:
        assert code(await agent.delete(f"{BASE}/{session}/participants/agent:1")) == "FORBIDDEN"
        assert (await agent.get(f"{BASE}/{session}")).json()["participants"] == ["alice"]


@every_door
@pytest.mark.parametrize("sub", ["alice", "bob"])
async def test_a_share_link_reads_in_nobodys_name(either: Server, kind: str, sub: str) -> None:
    session = await new_session(either, "alice", members=("bob",))
    async with either.api("carol", "service") as service, either.api(sub) as member:
        for number in range(3):
            sent = await service.post(f"{BASE}/{session}/messages", json={"content": f"{number}"})
            assert sent.status_code == 201
        claims = {"sessions": [session]}
        async with (
            enter(kind, either, sub, session, claims=claims) as link,
            enter("socketio", either, "alice", session) as watcher,
        ):
            assert error(await link.call("read", seq=3)) == "FORBIDDEN"
            assert (await link.call("history"))["ok"]
            await watcher.message("after")
            await watcher.wait_event("message")
            assert watcher.named("read") == []
        line = (await member.get(BASE)).json()["sessions"][0]
        assert line["unread_count"] == (3 if sub == "alice" else 4)
        # Oneself one reads as ever.
        marked = await member.post(f"{BASE}/{session}/read", json={"seq": 2})
        assert marked.json()["unread_count"] == (1 if sub == "alice" else 2)


async def test_a_guests_mark_makes_no_participant(either: Server) -> None:
    session = await new_session(either, "alice")
    async with either.api("alice") as alice, either.api("guest", sessions=[session]) as link:
        await alice.post(f"{BASE}/{session}/messages", json={"content": "one"})
        assert (await link.post(f"{BASE}/{session}/read", json={"seq": 1})).json()["unread_count"] == 0
        assert (await alice.get(f"{BASE}/{session}")).json()["participants"] == ["alice"]
    async with either.api("guest") as guest:
        assert code(await guest.get(f"{BASE}/{session}")) == "SESSION_NOT_FOUND"
        assert (await guest.get(BASE)).json()["sessions"] == []


async def test_a_share_link_types_for_no_other_tab(parley: Server) -> None:
    """A request without a connection speaks for event streams of the same token's kind alone."""
    session = await new_session(parley, "alice", members=("bob",))
    path = f"{BASE}/{session}"
    link = {"sessions": [session], "session_role": "member"}
    async with (
        SseClient(f"{parley.url}{path}/events", parley.token("bob")) as tab,
        enter("socketio", parley, "alice", session) as alice,
        parley.api("bob", **link) as holder,
    ):
        await tab.wait_event("welcome")
        assert (await holder.post(f"{path}/typing", json={"is_typing": True})).status_code == 200
        assert (await alice.wait_event("typing"))["user_id"] == "bob"
        # Had it spoken for the tab, the tab would not hear of it.
        assert (await tab.wait_event("typing"))["user_id"] == "bob"


async def test_a_share_link_uses_up_nothing_of_who_takes_part(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", MAX_EVENT_STREAMS_PER_USER="1")
    session = await new_session(node, "alice")
    link = node.token("alice", sessions=[session])
    events = f"{node.url}{BASE}/{session}/events"
    async with SioWebSocket(node.ws_url) as holder, SioWebSocket(node.ws_url) as alice:
        assert "sid" in await holder.connect(link)
        assert "sid" in await alice.connect(node.token("alice"))
        while (await holder.emit("presence", {"status": "away"}))["ok"]:
            pass
        assert (await alice.emit("presence", {"status": "online"}))["ok"]
        async with SseClient(events, link) as first, SseClient(events, link) as second:
            assert (first.status, second.status) == (200, 429)
            async with SseClient(events, node.token("alice")) as mine:
                assert mine.status == 200


# What is for a user alone.


async def test_events_for_a_user_do_not_reach_share_links(parley: Server) -> None:
    session, other = await new_session(parley, "ines"), await new_session(parley, "ines")
    claims = {"sessions": [session]}
    token = parley.token("ines", **claims)
    async with (
        enter("websocket", parley, "ines", session, claims=claims) as raw,
        enter("rest", parley, "ines", session, claims=claims) as events,
        SioWebSocket(parley.ws_url) as sio,
        SioWebSocket(parley.ws_url) as whole,
        parley.api("backend", "service") as service,
        parley.api("ines") as ines,
    ):
        assert "sid" in await sio.connect(token)
        assert "sid" in await whole.connect(parley.token("ines"))
        body = {"user_id": "ines", "event": "private", "data": {"n": 1}}
        assert (await service.post("/api/server/publish", json=body)).status_code == 200
        await whole.wait_event("private")
        # What happens elsewhere is told to the one that might go there.
        await ines.post(f"{BASE}/{other}/messages", json={"content": "elsewhere"})
        told = await whole.wait_event("session", lambda s: s["event"] == "activity")
        assert told["session_id"] == other
        # A later one, in the session itself, reaches all: then nothing else was on its way.
        body = {"session_id": session, "event": "public", "data": {"n": 2}}
        assert (await sio.emit("join", {"session_id": session}))["ok"]
        assert (await service.post("/api/server/publish", json=body)).status_code == 200
        for client in (raw, events, sio):
            await client.wait_event("public")
            assert client.named("private") == []
            assert client.named("session") == []


async def test_events_for_a_user_on_another_node(
    postgres_url: str, redis: Any, new_server: Callable[..., Server]
) -> None:
    near, far = (new_server(postgres_url, REDIS_URL=redis.url) for _ in range(2))
    session = await new_session(near, "alice")
    async with (
        RawClient(near.ws_url, session, near.token("alice", sessions=[session])) as link,
        RawClient(near.ws_url, session, near.token("alice")) as whole,
        far.api("backend", "service") as service,
    ):
        await link.welcome()
        await whole.welcome()
        body = {"user_id": "alice", "event": "private", "data": {"n": 1}}
        assert (await service.post("/api/server/publish", json=body)).status_code == 200
        await whole.wait_event("private")
        body = {"session_id": session, "event": "public", "data": {"n": 2}}
        assert (await service.post("/api/server/publish", json=body)).status_code == 200
        await link.wait_event("public")
        assert link.named("private") == []


async def test_a_worker_for_other_sessions_is_not_asked(parley: Server) -> None:
    async with parley.api("backend", "service") as service:
        made = await service.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
        agent = made.json()["id"]
    session = await new_session(parley, "alice", agent_id=agent)
    other = await new_session(parley, "alice", agent_id=agent)
    async with (
        SioWebSocket(parley.ws_url) as restricted,
        enter("socketio", parley, "alice", session) as alice,
    ):
        assert "sid" in await restricted.connect(parley.token(str(agent), "agent", sessions=[other]))
        await alice.message("a secret")
        failed = await alice.wait_event("stream_end")
        assert failed["error"]["code"] == "AGENT_UNAVAILABLE"
        assert restricted.named("agent_request") == []


async def test_a_service_for_named_sessions_serves_these_alone(parley: Server) -> None:
    session, other = await new_session(parley, "alice"), await new_session(parley, "alice")
    async with parley.api("backend", "service", sessions=[session]) as service:
        body = {"event": "x", "data": {}}
        published = await service.post("/api/server/publish", json={"session_id": session, **body})
        assert published.status_code == 200
        elsewhere = await service.post("/api/server/publish", json={"session_id": other, **body})
        assert code(elsewhere) == "SESSION_NOT_FOUND"
        for method, path, sent in (
            ("POST", "/api/server/publish", {"user_id": "alice", **body}),
            ("POST", "/api/server/disconnect", {"user_id": "alice"}),
            ("GET", "/api/server/stats", None),
            ("GET", "/api/server/connections", None),
            ("DELETE", "/api/server/users/alice", None),
            ("POST", "/api/chat/agents", {"name": "x", "kind": "echo"}),
            ("PATCH", "/api/chat/agents/1", {"name": "x"}),
            ("DELETE", "/api/chat/agents/1", None),
        ):
            assert code(await service.request(method, path, json=sent)) == "FORBIDDEN", path
        listed = (await service.get(BASE)).json()["sessions"]
        assert [one["session_id"] for one in listed] == [session]


# Who may add whom.


async def test_who_adds_participants_is_a_setting(
    database_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(database_url, PARTICIPANTS_ADDED_BY="service")
    session = await new_session(node, "alice")
    path = f"{BASE}/{session}/participants/bob"
    async with node.api("alice") as alice, node.api("backend", "service") as service:
        assert code(await alice.put(path, json={"role": "member"})) == "FORBIDDEN"
        assert (await service.put(path, json={"role": "viewer"})).status_code == 200
        # The owner still says what those may who are there, and who has to go.
        changed = await alice.put(path, json={"role": "member"})
        assert changed.json()["participant_roles"] == {"alice": "owner", "bob": "member"}
        assert (await alice.delete(path)).json()["participants"] == ["alice"]
        assert code(await alice.put(path, json={"role": "member"})) == "FORBIDDEN"
        assert (await service.put(path, json={"role": "member"})).status_code == 200


# Streams of others.


@live_door
async def test_whose_streams_are_not_there(either: Server, kind: str) -> None:
    """An open stream of a session that one may not see is as one that is not there; in one's own session it
    is another's."""
    theirs, mine = await new_session(either, "alice"), await new_session(either, "eve", members=("bob",))
    async with enter("socketio", either, "alice", theirs) as alice, enter(kind, either, "eve", mine) as eve:
        hidden = (await alice.call("stream_start", message_id=f"answer:{theirs}"))["message_id"]
        for message_id in (hidden, "msg_none"):
            for command, fields in (("stream_chunk", {"content": "x", "index": 0}), ("stream_end", {})):
                refused = await eve.call(command, message_id=message_id, **fields)
                assert error(refused) == "STREAM_NOT_FOUND", (command, message_id)
                if kind != "websocket":
                    elsewhere = {"session_id": theirs, "message_id": message_id, **fields}
                    assert error(await eve.call(command, **elsewhere)) == "SESSION_NOT_FOUND"
        async with enter("socketio", either, "bob", mine) as bob:
            shown = (await bob.call("stream_start"))["message_id"]
            for command, fields in (("stream_chunk", {"content": "x", "index": 0}), ("stream_end", {})):
                assert error(await eve.call(command, message_id=shown, **fields)) == "FORBIDDEN"
        # An id in use says no more than that, wherever it is in use.
        for taken in (hidden, shown):
            refused = await eve.call("stream_start", message_id=taken)
            assert refused["error"] | {"retryable": False} == refused["error"]
            assert (refused["error"]["code"], refused["error"]["message"]) == ("CONFLICT", "The id is in use")
        assert (await alice.call("stream_chunk", message_id=hidden, content="mine", index=0))["ok"]


@live_door
@pytest.mark.parametrize("how", ["removed", "made a viewer"])
async def test_who_may_not_write_any_more_says_not_how_it_ended(either: Server, kind: str, how: str) -> None:
    session = await new_session(either, "alice", members=("bob",))
    async with (
        enter("socketio", either, "alice", session) as alice,
        SioWebSocket(either.ws_url) as sio,
        enter(kind, either, "bob", session) as bob,
    ):
        assert "sid" in await sio.connect(either.token("bob"))
        started = await bob.call("stream_start", message_id=f"text:{session}")
        message_id = started["message_id"]
        assert (await bob.call("stream_chunk", content="what he wrote", index=0))["ok"]
        await alice.wait_event("stream_chunk")
        async with either.api("alice") as api:
            path = f"{BASE}/{session}/participants/bob"
            if how == "removed":
                assert (await api.delete(path)).status_code == 200
                await bob.wait_event("session", lambda s: s["event"] == "removed")
            else:
                assert (await api.put(path, json={"role": "viewer"})).status_code == 200
        ending = {
            "session_id": session,
            "message_id": message_id,
            "status": "failed",
            "error": {"code": "OWN", "message": "a last word to all"},
            "tokens_used": 7,
        }
        # On the raw WebSocket the removal ended the connection; he has another one.
        reply = await sio.emit("stream_end", ending)
        assert reply["ok"], reply
        ended = await alice.wait_event("stream_end")
        assert ended["status"] == "interrupted"
        assert "error" not in ended
        assert ended["tokens_used"] != 7
        last = (await alice.history())[-1]
        assert (last["status"], last["content"], last["error"]) == ("interrupted", "what he wrote", None)


# Revocation, of whomever.


@pytest.mark.parametrize(
    ("body", "sub", "role", "key"),
    [
        ({"user_id": "agent:1"}, "1", "agent", "agent:1"),
        ({"user_id": "1", "role": "agent"}, "1", "agent", "agent:1"),
        ({"user_id": "agent:1", "role": "agent"}, "1", "agent", "agent:1"),
        ({"user_id": "service:billing"}, "billing", "service", "service:billing"),
        ({"user_id": "billing", "role": "service"}, "billing", "service", "service:billing"),
        ({"user_id": "user:dora"}, "dora", None, "dora"),
        ({"user_id": "dora", "role": "user"}, "dora", None, "dora"),
        ({"user_id": "user:agent:1"}, "agent:1", None, "user:agent:1"),
    ],
)
async def test_revoking_any_role(
    database_url: str,
    new_server: Callable[..., Server],
    body: dict[str, Any],
    sub: str,
    role: str | None,
    key: str,
) -> None:
    node = new_server(database_url)
    session = await new_session(node, "alice", agent_id=1, members=(quote("user:agent:1"), "dora"))
    old = node.token(sub, role)
    others = [("1", "agent"), ("1", None), ("billing", "service"), ("billing", None), ("dora", None)]
    async with (
        RawClient(node.ws_url, session, old) as raw,
        SioWebSocket(node.ws_url) as sio,
        SseClient(f"{node.url}{BASE}/{session}/events", old) as sse,
        node.api("backend", "service") as service,
    ):
        await raw.welcome()
        assert "sid" in await sio.connect(old)
        await sse.wait_event("welcome")
        answer = await service.post("/api/server/disconnect", json={**body, "revoke": True})
        assert answer.json() == {"user_id": key, "revoked": True}
        assert await raw.closed() == 4001
        await sio.closed()
        assert (await sse.wait_event("error"))["code"] == "UNAUTHORIZED"
    for kind in KINDS:
        found = await refusal(kind, node, old, session)
        assert found.code in ("UNAUTHORIZED", None if kind == "websocket" else "UNAUTHORIZED")
        assert found.closed in (None, 4001)
    async with node.api(None) as api:
        for other in others:
            if other != (sub, role):
                headers = {"Authorization": f"Bearer {node.token(*other)}"}
                assert (await api.get(BASE, headers=headers)).status_code == 200, other


@live_door
async def test_a_revoked_token_refreshes_nothing(parley: Server, kind: str) -> None:
    who = f"fay of {kind}"
    session = await new_session(parley, who)
    old = parley.token(who)
    async with parley.api("backend", "service") as service:
        answer = await service.post("/api/server/disconnect", json={"user_id": who, "revoke": True})
        assert answer.status_code == 200
    later = {"iat": time.time()}
    async with enter(kind, parley, who, session, claims=later) as fay:
        assert error(await fay.call("auth_refresh", token=old)) == "UNAUTHORIZED"
        assert (await fay.call("auth_refresh", token=parley.token(who, **later)))["ok"]


async def test_who_is_meant_is_said_clearly(parley: Server) -> None:
    async with parley.api("backend", "service") as service:
        for wrong in (
            {"user_id": "agent:01"},
            {"user_id": "agent:x"},
            {"user_id": "01", "role": "agent"},
            {"user_id": "agent:1", "role": "user"},
            {"user_id": "service:x", "role": "agent"},
            {"user_id": "alice", "role": "admin"},
            {"user_id": "user:"},
            {"user_id": ""},
        ):
            answer = await service.post("/api/server/disconnect", json={**wrong, "revoke": True})
            assert code(answer) == "VALIDATION_ERROR", wrong
        for path in (
            "/api/server/users/agent:1",
            "/api/server/users/service:x",
            "/api/server/users/agent:01",
        ):
            assert code(await service.delete(path)) == "VALIDATION_ERROR"
        asked = await service.get("/api/server/connections", params={"user_id": "agent:01"})
        assert code(asked) == "VALIDATION_ERROR"
