"""The documents' snippets of JavaScript, each in a page around it. Whole programs are run as commands."""

import asyncio
import json
from pathlib import Path

from tests.people.documents import all_blocks
from tests.support.doors import new_session
from tests.support.server import ROOT, Server, environment
from tests.support.services import program

#: Joins, hears of its own message, loses its connection, and hears of the next one.
RECOVERY = """
const { url, token, session_id } = JSON.parse(process.argv[2]);
const currentToken = () => token;
const shown = [];
const show = ({ content }) => {
  shown.push(content);
  if (content === "before") socket.io.engine.close();
  if (content === "after") { console.log(JSON.stringify(shown)); socket.close(); }
};
// the snippet
socket.on("connect", () => {
  const content = socket.recovered ? "after" : "before";
  socket.emitWithAck("message", { session_id, content, client_message_id: content });
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
  if (asks) await socket.emitWithAck("message", { session_id, content: "word by word, ".repeat(9) });
  await some;
  const others = asks ? await page(false) : [];
  const status = await end;
  socket.close();
  return [[status, text], ...others];
}
console.log(JSON.stringify(await page(true)));
"""
PAGES = {"docs/recovery.md": RECOVERY, "docs/streams.md": STREAMS}


def snippets() -> dict[str, str]:
    return {
        block.document: block.text for block in all_blocks() if block.language == "js" and not block.title
    }


async def run(document: str, house: Server, folder: Path) -> list[object]:
    text = PAGES[document].replace("// the snippet", snippets()[document])
    (folder / "page.mjs").write_text(text.replace('"https://chat.example.com"', "url"))
    (folder / "node_modules").symlink_to(ROOT / "tests/js/node_modules")
    given = {
        "url": house.url,
        "token": house.token("me"),
        "session_id": await new_session(house, "me", agent_id=1),
    }
    process = await asyncio.create_subprocess_exec(
        program("node"), "page.mjs", json.dumps(given),
        cwd=folder, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    said: list[object] = json.loads(output)
    return said


def test_each_has_a_page() -> None:
    untitled = [
        block.document for block in all_blocks() if block.language in ("js", "python") and not block.title
    ]
    assert sorted(untitled) == sorted(PAGES)


async def test_a_page_misses_nothing(house: Server, tmp_path: Path) -> None:
    said = await run("docs/recovery.md", house, tmp_path)
    assert [each for each in said if each in ("before", "after")] == ["before", "after"]


async def test_a_page_that_comes_late_has_the_whole_answer(house: Server, tmp_path: Path) -> None:
    whole = ["complete", "word by word, " * 9]
    assert await run("docs/streams.md", house, tmp_path) == [whole, whole]
