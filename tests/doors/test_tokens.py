"""Tokens and origins at every door: who is let in, how the others are told, and when a
connection's time is up.
"""

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.support.doors import KINDS, LIVE, enter, new_session
from tests.support.rawclient import RawClient
from tests.support.refusals import refusal
from tests.support.server import SECRET, Server, mint
from tests.support.sioclient import SioPolling, SioWebSocket

every_door = pytest.mark.parametrize("kind", KINDS)
live_door = pytest.mark.parametrize("kind", LIVE)

OTHER_SECRET = "another-secret-of-more-than-thirty-two-bytes"


def bad_tokens() -> dict[str, str | None]:
    hour = time.time() + 3600
    return {
        "none": None,
        "garbage": "garbage",
        "another key": mint("alice", secret=OTHER_SECRET),
        "no exp": jwt.encode({"sub": "alice"}, SECRET, algorithm="HS256"),
        "no sub": jwt.encode({"exp": hour}, SECRET, algorithm="HS256"),
        "empty sub": jwt.encode({"sub": "", "exp": hour}, SECRET, algorithm="HS256"),
        "unsigned": jwt.encode({"sub": "alice", "exp": hour}, None, algorithm="none"),
        "another algorithm": jwt.encode({"sub": "alice", "exp": hour}, SECRET * 2, algorithm="HS512"),
    }


@every_door
@pytest.mark.parametrize("case", bad_tokens())
async def test_a_bad_token_is_refused(parley: Server, kind: str, case: str) -> None:
    found = await refusal(kind, parley, bad_tokens()[case], "sess_any")
    assert found.code in ("UNAUTHORIZED", None if kind == "websocket" else "UNAUTHORIZED")
    assert found.closed in (None, 4001)
    assert found.http in (None, 401)


@every_door
async def test_an_expired_token_says_so(parley: Server, kind: str) -> None:
    found = await refusal(kind, parley, parley.token("alice", ttl=-60), "sess_any")
    assert found.code in ("TOKEN_EXPIRED", None if kind == "websocket" else "TOKEN_EXPIRED")
    assert found.closed in (None, 4001)
    assert found.http in (None, 401)


@every_door
async def test_an_unknown_role_is_a_user(parley: Server, kind: str) -> None:
    session = await new_session(parley, "alice")
    async with enter(kind, parley, "alice", session, role="superadmin") as alice:
        await alice.message("hi")
        assert (await alice.history())[0]["sender_type"] == "user"


@every_door
async def test_origins(parley: Server, kind: str) -> None:
    session = await new_session(parley, "alice")
    for origin in ("https://evil.example", "null"):
        found = await refusal(kind, parley, parley.token("alice"), session, origin=origin)
        if kind == "websocket":
            assert found.closed == 4003
        else:
            assert found.http == 403
        if kind == "rest":
            assert found.code == "ORIGIN_NOT_ALLOWED"


async def test_a_listed_origin_is_let_in(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, CORS_ORIGINS='["https://app.example"]', DEBUG="true")
    session = await new_session(node, "alice")
    for origin in ("https://app.example", f"http://localhost:{node.port}", node.url):
        async with RawClient(node.ws_url, session, node.token("alice"), origin=origin) as client:
            await client.welcome()
        async with SioWebSocket(node.ws_url, origin=origin) as socket:
            assert "sid" in await socket.connect(node.token("alice"))
        async with node.api("alice") as api:
            answer = await api.get("/api/chat/sessions", headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("place", ["header", "query", "subprotocol"])
async def test_where_a_raw_websocket_carries_its_token(parley: Server, place: str) -> None:
    session = await new_session(parley, "alice")
    async with RawClient(parley.ws_url, session, parley.token("alice"), token_in=place) as client:
        await client.welcome()
        assert client.connection is not None
        assert client.connection.subprotocol == ("bearer" if place == "subprotocol" else None)


async def test_a_token_in_the_query_of_rest_is_not_looked_at(parley: Server) -> None:
    session = await new_session(parley, "alice")
    token = parley.token("alice")
    async with parley.api(None) as api:
        assert (await api.get(f"/api/chat/sessions?token={token}")).status_code == 401
        async with api.stream("GET", f"/api/chat/sessions/{session}/events?token={token}") as events:
            assert events.status_code == 200
    assert token not in parley.log_text()


async def test_a_service_comes_from_no_browser(parley: Server) -> None:
    session = await new_session(parley, "alice")
    token = parley.token("billing", "service")
    page: list[dict[str, Any]] = [{"headers": {"Sec-Fetch-Site": "same-origin"}}]
    for options in ({"token_in": "query"}, {"origin": parley.url}, *page):
        found = await refusal("websocket", parley, token, session, **options)
        assert found.closed in (4001, 4003), options
    async with parley.api("billing", "service") as api:
        answer = await api.get("/api/chat/sessions", headers={"Origin": parley.url})
        assert answer.status_code == 403
        # A page's GET of its own origin has no Origin, but fetch metadata.
        for name, value in (
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Dest", "empty"),
            ("Sec-Fetch-User", "?1"),
            ("Sec-Fetch-Mode", "navigate"),
            ("sec-fetch-site", "none"),
        ):
            for method, path in (
                ("GET", "/api/chat/sessions"),
                ("GET", f"/api/chat/sessions/{session}/events"),
            ):
                answer = await api.request(method, path, headers={name: value})
                assert answer.status_code == 403, name
                assert answer.json()["error"]["code"] == "FORBIDDEN"
        # Node.js sends this much from a backend: by fetch, EventSource and WebSocket.
        for mode in ("cors", "no-cors", "websocket"):
            answer = await api.get("/api/chat/sessions", headers={"Sec-Fetch-Mode": mode})
            assert answer.status_code == 200, mode
    of_node = {"Sec-Fetch-Mode": "websocket"}
    async with RawClient(parley.ws_url, session, token, token_in="subprotocol", headers=of_node) as backend:
        await backend.welcome()
    async with SioPolling(parley.url, headers={"Sec-Fetch-Site": "same-origin"}) as socket:
        assert (await socket.connect(token))["data"]["code"] == "FORBIDDEN"
    async with parley.api("alice") as api:
        answer = await api.get("/api/chat/sessions", headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 200


@live_door
async def test_a_connection_outlives_no_token(
    sqlite_url: str, new_server: Callable[..., Server], kind: str
) -> None:
    node = new_server(sqlite_url, AUTH_EXPIRY_NOTICE="2")
    session = await new_session(node, "alice")
    async with enter(kind, node, "alice", session, claims={"ttl": 2.5}) as alice:
        notice = await alice.wait_event("auth_expiring")
        assert notice["expires_at"]
        # Another user's token does not help.
        refused = await alice.call("auth_refresh", token=node.token("bob"))
        assert refused["error"]["code"] in ("FORBIDDEN", "UNAUTHORIZED")
        refreshed = await alice.call("auth_refresh", token=node.token("alice", ttl=4.5))
        assert refreshed["ok"], refreshed
        mark = alice.mark()
        await alice.wait_event("auth_expiring", since=mark)
        assert (await alice.call("message", content="still here"))["ok"]
        if kind == "websocket":
            assert await alice.client.closed() == 4001
        elif kind == "socketio":
            await alice.client.closed()
            assert any(e.name == "error" and e.data["code"] == "TOKEN_EXPIRED" for e in alice.events)


@live_door
async def test_failed_refreshes_count_as_failed_tokens(
    sqlite_url: str, new_server: Callable[..., Server], kind: str
) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    session = await new_session(node, "alice")
    async with enter(kind, node, "alice", session) as alice:
        codes = [(await alice.call("auth_refresh", token="wrong"))["error"]["code"] for _ in range(31)]
        assert codes == ["UNAUTHORIZED"] * 30 + ["RATE_LIMIT"]
        # Who is told that its token has expired knows what to do; a right one is never refused.
        expired = await alice.call("auth_refresh", token=node.token("alice", ttl=-60))
        assert expired["error"]["code"] == "TOKEN_EXPIRED"
        assert (await alice.call("auth_refresh", token=node.token("alice")))["ok"]
    found = await refusal("rest", node, "wrong", session)
    assert found.code == "RATE_LIMIT"
    found = await refusal(kind, node, node.token("alice", ttl=-60), session)
    assert found.code in ("TOKEN_EXPIRED", None if kind == "websocket" else "TOKEN_EXPIRED")


@live_door
async def test_a_refresh_that_opens_less_ends_membership(parley: Server, kind: str) -> None:
    session, other = await new_session(parley, "alice"), await new_session(parley, "alice")
    async with enter(kind, parley, "alice", session) as alice, enter("rest", parley, "alice", session) as tab:
        refreshed = await alice.call("auth_refresh", token=parley.token("alice", sessions=[other]))
        assert refreshed["ok"], refreshed
        told = await alice.wait_event("session", lambda s: s["event"] == "removed")
        assert told["session_id"] == session
        await tab.message("not for that connection")
        if kind == "websocket":
            assert await alice.client.closed() == 4004
        else:
            refused = await alice.call("message", content="x")
            assert refused["error"]["code"] == "SESSION_NOT_FOUND"
        assert alice.named("message") == []


async def test_a_token_in_the_query_of_socketio(parley: Server) -> None:
    query = {"token": parley.token("alice")}
    async with SioWebSocket(parley.ws_url, query=query) as socket:
        assert "sid" in await socket.connect()
    async with SioWebSocket(parley.ws_url, query={"token": parley.token("x", "service")}) as socket:
        assert (await socket.connect())["data"]["code"] in ("FORBIDDEN", "UNAUTHORIZED")


async def test_what_browsers_may_send_and_read(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, CORS_ORIGINS='["https://app.example"]')
    wanted = "authorization,content-type,idempotency-key,last-event-id"
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    async with node.api(None) as api:
        allowed = await api.options(
            "/api/chat/sessions/x/messages", headers={"Origin": "https://app.example", **ask}
        )
        assert allowed.status_code in (200, 204)
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        assert set(wanted.split(",")) <= set(
            allowed.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
        )
        refused = await api.options("/api/chat/sessions", headers={"Origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in refused.headers
        answer = await api.get("/api/chat/sessions", headers={"Origin": "https://app.example"})
        assert "retry-after" in answer.headers["access-control-expose-headers"].lower()
        assert answer.status_code == 401


async def test_a_socket_that_never_authenticates_is_closed(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, AUTH_TIMEOUT="0.5")
    async with SioWebSocket(node.ws_url) as socket:
        await socket.closed(5)
    async with SioWebSocket(node.ws_url) as socket:
        refused = await socket.connect("garbage")
        assert refused["data"]["code"] == "UNAUTHORIZED"
        await socket.closed(5)


async def test_the_development_token(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, DEBUG="true")
    async with node.api(None) as api:
        answer = await api.post("/api/dev/token", json={"sub": "alice"})
        assert answer.status_code == 200, answer.text
        token = answer.json()["token"]
        assert answer.json()["expires_at"]
        mine = await api.get("/api/chat/sessions", headers={"Authorization": f"Bearer {token}"})
        assert mine.status_code == 200
        for header in (
            {"X-Forwarded-For": "127.0.0.1"},
            {"Forwarded": "for=127.0.0.1"},
            {"Host": "chat.example.com"},
            {"Origin": "https://evil.example"},
        ):
            refused = await api.post("/api/dev/token", json={"sub": "alice"}, headers=header)
            assert refused.status_code in (403, 404), header


async def test_no_development_token_in_earnest(parley: Server) -> None:
    async with parley.api(None) as api:
        assert (await api.post("/api/dev/token", json={"sub": "alice"})).status_code in (403, 404)
