"""A conversation whose members are on three nodes: one order at every door; streams; typing; presence."""

import asyncio
import random
from contextlib import AsyncExitStack, aclosing

import pytest
import socketio

from tests.cluster.conftest import Nodes
from tests.support.doors import Door, enter, new_session
from tests.support.jsclient import JsClients
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket
from tests.support.web import web_client


async def test_all_members_see_one_order(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice")
    async with (
        enter("socketio", steady[0], "alice", session) as one,
        enter("websocket", steady[1], "alice", session) as two,
        enter("polling", steady[2], "alice", session) as three,
        enter("rest", steady[1], "alice", session) as four,
    ):
        doors = (one, two, three, four)
        replies = await asyncio.gather(
            *(door.message(f"{n} from {door.kind}", reply=False) for n in range(10) for door in doors)
        )
        last = max(reply["seq"] for reply in replies)
        seen = []
        for door in doors:
            await door.wait_event("message", lambda m: m["seq"] == last)
            seen.append([(m["seq"], m["content"]) for m in door.named("message")])
        assert [seq for seq, _ in seen[0]] == list(range(1, last + 1))
        assert seen[1:] == seen[:1] * 3
        first = one.named("message")[0]["message_id"]
        edit = await one.call("edit", message_id=first, content="changed")
        assert edit["ok"], edit
        for door in doors:
            await door.wait_event("message_updated", lambda m: m["revision"] == edit["revision"])


async def test_typing_and_presence_travel(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice", members=("bob",))
    async with enter("socketio", steady[0], "alice", session) as alice:
        async with enter("websocket", steady[1], "bob", session) as bob:
            await alice.wait_event("presence", lambda e: (e["user_id"], e["status"]) == ("bob", "online"))
            await alice.call("typing", is_typing=True)
            await bob.wait_event("typing", lambda e: (e["user_id"], e["is_typing"]) == ("alice", True))
            await bob.wait_event("typing", lambda e: (e["user_id"], e["is_typing"]) == ("alice", False))
            async with steady[2].api("alice") as api:
                online = (await api.get(f"/api/chat/sessions/{session}/presence")).json()["online"]
            assert {user["user_id"] for user in online} == {"alice", "bob"}
            # a second tab on another node changes nothing
            mark = alice.mark()
            async with enter("websocket", steady[2], "bob", session):
                pass
            await alice.message("done", reply=False)
            await alice.wait_event("message", since=mark)
        await alice.wait_event("presence", lambda e: e["status"] == "offline", since=mark)
        assert [e["status"] for e in alice.named("presence", mark)] == ["offline"]


async def test_a_stream_is_read_resumed_and_cancelled_from_other_nodes(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice")
    async with (
        enter("socketio", steady[0], "alice", session) as producer,
        enter("websocket", steady[1], "alice", session) as reader,
    ):
        started = await producer.call("stream_start")
        stream = started["message_id"]
        for index in range(5):
            reply = await producer.call("stream_chunk", message_id=stream, index=index, content=f"{index} ")
            assert reply["next_index"] == index + 1
        await reader.wait_event("stream_chunk", lambda c: c["index"] + c["count"] == 5)
        async with enter("websocket", steady[2], "alice", session) as late:
            (open_stream,) = late.joined["streams"]
            assert (open_stream["content"], open_stream["next_index"]) == ("0 1 2 3 4 ", 5)
            resumed = await late.call("stream_resume", message_id=stream, from_index=3)
            assert (resumed["content"], resumed["next_index"]) == ("3 4 ", 5)
            await producer.call("stream_chunk", message_id=stream, index=5, content="5")
            await late.wait_event("stream_chunk", lambda c: c["index"] == 5)
            cancelled = await late.call("stream_cancel", message_id=stream)
            assert cancelled["ok"] and cancelled["status"] == "cancelled", cancelled
            await producer.wait_event("stream_cancel", lambda e: e["message_id"] == stream)
            for door in (producer, reader, late):
                end = await door.wait_event("stream_end", lambda e: e["message_id"] == stream)
                assert end["status"] == "cancelled"
        refused = await producer.call("stream_chunk", message_id=stream, index=6, content="x")
        assert not refused["ok"] and refused["error"]["code"] == "STREAM_CLOSED"
        stored = [m for m in await reader.history() if m["message_id"] == stream]
        assert stored[0]["content"] == "0 1 2 3 4 5"


async def test_a_producer_goes_on_from_another_node(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice")
    async with enter("websocket", steady[1], "alice", session) as reader:
        async with enter("socketio", steady[0], "alice", session) as producer:
            stream = (await producer.call("stream_start"))["message_id"]
            for index in range(3):
                await producer.call("stream_chunk", message_id=stream, index=index, content=f"{index}")
        async with enter("socketio", steady[2], "alice", session) as producer:
            for index in range(1, 6):
                reply = await producer.call(
                    "stream_chunk", message_id=stream, index=index, content=f"{index}"
                )
                assert reply["ok"], reply
            end = await producer.call("stream_end", message_id=stream)
            assert end["ok"], end
        await reader.wait_event("stream_end", lambda e: e["message_id"] == stream)
        text, index = "", 0
        for chunk in reader.named("stream_chunk"):
            assert chunk["index"] == index
            text, index = text + chunk["content"], index + chunk["count"]
        assert text == "012345"


async def test_an_agents_answer_is_seen_on_every_node(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice", agent_id=1)
    async with (
        enter("websocket", steady[0], "alice", session) as alice,
        enter("socketio", steady[1], "alice", session) as reader,
    ):
        await alice.message("to be said again, by the agent")
        end = await reader.wait_event("stream_end")
        assert end["status"] == "complete"
        assert "".join(c["content"] for c in reader.named("stream_chunk")) == "to be said again, by the agent"


async def test_removal_ends_membership_on_every_node(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice", members=("bob",))
    async with enter("socketio", steady[1], "bob", session) as bob:
        async with steady[0].api("alice") as api:
            answer = await api.delete(f"/api/chat/sessions/{session}/participants/bob")
            assert answer.status_code == 200
        await bob.wait_event("session", lambda e: e["event"] == "removed", timeout=3)
        assert not (await bob.call("message", content="still here?"))["ok"]


async def test_people_are_known_on_every_node(steady: Nodes) -> None:
    """Invited, named, told of what is unread, and asked what they think: each at another node."""
    home = await new_session(steady[1], "gina")
    session = await new_session(steady[0], "fred", title="Lunch", agent_id=1)
    path = f"/api/chat/sessions/{session}"
    fred = {"name": "Fred", "avatar_url": "https://example.com/fred.png"}
    async with (
        enter("socketio", steady[1], "gina", home, claims={"name": "Gina"}) as outside,
        steady[0].api("fred", **fred) as api,
        steady[2].api("1", "agent") as agent,
    ):
        answer = (await agent.post(f"{path}/messages", json={"content": "one"})).json()["message_id"]
        async with enter("websocket", steady[2], "fred", session, claims=fred) as before:
            await written(steady[0], "gina", home)
            await api.put(f"{path}/participants/gina", json={"role": "member"})
            added = await outside.wait_event("session", lambda event: event["event"] == "added")
            assert (added["session_id"], added["title"]) == (session, "Lunch")
            changed = await before.wait_event("session", lambda event: event.get("user_id") == "gina")
            assert changed["user"] == {"name": "Gina", "avatar_url": None}
            sent = (await api.post(f"{path}/messages", json={"content": "two", "reply": False})).json()
            told = await outside.wait_event("session", lambda event: event.get("last_seq") == sent["seq"])
            assert told["unread_count"] == 2
            await written(steady[1], "fred", session)
            async with enter("rest", steady[1], "gina", session, claims={"name": "Gina"}) as gina:
                assert gina.joined["users"]["fred"] == fred
                assert (await before.call("feedback", message_id=answer, value="up"))["ok"]
                # Who comes where the room is known hears of the first feedback, too.
                await before.call("typing", is_typing=True)
                await gina.wait_event("typing")
                async with enter("websocket", steady[1], "fred", session, claims=fred) as again:
                    opinions = [message.get("feedback") for message in again.joined["messages"]]
                    assert opinions == [{"value": "up", "up": 1, "down": 0}, None]
                assert "feedback" not in (await gina.history())[0]
            await api.delete(f"{path}/participants/gina")
            await outside.wait_event("session", lambda event: event["event"] == "removed")


async def written(node: Server, user: str, session: str) -> None:
    """A name is, within a second."""
    async with node.api(user) as api, asyncio.timeout(10):
        while user not in (await api.get(f"/api/chat/sessions/{session}")).json().get("users", {}):
            await asyncio.sleep(0.05)


def knows(reader: Door) -> dict[str, str]:
    """What a page would show: `users` of its `join`, and each later `user` (docs/people.md)."""
    known = {user: person["name"] for user, person in reader.joined.get("users", {}).items()}
    for event in reader.events:
        user = event.data.get("sender_id") or event.data.get("user_id")
        if "user" in event.data and user is not None:
            known[user] = event.data["user"]["name"]
    return known


async def test_a_name_that_another_node_holds_is_erased_with_its_user(steady: Nodes) -> None:
    """It is written a second after it was heard: not any more where its user was erased meanwhile."""
    session = await new_session(steady[0], "alice", members=("hal", "ivy"))
    for sub in ("hal", "ivy"):
        async with steady[1].api(sub, name=sub.title()) as api:
            assert (await api.get("/api/chat/sessions")).status_code == 200
        if sub == "hal":
            async with steady[0].api("backend", "service") as backend:
                assert (await backend.delete("/api/server/users/hal")).status_code == 200
    async with steady[0].api("alice") as api, asyncio.timeout(20):
        users: dict[str, object] = {}
        while "ivy" not in users:
            await asyncio.sleep(0.1)
            users = (await api.get(f"/api/chat/sessions/{session}")).json().get("users", {})
    assert "hal" not in users


async def test_every_reader_knows_who_writes(steady: Nodes) -> None:
    """Whenever it came, at whichever node; also where a name is new, or another one."""
    chance, writers = random.Random(8), [f"writer{number}" for number in range(4)]
    session = await new_session(steady[0], "owner", members=tuple(writers))
    names = {writer: writer.title() for writer in writers}
    async with AsyncExitStack() as stack:
        apis = {}
        readers: list[Door] = []
        for step in range(60):
            if step % 6 == 0:
                kind, node = chance.choice(("socketio", "websocket", "rest")), chance.choice(list(steady))
                readers.append(await stack.enter_async_context(enter(kind, node, "owner", session)))
            writer, node = chance.choice(writers), chance.choice(list(steady))
            if chance.random() < 0.1:
                names[writer] += "!"
            key = node.port, names[writer]
            if key not in apis:
                apis[key] = await stack.enter_async_context(node.api(writer, name=names[writer]))
            body = {"content": names[writer]}
            sent = (await apis[key].post(f"/api/chat/sessions/{session}/messages", json=body)).json()
            for reader in readers:
                await reader.wait_event("message", lambda m, seq=sent["seq"]: m["seq"] == seq)
                assert knows(reader)[writer] == names[writer], (step, writer)
            await asyncio.sleep(0.02)


async def test_recovery_on_another_node(steady: Nodes, js: JsClients) -> None:
    session = await new_session(steady[0], "alice")
    async with enter("socketio", steady[1], "alice", session) as writer:
        async with SioWebSocket(steady[0].ws_url) as old:
            await old.connect(steady[0].token("alice"))
            assert (await old.emit("join", {"session_id": session}))["ok"]
            await writer.message("one", reply=False)
            await old.wait_event("message")
            pid, offset = old.pid, old.offset
            old.abort()
        await writer.message("two", reply=False)
        async with SioWebSocket(steady[2].ws_url) as new:
            answer = await new.connect(steady[0].token("alice"), pid=pid, offset=offset)
            assert answer["pid"] == pid
            await writer.message("three", reply=False)
            await new.wait_event("message", lambda m: m["content"] == "three")
            assert [m["content"] for m in new.named("message")] == ["two", "three"]


async def test_a_recovered_connection_joins_leaves_and_recovers_again(steady: Nodes) -> None:
    rooms = [await new_session(steady[0], "alice") for _ in range(4)]
    pid = offset = None
    async with enter("socketio", steady[0], "alice", rooms[0]) as writer:
        for turn, room in enumerate(rooms):
            async with SioWebSocket(steady[turn % 3].ws_url) as socket:
                given = {"pid": pid, "offset": offset} if pid else {}
                answer = await socket.connect(steady[0].token("alice"), **given)
                assert pid is None or answer["pid"] == pid
                for name in (room, rooms[0]):
                    assert (await socket.emit("join", {"session_id": name}))["ok"]
                if turn == 2:
                    assert (await socket.emit("leave", {"session_id": rooms[1]}))["ok"]
                sent = await writer.call("message", session_id=room, content=f"{turn}", reply=False)
                assert sent["ok"]
                await socket.wait_event("message", lambda m, turn=turn: m["content"] == f"{turn}")
                pid, offset = answer["pid"], socket.offset
                assert offset and offset != "-"  # no node lost the bus over it
                socket.abort()
        async with SioWebSocket(steady[1].ws_url) as socket:
            answer = await socket.connect(steady[0].token("alice"), pid=pid, offset=offset)
            assert answer["pid"] == pid
            for room in rooms:
                await writer.call("message", session_id=room, content="to all", reply=False)
            await socket.wait_event("message", lambda m: m["session_id"] == rooms[3])
            heard = {m["session_id"] for m in socket.named("message")}
            assert heard == {rooms[0], rooms[2], rooms[3]}


async def test_a_half_open_connection_is_taken_over_by_another_node(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice", members=("bob",))
    async with enter("socketio", steady[1], "bob", session) as bob, SioWebSocket(steady[0].ws_url) as old:
        await old.connect(steady[0].token("alice"))
        assert (await old.emit("join", {"session_id": session}))["ok"]
        await bob.wait_event("presence", lambda e: e["user_id"] == "alice")
        mark = bob.mark()
        await bob.message("one", reply=False)
        await old.wait_event("message")
        async with SioWebSocket(steady[2].ws_url) as new:
            answer = await new.connect(steady[0].token("alice"), pid=old.pid, offset=old.offset)
            assert answer["pid"] == old.pid
            await old.closed()  # taken over
            await bob.message("two", reply=False)
            await new.wait_event("message", lambda m: m["content"] == "two")
            assert [m["content"] for m in old.named("message")] == ["one"]
            # nobody saw her go
            assert not [e for e in bob.named("presence", mark) if e["user_id"] == "alice"]


async def test_an_answer_of_which_its_next_node_knows_nothing_is_not_whole(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice")
    async with enter("websocket", steady[0], "alice", session) as one:
        begun = await one.call("stream_start")
        async with enter("rest", steady[1], "alice", session) as two:
            early = await two.call("stream_end", message_id=begun["message_id"])
            assert (early["error"]["code"], early["error"]["next_index"]) == ("INDEX_CONFLICT", 0)
            said = await two.call("stream_chunk", message_id=begun["message_id"], index=0, content="whole")
            assert said["next_index"] == 1
            assert (await two.call("stream_end", message_id=begun["message_id"], index=1))["ok"]
        end = await one.wait_event("stream_end")
        assert end["status"] == "complete"
        assert "".join(chunk["content"] for chunk in one.named("stream_chunk")) == "whole"


async def test_a_stock_emitter_reaches_members_on_every_node(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice")
    redis_url = steady[0].env["REDIS_URL"]
    emitter = socketio.AsyncRedisManager(redis_url, channel="chat:emit", write_only=True)
    await emitter.emit("ticker", {}, room="another session")  # connects
    async with (
        aclosing(emitter.redis),
        enter("socketio", steady[0], "alice", session) as one,
        enter("websocket", steady[1], "alice", session) as two,
    ):
        for event, data in (
            ("message", {"a": "name of ours"}),
            ("connect", {"a": "reserved name"}),
            ("ticker", "no object"),
            ("ticker", {"n": 1}),
        ):
            await emitter.emit(event, data, room=session)
        await emitter.redis.publish("chat:emit", b"\x80\x04\x95 a pickle")
        await emitter.emit("ticker", {"n": 2}, room=session)
        for door in (one, two):
            await door.wait_event("ticker", lambda e: e["n"] == 2)
            assert [e["n"] for e in door.named("ticker")] == [1, 2]
            assert not door.named("message")


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_every_node_says_that_it_is_ready(steady: Nodes, at: int) -> None:
    async with web_client() as http:
        answer = await http.get(steady[at].url + "/readyz")
    assert answer.status_code == 200, answer.text
