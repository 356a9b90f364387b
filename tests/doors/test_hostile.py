"""Whatever a client sends, it gets a typed reply, at every door, and the server stays up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.catalog import CATALOG
from tests.support.doors import LIVE, Door, enter, new_session
from tests.support.hostile import COMMANDS, VALUES, payloads, text_of
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import SioPolling, SioWebSocket

CODES = {
    "VALIDATION_ERROR", "UNKNOWN_COMMAND", "UNAUTHORIZED", "TOKEN_EXPIRED", "FORBIDDEN", "SESSION_NOT_FOUND",
    "MESSAGE_NOT_FOUND", "STREAM_NOT_FOUND", "FILE_NOT_FOUND", "AGENT_NOT_FOUND", "CONFLICT", "STREAM_OPEN",
    "STREAM_CLOSED", "INDEX_CONFLICT", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_FILE_TYPE",
}  # fmt: skip
"""What a payload can be answered with; INTERNAL is no answer."""

#: Both doors, and both databases: a door reads the same before either of them.
CROSSED = (("parley_on_postgresql", "socketio"), ("parley", "websocket"))
CROSSED_IDS = ("postgresql-socketio", "sqlite-websocket")

property_test = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)


def assert_typed(reply: Any, sent: str) -> None:
    assert isinstance(reply, dict), (sent[:300], reply)
    if reply.get("ok") is True:
        return
    error = reply["error"]
    assert error["code"] in CODES, (sent[:300], reply)
    assert isinstance(error["message"], str)
    assert isinstance(error["retryable"], bool)


def test_every_command_of_the_catalog_is_attacked() -> None:
    assert set(COMMANDS) == set(CATALOG)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("either", "kind"), CROSSED, ids=CROSSED_IDS, indirect=["either"])
@property_test
@given(data=st.data())
async def test_commands(either: Server, kind: str, command: str, data: st.DataObject) -> None:
    session = await _session(either)
    fields = (
        {"session_id": session} if kind == "socketio" and command not in ("presence", "auth_refresh") else {}
    )
    spoiled = data.draw(st.lists(payloads(command, fields), min_size=20, max_size=20))
    ask = _ask_socketio if kind == "socketio" else _ask_websocket
    async with enter(kind, either, "alice", session) as alice:
        for payload in spoiled:
            text = text_of(payload)
            if not await ask(alice, command, text):
                break
    assert either.healthy()


_sessions: dict[str, str] = {}


async def _session(either: Server) -> str:
    """One session for the whole property: what is attacked is the payload."""
    if either.url not in _sessions:
        _sessions[either.url] = await new_session(either, "alice")
    return _sessions[either.url]


async def _ask_socketio(alice: Door, command: str, text: str) -> bool:
    """True when the connection goes on. A packet that is no JSON ends it, as with any
    Socket.IO server; one that is gets its ack.
    """
    sent = f"[{json.dumps(command)},{text}]"
    try:
        assert_typed(await alice.client.emit_raw(sent), sent)
    except ConnectionError:
        with pytest.raises(ValueError):
            _strict(sent)
        return False
    return True


async def _ask_websocket(alice: Door, command: str, text: str) -> bool:
    client = alice.client
    assert isinstance(client, RawClient)
    if not text.startswith("{") or text == "{}":
        frame = text
    else:
        frame = f'{{"type": {json.dumps(command)}, "ref": "r", {text[1:]}'
    mark = client.mark()
    await client.send_text(frame.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    # An ack, or an error where the frame was too broken to have a ref: one or the other.
    try:
        async with asyncio.timeout(10):
            while True:
                answers = [e for e in client.events[mark:] if e.name in ("ack", "error")]
                if answers:
                    break
                await client.wait_more()
    except ConnectionError:
        assert command == "leave" or client.close_code in (1007, 1009), (frame[:300], client.close_code)
        return False
    (answer,) = answers[:1]
    reply = answer.data if answer.name == "ack" else {"ok": False, "error": answer.data}
    assert_typed(reply, frame)
    return True


def _strict(text: str) -> None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse).__repr__().encode()
    except RecursionError as error:
        raise ValueError from error


REST = (
    ("POST", "/api/chat/sessions", {"title": "x", "metadata": {}, "agent_id": 1, "ttl_hours": 1}),
    ("PATCH", "/api/chat/sessions/{s}", {"title": "x", "metadata": {}, "status": "active"}),
    ("POST", "/api/chat/sessions/{s}/extend", {"hours": 1}),
    ("PUT", "/api/chat/sessions/{s}/participants/bob", {"role": "member"}),
    ("POST", "/api/chat/sessions/{s}/messages", COMMANDS["message"]),
    ("PATCH", "/api/chat/sessions/{s}/messages/{m}", {"content": "x"}),
    ("POST", "/api/chat/sessions/{s}/read", {"seq": 1}),
)


@pytest.mark.parametrize("call", REST, ids=lambda call: f"{call[0]} {call[1].rsplit('/', 1)[-1]}")
@property_test
@given(data=st.data())
async def test_rest_bodies(
    either: Server, call: tuple[str, str, dict[str, Any]], data: st.DataObject
) -> None:
    method, path, good = call
    session = await _session(either)
    path = path.replace("{s}", session).replace("{m}", "msg_none")
    async with either.api("alice") as api:
        for _ in range(20):
            value = data.draw(st.sampled_from(VALUES))
            field = data.draw(st.sampled_from([*sorted(good), "extra", None]))
            text = text_of(value if field is None else {**good, field: value})
            body = text.encode("utf-8", "surrogatepass")
            answer = await api.request(
                method, path, content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code < 500, (body[:300], answer.text)
            assert_typed({"ok": answer.is_success, **answer.json()}, text)


async def test_rest_paths_and_queries(either: Server) -> None:
    session = await _session(either)
    words = [str(v) for v in VALUES if isinstance(v, (str, int, float)) and len(str(v)) < 1000]
    hostile = ["".join(f"%{byte:02x}" for byte in w.encode("utf-8", "surrogatepass")) for w in words]
    listing, history = "/api/chat/sessions", f"/api/chat/sessions/{session}/messages"
    queries = {
        listing: ("limit", "offset", "status", "agent_id"),
        history: ("limit", "before_seq", "after_seq", "before", "after", "order", "after_revision"),
    }
    urls = [f"{path}?{name}={word}" for path, names in queries.items() for name in names for word in hostile]
    urls += [
        f"{listing}/{word or '%20'}{rest}" for word in hostile for rest in ("", "/messages", "/presence")
    ]
    async with either.api("alice") as api:
        for url in urls:
            answer = await api.get(url)
            assert answer.status_code < 500, (url[:300], answer.text)
            assert_typed({"ok": answer.is_success, **answer.json()}, url)


FRAMES = (
    "", "4", "42", "42[]", "42null", "42{}", '42["message"]', '42["message",1,2]', "42[1]",
    '42["connect",{}]', '42["disconnect"]', '421["disconnect",{"reason":"x"}]', "42[", '42["message",NaN]',
    "43[]", "4399[]", "439999", "44", "45", '451-["message",{"_placeholder":true,"num":0}]',
    '4510000-["message"]', '450-["message",{}]', '45-1["x"]', "46", '461-1[{"_placeholder":true,"num":0}]',
    "47", "49", "40", '40{"token":"x"}', "40/admin,{}", "41/admin,", '42/admin,["message",{}]',
    '42999999999999999999999["history",{}]', "9", "5", "3", "3probe", "2probe", "6", "0{}", "x", "\x00",
    "bAAAA", "b%%%", "4" * 1000, '42["' + "x" * 5000 + '",{}]', '42["\\ud800",{}]',
    '42["message",{"a":"\\ud800"}]', "42" + "[" * 10000,
)  # fmt: skip


@asynccontextmanager
async def _socket(server: Server, transport: str) -> AsyncIterator[SioWebSocket | SioPolling]:
    client: SioWebSocket | SioPolling
    client = SioWebSocket(server.ws_url) if transport == "socketio" else SioPolling(server.url)
    async with client:
        yield client


@pytest.mark.parametrize(
    ("either", "kind"),
    [("parley", "socketio"), ("parley_on_postgresql", "polling")],
    ids=["sqlite-socketio", "postgresql-polling"],
    indirect=["either"],
)
@pytest.mark.parametrize("authenticated", [True, False])
async def test_frames(either: Server, kind: str, authenticated: bool) -> None:
    session = await _session(either)
    async with enter("websocket", either, "alice", session) as witness:
        for frame in FRAMES:
            async with _socket(either, kind) as socket:
                if authenticated:
                    assert "sid" in await socket.connect(either.token("alice"))
                    assert (await socket.emit("join", {"session_id": session}))["ok"]
                try:
                    if isinstance(socket, SioPolling):
                        assert (await socket.post(frame)).status_code < 500, frame[:100]
                    else:
                        await socket.write(frame)
                        await socket.write(frame.encode())
                except ConnectionError:
                    continue
        assert either.healthy()
        # Nobody in the room saw anything, nobody lost the connection.
        await witness.message("after the storm")
        await witness.wait_event("message", lambda m: m["content"] == "after the storm")


@pytest.mark.parametrize("kind", LIVE)
async def test_what_a_frame_carries_reaches_nobody_unchecked(either: Server, kind: str) -> None:
    """What would break the others' parsers, or run their handlers, is not passed on."""
    session = await new_session(either, "alice", members=("bob",))
    async with enter("rest", either, "bob", session) as bob, enter(kind, either, "alice", session) as alice:
        bad = ['{"a":NaN}', '{"a":Infinity}', '{"a":"\\ud800"}', '{"a":"\\u0000"}', '{"\\ud800":1}']
        for metadata in bad:
            mark = alice.mark()
            fields = f'"content": "x", "metadata": {metadata}'
            if kind == "websocket":
                # The refusal names the `ref`, although what holds it is no strict JSON.
                await alice.client.send_text(f'{{"type": "message", "ref": 1, {fields}}}')
                ack = await alice.wait_event("ack", since=mark)
                assert (ack["ref"], ack["ok"]) == (1, False)
                await alice.client.send_text(f'{{"type": "message", {fields}}}')
                error = await alice.wait_event("error", since=mark)
                assert ack["error"]["code"] == error["code"]
            else:
                answer = await alice.client.emit_raw(f'["message",{{"session_id":"{session}",{fields}}}]')
                assert not answer["ok"]
                error = answer["error"]
            assert error["code"] == "VALIDATION_ERROR"
        await alice.message("good")
        await bob.wait_event("message")
        assert [m["content"] for m in bob.named("message")] == ["good"]
