"""The documents' snippets of JavaScript, each in a page around it. Whole programs are run as commands."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.people.conftest import CLIENT, with_client
from tests.people.documents import all_blocks
from tests.support.doors import new_session
from tests.support.folder import serving
from tests.support.server import ROOT, Server, environment
from tests.support.services import Postgres, program

#: Packets come in bundles, as when one read brings several.
BUNDLES = 'import { bundle } from "./bundles.mjs";\nbundle();\n'
#: Joins, hears of its own message, loses its connection, and hears of the next one.
RECOVERY = """
const { url, tokens, session_id } = JSON.parse(process.argv[2]);
const currentToken = () => tokens.length > 1 ? tokens.shift() : tokens[0];
const shown = [];
const failed = (content, error) => { throw new Error(`${content}: ${error.code}`); };
const show = ({ content }) => {
  shown.push(content);
  if (content === "before") socket.io.engine.close();
  if (content === "after") { console.log(JSON.stringify(shown)); socket.close(); }
};
// the snippet
socket.on("connect", () => {
  send(socket.recovered ? "after" : "before");
});
"""
#: Says thirty lines when it is told to, loses its connection on the way, and ends when all are shown.
OFFLINE = """
const { url, tokens, session_id } = JSON.parse(process.argv[2]);
const currentToken = () => tokens.length > 1 ? tokens.shift() : tokens[0];
const shown = new Set();
const clear = () => shown.clear();
const failed = (content, error) => { throw new Error(`${content}: ${error.code}`); };
const show = ({ content }) => {
  shown.add(content);
  if (shown.size === 30) { console.log(JSON.stringify([...shown])); socket.close(); process.stdin.destroy(); }
};
// the snippet
socket.once("connect", () => console.log("ready"));
process.stdin.once("data", () => {
  for (let n = 0; n < 30; n++) send(`line ${n}`);
  setTimeout(() => socket.io.engine.close(), 500);
});
"""
#: One page asks, another comes while the answer is written.
STREAMS = """
import { io } from "socket.io-client";
const { url, token, session_id } = JSON.parse(process.argv[2]);
async function page(asks) {
  const socket = io(url, { auth: { token }, forceNew: true });
  let text = "", started, finished;
  const some = new Promise((resolve) => (started = resolve));
  const end = new Promise((resolve) => (finished = resolve));
  const begin = () => (text = "");
  const append = (_, content) => { text += content; started(); };
  const replace = (_, content) => { text = content; };
  const finish = (_, status) => finished(status);
  // the snippet
  if (asks) await socket.emitWithAck("message", { session_id, content: "word by word, ".repeat(30) });
  await some;
  const others = asks ? await page(false) : [];
  const status = await end;
  socket.close();
  return [[status, text], ...others];
}
console.log(JSON.stringify(await page(true)));
"""
#: Watches an answer of every kind of piece, which it writes over another connection.
PARTS = """
import { io } from "socket.io-client";
const { url, token, session_id } = JSON.parse(process.argv[2]);
const socket = io(url, { auth: { token } }), writer = io(url, { auth: { token }, forceNew: true });
// the snippet
const ended = new Promise((resolve) => socket.once("stream_end", resolve));
await socket.emitWithAck("join", { session_id });
const call = (command, payload) => writer.emitWithAck(command, { session_id, ...payload });
const { message_id } = await call("stream_start", {});
const tool = { id: "t", type: "tool", tool_call_id: "c", name: "n", state: "input_streaming" };
const pieces = [
  ["stream_part", { part: { id: "r", type: "reasoning", text: "" } }],
  ["stream_delta", { part: "r", content: "hm " }],
  ["stream_chunk", { content: "One." }],
  ["stream_part", { part: tool }],
  ["stream_delta", { part: "t", content: "{}" }],
  ["stream_part", { part: { ...tool, input_text: "{}", state: "output_available", output: 1 } }],
  ["stream_chunk", { part: "b", content: "Two" }],
  ["stream_chunk", { part: "b", content: "." }],
];
for (const [index, [command, said]] of pieces.entries()) await call(command, { message_id, index, ...said });
await call("stream_end", { message_id });
await ended;
const { messages } = await call("history", { limit: 1 });
console.log(JSON.stringify([[...parts.values()], messages[0].parts]));
for (const each of [socket, writer]) each.close();
"""
#: By their documents; a document's second snippet has its number behind.
PAGES = {"docs/recovery.md": RECOVERY, "docs/streams.md": STREAMS, "docs/streams.md 2": PARTS}


#: Documents whose snippets are run by tests of their subject: `tests/webhooks/test_webhooks.py`.
ELSEWHERE = {"docs/webhooks.md"}


def snippets() -> dict[str, str]:
    found: dict[str, str] = {}
    for block in all_blocks():
        if block.language in ("js", "python") and not block.title and block.document not in ELSEWHERE:
            number = 1 + sum(name.split()[0] == block.document for name in found)
            found[block.document if number == 1 else f"{block.document} {number}"] = block.text
    return found


async def run(document: str, house: Server, folder: Path, *stale: str) -> list[object]:
    """What the page printed. `stale` are tokens that it has before its good one, in turn with that."""
    session_id = await new_session(house, "me", agent_id=1)
    process = await opened(PAGES[document], document, house, folder, session_id, *stale)
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    said: list[object] = json.loads(output)
    return said


async def opened(
    page: str, document: str, house: Server, folder: Path, session_id: str, *stale: str
) -> asyncio.subprocess.Process:
    """The document's snippet in this page."""
    text = page.replace("// the snippet", snippets()[document])
    (folder / "page.mjs").write_text(BUNDLES + text.replace('"https://chat.example.com"', "url"))
    shutil.copy(ROOT / "tests/people/bundles.mjs", folder)
    (folder / "node_modules").symlink_to(ROOT / "tests/js/node_modules")
    given = {
        "url": house.url,
        "token": house.token("me"),
        "tokens": [each for old in stale for each in (old, house.token("me"))] or [house.token("me")],
        "session_id": session_id,
    }
    return await asyncio.create_subprocess_exec(
        program("node"), "page.mjs", json.dumps(given),
        cwd=folder, env=environment(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def test_each_has_a_page() -> None:
    assert sorted(snippets()) == sorted(PAGES)


async def test_a_page_misses_nothing(house: Server, tmp_path: Path) -> None:
    said = await run("docs/recovery.md", house, tmp_path)
    assert [each for each in said if each in ("before", "after")] == ["before", "after"]


async def test_a_page_renews_its_token(house: Server, tmp_path: Path) -> None:
    """Expired at the first connect, and again after the cut."""
    expired = house.token("me", ttl=-60)
    said = await run("docs/recovery.md", house, tmp_path, expired, expired)
    assert [each for each in said if each in ("before", "after")] == ["before", "after"]


@pytest.mark.timeout(120)
async def test_what_was_typed_while_the_database_was_away_is_there_once(
    own_postgres: tuple[Postgres, str], new_server: Callable[..., Server], tmp_path: Path
) -> None:
    """A burst, a cut and an expired token in an outage that is longer than any command waits."""
    postgres, url = own_postgres
    house = new_server(url, RATE_LIMIT_ENABLED="true")
    session_id = await new_session(house, "me")
    page = await opened(OFFLINE, "docs/recovery.md", house, tmp_path, session_id, house.token("me", ttl=-60))
    assert page.stdin is not None and page.stdout is not None
    try:
        async with asyncio.timeout(90):
            assert await page.stdout.readline() == b"ready\n"
            await asyncio.to_thread(postgres.stop)
            page.stdin.write(b"say\n")
            await page.stdin.drain()
            await asyncio.sleep(10)  # the fault itself
            await asyncio.to_thread(postgres.start)
            shown = json.loads(await page.stdout.readline())
            await page.wait()
    finally:
        if page.returncode is None:
            page.kill()
    said = [f"line {n}" for n in range(30)]
    assert sorted(shown) == sorted(said)
    async with house.api("me") as api:
        stored = (await api.get(f"/api/chat/sessions/{session_id}/messages?limit=100")).json()["messages"]
    assert sorted(message["content"] for message in stored) == sorted(said)


async def test_a_page_that_comes_late_has_the_whole_answer(house: Server, tmp_path: Path) -> None:
    whole = ["complete", "word by word, " * 30]
    assert await run("docs/streams.md", house, tmp_path) == [whole, whole]


async def test_a_page_of_parts_shows_what_is_stored(house: Server, tmp_path: Path) -> None:
    shown, stored = await run("docs/streams.md 2", house, tmp_path)
    assert shown == stored
    assert isinstance(shown, list)
    assert [part["type"] for part in shown] == ["reasoning", "text", "tool", "text"]


#: Opens the page, and prints what stands in it when the answer is there.
BROWSER = """
import { launch } from "%s";
const browser = await launch();
const page = await browser.newPage();
const faults = [];
page.on("pageerror", (error) => faults.push(error.message));
await page.goto(process.argv[2]);
await page.getByText("in pieces").waitFor({ timeout: 15000 }).catch((error) => faults.push(error.message));
console.log(JSON.stringify([await page.locator("body").innerText(), ...faults]));
await browser.close();
"""


@pytest.mark.browser
async def test_the_first_client_in_a_page_of_another_origin(
    sqlite_url: str, new_server: Callable[..., Server], tmp_path: Path
) -> None:
    """As docs/clients.md says: the same but for `process` and the import, with the page's origin named."""
    (text,) = [block.text for block in all_blocks() if block.title == "first.mjs"]
    (tmp_path / "open.mjs").write_text(BROWSER % (ROOT / "tests/people/browser.mjs"))
    with serving(tmp_path) as served:
        origin = served.replace("127.0.0.1", "localhost")
        node = new_server(sqlite_url, DEBUG="true", CORS_ORIGINS=f'["{origin}"]')
        with_client(node.folder)
        for said, instead in {
            '"socket.io-client"': f'"{node.url}/vendor/{CLIENT.name}"',
            "process.env.PARLEY ??": "",
            "http://127.0.0.1:8003": node.url,
            "process.stdout.write(": "document.body.append(",
        }.items():
            assert text.count(said) == 1
            text = text.replace(said, instead)
        (tmp_path / "index.html").write_text(f'<body><script type="module">{text}</script>')
        process = await asyncio.create_subprocess_exec(
            program("node"), str(tmp_path / "open.mjs"), f"{origin}/",
            env=environment(CHROMIUM=program("chromium")), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 45)
    assert json.loads(output) == ["Tell me this again, in pieces"]
