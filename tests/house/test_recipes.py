"""CONTRIBUTING's recipes hold: each is carried out in one copy of the tree, which is then run."""

import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doors import test_access, test_messages, test_one_way_in, test_typing_presence
from tests.house.linesclient import Lines, LinesDoor
from tests.house.recipes import RECIPES, Written, files, named, production
from tests.support.doors import DOORS, KINDS, enter, new_session
from tests.support.server import ROOT, Server, environment
from tests.support.services import Postgres
from tests.support.web import web_client

#: What runs, and what documents are made of.
COPIED = (
    "server", "events", "storage", "migrations", "scripts", "bench", "clients", "docs", "parley_testing",
    "tests", "README.md", ".env.example",
)  # fmt: skip


#: What `python -m bench.turns --only` writes of what is new; its minutes are the benchmark's.
MEASURED = """
from bench.turns.__main__ import write
from bench.turns.calls import DOORS
from bench.turns.commands import COMMANDS
write([
    {"call": name, "door": "socketio", "input": dear.told, "longest": 1.0, "cpu": 1.0}
    for name, dear in (("headline", COMMANDS["headline"][0]), ("`/lines`", DOORS["`/lines`"][0]))
])
"""

LIVELY = {"DEBUG": "true", "LOG_LEVEL": "DEBUG", "PRESENCE_GRACE": "0.3", "TYPING_TTL": "1"}


@dataclass(frozen=True)
class House:
    """The copy, with all recipes carried out and its documents written again."""

    tree: Path
    node: Server

    def text(self, name: str) -> str:
        return (self.tree / name).read_text()


def run(tree: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = environment(**settings) | {"PYTHONPATH": str(tree)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=60, check=False)


def must(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copied(tree: Path) -> None:
    leave_out = shutil.ignore_patterns("__pycache__", "node_modules", "js", ".work", "*.png")
    for name in COPIED:
        source, target = ROOT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=leave_out)
        else:
            shutil.copyfile(source, target)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    tree = tmp_path_factory.mktemp("house")
    copied(tree)
    for title, (edits, _) in RECIPES.items():
        for edit in edits:
            if isinstance(edit, Written):
                must(run(tree, *edit.program))
                continue
            try:
                edit.carry_out(tree)
            except AssertionError as failure:
                pytest.fail(f"{title}: {edit.path}: {failure}")
    must(run(tree, "-c", MEASURED))
    must(run(tree, "scripts/docs.py", "--texts"))
    with node_of(tree, f"sqlite:///{tree}/parley.db") as node:
        yield House(tree, node)


def node_of(tree: Path, url: str) -> Server:
    must(run(tree, "-m", "server", "migrate", DATABASE_URL=url))
    node = Server(tree / url.partition(":")[0], url, RATE_LIMIT_ENABLED="true", **LIVELY)
    node.env["PYTHONPATH"] = str(tree)
    node.fresh = True  # the nursery has this tree's own modules
    return node


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_names_the_files_that_it_takes(title: str) -> None:
    edits, most = RECIPES[title]
    made = {path for path in files(edits) if not (ROOT / path).exists()}
    taken = {f"{Path(path).parent}/" if path in made else path for path in files(edits)}
    assert named(title) == taken
    assert len(production(edits)) <= most


@pytest.mark.parametrize("kind", KINDS)
async def test_a_command_is_served_by_every_door(house: House, kind: str) -> None:
    session_id = await new_session(house.node, "alice")
    async with house.node.api() as api:
        (await api.patch(f"/api/chat/sessions/{session_id}", json={"title": "Hamlet"})).raise_for_status()
    async with enter(kind, house.node, "alice", session_id) as alice:
        reply = await alice.call("headline")
    assert (reply["ok"], reply["title"]) == (True, "Hamlet")


async def test_a_command_is_in_every_document(house: House) -> None:
    assert "| `headline` | `session_id` | `title` | What the session is called. |" in house.text(
        "docs/protocol.md"
    )
    assert "headline: (payload: Headline, ack:" in house.text("clients/parley-events.d.ts")
    assert "| `headline` | who may see the session | `read` |" in house.text("docs/security.md")
    async with house.node.api() as api:
        openapi = (await api.get("/openapi.json")).json()
        asyncapi = (await api.get("/asyncapi.json")).json()
    assert "/api/chat/sessions/{session_id}/headline" in openapi["paths"]
    assert "websocket_headline" in asyncapi["operations"]


@pytest.fixture(params=["sqlite", "postgresql"])
def any_node(house: House, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The copy's, on each kind of database."""
    if request.param == "sqlite":
        yield house.node
        return
    cluster: Postgres = request.getfixturevalue("postgres")
    name = cluster.create_database()
    with node_of(house.tree, cluster.url(name)) as node:
        yield node
    cluster.drop_database(name)


async def test_a_field_of_a_message_is_kept_and_shown(any_node: Server) -> None:
    session_id = await new_session(any_node, "alice")
    async with enter("websocket", any_node, "alice", session_id) as alice:
        first = await alice.message("a plain one", mood="glad")
        assert (await alice.wait_event("message"))["mood"] == "glad"
        await alice.message("an answer", mood="sad", reply_to=first["message_id"])
        assert not (await alice.call("message", content="no", mood="neither"))["ok"]
        assert (await alice.call("edit", message_id=first["message_id"], content="changed"))["ok"]
        assert (await alice.wait_event("message_updated"))["mood"] == "glad"
        stream = (await alice.call("stream_start"))["message_id"]
        assert (await alice.call("stream_end", message_id=stream, mood="tired"))["ok"]
        assert (await alice.wait_event("stream_end"))["mood"] == "tired"
        shown = [(message["content"], message["mood"]) for message in await alice.history()]
    assert shown == [("changed", "glad"), ("an answer", "sad"), ("", "tired")]
    async with any_node.api() as api:
        told = (await api.get(f"/api/chat/streams/{stream}")).text
    assert '"type":"stream_end"' in told
    assert '"mood":"tired"' in told


def test_a_field_of_a_message_is_in_every_document(house: House) -> None:
    assert "mood?: 'glad' | 'sad' | null;" in house.text("clients/parley-events.d.ts").replace('"', "'")
    assert "`mood`?" in house.text("docs/protocol.md")


async def test_a_kind_of_agent_answers(house: House) -> None:
    async with house.node.api("backend", "service") as service:
        made = await service.post("/api/chat/agents", json={"name": "Herald", "kind": "shout"})
        assert made.status_code == 201, made.text
        refused = await service.post("/api/chat/agents", json={"name": "Mime", "kind": "mime"})
        assert refused.status_code == 422
    session_id = await new_session(house.node, "bob", agent_id=made.json()["id"])
    async with enter("websocket", house.node, "bob", session_id) as bob:
        await bob.message("the king is here")
        end = await bob.wait_event("stream_end")
        assert end["status"] == "complete"
        answer = (await bob.history())[-1]
        assert answer["content"] == "THE KING IS HERE"


#: The doors' own suite, by the new one.
CASES = (
    test_messages.test_a_message_reaches_everyone_in_the_room,
    test_messages.test_a_repeat_is_told_as_one_and_seen_by_nobody,
    test_messages.test_editing_and_deleting,
    test_messages.test_joining_again_brings_all_that_changed,
    test_typing_presence.test_typing_is_told_to_the_others,
    test_typing_presence.test_typing_ends_with_the_message,
    test_typing_presence.test_leaving,
    test_access.test_a_viewer_reads_and_no_more,
    test_access.test_to_strangers_a_session_does_not_exist,
    test_one_way_in.test_each_door_counts_the_same,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_a_transport_does_what_every_door_does(
    house: House, case: Callable[[Server, str], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DOORS, LinesDoor.kind, LinesDoor)
    await case(house.node, LinesDoor.kind)


async def test_a_transport_tells_who_does_not_come_in(house: House) -> None:
    async with Lines(house.node.ws_url, "no token") as stranger:
        error = await stranger.wait_event("error")
        assert error["code"] == "UNAUTHORIZED"
        assert await stranger.closed() == 1008


async def test_a_transport_is_where_transports_are_shown(house: House) -> None:
    node = house.node
    session_id = await new_session(node, "emma")
    async with Lines(node.ws_url, node.token("emma")) as emma, node.api("backend", "service") as service:
        assert (await emma.send("join", session_id=session_id))["ok"]
        unknown = await emma.send("no_such_command")
        assert unknown["error"]["code"] == "UNKNOWN_COMMAND"
        lines = (await service.get("/metrics")).text.splitlines()
        assert 'parley_connections{transport="lines"} 1.0' in lines
        rows = (await service.get("/api/server/connections", params={"user_id": "emma"})).json()
        assert [row["transport"] for row in rows["connections"]] == ["lines"]
        channels = (await service.get("/asyncapi.json")).json()["channels"]
        assert "message" in channels["lines"]["messages"]
        (await service.post("/api/server/disconnect", json={"user_id": "emma"})).raise_for_status()
        assert (await emma.wait_event("error"))["code"] == "UNAUTHORIZED"
        assert await emma.closed() == 1008
    assert "| `/lines` | everybody | `connect` |" in house.text("docs/security.md")


async def test_metrics_are_in_what_is_scraped(house: House) -> None:
    session_id = await new_session(house.node, "carol")
    async with enter("websocket", house.node, "carol", session_id) as carol:
        assert (await carol.call("stream_start"))["ok"]
    async with web_client(base_url=house.node.url) as web:
        lines = (await web.get("/metrics")).text.splitlines()
    assert "parley_strides 7.0" in lines
    counted = next(line for line in lines if line.startswith('parley_applause_total{sender="user"}'))
    assert float(counted.split()[-1]) >= 1


def test_a_setting_is_checked_and_shown(house: House) -> None:
    def checked(**settings: str) -> subprocess.CompletedProcess[str]:
        return run(house.tree, "-m", "server", "check-config", "--all", **settings)

    assert "CURTAIN_CALLS=3\n" in must(checked())
    assert "CURTAIN_CALLS=12\n" in must(checked(CURTAIN_CALLS="12"))
    wrong = checked(CURTAIN_CALLS="none")
    assert wrong.returncode == 1
    assert "CURTAIN_CALLS" in wrong.stderr
    assert "`CURTAIN_CALLS=3`" in house.text("docs/protocol.md")


async def test_a_rate_limit_holds_and_is_told(house: House) -> None:
    session_id = await new_session(house.node, "dora")
    async with enter("socketio", house.node, "dora", session_id) as dora:
        replies = [await dora.call("presence", status="away") for _ in range(4)]
    assert [reply["ok"] for reply in replies] == [True, True, True, False]
    assert replies[-1]["error"]["code"] == "RATE_LIMIT"
    security = house.text("docs/security.md")
    assert "| `mood` | user | 3 | 60 |" in security
    assert "| `presence` | everybody | `mood` |" in security
