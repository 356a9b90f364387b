"""What messages are made of, given at every door: text, files, data; and what is refused."""

from typing import Any

import pytest

from tests.support.doors import KINDS, Door, enter, new_session
from tests.support.server import Server

every_door = pytest.mark.parametrize("kind", KINDS)
Part = dict[str, Any]

TEXT: Part = {"type": "text", "id": "t", "text": "Look:"}
URL: Part = {"type": "file", "id": "u", "url": "https://example.org/a.pdf", "media_type": "application/pdf"}
DATA: Part = {"type": "data", "id": "d", "name": "place", "data": {"at": [1, 2.5, None], "ü": "\U0001f600"}}


async def uploaded(server: Server, session: str, user: str = "alice", name: str = "notes.txt") -> str:
    async with server.api(user) as api:
        answer = await api.post(
            f"/api/chat/sessions/{session}/files",
            files={"file": (name, b"some words", "text/plain")},
            data={"post": "false"},
        )
        answer.raise_for_status()
        file_id: str = answer.json()["file_id"]
        return file_id


async def sent(door: Door, *parts: Part, **fields: Any) -> dict[str, Any]:
    reply = await door.call("message", parts=list(parts), **fields)
    assert reply["ok"], reply
    return reply


async def newest(door: Door) -> dict[str, Any]:
    return (await door.history(limit=1))[0]


@every_door
async def test_parts_are_shown_as_they_were_given(either: Server, kind: str) -> None:
    session = await new_session(either, members=("bob",))
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("websocket", either, "bob", session) as bob,
    ):
        parts = [TEXT, URL, {"type": "text", "id": "more", "text": "And this."}, DATA]
        ack = await sent(alice, *parts, client_message_id="c")
        told = await bob.wait_event("message")
        assert (told["parts"], told["content"]) == (parts, "Look:\n\nAnd this.")
        assert told["message_type"] == "text"
        stored = await newest(alice)
        assert stored == {name: told[name] for name in stored}
        assert (await sent(alice, TEXT, client_message_id="c")) == {**ack, "duplicate": True}
        # Said in both forms, it has to be the same.
        await sent(alice, *parts, content="Look:\n\nAnd this.")
        assert (await newest(alice))["parts"] == parts
    async with enter(kind, either, "carol", await new_session(either, "carol")) as carol:
        await sent(carol, DATA)
        only = await newest(carol)
        assert (only["parts"], only["content"]) == ([DATA], "")


@every_door
async def test_text_alone_has_no_parts(parley: Server, kind: str) -> None:
    session = await new_session(parley)
    async with enter(kind, parley, "alice", session) as alice:
        await sent(alice, TEXT)
        told = await alice.wait_event("message")
        assert told["content"] == "Look:"
        assert "parts" not in told
        assert "parts" not in await newest(alice)


async def test_parts_without_an_id_are_given_one(parley: Server) -> None:
    session = await new_session(parley)
    async with enter("websocket", parley, "alice", session) as alice:
        bare = [{name: value for name, value in part.items() if name != "id"} for part in (TEXT, DATA, TEXT)]
        await sent(alice, *bare)
        parts = (await newest(alice))["parts"]
        ids = [part.pop("id") for part in parts]
        assert parts == bare
        assert len(set(ids)) == 3
        assert ids[0] == "text"


REFUSED: dict[str, tuple[list[Any], str]] = {
    "none": ([], "parts"),
    "too many": ([DATA | {"id": str(n)} for n in range(1001)], "parts"),
    "no type": ([{"text": "x"}], "parts[0].type"),
    "another type": ([TEXT, {"type": "reasoning", "text": "x"}], "parts[1].type"),
    "a step": ([{"type": "step"}], "parts[0].type"),
    "empty text": ([DATA, TEXT | {"text": ""}], "parts[1].text"),
    "an id twice": ([TEXT, DATA | {"id": "t"}], "parts[1].id"),
    "the text's id": ([DATA | {"id": "text"}], "parts[0].id"),
    "a long id": ([DATA | {"id": "x" * 101}], "parts[0].id"),
    "transient": ([TEXT, DATA | {"transient": True}], "parts[1].transient"),
    "neither": ([{"type": "file", "media_type": "a/b"}], "parts[0]"),
    "both": ([URL | {"file_id": "file_x"}], "parts[0]"),
    "without its kind": ([{"type": "file", "url": URL["url"]}], "parts[0].media_type"),
    "no address": ([URL | {"url": "javascript:alert(1)"}], "parts[0].url"),
    "a file twice": ([{"type": "file", "file_id": "file_x"}] * 2, "parts"),
    "too large": ([DATA | {"data": "x" * 65_536}], "parts[0].data"),
    "nothing in it": ([None], "parts[0]"),
}


@every_door
async def test_what_no_message_has_is_refused(parley: Server, kind: str) -> None:
    session = await new_session(parley)
    async with enter(kind, parley, "alice", session) as alice:
        for told, (parts, field) in REFUSED.items():
            reply = await alice.call("message", parts=parts)
            assert not reply["ok"], told
            error = reply["error"]
            assert (error["code"], error["details"]["field"]) == ("VALIDATION_ERROR", field), told
        for payload in ({"parts": [TEXT], "content": "else"}, {"content": None}, {"parts": None}, {}):
            error = (await alice.call("message", **payload))["error"]
            assert (error["code"], error["details"]["field"]) == ("VALIDATION_ERROR", "content"), payload
        assert await alice.history() == []


@every_door
async def test_a_file_is_a_part(either: Server, kind: str) -> None:
    session = await new_session(either, members=("bob",))
    first, second = await uploaded(either, session), await uploaded(either, session, name="b.txt")
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("websocket", either, "bob", session) as bob,
    ):
        given = [
            {"type": "file", "id": id, "file_id": file_id} for id, file_id in (("2", second), ("1", first))
        ]
        ack = await sent(alice, TEXT, *given, client_message_id="c")
        told = await bob.wait_event("message")
        about = {"media_type": "text/plain"}
        assert told["parts"] == [
            TEXT, given[0] | about | {"name": "b.txt"}, given[1] | about | {"name": "notes.txt"}
        ]  # fmt: skip
        assert (told["message_type"], told["content"]) == ("file", "Look:")
        assert [file["file_id"] for file in told["files"]] == [second, first]
        stored = await newest(alice)
        assert stored == {name: told[name] for name in stored}
        # Once, and by who uploaded it; a repeat is one.
        again = await alice.call("message", parts=[given[0]])
        assert again["error"]["code"] == "FILE_NOT_FOUND"
        assert (await alice.call("file", file_id=first))["error"]["code"] == "FILE_NOT_FOUND"
        assert await sent(alice, TEXT, *given, client_message_id="c") == {**ack, "duplicate": True}
        deleted = await alice.call("delete", message_id=ack["message_id"])
        assert deleted["ok"], deleted
        gone = await bob.wait_event("message_deleted")
        assert not {"parts", "files"} & gone.keys()
        assert (await alice.call("file", file_id=first))["error"]["code"] == "FILE_NOT_FOUND"


@every_door
async def test_only_ones_own_files_of_this_session(parley: Server, kind: str) -> None:
    session, other = await new_session(parley, members=("bob",)), await new_session(parley)
    of_bob, elsewhere = await uploaded(parley, session, "bob"), await uploaded(parley, other)
    async with enter(kind, parley, "alice", session) as alice:
        for file_id in (of_bob, elsewhere, "file_nothing"):
            reply = await alice.call("message", parts=[TEXT, {"type": "file", "file_id": file_id}])
            assert reply["error"]["code"] == "FILE_NOT_FOUND"
        assert await alice.history() == []
    async with enter(kind, parley, "bob", session) as bob:
        await sent(bob, {"type": "file", "file_id": of_bob})


@every_door
async def test_a_posted_file_is_a_message_of_parts(parley: Server, kind: str) -> None:
    session = await new_session(parley)
    file_id = await uploaded(parley, session)
    async with enter(kind, parley, "alice", session) as alice:
        ack = await alice.call("file", file_id=file_id, message="Look:", client_message_id="c")
        assert ack["ok"], ack
        told = await newest(alice)
        assert (told["content"], told["message_type"]) == ("Look:", "file")
        file, text = told["parts"]
        assert (file["type"], file["file_id"], file["name"]) == ("file", file_id, "notes.txt")
        assert (text["type"], text["text"]) == ("text", "Look:")
        again = await alice.call("file", file_id=file_id, message="Look:", client_message_id="c")
        assert (again.get("duplicate"), again["message_id"]) == (True, ack["message_id"])


@every_door
async def test_an_edit_changes_the_text_alone(either: Server, kind: str) -> None:
    session = await new_session(either, members=("bob",))
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("websocket", either, "bob", session) as bob,
    ):
        ack = await sent(alice, URL, TEXT, DATA, {"type": "text", "id": "more", "text": "More."})
        assert (await alice.call("edit", message_id=ack["message_id"], content="new"))["ok"]
        told = await bob.wait_event("message_updated")
        assert (told["content"], told["parts"]) == ("new", [URL, TEXT | {"text": "new"}, DATA])
        assert (await newest(alice))["parts"] == told["parts"]
        wordless = await sent(alice, DATA)
        assert (await alice.call("edit", message_id=wordless["message_id"], content="said"))["ok"]
        text = {"type": "text", "id": "text", "text": "said"}
        assert (await newest(alice))["parts"] == [DATA, text]
        two = await sent(alice, TEXT, TEXT | {"id": "t2"})
        assert (await alice.call("edit", message_id=two["message_id"], content="one"))["ok"]
        assert "parts" not in await newest(alice)


async def test_a_question_of_parts_is_answered(either: Server) -> None:
    async with either.api("alice") as api:
        asked = {"parts": [TEXT, DATA], "stream": False}
        answer = await api.post("/api/chat", json=asked)
        assert answer.status_code == 201, answer.text
        session = answer.json()["session_id"]
        assert "Look:" in answer.json()["message"]["content"]
        file = {"type": "file", "file_id": await uploaded(either, session)}
        path = f"/api/chat/sessions/{session}"
        answer = await api.post(f"{path}/messages/stream", json={"parts": [TEXT, file], "stream": False})
        assert answer.status_code == 201, answer.text
        found = (await api.get(f"{path}/messages")).json()["messages"]
        assert found[0]["parts"] == [TEXT, DATA]
        assert [part["type"] for part in found[2]["parts"]] == ["text", "file"]
        assert found[2]["files"][0]["file_id"] == file["file_id"]
        # Nothing is left of a session that could not begin.
        answer = await api.post("/api/chat", json=asked | {"parts": [file]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "FILE_NOT_FOUND")
        answer = await api.post("/api/chat", json={"stream": False})
        assert answer.json()["error"]["details"]["field"] == "content"
        await api.post(f"{path}/messages", json={"parts": [URL | {"name": "a.pdf"}], "reply": False})
        line = (await api.get("/api/chat/sessions")).json()["sessions"][0]
        assert (line["session_id"], line["last_message"]) == (session, "a.pdf")


async def test_a_notice_names_what_has_no_text(parley: Server) -> None:
    session, elsewhere = await new_session(parley), await new_session(parley, "bob", members=("alice",))
    async with (
        enter("socketio", parley, "alice", session) as alice,
        enter("websocket", parley, "bob", elsewhere) as bob,
    ):
        await sent(bob, URL | {"name": "a.pdf"})
        told = await alice.wait_event(
            "session", lambda s: s["event"] == "activity" and s["session_id"] == elsewhere
        )
        assert told["last_message"] == "a.pdf"


async def test_an_answers_files_are_posted_with_it(either: Server) -> None:
    session = await new_session(either, members=("bob",))
    mine, others = await uploaded(either, session), await uploaded(either, session, "bob")
    async with enter("websocket", either, "alice", session) as alice:
        begun = await alice.call("stream_start")
        where = {"message_id": begun["message_id"]}
        parts = [
            {"type": "file", "id": id, "file_id": file_id} for id, file_id in (("m", mine), ("o", others))
        ]
        for index, part in enumerate(parts):
            reply = await alice.call("stream_part", **where, index=index, part=part)
            assert reply["ok"], reply
        assert (await alice.call("stream_end", **where))["ok"]
        told = await newest(alice)
        assert told["parts"] == parts
        assert [file["file_id"] for file in told["files"]] == [mine]
        assert (await alice.call("file", file_id=mine))["error"]["code"] == "FILE_NOT_FOUND"
    async with enter("websocket", either, "bob", session) as bob:
        assert (await bob.call("file", file_id=others))["ok"]
