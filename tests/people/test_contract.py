"""The contract as data: valid documents, that say what the server really does."""

import json
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from events.bounds import Bounds
from events.catalog import CATALOG
from events.errors import ChatError
from scripts.docs import unmerged
from server.app import create_app
from server.bounds import CALLS, DOORS, GIVES
from server.config import Settings
from server.contract import VERSION, asyncapi, openapi, tables
from server.contract.operations import OPERATIONS
from server.contract.schemas import error_codes
from server.errors import TABLE
from server.routes.common import call
from tests.people.frames import Validators, closed
from tests.support.doors import Door, enter, new_session
from tests.support.server import ROOT, SECRET, Server
from tests.support.services import program
from tests.support.web import web_client

NODE_MODULES = ROOT / "tests" / "js" / "node_modules"


def test_the_version_is_that_of_the_package() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == VERSION


def test_the_openapi_document_is_valid() -> None:
    validate(openapi.document(VERSION))


def test_the_asyncapi_document_is_valid() -> None:
    # The "without-$id" variant: the other resolves its parts over the network.
    schema = NODE_MODULES / "@asyncapi/specs/schemas/3.0.0-without-$id.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(asyncapi.document(VERSION))


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi.document(VERSION)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        found: Any = document
        for step in reference.split("/"):
            assert step in found, reference
            found = found[step]


def test_every_route_is_documented_and_every_documented_one_is_there(tmp_path: Path) -> None:
    settings = Settings.load(
        {"JWT_SECRET_KEY": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}, None, data_dir=tmp_path
    )
    pages = {path for _, path in CALLS} - {op.path for op in OPERATIONS}
    by_name = "/api/chat/sessions/{session_id}/{command}"
    served: set[tuple[str, str]] = set()
    for route in create_app(settings).routes:
        if not isinstance(route, Route):
            continue
        path = route.path.replace(":path}", "}")
        if path not in pages | {by_name}:
            served |= {(method, path) for method in (route.methods or set()) - {"HEAD"}}
    commands = {("POST", op.path) for op in OPERATIONS if op.tag == "commands"}
    assert served == {(op.method, op.path) for op in OPERATIONS} - commands


def test_every_call_declares_its_bounds(tmp_path: Path) -> None:
    """What can be reached is in the table of docs/security.md, and nothing else; no cell of it is empty."""
    settings = Settings.load(
        {"JWT_SECRET_KEY": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}, None, data_dir=tmp_path
    )
    served: set[tuple[str, str]] = set()
    for route in create_app(settings).routes:
        if isinstance(route, Route):
            path = route.path.replace(":path}", "}")
            served |= {(method, path) for method in (route.methods or set()) - {"HEAD"}}
        else:
            assert isinstance(route, WebSocketRoute)
            assert f"`{route.path.replace(':path}', '}')}`" in DOORS
    assert served == set(CALLS) | set(GIVES)
    by_name = {op.path.rpartition("/")[2] for op in OPERATIONS if op.tag == "commands"}
    assert set(CATALOG) >= by_name | (set(GIVES.values()) - {"*"})
    for table in (tables.bounds(), tables.rates(), tables.caps()):
        width = table[0].count("|")
        for row in table[2:]:
            cells = [cell.strip() for cell in row.split("|")[1:-1]]
            assert len(cells) == width - 1 and all(cells), row
    for name in {code for bounds in [*CALLS.values(), *DOORS.values()] for code in bounds.beyond}:
        assert name in TABLE or not name.isupper(), name


def test_a_call_without_bounds_cannot_be_added() -> None:
    async def handler(request: Request) -> Response:
        return Response()

    with pytest.raises(KeyError):
        call("GET", "/api/chat/nothing", handler)
    with pytest.raises(ValueError, match="a rate"):
        Bounds("everybody", None, "64 KiB", ("RATE_LIMIT",))
    with pytest.raises(ValueError, match="declared"):
        Bounds("everybody", "read", "", ("RATE_LIMIT",))


def test_every_command_and_error_has_its_place() -> None:
    assert all(name == command.name for name, command in CATALOG.items())
    assert set(error_codes()) == set(TABLE)
    assert all(issubclass(error, ChatError) for error in error_codes().values())


def test_generated_documents_are_as_the_code_says() -> None:
    subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "mark", ["<" * 7 + " HEAD", "=" * 7, ">" * 7 + " 1a2b3c4 (a change)", "|" * 7 + " 1a2b3c4"]
)
def test_marks_of_an_unfinished_merge_are_found_in_any_tracked_text(tmp_path: Path, mark: str) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "notes.md").write_text(f"one\n{mark}\ntwo\n")
    (tmp_path / "fine.md").write_text(f"a line with {mark}\n")
    assert unmerged(tmp_path) == []  # nobody's yet
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert unmerged(tmp_path) == ["notes.md:2"]


def test_the_typescript_event_maps_compile_against_the_official_client(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "parley-events.d.ts").write_text((ROOT / "clients/parley-events.d.ts").read_text())
    (tmp_path / "use.ts").write_text(
        """
import { io } from "socket.io-client";
import type { ErrorCode, ParleySocket } from "./parley-events";

const socket: ParleySocket = io("http://localhost", { auth: { token: "t" } });
const reply = await socket.emitWithAck("join", { session_id: "s", after_revision: 4 });
if (reply.ok) {
  const first: string | null = reply.messages[0]!.content;
  const stream: number = reply.streams[0]!.next_index;
} else {
  const code: string = reply.error.code;
}
const sent = await socket.timeout(1000).emitWithAck("message", { session_id: "s", content: "x" });
if (sent.ok) sent.seq.toFixed();
socket.emit("typing", { session_id: "s", is_typing: true });
socket.on("stream_chunk", ({ content, index, count }) => content.length + index + count);
socket.on("session", (event) => { if (event.event === "activity") event.last_seq.toFixed(); });
const expected: ErrorCode = "SESSION_EXPIRED";
// @ts-expect-error a number is no session id
socket.emit("leave", { session_id: 1 });
// @ts-expect-error no such event
socket.on("nothing", () => {});
// @ts-expect-error no such command
socket.emit("mesage", { session_id: "s" });
"""
    )
    options = {"noEmit": True, "strict": True, "skipLibCheck": True, "types": []}
    options |= {"target": "es2022", "module": "esnext", "moduleResolution": "bundler"}
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["use.ts"]}))
    tsc = [program("node"), "node_modules/typescript/bin/tsc"]
    done = subprocess.run(tsc, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# What the server sends, against the schemas.


async def converse(alice: Door, bob: Door, session_id: str) -> list[tuple[str, dict[str, Any]]]:
    """All that two people and a producer do; (command, reply) of each."""
    replies = [("join", alice.joined), ("join", bob.joined)]

    async def call(door: Door, command: str, **payload: Any) -> dict[str, Any]:
        reply = await door.call(command, **payload)
        replies.append((command, reply))
        return reply

    first = await call(alice, "message", content="hello", client_message_id="one", metadata={"a": [1, None]})
    await call(alice, "message", content="hello", client_message_id="one")
    await call(bob, "typing", is_typing=True)
    await call(bob, "typing", is_typing=False)
    await call(alice, "edit", message_id=first["message_id"], content="hello!")
    await call(bob, "read", seq=first["seq"])
    await call(alice, "delete", message_id=first["message_id"])
    await call(bob, "history", limit=10)
    begun = await call(alice, "stream_start", client_message_id="two")
    stream = begun["message_id"]
    await call(alice, "stream_start", client_message_id="two", message_id=stream)
    await call(alice, "stream_chunk", message_id=stream, content="some", index=0)
    await call(alice, "stream_chunk", message_id=stream, content="thing", index=7)
    thought = {"type": "reasoning", "id": "r", "text": "", "provider_metadata": {"signature": "s"}}
    await call(alice, "stream_part", message_id=stream, part=thought, index=1)
    await call(alice, "stream_delta", message_id=stream, part="r", content="hm", index=2)
    await call(alice, "stream_delta", message_id=stream, part="t", content="hm", index=3)
    await call(alice, "stream_chunk", message_id=stream, part="b", content="else", index=3)
    if bob.kind == "socketio":
        replies.append(("join", await bob.call("join")))
    await call(bob, "stream_resume", message_id=stream, from_index=0)
    await call(
        alice, "stream_end", message_id=stream, tokens_used=3, error={"code": "UPSTREAM", "message": "gone"}
    )
    begun = await call(alice, "stream_start")
    await call(bob, "stream_cancel", message_id=begun["message_id"])
    await call(bob, "edit", message_id="nothing", content="x")
    await call(bob, "file", file_id="nothing")
    if alice.kind != "rest":
        await call(alice, "presence", status="away")
        await call(alice, "auth_refresh", token=alice.token)
        await call(alice, "message", content=7)
    parts = [{"type": "data", "name": "place", "data": [1]}, {"type": "text", "text": "in parts"}]
    await call(alice, "message", parts=parts)
    await call(alice, "message", content="the end")
    for door in (alice, bob):
        await door.wait_event("message", lambda message: message["content"] == "the end")
    if alice.kind in ("socketio", "polling"):
        await call(alice, "leave")
        await bob.wait_event(
            "presence", lambda event: event["user_id"] == "ann" and event["status"] == "offline"
        )
    return replies


@pytest.mark.parametrize("kind", ["socketio", "websocket", "rest"])
async def test_what_is_sent_is_what_the_asyncapi_document_says(house: Server, kind: str) -> None:
    async with web_client(base_url=house.url) as web:
        document = (await web.get("/asyncapi.json")).json()
    validators = Validators(document)
    session_id = await new_session(house, "ann", members=("ben",), title="Frames", agent_id=1)
    async with (
        enter(kind, house, "ann", session_id) as ann,
        enter(kind, house, "ben", session_id) as ben,
    ):
        replies = await converse(ann, ben, session_id)
        await ann.call("message", content="and Echo answers")
        await ben.wait_event("stream_end", lambda end: end["status"] == "complete", timeout=15)
    for command, reply in replies:
        reply.pop("http", None)
        if command == "join" and kind != "socketio":
            reply = {name: value for name, value in reply.items() if name not in ("type", "ok", "status")}
            validators.check("welcome", reply)
        elif kind != "rest" or reply["ok"]:
            if kind == "rest" and command == "message":
                del reply["status"]  # of REST alone: `sent`
            validators.check(f"{command}_reply", reply)
    seen = set()
    for door in (ann, ben):
        for received in door.events:
            if received.name in ("welcome", "ack") or received.name.startswith("@"):
                continue  # what came first, and what the test's client says of itself
            data = {key: value for key, value in received.data.items() if key not in ("position", "type")}
            validators.check(f"{received.name}_event", data)
            seen.add(received.name)
    assert {"message", "message_updated", "message_deleted", "stream_start", "stream_chunk"} <= seen
    assert {"stream_delta", "stream_part", "stream_end", "read", "typing", "presence", "system"} <= seen


async def test_the_rarer_events_too(house: Server) -> None:
    validators = Validators(asyncapi.document(VERSION))
    session_id = await new_session(house, "ann", members=("ben", "cat"), title="Rare")
    path = f"/api/chat/sessions/{session_id}"
    elsewhere = await new_session(house, "ben")
    async with (
        house.api("ann") as api,
        enter("socketio", house, "ann", session_id) as ann,
        enter("websocket", house, "ben", session_id, claims={"ttl": 30}) as ben,
        enter("socketio", house, "cat", session_id) as cat,
        enter("socketio", house, "ben", elsewhere) as outside,
    ):
        await ben.wait_event("auth_expiring")
        await ben.client.send_object({"type": "edit", "message_id": "nothing", "content": "x"})  # type: ignore[attr-defined]
        await ben.wait_event("error")
        stream = (await ann.call("stream_start"))["message_id"]
        await ben.call("stream_cancel", message_id=stream)
        await ann.wait_event("stream_cancel")
        await api.patch(path, json={"title": "Rarer"})
        await ben.wait_event("session", lambda event: event["event"] == "updated")
        await ann.message("heard outside")
        await outside.wait_event("session", lambda event: event["event"] == "activity")
        await api.delete(f"{path}/participants/cat")
        await cat.wait_event("session", lambda event: event["event"] == "removed")
        await api.delete(path)
        await ann.wait_event("session", lambda event: event["event"] == "archived")
        for door in (ann, ben, cat, outside):
            for received in door.events:
                if received.name not in ("welcome", "ack") and not received.name.startswith("@"):
                    own = {
                        key: value for key, value in received.data.items() if key not in ("position", "type")
                    }
                    validators.check(f"{received.name}_event", own)


def test_the_comparison_would_notice_a_field_too_many_and_one_too_few() -> None:
    validators = Validators(asyncapi.document(VERSION))
    good = {"session_id": "s", "timestamp": "t", "user_id": "u", "is_typing": True}
    validators.check("typing_event", good)
    for bad in (good | {"more": 1}, {"session_id": "s", "timestamp": "t", "user_id": "u"}):
        with pytest.raises(AssertionError):
            validators.check("typing_event", bad)
    assert closed({"type": "object", "properties": {}})["additionalProperties"] is False


async def test_rest_answers_are_what_the_openapi_document_says(house: Server) -> None:
    async with house.api("ann") as api:
        document = (await api.get("/openapi.json")).json()
        components = closed(document["components"])

        async def call(method: str, template: str, **more: Any) -> dict[str, Any]:
            path = template.format(**more.pop("at", {}))
            answer = await api.request(method, path, **more)
            operation = document["paths"][template][method.lower()]
            found = operation["responses"][str(answer.status_code)]
            if "$ref" in found:
                found = components["responses"][found["$ref"].rpartition("/")[2]]
            schema = closed(found["content"]["application/json"]["schema"])
            validator = jsonschema.Draft202012Validator({**schema, "components": components})
            body: dict[str, Any] = answer.json()
            problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
            assert not problems, f"{method} {template}: {problems[:3]} in {body}"
            return body

        base = "/api/chat/sessions"
        session = await call("POST", base, json={"title": "Contract", "agent_id": 1})
        at = {"session_id": session["session_id"], "user_id": "ben", "message_id": "", "file_id": ""}
        one = f"{base}/{{session_id}}"
        await call("PUT", f"{one}/participants/{{user_id}}", at=at, json={"role": "viewer"})
        sent = await call("POST", f"{one}/messages", at=at, json={"content": "a needle", "reply": False})
        at["message_id"] = sent["message_id"]
        await call("PATCH", f"{one}/messages/{{message_id}}", at=at, json={"content": "a needle!"})
        await call("POST", f"{one}/read", at=at, json={"seq": 1})
        uploaded = await call("POST", f"{one}/files", at=at, files={"file": ("a.txt", b"text", "text/plain")})
        at["file_id"] = uploaded["file_id"]
        await call("GET", "/api/chat/files/{file_id}/url", at=at)
        await call("GET", f"{one}/messages", at=at)
        await call("POST", f"{one}/history", at=at, json={"limit": 1})
        await call("DELETE", f"{one}/messages/{{message_id}}", at=at)
        await call("GET", f"{one}/presence", at=at)
        await call("GET", base)
        await call("GET", one, at=at)
        await call("PATCH", one, at=at, json={"title": "Other"})
        await call("POST", f"{one}/extend", at=at, json={"hours": 1})
        await call("GET", "/api/chat/search", params={"q": "needle"})
        await call("DELETE", f"{one}/participants/{{user_id}}", at=at)
        await call("DELETE", one, at=at)
        await call("GET", one, at=at | {"session_id": "nothing"})
        await call("POST", f"{one}/messages", at=at, json={"content": "archived"})
        await call("POST", base, json={"title": 7})
