"""The documentation as the server serves it: links, the search, a request to try for each call."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import msgspec
import pytest

from events.catalog import CATALOG
from scripts import build_site
from server.contract import examples
from server.contract.operations import OPERATIONS
from tests.people.telling import tell
from tests.support.doors import new_session
from tests.support.server import ROOT, Server
from tests.support.services import program

SITE = build_site.SITE


pytestmark = pytest.mark.usefixtures("site")


def test_no_link_of_a_document_leads_nowhere(tmp_path: Path) -> None:
    """Of the generator's own checks none speaks: pages, anchors, the navigation."""
    build_site.built(tmp_path, strict=True)


def test_every_document_is_a_page_of_the_navigation() -> None:
    listed = {path for paths in build_site.chosen().values() for path in paths} | {build_site.CONTRACT}
    documents = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("**/*.md")}
    assert documents - {"docs/templates/protocol.md"} <= listed
    places = [build_site.address(path) for path in listed]
    assert len(places) == len(set(places)), "two documents at one address"


async def test_what_pages_name_is_served_from_here_alone(house: Server) -> None:
    """Every page, script, style and picture; nothing inline, which the policy would not let through."""
    waiting, seen = ["/docs/"], {"/docs/"}
    async with house.api(None) as api:
        while waiting:
            path = waiting.pop()
            answer = await api.get(path)
            assert answer.status_code == 200, path
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
            text = answer.text
            assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text), path
            # No element of the page's own is another's; only what people follow leads elsewhere.
            assert not re.search(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="https?:', text), path
            for link in re.findall(r'(?:href|src)="([^"#]+)', text):
                there = urljoin(path, unescape(link))
                if not re.match(r"[a-z]+:", there) and there not in seen:
                    seen.add(there)
                    waiting.append(there)
        assert len(seen) > 60
        moved = await api.get("/docs")
        assert (moved.status_code, moved.headers["location"]) == (307, "/docs/")
        for path in ("/docs/nothing.html", "/docs/..%2fapp.py", "/docs/%2e%2e/app.py", "/docs//etc/passwd"):
            assert (await api.get(path)).status_code == 404, path


QUESTIONS = {
    # A Korean word for what English pages have, with its particle, and two together.
    "토큰이 만료": "auth_expiring",
    "재연결은": "recovery.html",
    "파일을 업로드": "files",
    "도구 승인": "agents.html",
    # What stands in Korean, set together where the text is apart and the other way round.
    "회의실예약": "ko.html",
    "한국어 설명서를": "ko.html",
    "stream_chunk": "stream_chunk",
}
ASKED = """
import { prepared, search } from "./search.js";
const [index, words, korean, questions] = JSON.parse(process.argv[2]);
const { readFileSync } = await import("node:fs");
const read = (path) => JSON.parse(readFileSync(path));
const all = read(index);
all.docs.push(...korean);
const ready = prepared(all, read(words));
console.log(JSON.stringify(questions.map((each) => search(ready, each).map(({ location }) => location))));
"""
KOREAN = [
    {"location": "ko.html", "title": "시작", "text": "회의실 예약 을 확인합니다. 한국어설명서 입니다."},
]


def test_the_search_finds_korean(tmp_path: Path) -> None:
    (tmp_path / "ask.mjs").write_text(ASKED)
    shutil.copyfile(SITE / "search.js", tmp_path / "search.js")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    given = [f"{SITE}/search/search_index.json", f"{SITE}/words.json", KOREAN, list(QUESTIONS)]
    told = subprocess.run(
        [program("node"), "ask.mjs", json.dumps(given)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for (question, wanted), found in zip(QUESTIONS.items(), json.loads(told.stdout), strict=True):
        assert any(wanted in each for each in found[:6]), (question, found)


# --- requests to try


def test_every_command_and_call_has_a_request_to_try() -> None:
    for name in CATALOG:
        assert f'data-command="{name}"' in (SITE / "reference/commands.html").read_text()
    shown = " ".join(path.read_text() for path in (SITE / "reference").glob("rest-*.html"))
    for each in OPERATIONS:
        if each.tag != "commands":
            address = examples.address(each).replace("&", "&amp;")
            assert f"-X {each.method} &#x27;{{url}}{address}&#x27;" in shown, each.path


async def reader(house: Server) -> dict[str, str]:
    """What the button on the page makes: a session with a question and its answer."""
    session = await new_session(house, "reader", agent_id=1)
    async with house.api("reader") as api:
        ask = {"content": "Hello", "stream": False}
        said = (await api.post(f"/api/chat/sessions/{session}/messages/stream", json=ask)).json()
        file = {"file": ("a.txt", b"one", "text/plain")}
        sent = (await api.post(f"/api/chat/sessions/{session}/files", files=file)).json()
    own = {
        "session_id": session,
        "message_id": said["request"]["message_id"],
        "answer_id": said["message"]["message_id"],
    }
    return {**own, "file_id": sent["file_id"], "token": house.token("reader")}


def filled(value: Any, own: dict[str, str]) -> Any:
    return json.loads(re.sub(r"\{(\w+)\}", lambda found: own.get(found[1], found[0]), json.dumps(value)))


#: What would leave nothing to try the rest with is asked of somebody else's.
ENDS = {
    ("DELETE", "/api/chat/sessions/{session_id}"): "/api/chat/sessions/sess_none",
    ("DELETE", "/api/chat/agents/{agent_id}"): "/api/chat/agents/999",
}


async def test_requests_are_such_that_the_server_takes_them(house: Server) -> None:
    """One may be refused for what the reader has (nothing is open, say), never for its form or address."""
    own = await reader(house)
    refused = []
    async with house.api(None) as api:
        for each in OPERATIONS:
            if each.upload:
                continue
            address = ENDS.get((each.method, each.path)) or filled(examples.address(each), own)
            service = each.tag in ("server", "agents")
            token = house.token("keeper", role="service") if service else own["token"]
            headers = {} if each.public else {"Authorization": f"Bearer {token}"}
            body = filled(examples.body(each), own)
            async with api.stream(each.method, address, json=body, headers=headers) as answer:
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    continue
                text = (await answer.aread()).decode()
            lost = answer.status_code in (400, 401, 403, 405, 422) or answer.status_code >= 500
            if lost or "UNKNOWN_COMMAND" in text:
                refused.append((each.method, address, answer.status_code, text[:300]))
    assert not refused


def test_payloads_are_those_of_their_commands() -> None:
    for name, command in CATALOG.items():
        msgspec.convert(examples.payload(name), command.schema)


@pytest.mark.browser
async def test_requests_are_sent_from_the_page(house: Server) -> None:
    await tell("site.mjs", "tried", f"{house.url}/docs/")


@pytest.mark.browser
async def test_the_site_by_keys_on_a_phone_and_at_night(house: Server) -> None:
    await tell("site.mjs", "shown", f"{house.url}/docs/")
