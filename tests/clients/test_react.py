"""clients/react: installed as a package, rendered by a server, in a browser, and under assistant-ui."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.test_package import packed, run
from tests.doors.test_openai import working
from tests.support.bundled import ExampleBrowser, ExamplePage
from tests.support.doors import enter, new_session
from tests.support.server import ROOT, Server
from tests.support.storeclient import MODULES
from tests.turns.waits import ask_approval, go_on

JS = MODULES.parent
CLIENTS = (ROOT / "clients" / "js", ROOT / "clients" / "react")
TYPED = """
import { createElement } from "react";
import {
  askOf, ParleyProvider, useAbout, useComposer, useLongList, useMessages, useSession, useSessions, useUpload,
  versionsOf,
} from "parley-react";
import { useParleyRuntime } from "parley-react/assistant-ui";
export function Page({ id }: { id: string | null }) {
  const [{ messages, pending }, session] = useSession(id);
  const [title] = useSession("s", (state) => state.session?.title ?? "");
  const [, list] = useSessions();
  const { shown } = useLongList(messages, { keyOf: (each) => each.message_id });
  const parts = useUpload(id).take();
  session?.send({ parts });
  list.create({ title });
  const { form, field } = useComposer(id, { onSent: (text) => text.trim() });
  const { rows } = useMessages("s", { sought: useAbout("s").title });
  for (const { message, sender } of rows) sender.name.concat(message.content ?? "");
  versionsOf(messages[0]).older?.trim();
  const values = new FormData();
  const [ask] = messages[0].interrupts ?? [];
  if (ask) session?.answer("m", ask.id, askOf(ask).answer(true, values));
  createElement("form", form, createElement("textarea", field));
  useParleyRuntime(id, { isSendDisabled: pending.length > 10 });
  // @ts-expect-error: it may be null
  session.stop();
  return createElement("p", null, shown[0]?.content);
}
createElement(ParleyProvider, { getToken: async () => "" });
// @ts-expect-error: neither a client nor a token
createElement(ParleyProvider, {});
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which npm installs what `npm pack` makes of both, from its cache alone."""
    folder = tmp_path_factory.mktemp("installed")
    archives = [packed(package, folder) for package in CLIENTS]
    (folder / "package.json").write_text('{"type": "module"}')
    locked = json.loads((JS / "package.json").read_text())["dependencies"]
    react = [f"{name}@{locked[name]}" for name in ("react", "react-dom")]
    run(
        folder,
        "npm",
        "install",
        "--offline",
        "--no-audit",
        "--no-fund",
        *(f"./{each}" for each in archives),
        *react,
    )
    for name in ("hooks_app.mjs", "hooks_server.mjs", "hooks_page.mjs"):
        shutil.copy(JS / name, folder)
    return folder


@pytest.fixture(scope="module")
def node(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("react")
    origins = json.dumps([f"http://127.0.0.1:{port}"])
    settings = {"CORS_ORIGINS": origins, "STREAM_DELAY_MS": "10", "PRESENCE_GRACE": "0.2"}
    with Server.on_sqlite(sqlite_template, folder, **settings) as running:
        yield running


def test_its_types_hold(installed: Path) -> None:
    (installed / "typed.ts").write_text(TYPED)
    paths = {
        "@assistant-ui/react": [str(MODULES / "@assistant-ui/react")],
        "react": [str(MODULES / "@types/react")],
    }
    options = {
        "noEmit": True, "strict": True, "target": "es2022", "module": "esnext", "moduleResolution": "bundler",
        "lib": ["es2023", "dom"], "skipLibCheck": True, "types": [], "paths": paths,
    }  # fmt: skip
    (installed / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["typed.ts"]}))
    run(installed, "node", str(MODULES / "typescript/bin/tsc"))


def test_it_installs_from_this_repository(tmp_path: Path) -> None:
    """As its README says; nothing is left in the repository."""
    (tmp_path / "package.json").write_text('{"type": "module"}')
    packages = [*map(str, CLIENTS), "react@18.3.1"]
    run(tmp_path, "npm", "install", "--offline", "--no-audit", "--no-fund", "--install-links", *packages)
    said = run(
        tmp_path,
        "node",
        "--eval",
        "import('parley-react').then(({ useSession }) => console.log(typeof useSession))",
    )
    assert said.strip() == "function"
    assert not any((package / "node_modules").exists() for package in CLIENTS)


@pytest.mark.browser
async def test_a_page_that_a_server_rendered(node: Server, browser: ExampleBrowser, installed: Path) -> None:
    """In StrictMode, with React's own checks: it hydrates without a word, and all comes in by the hooks."""
    session = await new_session(node, "alice", agent_id=1, title="first")
    html = run(installed, "node", "hooks_server.mjs", session).strip()
    assert "connecting ·" in html
    query = {"session": session, "parley": node.url, "token": node.token("alice"), "html": html}
    source = {"source": str(installed / "hooks_page.mjs"), "mode": "development"}
    page = ExamplePage(browser, "hooks", query, **source)
    await page.open()
    await page.wait("online · alice · 1")
    await page.wait("first (0)")
    await page.do("ask", text="hello")
    await page.do("sees", selector="li.complete >> nth=1")
    await page.wait("quiet")
    async with node.api("alice") as api:
        await api.put(f"/api/chat/sessions/{session}/participants/bob", json={"role": "member"})
    async with enter("socketio", node, "bob", session) as bob:
        await page.wait("online · alice bob · 2")
        await bob.call("typing", is_typing=True)
        await page.wait("bob types")
        await page.do("fill", text="w")
        await bob.wait_event("typing", lambda event: event["user_id"] == "alice")
        sent = await bob.call("message", content="from bob", reply=False)
        await bob.wait_event("read", lambda event: (event["user_id"], event["seq"]) == ("alice", sent["seq"]))
        answer = (await bob.call("history", limit=2))["messages"]
        await bob.call("read", seq=max(each["seq"] for each in answer))
        await page.do("upload", file="notes.txt", content="what was noted")
        await page.wait("notes.txt ready 14")
        await page.do("ask", text="with a file")
        await page.wait("there is an address")
        await page.do("click", role="button", label="Rename")
        await page.wait("renamed (0)")
        await page.do("click", role="button", label="Search")
        await page.wait("2 found")
        assert await page.do("run", script="[window.said, window.asked]") == [[], 1]
        await page.do("run", script="window.leave()")
        await bob.wait_event("presence", lambda event: event["status"] == "offline")
    assert await page.do("faults") == []


@pytest.mark.browser
async def test_a_thread_of_assistant_ui(
    node: Server, browser: ExampleBrowser, installed: Path, tmp_path: Path
) -> None:
    """Streaming, a stop, another answer and another question beside the old ones, an approval."""
    async with working(node) as (worker, agent):
        session = await new_session(node, "alice", agent_id=int(agent))
        query = {"session": session, "parley": node.url, "token": node.token("alice")}
        page = ExamplePage(browser, "thread", query, source=str(_beside(installed, tmp_path)))
        await page.open()
        await page.do("ask", text="count")
        request = await worker.request()
        first = await worker.write(request, "One, ", end=False)
        await page.wait("One,")
        where = {"session_id": session, "message_id": first}
        await worker.call("stream_chunk", **where, index=1, content="two.")
        await worker.call("stream_end", **where)
        await page.wait("One, two.")

        await page.do("click", role="button", label="Again")
        second = await worker.write(await worker.request(), "Three, ", end=False)
        await page.wait("2/2")
        await page.do("click", role="button", label="Stop")
        assert await worker.cancelled.get() == second
        await page.wait("Three,")
        await page.do("click", role="button", label="Older version")
        await page.wait("One, two.")
        await page.wait("1/2")

        await page.do("click", role="button", label="Edit")
        await page.do("run", script="document.querySelector('[aria-label=\"Other words\"]').focus()")
        await page.do("type", label="Other words", text="count on")
        await page.do("click", role="button", label="Save")
        request = await worker.request()
        assert request["message"]["content"] == "count on"
        begun = await worker.begin(request)
        await ask_approval(worker, session, begun["message_id"])
        await page.do("click", role="button", label="Pay 5 EUR?")
        resumed = await worker.request()
        assert resumed["resume"]["interrupts"][0]["answer"]["payload"] == {"approved": True}
        await go_on(worker, resumed, "Paid.")
        await page.wait("Paid.")
        assert await page.shown("user-text") == ["count on"]
        assert [text.split("Paid")[1] for text in await page.shown("assistant-text")] == ["."]
        assert await page.shown("version") == ["2/2"]

        await page.do("type", label="Message", text="and stop", enter=True)
        await worker.request()
        await page.do("click", role="button", label="Stop")
        await worker.cancelled.get()
        await page.wait("and stop")
        assert await page.shown("user-text") == ["count on", "and stop"]
        assert await page.do("run", script="document.querySelector('#say').value") == ""


def _beside(installed: Path, folder: Path) -> Path:
    """The page, with the React of assistant-ui's: there must be but one."""
    for name in ("parley-client", "parley-react"):
        shutil.copytree(installed / "node_modules" / name, folder / "node_modules" / name)
    return Path(shutil.copy(JS / "thread_page.mjs", folder))
