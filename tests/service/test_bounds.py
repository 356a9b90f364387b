"""Every call has its bucket, one for all doors; every number that can grow has its cap."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.engine.kit import Raw
from tests.support.doors import Door, enter, new_session
from tests.support.server import Server
from tests.support.services import Redis

#: What a person does in a minute, and a flood that is beyond any bucket.
FEW, FLOOD = 20, 1500


@pytest.fixture(scope="module")
def limited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from migrations.run import upgrade

    folder = tmp_path_factory.mktemp("limited")
    url = f"sqlite:///{folder}/parley.db"
    upgrade(url)
    with Server(folder, url, RATE_LIMIT_ENABLED="true") as node:
        yield node


Call = Callable[[httpx.AsyncClient, Door, int], Awaitable[httpx.Response]]
BASE = "/api/chat/sessions"


def _in(door: Door) -> str:
    return f"{BASE}/{door.session_id}"


#: By bucket: calls over REST, and commands with their payloads.
CALLS: dict[str, tuple[list[Call], list[tuple[str, dict[str, Any]]]]] = {
    "create": ([lambda api, door, n: api.post(BASE, json={})], []),
    "change": (
        [
            lambda api, door, n: api.patch(_in(door), json={"title": f"t{n}"}),
            lambda api, door, n: api.post(f"{_in(door)}/extend", json={"hours": 1}),
            lambda api, door, n: api.delete(f"{BASE}/none"),
            lambda api, door, n: api.get("/api/server/stats"),
            lambda api, door, n: api.post("/api/server/publish", json={}),
        ],
        [],
    ),
    "participant": (
        [
            lambda api, door, n: api.put(f"{_in(door)}/participants/u{n}", json={}),
            lambda api, door, n: api.delete(f"{_in(door)}/participants/u{n}"),
        ],
        [],
    ),
    "read": (
        [
            lambda api, door, n: api.get("/api/chat/agents"),
            lambda api, door, n: api.get("/api/chat/agents/1"),
            lambda api, door, n: api.get(BASE),
            lambda api, door, n: api.get(_in(door)),
            lambda api, door, n: api.get(f"{_in(door)}/presence"),
            lambda api, door, n: api.get(f"{_in(door)}/messages"),
            lambda api, door, n: api.post(f"{_in(door)}/read", json={"seq": 0}),
            lambda api, door, n: api.get("/api/chat/streams/none"),
            lambda api, door, n: api.get("/api/chat/files/none/url"),
        ],
        [("history", {"limit": 1}), ("read", {"seq": 0}), ("stream_resume", {"message_id": "none"})],
    ),
    "search": ([lambda api, door, n: api.get("/api/chat/search", params={"q": f"word{n}"})], []),
    "download": (
        [lambda api, door, n: api.get("/files/none"), lambda api, door, n: api.get("/files/none/thumb")],
        [],
    ),
    "presence": (
        [lambda api, door, n: api.post(f"{_in(door)}/presence", json={"status": "away"})],
        [("presence", {"status": "away"})],
    ),
    "stream": (
        [lambda api, door, n: api.post("/api/chat/streams/none/cancel")],
        [
            ("stream_end", {"message_id": "none"}),
            ("stream_cancel", {"message_id": "none"}),
            ("stream_chunk", {"message_id": "none", "content": "x"}),
        ],
    ),
    "join": ([], [("leave", {}), ("join", {"limit": 1})]),
    "refresh": ([], [("auth_refresh", {"token": "none"})]),
}


@pytest.mark.parametrize("bucket", CALLS)
async def test_a_flood_is_refused_at_every_door(limited: Server, bucket: str) -> None:
    """A person is not; and each kind has a bucket of its own."""
    user = f"floods {bucket}"
    room = await new_session(limited, user)
    rest, commands = CALLS[bucket]
    async with limited.api(user) as api, enter("socketio", limited, user, room) as door:

        async def errors(which: int, count: int) -> list[dict[str, Any]]:
            if which < len(rest):
                asked = [rest[which](api, door, n) for n in range(count)]
                # Few searches of one user may wait in line: a person looks at one answer, and asks on.
                one_by_one = bucket == "search" and count == FEW
                answers = [await a for a in asked] if one_by_one else await asyncio.gather(*asked)
                assert all("retry-after" in a.headers for a in answers if a.status_code == 429)
                return [answer.json().get("error", {}) for answer in answers]
            name, payload = commands[which - len(rest)]
            replies = await asyncio.gather(*(door.call(name, **payload) for _ in range(count)))
            return [reply.get("error", {}) for reply in replies]

        async def refused(which: int, count: int) -> list[dict[str, Any]]:
            return [e for e in await errors(which, count) if e.get("code") == "RATE_LIMIT"]

        assert not await refused(0, FEW)
        for _ in range(0, FLOOD, 50):
            if found := await refused(0, 50):
                break
        assert found, "never refused"
        assert found[0]["retryable"] is True
        assert 0 < found[0]["retry_after"] <= 60_000
        for which in range(1, len(rest) + len(commands)):
            # Waiting for refusals gave it some tokens back.
            for _ in range(30):
                began = time.monotonic()
                if await refused(which, 3) or (bucket == "message" and time.monotonic() - began > 1.0):
                    break  # a connection's messages wait for their tokens
            else:
                pytest.fail(f"call {which} of {bucket} has another bucket")
        assert (await door.call("message", content="hello", reply=False))["ok"]


@pytest.mark.parametrize("cluster", [False, True], ids=["memory", "redis"])
async def test_doors_and_nodes_share_one_count(
    cluster: bool, request: pytest.FixtureRequest, postgres_url: str, new_server: Callable[..., Server]
) -> None:
    settings = {"RATE_LIMIT_ENABLED": "true"}
    if cluster:
        redis: Redis = request.getfixturevalue("redis")
        settings["REDIS_URL"] = redis.url
    nodes = [new_server(postgres_url, **settings) for _ in range(2 if cluster else 1)]
    room = await new_session(nodes[0], "alice")
    async with nodes[0].api("alice") as api, enter("websocket", nodes[-1], "alice", room) as door:
        codes = []
        for _ in range(40):
            codes.append((await api.post(f"{BASE}/{room}/presence", json={"status": "away"})).status_code)
        replies = [await door.call("presence", status="online") for _ in range(40)]
        assert 429 not in codes
        taken = 40 + sum(reply["ok"] for reply in replies)
        assert 60 <= taken <= 66


async def test_a_page_that_comes_back_with_all_its_rooms(limited: Server) -> None:
    """Three tabs of 200 rooms: listed, joined, read, marked."""
    async with limited.api("billing", "service") as api:
        made = [await api.post(BASE, json={"user_id": "carol"}) for _ in range(200)]
        rooms = [answer.json()["session_id"] for answer in made]
    async with limited.api("carol") as api:
        pages = await asyncio.gather(*(api.get(BASE, params={"offset": 20 * n}) for n in range(10)))
        assert all(page.status_code == 200 for page in pages)
    for _ in range(3):
        async with enter("socketio", limited, "carol", rooms[0]) as door:
            calls = [("join", {"limit": 1}), ("history", {"limit": 1}), ("read", {"seq": 0})]
            for name, payload in calls[:2] if _ else calls:
                for start in range(0, 200, 50):
                    replies = await asyncio.gather(
                        *(door.call(name, session_id=room, **payload) for room in rooms[start : start + 50])
                    )
                    assert all(reply["ok"] for reply in replies), replies


async def test_nothing_is_made_for_who_is_refused(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="3")
    async with node.api("alice") as api:
        codes = [
            (await api.post("/api/chat", json={"content": "hi", "stream": False})).status_code
            for _ in range(12)
        ]
        assert codes.count(201) <= 4 and codes[-1] == 429
        total = (await api.get(BASE)).json()["total"]
        assert total == codes.count(201)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_no_session_without_its_first_message(
    database: str, sqlite_url: str, postgres_url: str, new_server: Callable[..., Server]
) -> None:
    """`POST /api/chat` makes both or neither, also where the message is refused at its commit."""
    node = new_server(sqlite_url if database == "sqlite" else postgres_url)
    hello = {"content": "hi", "stream": False}
    async with node.api("alice") as api:
        for body, query, code in (
            (hello | {"reply_to": "msg_of_nobody"}, {}, "MESSAGE_NOT_FOUND"),
            (hello | {"agent_id": "999999"}, {}, "AGENT_NOT_FOUND"),
            (hello, {"from_index": "x"}, "VALIDATION_ERROR"),
        ):
            refused = await api.post("/api/chat", json=body, params=query)
            assert refused.json()["error"]["code"] == code
        assert (await api.get(BASE)).json()["total"] == 0
        made = (await api.post("/api/chat", json=hello)).json()
        listed = (await api.get(BASE)).json()
        assert listed["total"] == 1
        assert listed["sessions"][0]["session_id"] == made["session_id"]
        messages = (await api.get(f"{BASE}/{made['session_id']}/messages")).json()["messages"]
        assert [message["seq"] for message in messages] == [1, 2]
        assert messages[0]["message_id"] == made["request"]["message_id"]


async def test_who_goes_on_after_refusals_waits_for_them(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="1")
    room = await new_session(node, "mallory", members=("alice",))
    async with (
        enter("socketio", node, "mallory", room) as mallory,
        enter("socketio", node, "alice", room) as alice,
    ):
        answers = [asyncio.ensure_future(mallory.call("message", content="x")) for _ in range(80)]
        done, late = await asyncio.wait(answers, timeout=0.9)
        assert late and len(done) >= 60
        # Nobody else waits with it.
        assert (await alice.call("message", content="y"))["ok"]
        for answer in answers:
            answer.cancel()


async def test_nonsense_has_a_bucket_too(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    room = await new_session(node, "mallory")
    for kind, name, payload in (("socketio", "nothing", {}), ("websocket", "message", {"content": 7})):
        async with enter(kind, node, "mallory", room) as mallory:
            answers = [asyncio.ensure_future(mallory.call(name, **payload)) for _ in range(80)]
            _, late = await asyncio.wait(answers, timeout=0.9)
            assert late
            for answer in answers:
                answer.cancel()


@pytest.mark.parametrize("how", ["above its rate", "nonsense"])
async def test_a_late_refusal_ends_its_connection(
    sqlite_url: str, new_server: Callable[..., Server], how: str
) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    async with node.api("mallory") as api:

        async def refused() -> httpx.Response:
            if how == "nonsense":
                return await api.post(BASE, json={"title": 7})
            return await api.get(f"{BASE}?limit=1")

        for _ in range(2000):
            answer = await refused()
            if answer.status_code in (429, 422, 400) and "connection" in answer.headers:
                break
        assert answer.status_code in (429, 422, 400) and answer.headers["connection"] == "close"
        assert answer.elapsed.total_seconds() > 0.9


async def test_who_comes_and_goes_is_not_told_of_each_time(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, PRESENCE_GRACE="2")
    room = await new_session(node, "alice", members=("bob",))
    async with enter("socketio", node, "bob", room) as bob, enter("socketio", node, "alice", room) as alice:
        await bob.wait_event("presence", lambda p: p["user_id"] == "alice")
        mark = bob.mark()
        for _ in range(50):
            assert (await alice.call("leave"))["ok"]
            assert (await alice.call("join"))["ok"]
        await alice.message("the end")
        await bob.wait_event("message")
        assert bob.named("presence", mark) == bob.named("system", mark) == []
        assert (await alice.call("leave"))["ok"]
        gone = await bob.wait_event("presence", lambda p: p["status"] == "offline", since=mark)
        assert gone["user_id"] == "alice"


# --- caps


async def test_a_session_of_many_participants_is_shown_in_bounds(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, MAX_PARTICIPANTS_PER_SESSION="0")
    room = await new_session(node, "alice")
    async with node.api("alice") as api:
        for start in range(0, 600, 50):
            await asyncio.gather(
                *(api.put(f"{BASE}/{room}/participants/u{n}", json={}) for n in range(start, start + 50))
            )
        shown = (await api.get(f"{BASE}/{room}")).json()
        added = (await api.put(f"{BASE}/{room}/participants/u0", json={})).json()
    async with (
        enter("websocket", node, "u599", room) as one,
        enter("websocket", node, "alice", room) as alice,
    ):
        assert alice.joined["session"]["participant_count"] == 601
        assert len(alice.joined["session"]["participants"]) == 500
        # Each of them is told, in steps.
        other = await new_session(node, "u7")
        async with enter("socketio", node, "u7", other) as outside:
            await alice.message("to all")
            await outside.wait_event(
                "session", lambda e: e["event"] == "activity" and e["session_id"] == room
            )
        await one.wait_event("message")
    for answer in (shown, added):
        assert answer["participant_count"] == 601
        assert answer["participants"][0] == "alice"
        assert len(answer["participants"]) == len(answer["participant_roles"]) == 500


async def test_participants_of_a_session(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, MAX_PARTICIPANTS_PER_SESSION="4")
    room = await new_session(node, "alice", members=("a", "b", "c"))
    async with node.api("alice") as api:
        refused = await api.put(f"{BASE}/{room}/participants/d", json={})
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "LIMIT_REACHED"
        assert refused.json()["error"]["details"] == {"limit": 4}
        assert (await api.put(f"{BASE}/{room}/participants/c", json={"role": "viewer"})).is_success
        assert (await api.delete(f"{BASE}/{room}/participants/c")).is_success
        assert (await api.put(f"{BASE}/{room}/participants/d", json={})).is_success


async def test_sessions_of_an_owner(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, MAX_SESSIONS_PER_USER="2")
    async with node.api("alice") as api:
        first = (await api.post(BASE, json={})).json()["session_id"]
        assert (await api.post("/api/chat", json={"content": "hi", "stream": False})).status_code == 201
        for refused in (
            await api.post(BASE, json={}),
            await api.post("/api/chat", json={"content": "hi", "stream": False}),
        ):
            assert refused.status_code == 409
            assert refused.json()["error"]["code"] == "LIMIT_REACHED"
        assert (await api.delete(f"{BASE}/{first}", params={"purge": "true"})).is_success
        assert (await api.post(BASE, json={})).status_code == 201
    async with node.api("bob") as api:
        assert (await api.post(BASE, json={})).status_code == 201


async def test_bytes_of_a_user(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, MAX_STORED_BYTES_PER_USER="1000")
    room = await new_session(node, "alice", members=("bob",))

    async def upload(user: str, size: int) -> httpx.Response:
        async with node.api(user) as api:
            return await api.post(
                f"{BASE}/{room}/files", files={"file": ("a.txt", b"x" * size, "text/plain")}
            )

    assert (await upload("alice", 600)).status_code == 201
    refused = await upload("alice", 600)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (await upload("alice", 400)).status_code == 201
    full = await upload("alice", 1)
    assert (full.status_code, full.json()["error"]["details"]) == (413, {"limit": 1000})
    assert (await upload("bob", 600)).status_code == 201


async def test_who_holds_a_link_leaves_the_user_room_for_files(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, MAX_STORED_BYTES_PER_USER="1000")
    room = await new_session(node, "alice")

    async def upload(size: int, **claims: Any) -> httpx.Response:
        async with node.api("alice", **claims) as api:
            return await api.post(
                f"{BASE}/{room}/files", files={"file": ("a.txt", b"x" * size, "text/plain")}
            )

    link = {"sessions": [room], "session_role": "member"}
    assert (await upload(500, **link)).status_code == 201
    full = await upload(1, **link)
    assert (full.status_code, full.json()["error"]["details"]) == (413, {"limit": 500})
    assert (await upload(501)).status_code == 413
    assert (await upload(500)).status_code == 201


async def test_event_streams_and_readers(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(
        sqlite_url, MAX_EVENT_STREAMS_PER_USER="3", MAX_READERS_PER_STREAM="2", STREAM_LEASE="30"
    )
    room = await new_session(node, "alice", members=("bob",))
    async with enter("socketio", node, "alice", room) as alice:
        stream = (await alice.call("stream_start"))["message_id"]
        async with node.api("alice") as api, node.api("bob") as other:

            def read(client: httpx.AsyncClient) -> Any:
                return client.stream("GET", f"/api/chat/streams/{stream}")

            async with read(api) as one, read(api) as two:
                assert (one.status_code, two.status_code) == (200, 200)
                async with read(other) as third:
                    assert third.status_code == 429
                    assert (await third.aread()) and third.json()["error"]["code"] == "RATE_LIMIT"
                async with api.stream("GET", f"{BASE}/{room}/events") as three:
                    assert three.status_code == 200
                    async with api.stream("GET", f"{BASE}/{room}/events") as four:
                        assert four.status_code == 429
            assert (await alice.call("stream_end", message_id=stream))["ok"]


async def test_open_streams_of_a_share_link_are_its_own(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, MAX_STREAMS_PER_USER="1", STREAM_LEASE="30")
    room = await new_session(node, "alice", members=("bob",))
    async with node.api("bob", sessions=[room], session_role="member") as link, node.api("bob") as bob:
        start = f"{BASE}/{room}/stream_start"
        assert (await link.post(start, json={})).status_code == 200
        assert (await link.post(start, json={})).status_code == 429
        assert (await bob.post(start, json={})).status_code == 200
        assert (await bob.post(start, json={})).status_code == 429


async def test_answers_under_way(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """Whoever asks at whatever door: the message stands, and its answer is a refusal."""
    slow = {"STREAM_DELAY_MS": "60000", "STREAM_CHUNK_SIZE": "1", "SHUTDOWN_GRACE": "0"}
    node = new_server(sqlite_url, MAX_STREAMS_PER_USER="2", STREAM_LEASE="30", **slow)
    room = await new_session(node, "alice", members=("bob",), agent_id=1)
    at_once = {"when_busy": "parallel"}
    question = {"session_id": room, "content": "abc", "stream": False, **at_once}
    async with (
        enter("socketio", node, "alice", room) as alice,
        enter("websocket", node, "bob", room) as bob,
        node.api("alice") as api,
    ):
        for number in range(3):
            assert (await alice.message(f"question {number}", **at_once))["ok"]
        end = await bob.wait_event("stream_end")
        assert (end["status"], end["error"]["code"]) == ("failed", "RATE_LIMIT")
        answered = (await api.post("/api/chat", json=question)).json()["message"]
        assert (answered["status"], answered["error"]["code"]) == ("failed", "RATE_LIMIT")
        mark = bob.client.mark()
        assert (await bob.message("another's question", **at_once))["ok"]
        begun = await bob.wait_event("stream_start", since=mark)
        first = bob.client.named("stream_start")[0]["message_id"]
        assert (await alice.call("stream_cancel", message_id=first))["ok"]
        mark = bob.client.mark()
        assert (await alice.message("there is room again", **at_once))["ok"]
        again = await bob.wait_event("stream_start", since=mark)
        ended = {each["message_id"] for each in bob.client.named("stream_end")}
        assert not ended & {begun["message_id"], again["message_id"]}


async def test_requests_under_way(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    """The body that does not come holds one place of its user's, and nobody else's."""
    node = new_server(sqlite_url, MAX_REQUESTS_PER_USER="2")
    room = await new_session(node, "alice")
    head = (
        f"POST {BASE}/{room}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
        f"Authorization: Bearer {node.token('alice')}\r\n\r\n"
    ).encode()
    waiting = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(2)]
    for _, writer in waiting:
        writer.write(head)
    async with node.api("alice") as api, node.api("bob") as other:
        async with asyncio.timeout(10):
            while (await api.get(BASE)).status_code != 429:
                await asyncio.sleep(0.01)
        assert (await other.get(BASE)).status_code == 200
        for _, writer in waiting:
            writer.close()
        async with asyncio.timeout(10):
            while (await api.get(BASE)).status_code != 200:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("ending", ["", "Connection: close\r\n"])
async def test_an_answer_counts_until_its_client_has_taken_it(
    ending: str, sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    sizes = {
        "WS_MESSAGE_SIZE_LIMIT": str(9 << 20),
        "WS_FRAME_SIZE_LIMIT": str(10 << 20),
        "OUTBOX_LIMIT": str(12 << 20),
        "RECOVERY_LOG_BYTES": str(12 << 20),
    }
    node = new_server(sqlite_url, MAX_REQUESTS_PER_USER="2", **sizes)
    async with node.api("alice") as api, node.api("bob") as other:
        # more than the kernel keeps for a client with little room
        made = await api.post(BASE, json={"metadata": {"text": "x" * (8 << 20)}})
        assert made.status_code == 201, made.text
        address = f"{BASE}/{made.json()['session_id']}"
        whole = len((await api.get(address)).content)
        head = f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n{ending}"
        unread = [await Raw.connect(node.port, buffer=4096) for _ in range(2)]
        for raw in unread:
            raw.send(f"{head}Authorization: Bearer {node.token('alice')}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            for raw in unread:
                assert b" 200 " in await raw.reader.readline()
        for _ in range(10):  # long after both have been written
            assert (await other.get(address)).status_code == 404
            assert (await api.get(f"{BASE}/none")).status_code == 429
        async with asyncio.timeout(20):
            await unread[0].reader.readuntil(b"\r\n\r\n")
            await unread[0].reader.readexactly(whole)
            while (await api.get(f"{BASE}/none")).status_code == 429:
                await asyncio.sleep(0.01)
        for raw in unread:
            await raw.close()


async def test_holders_of_a_share_link_are_counted_by_network(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, MAX_EVENT_STREAMS_PER_USER="1", TRUSTED_PROXIES='["127.0.0.1"]')
    room = await new_session(node, "alice")
    async with node.api("alice", sessions=[room]) as link, AsyncExitStack() as opened:

        async def holder(network: int) -> int:
            headers = {"X-Forwarded-For": f"192.0.2.{network}"}
            answer = link.stream("GET", f"{BASE}/{room}/events", headers=headers)
            return (await opened.enter_async_context(answer)).status_code

        assert [await holder(1), await holder(1)] == [200, 429]
        assert [await holder(network) for network in range(2, 11)] == [200] * 9
        assert await holder(11) == 429, "ten times as many for all of them"
