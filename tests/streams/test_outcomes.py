"""Why an answer ended, what it cost, which model gave it: said by its producer, told to all, and kept."""

from typing import Any

import pytest

from tests.streams.test_rules import ALICE, BOB, begin, stored, write
from tests.support.doors import KINDS, enter, new_session
from tests.support.server import Server

USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "reasoning_tokens": 1}
SAID: dict[str, Any] = {"finish_reason": "length", "usage": USAGE, "model": "tiny-2"}
FIELDS = ("finish_reason", "usage", "model")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_producer_says_of_the_end_is_told_and_kept(node: Server, kind: str) -> None:
    session_id = await new_session(node, members=(BOB,))
    async with (
        enter(kind, node, ALICE, session_id) as alice,
        enter("websocket", node, BOB, session_id) as bob,
    ):
        message_id = await begin(alice, metadata={"a": 1, "b": 1})
        await write(alice, message_id, "half")
        ended = await alice.call("stream_end", message_id=message_id, metadata={"b": 2, "c": 3}, **SAID)
        assert ended["ok"], ended
        end = await bob.wait_event("stream_end")
        assert {name: end[name] for name in FIELDS} == SAID
        assert (end["status"], end["tokens_used"], end["metadata"]) == (
            "complete",
            7,
            {"a": 1, "b": 2, "c": 3},
        )
        shown = await stored(bob, message_id)
        assert {name: shown[name] for name in FIELDS} == SAID
        assert {name: shown["metadata"][name] for name in "abc"} == {"a": 1, "b": 2, "c": 3}


async def test_in_either_database_over_edits_and_restarts(any_server: Server) -> None:
    session_id = await new_session(any_server, members=(BOB,))
    async with enter("socketio", any_server, ALICE, session_id) as alice:
        message_id = await begin(alice)
        await write(alice, message_id, "half")
        await alice.call("stream_end", message_id=message_id, tokens_used=9, **SAID)
        edited = await alice.call("edit", message_id=message_id, content="whole")
        assert edited["ok"], edited
    any_server.restart()
    async with enter("rest", any_server, BOB, session_id) as bob:
        shown = await stored(bob, message_id)
        assert (shown["content"], shown["tokens_used"]) == ("whole", 9), "what is said of tokens stands"
        assert {name: shown[name] for name in FIELDS} == SAID
        async with any_server.api(BOB) as api:
            again = await api.get(f"/api/chat/streams/{message_id}")
    assert '"finish_reason":"length"' in again.text
    assert '"model":"tiny-2"' in again.text


async def test_what_nobody_says_is_not_there(node: Server) -> None:
    session_id = await new_session(node)
    async with enter("websocket", node, ALICE, session_id) as alice:
        message_id = await begin(alice)
        await alice.call("stream_end", message_id=message_id, usage={}, metadata={})
        end = await alice.wait_event("stream_end")
        plain = await alice.message("hello")
        for shown in (end, await stored(alice, message_id), await stored(alice, plain["message_id"])):
            assert not shown.keys() & set(FIELDS)
        assert "metadata" not in end


@pytest.mark.parametrize(
    "said",
    [
        {"finish_reason": "boredom"},
        {"usage": {"input_tokens": -1}},
        {"usage": {"input_tokens": 2**60}},
        {"usage": 7},
        {"model": ""},
        {"model": "m" * 201},
        {"metadata": []},
    ],
    ids=lambda said: str(said)[:40],
)
async def test_what_is_not_valid_ends_nothing(node: Server, said: dict[str, Any]) -> None:
    session_id = await new_session(node)
    async with enter("websocket", node, ALICE, session_id) as alice:
        message_id = await begin(alice)
        refused = await alice.call("stream_end", message_id=message_id, **said)
        assert (refused["ok"], refused["error"]["code"]) == (False, "VALIDATION_ERROR")
        assert (await stored(alice, message_id))["status"] == "streaming"
        assert (await alice.call("stream_end", message_id=message_id))["ok"]
