"""clients/js as a package: types, size, an install without a network; and a page that stands on it."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.streams.test_examples import CLIENT
from tests.support.bundled import ExampleBrowser, ExamplePage
from tests.support.folder import serving
from tests.support.proxy import Proxy
from tests.support.server import ROOT, Server
from tests.support.services import program
from tests.support.storeclient import MODULES, PACKAGE

SOURCE = ROOT / "examples" / "small-page"
LINES = 25
#: Bytes by gzip, as a bundler makes it, with every transport and without `socket.io-client`.
LARGEST = 12 * 1024
MEASURE = """
import { build } from "esbuild";
import { gzipSync } from "node:zlib";
const contents = process.argv.slice(1).map((file) => `export * from ${JSON.stringify(file)};`).join("");
const { outputFiles: [made] } = await build({
  stdin: { contents, resolveDir: "/" }, bundle: true, minify: true, write: false, format: "esm",
  external: ["socket.io-client"] });
console.log(gzipSync(made.contents).length);
"""
USED = """
import { createParley } from "parley-client";
import { websocket } from "parley-client/websocket";
import { sse } from "parley-client/sse";
const [, , url, token] = process.argv;
crypto.randomUUID = undefined; // as on a page that came over plain http
const parley = createParley({ url, getToken: () => token });
const { session_id } = await parley.sessions.create();
await parley.session(session_id).send("from a package");
const { results } = await parley.search("package");
console.log(typeof websocket, typeof sse, results.length);
parley.close();
"""
TYPED = """
import { createParley, senderOf, type Message, type Parley } from "parley-client";
import { websocket } from "parley-client/websocket";
const parley: Parley = createParley({ getToken: async () => "", transport: websocket });
const { messages, pending, connection } = parley.session("s").getSnapshot();
const shown: (Message | (typeof pending)[number])[] = [...messages, ...pending];
for (const each of shown) for (const part of each.parts) if (part.type === "text") part.text.trim();
if (connection === "ended") senderOf(parley.session("s").getSnapshot(), messages[0]).name.trim();
// @ts-expect-error: no such method
parley.session("s").shout();
"""


def run(folder: Path, *command: str) -> str:
    done = subprocess.run([program(command[0]), *command[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packed(package: Path, folder: Path) -> str:
    """The name in `folder` of what `npm pack` makes."""
    (made,) = json.loads(
        run(package, "npm", "pack", "--json", "--offline", "--pack-destination", str(folder))
    )
    return str(made["filename"])


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm pack` makes, in an empty folder beside the package that it needs."""
    folder = tmp_path_factory.mktemp("package")
    shutil.unpack_archive(folder / packed(PACKAGE, folder), folder / "node_modules", filter="data")
    (folder / "node_modules" / "package").rename(folder / "node_modules" / "parley-client")
    (folder / "node_modules" / "socket.io-client").symlink_to(MODULES / "socket.io-client")
    return folder


def test_it_is_small() -> None:
    files = [str(PACKAGE / name) for name in ("parley.js", "transport/websocket.js", "transport/sse.js")]
    assert int(run(MODULES.parent, "node", "--input-type=module", "--eval", MEASURE, *files)) <= LARGEST


def test_it_runs_where_it_was_installed(shared_server: Server, package: Path) -> None:
    (package / "used.mjs").write_text(USED)
    said = run(package, "node", "used.mjs", shared_server.url, shared_server.token("packed"))
    assert said.split() == ["function", "function", "1"]


def test_its_types_hold(package: Path) -> None:
    (package / "typed.ts").write_text(TYPED)
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2023,dom"]
    run(package, "node", str(MODULES / "typescript/bin/tsc"), *options, "typed.ts")


# The page.


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where it stands, as `python -m http.server` serves the repository, with the client beside it."""
    shutil.copytree(PACKAGE, tmp_path / "clients" / "js")
    folder = shutil.copytree(SOURCE, tmp_path / "examples" / SOURCE.name)
    shutil.copyfile(CLIENT, folder / CLIENT.name)
    with serving(tmp_path) as address:
        yield address


@pytest.mark.browser
async def test_a_page_of_25_lines(
    sqlite_url: str, new_server: Callable[..., Server], address: str, browser: ExampleBrowser, tmp_path: Path
) -> None:
    """Its list, an answer as it is written, a stop, typing, presence, a file; what is said without a network
    outlives a refresh, and is there once."""
    code = (SOURCE / "page.js").read_text().splitlines()
    assert len([line for line in code if line and not line.startswith("//")]) <= LINES
    node = new_server(sqlite_url, DEBUG="true", CORS_ORIGINS=json.dumps([address]), STREAM_DELAY_MS="40")
    async with Proxy(node.port) as network:
        where = f"{address}/examples/small-page/"
        page = ExamplePage(browser, address=where, query={"parley": network.url})
        await page.open()
        await page.do("click", role="button", label="New session")
        await page.wait("online · me")
        await page.do("ask", text="hello")
        await page.wait("Echo: hello")
        await page.wait("hello (0)")
        await page.do("ask", text="word " * 400)
        await page.do("sees", selector="li.streaming")
        await page.do("click", role="button", label="Stop")
        await page.do("sees", selector="li.cancelled")

        session = (await page.do("run", script="location.hash"))[1:]
        async with node.api("me") as api:
            await api.put(f"/api/chat/sessions/{session}/participants/bob", json={"role": "member"})
        bob = ExamplePage(browser, address=where, query={"parley": node.url, "user": "bob"})
        await bob.open()
        await bob.do("sees", selector="#sessions a")
        await bob.do("run", script="document.querySelector('#sessions a').click()")
        await page.wait("online · me · bob")
        await bob.do("fill", text="w")
        await page.wait("bob …")
        await bob.do("upload", file="notes.txt", content="what was noted")
        await page.do("sees", selector="li.complete >> text=bob:")

        network.refusing = True
        network.cut()
        await page.do("ask", text="said in a tunnel")
        await page.do("sees", selector="li.waiting >> text=me: said in a tunnel")
        await page.do("reload")
        network.refusing = False
        await page.wait("Echo: said in a tunnel")
        await bob.wait("me: said in a tunnel")
        shown = await page.do("texts", selector="li")
        assert [text for text in shown if "tunnel" in text] == [
            "me: said in a tunnel",
            "Echo: said in a tunnel",
        ]
        assert await page.do("faults") == await bob.do("faults") == []
