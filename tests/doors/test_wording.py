"""Every field of every call, sent wrong in turn: the refusal names it, says what is wanted, and speaks no
library's language."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from events.catalog import CATALOG
from events.schema import GiveAnswer, StreamPart
from server.contract.operations import OPERATIONS, RestCall
from tests.support.doors import enter, new_session
from tests.support.server import Server

#: Words of the libraries that decode for us.
FOREIGN = re.compile(
    r"Expected|Object missing|Object contains|got `|msgspec|pydantic|Input should|Traceback|\$"
)


#: Where a list may stand, or whatever is sent is looked at later.
ANYTHING = (msgspec.inspect.ListType, msgspec.inspect.AnyType, msgspec.inspect.RawType)


def strings(kind: Any) -> int | None:
    """How long a text may be, where the type says so."""
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    found = [each.max_length for each in kinds if isinstance(each, msgspec.inspect.StrType)]
    return found[0] if found else None


def wrong(struct: type[msgspec.Struct], leave_out: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, str]]:
    """(field, what is sent for it, what the answer has to say); UNSET for what is left out."""
    described = msgspec.inspect.type_info(struct)
    assert isinstance(described, msgspec.inspect.StructType)
    for field in described.fields:
        name = field.encode_name
        if name in leave_out:
            continue
        if field.required:
            yield name, msgspec.UNSET, "is required"
        kinds = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        if not any(isinstance(each, ANYTHING) for each in kinds):
            yield name, [["x"]], "must be"
        if (most := strings(field.type)) is not None:
            yield name, "x" * (most + 1), str(most)


def check(error: dict[str, Any], name: str, told: str) -> None:
    assert error["code"] == "VALIDATION_ERROR", (name, error)
    assert error["details"]["field"].split(".")[0] == name, error
    assert told in error["message"], error
    assert not FOREIGN.search(error["message"]), error


#: Given as they should be, so that each fault is the first one met.
RIGHT: dict[str, Any] = {
    "content": "hello", "message_id": "msg_x", "file_id": "file_x", "is_typing": True, "status": "away",
    "seq": 0, "token": "x", "name": "agent", "kind": "echo", "event": "custom", "data": {}, "user_id": "bob",
    "part": "r", "interrupt_id": "i", "interrupts": [{"id": "i", "reason": "x"}],
    "model": "Echo", "messages": [{"role": "user", "content": "hello"}],
    "url": "https://hooks.example.com/x", "session_id": "sess_x",
    "id": "a-chat", "threadId": "a-thread", "runId": "a-run",
}  # fmt: skip
#: What is another thing in these.
OTHERS: dict[type[msgspec.Struct], dict[str, Any]] = {
    StreamPart: {"part": {"type": "step"}},
    GiveAnswer: {"status": "resolved"},
}


def payload(struct: type[msgspec.Struct]) -> dict[str, Any]:
    required = [field.encode_name for field in msgspec.structs.fields(struct) if field.required]
    right = RIGHT | OTHERS.get(struct, {})
    return {name: right[name] for name in required if name in right}


async def test_commands(parley: Server) -> None:
    session = await new_session(parley)
    for name, command in CATALOG.items():
        async with enter("socketio", parley, "alice", session) as alice:
            for field, value, told in wrong(command.schema, ("session_id",)):
                sent = payload(command.schema) | {"session_id": session, field: value}
                if value is msgspec.UNSET:
                    del sent[field]
                reply = await alice.call(name, **sent)
                assert reply["ok"] is False, (name, field, reply)
                check(reply["error"], field, told)


BODIES = [one for one in OPERATIONS if one.body is not None and not one.public]


@pytest.mark.parametrize("operation", BODIES, ids=lambda one: one.id)
async def test_bodies(parley: Server, operation: RestCall) -> None:
    assert operation.body is not None
    session = await new_session(parley)
    path = operation.path.replace("{session_id}", session).replace("{agent_id}", "1")
    path = path.replace("{message_id}", "msg_x").replace("{user_id}", "bob")
    async with parley.api("wording", "service") as api:
        for field, value, told in wrong(operation.body, operation.leave_out):
            body = payload(operation.body) | {field: value}
            if value is msgspec.UNSET:
                del body[field]
            answer = await api.request(operation.method, path, json=body)
            assert answer.status_code == refusal_of(operation), (field, answer.text)
            check(answer.json()["error"], field, told)


def refusal_of(operation: RestCall) -> int:
    """OpenAI's libraries call it a bad request."""
    return 400 if operation.tag == "openai" else 422


QUERIES = [one for one in OPERATIONS if one.query is not None]


@pytest.mark.parametrize("operation", QUERIES, ids=lambda one: one.id)
async def test_queries(parley: Server, operation: RestCall) -> None:
    assert operation.query is not None
    path = operation.path.replace("{session_id}", await new_session(parley))
    described = msgspec.inspect.type_info(operation.query)
    assert isinstance(described, msgspec.inspect.StructType)
    async with parley.api("wording", "service") as api:
        for field in described.fields:
            if field.encode_name in operation.leave_out:
                continue
            most = strings(field.type)
            query = {"q": "x", field.encode_name: "x" * (most + 1) if most else "a word"}
            if most is None and isinstance(field.type, msgspec.inspect.StrType):
                continue
            answer = await api.get(path, params=query)
            assert answer.status_code == refusal_of(operation), (field, answer.text)
            check(answer.json()["error"], field.encode_name, "")
