"""The dearest input of every command (`events.catalog`). It goes in through each door that takes the command.

Adding a command: an entry here, of one input or several. What is prepared before it is not counted.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.turns import texts
from bench.turns.world import World
from events.asked import ANSWER_BYTES, ASKED_BYTES, SCHEMA_BYTES
from tests.support.doors import Door

Payload = dict[str, Any]
#: Prepares what a command needs at a door, and returns its payload.
Prepared = Callable[[World, Door], Awaitable[Payload]]


@dataclass(frozen=True)
class Input:
    """`told` in the table of docs/security.md. Its connection is in the session `home`, with a token of
    `role`; for `lingers` seconds after its answer its work goes on. `earlier`: done before it connects."""

    told: str
    prepared: Prepared
    home: str = World.hall
    user: str = "owner"
    role: str | None = None
    earlier: Callable[[World], Awaitable[None]] | None = None
    lingers: float = 0.0


def padded(**payload: Any) -> Prepared:
    """With an unknown field, which is read and left out."""

    async def prepared(world: World, door: Door) -> Payload:
        return {**payload, "unknown": texts.wide()}

    return prepared


def plain(**payload: Any) -> Prepared:
    async def prepared(world: World, door: Door) -> Payload:
        return dict(payload)

    return prepared


async def wide_message(world: World, door: Door) -> Payload:
    return {"content": "x", "reply": False, "metadata": texts.wide()}


async def deep_message(world: World, door: Door) -> Payload:
    return {"content": "x", "reply": False, "metadata": texts.deep()}


async def long_message(world: World, door: Door) -> Payload:
    return {"content": texts.long_text(), "reply": False}


async def escaped_message(world: World, door: Door) -> Payload:
    return {"content": texts.escaped(), "reply": False}


async def wide_parts(world: World, door: Door) -> Payload:
    every = texts.wide()["all"]
    few = len(every) // 4
    parts = [{"type": "data", "name": "d", "data": every[n * few : (n + 1) * few]} for n in range(4)]
    return {"parts": parts, "reply": False}


async def many_parts(world: World, door: Door) -> Payload:
    return {"parts": [{"type": "text", "text": texts.escaped(35)}] * 1000, "reply": False}


async def long_edit(world: World, door: Door) -> Payload:
    message_id = await world.message(door.session_id, metadata=texts.wide())
    return {"message_id": message_id, "content": texts.long_text()}


async def long_branch(world: World, door: Door) -> Payload:
    return {**await long_edit(world, door), "branch": True, "reply": False}


async def asked_again(world: World, door: Door) -> Payload:
    return {"message_id": await world.message(door.session_id)}


async def dear_delete(world: World, door: Door) -> Payload:
    message_id = await world.message(door.session_id, content=texts.long_text(1000), metadata=texts.wide())
    return {"message_id": message_id}


async def long_file(world: World, door: Door) -> Payload:
    answer = await world.api().post(
        f"/api/chat/sessions/{door.session_id}/files",
        files={"file": ("n" * 200, b"x" * 1000, "text/plain")},
        data={"post": "false"},
    )
    answer.raise_for_status()
    return {"file_id": answer.json()["file_id"], "message": texts.long_text()}


async def opinion(world: World, door: Door) -> Payload:
    more = {"comment": texts.escaped(2000), "unknown": texts.wide()["all"][:20_000]}
    return {"message_id": "msg_sess_rated_1", "value": "down", **more}


async def wide_stream(world: World, door: Door) -> Payload:
    return {"message_id": world.new_id(), "metadata": texts.wide()}


async def long_chunk(world: World, door: Door) -> Payload:
    return {"message_id": await world.stream(door.session_id, 0), "index": 0, "content": texts.escaped()}


async def thinking(world: World, door: Door) -> str:
    message_id = await world.stream(door.session_id, 0)
    part = {"type": "reasoning", "id": "r", "text": ""}
    answer = await world.api().post(
        f"/api/chat/sessions/{door.session_id}/stream_part", json={"message_id": message_id, "part": part}
    )
    answer.raise_for_status()
    return message_id


async def long_delta(world: World, door: Door) -> Payload:
    return {"message_id": await thinking(world, door), "part": "r", "index": 1, "content": texts.escaped()}


async def wide_part(world: World, door: Door) -> Payload:
    tool = {"type": "tool", "id": "t", "tool_call_id": "c", "name": "n", "state": "input_available"}
    more = {"input": texts.wide(), "provider_metadata": {"opaque": 1}}
    return {"message_id": await thinking(world, door), "index": 1, "part": tool | more}


async def long_status(world: World, door: Door) -> Payload:
    said = {"status": "searching", "detail": "ä" * 200, "unknown": texts.wide()}
    return {"message_id": await world.stream(door.session_id, world.size.pieces), **said}


async def long_part(world: World, door: Door) -> Payload:
    part = {"type": "text", "id": "text", "text": texts.escaped(texts.ROOM // 8)}
    return {"message_id": await thinking(world, door), "index": 1, "part": part}


async def many_turns(world: World, door: Door) -> Payload:
    return {"message_id": await world.parts(door.session_id, world.size.pieces)}


async def many_turns_resumed(world: World, door: Door) -> Payload:
    return {"message_id": await world.parts(door.session_id, world.size.pieces), "from_index": 1}


async def many_pieces(world: World, door: Door) -> Payload:
    return {"message_id": await world.stream(door.session_id, world.size.pieces)}


async def wide_end(world: World, door: Door) -> Payload:
    message_id = await world.stream(door.session_id, 1, metadata=texts.wide())
    return {"message_id": message_id, "metadata": {"more": texts.wide()["all"]}}


async def resumed(world: World, door: Door) -> Payload:
    return {"message_id": await world.stream(door.session_id, world.size.pieces), "from_index": 1}


async def resumed_whole(world: World, door: Door) -> Payload:
    return {"message_id": "msg_sess_answers_1", "from_index": 0}


def dear_schema() -> dict[str, Any]:
    """As much of one as there may be: each property is looked at by the schema's own schema."""
    fields = {f"f{number}": {"type": "string"} for number in range(SCHEMA_BYTES // 32)}
    return {"type": "object", "properties": fields}


async def open_answer(world: World) -> None:
    """Before there is a second connection of the agent that could be given the question."""
    world.open_answer = await world.answer(200)


async def wide_wait(world: World, door: Door) -> Payload:
    """All in one payload."""
    room = ASKED_BYTES // SCHEMA_BYTES
    asked = [{"id": f"i{n}", "reason": "input", "response_schema": dear_schema()} for n in range(room)]
    return {"message_id": world.open_answer, "interrupts": asked}


async def wide_answer(world: World, door: Door) -> Payload:
    asked = {"id": "i", "reason": "input", "response_schema": {"items": {"type": "object"}}}
    payload = texts.wide()["all"][: ANSWER_BYTES // 10]
    message_id = await world.answer(1, asked)
    return {"message_id": message_id, "interrupt_id": "i", "status": "resolved", "payload": payload}


async def long_token(world: World, door: Door) -> Payload:
    return {"token": world.server.token("owner", name="n" * 11_500)}


COMMANDS: Mapping[str, tuple[Input, ...]] = {
    "join": (
        Input("500 messages of a session with 1,000 participants", plain(limit=500)),
        Input("a page of the dearest messages", plain(limit=500), home="sess_dear"),
        Input("500 messages, each with feedback", plain(limit=500), home="sess_rated"),
        Input("20 open answers of 256 KiB that JSON escapes", plain(limit=500), home="sess_open"),
    ),
    "leave": (Input("an unknown field of 25,000 objects", padded()),),
    "message": (
        Input("25,000 objects of metadata, to 4,000 in a session", wide_message, lingers=1.2),
        Input("25,000 objects in its parts, to 4,000 in a session", wide_parts, lingers=1.2),
        Input("1,000 parts of text that JSON escapes", many_parts, home=World.quiet),
        Input("metadata of 180 levels", deep_message, home=World.quiet),
        Input("a text of 256 KiB, of letters that are several", long_message, home=World.quiet, lingers=0.5),
        Input("a text of 256 KiB that JSON escapes", escaped_message, home=World.quiet),
    ),
    "edit": (
        Input("another version, of a text of 256 KiB", long_branch, home=World.quiet),
        Input("a text of 256 KiB, of a message with 25,000 objects of metadata", long_edit, home=World.quiet),
    ),
    "regenerate": (Input("a question of a session with 1,900 branches", asked_again, home=World.branched),),
    "select": (
        Input(
            "the first message of a session with 1,900 branches",
            plain(message_id=f"msg_{World.branched}_1"),
            home=World.branched,
        ),
    ),
    "delete": (Input("a message with 25,000 objects of metadata", dear_delete, home=World.quiet),),
    "file": (Input("a message of 256 KiB", long_file, home=World.quiet),),
    "typing": (Input("an unknown field of 25,000 objects", padded(is_typing=True)),),
    "presence": (Input("an unknown field of 25,000 objects", padded(status="away")),),
    "read": (Input("an unknown field of 25,000 objects", padded(seq=600)),),
    "history": (
        Input("500 messages", plain(limit=500)),
        Input("a page of the dearest messages", plain(limit=500), home="sess_dear"),
        Input("a page of the dearest answers", plain(limit=500), home="sess_answers"),
        Input("500 messages, each with feedback", plain(limit=500), home="sess_rated"),
        Input("500 messages of a path through 1,900 branches", plain(limit=500), home=World.branched),
    ),
    "feedback": (Input("a comment of 2,000 characters", opinion, home="sess_rated"),),
    "turns": (Input("100 turns", plain(limit=100)),),
    "stream_start": (Input("25,000 objects of metadata", wide_stream, home=World.quiet),),
    "stream_chunk": (Input("256 KiB that JSON escapes", long_chunk, home=World.quiet),),
    "stream_delta": (Input("256 KiB that JSON escapes", long_delta, home=World.quiet),),
    "stream_part": (
        Input("25,000 objects of a tool's input", wide_part, home=World.quiet),
        Input("a text of 180 KiB that JSON escapes", long_part, home=World.quiet),
    ),
    "stream_wait": (
        Input(
            "4 schemas of 16 KiB",
            wide_wait,
            home=World.asked,
            user=World.agent,
            role="agent",
            earlier=open_answer,
        ),
    ),
    "answer": (Input("64 KiB of small objects, each of a schema", wide_answer, home=World.asked),),
    "agent_status": (Input("an unknown field of 25,000 objects", long_status, home=World.quiet),),
    "stream_end": (
        Input("an answer of many pieces", many_pieces, home=World.quiet),
        Input("an answer whose parts take turns at each piece", many_turns, home=World.quiet),
        Input("25,000 objects of metadata, and as many from its start", wide_end, home=World.quiet),
    ),
    "stream_cancel": (Input("an answer of many pieces", many_pieces, home=World.quiet),),
    "stream_resume": (
        Input("an answer of many pieces", resumed, home=World.quiet),
        Input("an answer whose parts take turns at each piece", many_turns_resumed, home=World.quiet),
        Input("256 KiB that JSON escapes", resumed_whole, home="sess_answers"),
    ),
    "auth_refresh": (Input("a token of 16 KiB", long_token, home=World.quiet),),
}
