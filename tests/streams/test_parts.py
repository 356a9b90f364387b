"""The rules of writing parts, through every door."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.streams.test_rules import begin, stored
from tests.streams.test_sse import following
from tests.support.doors import KINDS, Door, enter, new_session
from tests.support.server import Server
from tests.support.shown import Shown, as_stored

ALICE, BOB = "alice", "bob"
SECRET = {"signature": "c2VjcmV0"}
TOOL = {"type": "tool", "id": "t", "tool_call_id": "call_1", "name": "weather", "state": "input_streaming"}
SHOWN_TOOL = {**TOOL, "executed_by": "agent"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The producer's door."""
    name: str = request.param
    return name


class Producer:
    """Writes a stream piece by piece, and counts as producers do."""

    def __init__(self, door: Door, message_id: str) -> None:
        self.door, self.message_id, self.index = door, message_id, 0

    async def call(self, command: str, **payload: Any) -> dict[str, Any]:
        payload = {"message_id": self.message_id, "index": self.index, **payload}
        reply: dict[str, Any] = await self.door.call(command, **payload)
        if reply["ok"]:
            self.index = reply["next_index"]
        return reply

    async def _written(self, command: str, **payload: Any) -> None:
        before = self.index
        reply = await self.call(command, **payload)
        assert (reply["ok"], self.index) == (True, before + 1), reply

    async def text(self, content: str, part: str | None = None) -> None:
        await self._written("stream_chunk", content=content, **({"part": part} if part else {}))

    async def delta(self, part: str, content: str) -> None:
        await self._written("stream_delta", part=part, content=content)

    async def part(self, **part: Any) -> None:
        await self._written("stream_part", part=part)

    async def refused(self, field: str, command: str, **payload: Any) -> None:
        reply = await self.call(command, **payload)
        assert (reply["error"]["code"], reply["error"]["details"]["field"]) == ("VALIDATION_ERROR", field)

    async def end(self, **said: Any) -> None:
        reply = await self.door.call("stream_end", message_id=self.message_id, **said)
        assert reply["ok"], reply


async def all_equal(reader: Door, message_id: str, shown: Shown | None = None) -> dict[str, Any]:
    """What a reader was told adds up to what is stored."""
    await reader.wait_event("stream_end", lambda end: end["message_id"] == message_id)
    shown = (shown or Shown()).take_all(reader.events, message_id)
    message = await stored(reader, message_id)
    assert shown.as_message == as_stored(message)
    return message


async def test_an_answer_of_every_part(node: Server, kind: str) -> None:
    session_id = await new_session(node, members=(BOB,))
    async with enter(kind, node, ALICE, session_id) as alice, enter("socketio", node, BOB, session_id) as bob:
        writer = Producer(alice, await begin(alice))
        await writer.part(type="step", id="s1")
        await writer.part(type="reasoning", id="r", text="", provider_metadata=SECRET)
        await writer.delta("r", "let me ")
        await writer.delta("r", "see")
        await writer.text("I look it up.")
        await writer.part(**TOOL)
        await writer.delta("t", '{"in":')
        await writer.delta("t", '"Ulm"}')
        whole = {**TOOL, "input": {"in": "Ulm"}, "input_text": '{"in":"Ulm"}', "state": "input_available"}
        await writer.part(**whole)
        await writer.part(**{**whole, "state": "output_available", "output": [1, None]})
        await writer.part(type="data", id="d", name="progress", data={"at": 1}, transient=True)
        await writer.part(type="source", id="u", url="https://example.org/a", title="Ä")
        await writer.part(type="file", id="f", url="https://example.org/a.png", media_type="image/png")
        await writer.part(type="data", id="d", name="chart", data={"y": [1]})
        await writer.part(type="data", id="d", name="chart", data={"y": [1, 2]})
        await writer.part(type="step", id="s2")
        await writer.text("It is ", "b")
        await writer.text("cold.")
        await writer.end()
        message = await all_equal(bob, writer.message_id)
        assert message["content"] == "I look it up.\n\nIt is cold."
        assert message["parts"] == [
            {"type": "step", "id": "s1"},
            {"type": "reasoning", "id": "r", "text": "let me see"},
            {"type": "text", "id": "text", "text": "I look it up."},
            {**SHOWN_TOOL, **whole, "state": "output_available", "output": [1, None]},
            {"type": "source", "id": "u", "url": "https://example.org/a", "title": "Ä"},
            {"type": "file", "id": "f", "url": "https://example.org/a.png", "media_type": "image/png"},
            {"type": "data", "id": "d", "name": "chart", "data": {"y": [1, 2]}},
            {"type": "step", "id": "s2"},
            {"type": "text", "id": "b", "text": "It is cold."},
        ]
        transient = [told["part"] for told in bob.named("stream_part") if told["part"].get("transient")]
        assert [part["data"] for part in transient] == [{"at": 1}]
        assert "secret" not in str(bob.events) and "provider_metadata" not in str(bob.events)
        assert "content" not in bob.named("stream_end")[0]


async def test_numbers_are_the_producers_own(node: Server, kind: str) -> None:
    """What the server puts in between texts is not counted by who writes them; a repeat does nothing."""
    session_id = await new_session(node, members=(BOB,))
    async with (
        enter(kind, node, ALICE, session_id) as alice,
        enter("websocket", node, BOB, session_id) as bob,
    ):
        writer = Producer(alice, await begin(alice))
        await writer.text("one", "a")
        await writer.text("two", "b")
        await writer.part(type="text", id="c", text="three")
        for index in range(3):
            repeat = await writer.call("stream_chunk", content="X", part="a", index=index)
            assert (repeat["ok"], repeat["next_index"]) == (True, 3)
            repeat = await writer.call(
                "stream_part", part={"type": "text", "id": "b", "text": "X"}, index=index
            )
            assert (repeat["ok"], repeat["next_index"]) == (True, 3)
            repeat = await writer.call("stream_delta", part="nobody", content="X", index=index)
            assert (repeat["ok"], repeat["next_index"]) == (True, 3)
        for command, payload in (
            ("stream_chunk", {"content": "X"}),
            ("stream_delta", {"part": "a", "content": "X"}),
            ("stream_part", {"part": {"type": "step", "id": "s"}}),
        ):
            gap = await writer.call(command, index=4, **payload)
            assert gap["error"]["code"] == "INDEX_CONFLICT"
            assert gap["error"]["next_index"] == gap["error"]["details"]["next_index"] == 3
        again = await alice.call("stream_start", message_id=writer.message_id)
        assert (again["duplicate"], again["next_index"]) == (True, 3)
        async with enter("websocket", node, BOB, session_id) as late:
            (open_one,) = late.joined["streams"]
            assert open_one["content"] == "one\n\ntwo\n\nthree"
            assert open_one["next_index"] == 6
            await writer.text("!")
            await writer.end()
            await all_equal(late, writer.message_id, Shown(open_one))
        message = await all_equal(bob, writer.message_id)
        assert message["content"] == "one\n\ntwo\n\nthree!"


async def test_what_is_no_part_is_refused_and_counts_for_nothing(node: Server, kind: str) -> None:
    session_id = await new_session(node)
    async with enter(kind, node, ALICE, session_id) as alice:
        writer = Producer(alice, await begin(alice))
        await writer.refused("part", "stream_delta", part="r", content="x")
        await writer.text("a", "one")
        await writer.text("b", "two")
        await writer.refused("part", "stream_chunk", part="one", content="x")
        await writer.refused("part", "stream_delta", part="two", content="x")
        await writer.part(**TOOL)
        await writer.refused("part", "stream_chunk", part="t", content="x")
        for field, part in (
            ("part", {}),
            ("part.type", {"type": "image", "id": "x"}),
            ("part.id", {"type": "step", "id": "x" * 101}),
            ("part.id", {"type": "step", "id": "text"}),
            ("part", {"type": "source", "id": "x"}),
            ("part.url", {"type": "source", "id": "x", "url": "javascript:alert(1)"}),
            ("part", {"type": "file", "id": "x", "media_type": "image/png"}),
            ("part.state", {**TOOL, "state": "done"}),
            ("part.tool_call_id", {"type": "tool", "name": "n", "state": "input_streaming"}),
            ("part.data", {"type": "data", "id": "x", "name": "n", "data": "x" * 70_000}),
            ("part.text", {"type": "reasoning", "id": "x", "text": 1}),
        ):
            reply = await writer.call("stream_part", part=part)
            assert reply["error"]["code"] == "VALIDATION_ERROR", (part, reply)
            assert reply["error"]["details"]["field"].startswith(field), (part, reply)
        assert writer.index == 3
        await writer.end()
        message = await stored(alice, writer.message_id)
        assert [part["id"] for part in message["parts"]] == ["one", "two", "t"]


async def test_a_part_without_an_id_is_given_one(node: Server) -> None:
    session_id = await new_session(node)
    async with enter("websocket", node, ALICE, session_id) as alice:
        writer = Producer(alice, await begin(alice))
        first = await writer.call("stream_part", part={"type": "reasoning", "text": ""})
        repeat = await writer.call("stream_part", part={"type": "reasoning", "text": ""}, index=0)
        assert repeat["part_id"] == first["part_id"]
        await writer.delta(first["part_id"], "hm")
        tool = {name: value for name, value in TOOL.items() if name != "id"}
        assert (await writer.call("stream_part", part=tool))["part_id"] == "call_1"
        await writer.end()
        message = await stored(alice, writer.message_id)
        assert [part["id"] for part in message["parts"]] == [first["part_id"], "call_1"]


async def test_text_that_is_taken_back_is_told_at_the_end(node: Server) -> None:
    """A producer tries a step again: nobody ends with doubled text."""
    session_id = await new_session(node, members=(BOB,))
    async with (
        enter("websocket", node, ALICE, session_id) as alice,
        enter("socketio", node, BOB, session_id) as bob,
        enter("rest", node, BOB, session_id) as events,
    ):
        writer = Producer(alice, await begin(alice))
        await writer.part(type="reasoning", id="r", text="first")
        await writer.text("a wrong start")
        await writer.part(type="text", id="text", text="")
        await writer.text("right")
        async with enter("socketio", node, BOB, session_id) as late:
            (open_one,) = late.joined["streams"]
            assert open_one["content"] == "right"
            resumed = await late.call("stream_resume", message_id=writer.message_id, from_index=2)
            assert (resumed["index"], resumed["content"]) == (0, "right"), "from its beginning"
            await writer.text(" now")
            await writer.end()
            await all_equal(late, writer.message_id, Shown(open_one))
        for reader in (bob, events):
            message = await all_equal(reader, writer.message_id)
            assert message["content"] == "right now"
            end = await reader.wait_event("stream_end")
            assert (end["content"], end["parts"]) == (message["content"], message["parts"])


async def test_a_message_of_its_own_text_alone_says_nothing_of_parts(node: Server) -> None:
    session_id = await new_session(node, members=(BOB,))
    async with (
        enter("socketio", node, ALICE, session_id) as alice,
        enter("websocket", node, BOB, session_id) as bob,
    ):
        writer = Producer(alice, await begin(alice))
        await writer.text("plain")
        await writer.text(" text", "text")
        async with enter("websocket", node, BOB, session_id) as late:
            assert "parts" not in late.joined["streams"][0]
        await writer.end()
        message = await all_equal(bob, writer.message_id)
        assert "parts" not in message
        assert all("part" not in told for told in bob.named("stream_chunk"))


async def test_the_parts_of_a_message_are_bounded(node: Server) -> None:
    """In number, and with all pieces of the stream in bytes."""
    session_id = await new_session(node)
    async with enter("websocket", node, ALICE, session_id) as alice:
        writer = Producer(alice, await begin(alice))
        await writer.part(type="reasoning", id="r", text="")
        await writer.delta("r", "x" * 4000)
        reply = await writer.call("stream_part", part={"type": "reasoning", "id": "r", "text": "y" * 100})
        assert reply["error"]["code"] == "PAYLOAD_TOO_LARGE"
        end = await alice.wait_event("stream_end")
        assert (end["status"], end["error"]["code"]) == ("failed", "PAYLOAD_TOO_LARGE")
        message = await stored(alice, writer.message_id)
        assert message["parts"] == [{"type": "reasoning", "id": "r", "text": "x" * 4000}]


async def test_what_was_deleted_or_edited_is_not_told_again_by_its_pieces(node: Server) -> None:
    session_id = await new_session(node, members=(BOB,))
    async with (
        enter("websocket", node, ALICE, session_id) as alice,
        enter("socketio", node, BOB, session_id) as bob,
    ):
        deleted, edited = Producer(alice, await begin(alice)), Producer(alice, await begin(alice))
        for writer in (deleted, edited):
            await writer.part(type="reasoning", id="r", text="thought")
            await writer.text("said")
            await writer.end()
        assert (await alice.call("delete", message_id=deleted.message_id))["ok"]
        assert (await alice.call("edit", message_id=edited.message_id, content="better"))["ok"]
        for begin_at in (0, 1):
            gone = await bob.call("stream_resume", message_id=deleted.message_id, from_index=begin_at)
            assert (gone["content"], "parts" in gone) == ("", False)
            resumed = await bob.call("stream_resume", message_id=edited.message_id, from_index=begin_at)
            message = await stored(bob, edited.message_id)
            assert (resumed["index"], resumed["content"]) == (0, "better")
            assert resumed["parts"] == message["parts"]
        async with following(node, edited.message_id, BOB) as client:
            await client.ended()
            assert Shown().take_all(client.events, edited.message_id).as_message == as_stored(message)
        async with following(node, deleted.message_id, BOB) as client:
            await client.ended()
            assert "said" not in str(client.events) and "thought" not in str(client.events)


async def test_what_was_saved_of_parts_outlives_the_server(
    database_url: str, new_server: Callable[..., Server]
) -> None:
    """Also where nothing of it is text."""
    server = new_server(database_url, STREAM_CHECKPOINT="0.2")
    session_id = await new_session(server)
    source = {"type": "source", "id": "u", "url": "https://example.org/a"}
    tool = {**SHOWN_TOOL, "input_text": "{}"}
    async with enter("websocket", server, ALICE, session_id) as alice:
        first, second = Producer(alice, await begin(alice)), Producer(alice, await begin(alice))
        await first.part(**source)
        await second.part(**TOOL)
        await second.delta("t", "{}")
        await second.text("one", "a")
        await second.text("two", "b")
        while [m.get("parts") and len(m["parts"]) for m in await alice.history()] != [1, 3]:
            pass  # each of these asks the database
        server.kill9()
    await server.start_async()
    async with enter("websocket", server, ALICE, session_id) as alice:
        one, two = await alice.history()
        assert (one["status"], one["content"], one["parts"]) == ("interrupted", "", [source])
        assert (two["status"], two["content"], two["parts"][0]) == ("interrupted", "one\n\ntwo", tool)
