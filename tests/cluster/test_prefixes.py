"""Below a path of the proxy's, ROOT_PATH, behind proxies that take the path away and some that keep it."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from server.doctor.examine import Examination
from server.doctor.findings import Finding
from server.doctor.wire import Target
from tests.cluster.proxies import Front, apache_below, caddy_below, nginx_below
from tests.support.jsclient import JsClients
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.web import web_client

FRONTS: dict[str, Callable[[Server], Front]] = {
    "nginx strips": lambda node: nginx_below("/chat", node, strips=True),
    "nginx keeps": lambda node: nginx_below("/chat", node, strips=False),
    "caddy keeps": lambda node: caddy_below("/chat", node),
    "apache strips": lambda node: apache_below("/chat", node),
}


@pytest.fixture(scope="module")
def node(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefix")
    settings = {"ROOT_PATH": "/chat", "TRUSTED_PROXIES": "127.0.0.1", "WS_HEARTBEAT_INTERVAL": "2"}
    with Server.on_sqlite(sqlite_template, folder, **settings) as node:
        yield node


@pytest.fixture(scope="module", params=FRONTS)
def below(request: pytest.FixtureRequest, node: Server) -> Iterator[tuple[str, Server]]:
    """The address below the path, and the node."""
    with FRONTS[request.param](node) as front:
        yield f"{front.url}/chat", node


def api(url: str, node: Server) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {node.token('alice')}"}
    return web_client(base_url=url, headers=headers, timeout=15)


async def test_every_door_is_there(below: tuple[str, Server], js: JsClients) -> None:
    url, node = below
    async with api(url, node) as client:
        session = (await client.post("/api/chat/sessions", json={})).json()["session_id"]
        async with RawClient(url.replace("http", "ws"), session, node.token("alice")) as raw:
            await raw.welcome()
            host, _, path = url.removeprefix("http://").partition("/")
            for transport in ("polling", "websocket"):
                socket = await js.open(
                    f"http://{host}", node.token("alice"), path=f"/{path}/socket.io/", transports=[transport]
                )
                assert (await socket.emit("join", {"session_id": session}))["ok"]
                await socket.emit("message", {"session_id": session, "content": transport})
                await raw.wait_event("message", lambda m, t=transport: m["content"] == t)  # type: ignore[misc]
            async with client.stream("GET", f"/api/chat/sessions/{session}/events") as stream:
                assert "event: welcome" in await anext(stream.aiter_text())


async def test_addresses_that_are_given_out_lead_back(below: tuple[str, Server]) -> None:
    url, node = below
    async with api(url, node) as client:
        session = (await client.post("/api/chat/sessions", json={})).json()["session_id"]
        files = {"file": ("note.txt", "본문".encode(), "text/plain")}
        done = (await client.post(f"/api/chat/sessions/{session}/files", files=files)).json()
        assert done["file_url"].startswith("/chat/files/")
        assert (await client.get(urljoin(url, done["file_url"]))).text == "본문"
        shown = (await client.get(f"/api/chat/sessions/{session}/messages")).json()["messages"][0]["files"][0]
        assert shown["file_url"] == done["file_url"]
        signed = (await client.get(f"/api/chat/files/{done['file_id']}/url")).json()["url"]
        # Absolute, as the client called: https, by the trusted proxy's word, which this nginx only says.
        assert signed.startswith(url.replace("http://", "https://") + "/files/")
        async with web_client() as stranger:
            assert (await stranger.get(signed.replace("https://", "http://"))).text == "본문"


@pytest.mark.usefixtures("site")
async def test_pages_and_documents(below: tuple[str, Server]) -> None:
    url, node = below
    async with api(url, node) as client:
        moved = await client.get("/docs")
        assert moved.headers["location"] == url.replace("http://", "https://") + "/docs/"
        for place in ("docs/", "docs/reference/index.html"):
            page = (await client.get(f"/{place}")).text
            links = [link for link in re.findall(r'(?:href|src)="([^"#:]+)"', page)]
            assert links
            for link in links:
                assert (await client.get(urljoin(f"{url}/{place}", link))).status_code == 200, link
        document = (await client.get("/openapi.json")).json()
        assert urlsplit(document["servers"][0]["url"]).path == "/chat"
        assert (await client.get("/asyncapi.json")).json()["servers"]["parley"]["pathname"] == "/chat"


async def test_a_slash_too_many_is_redirected_below_the_path_and_by_https(below: tuple[str, Server]) -> None:
    url, node = below
    async with api(url, node) as client:
        answer = await client.get("/api/chat/sessions/?limit=5")
        assert answer.status_code == 307
        assert answer.headers["location"] == url.replace("http://", "https://") + "/api/chat/sessions?limit=5"
        assert (await client.get("/nowhere/")).status_code == 404


async def examined(url: str, node: Server) -> list[Finding]:
    return await Examination(Target(url, node.token("alice")), lambda _: None, 0.5).run()


async def test_the_doctor_knows_the_path(below: tuple[str, Server]) -> None:
    url, node = below
    findings = await examined(url, node)
    assert [f.state for f in findings if f.check == "prefix"] == ["ok"]
    assert {f.fault for f in findings if f.state == "fail"} == {"origin"}  # no PUBLIC_URL here


async def test_the_doctor_finds_a_path_that_the_server_does_not_know(
    sqlite_template: Path, tmp_path: Path
) -> None:
    with (
        Server.on_sqlite(sqlite_template, tmp_path) as node,
        nginx_below("/chat", node, strips=True) as front,
    ):
        findings = await examined(f"{front.url}/chat", node)
        assert "prefix" in {f.fault for f in findings}


@pytest.mark.parametrize("settings", [{"ROOT_PATH": "/api"}, {"PUBLIC_URL": "https://chat.example.com/a/b"}])
async def test_other_ways_to_say_it(sqlite_template: Path, tmp_path: Path, settings: dict[str, str]) -> None:
    path = settings.get("ROOT_PATH", "/a/b")
    with Server.on_sqlite(sqlite_template, tmp_path, **settings) as node:
        async with api(node.url, node) as client:
            for prefix in ("", path):
                assert (await client.get(f"{prefix}/api/chat/sessions")).status_code == 200
                assert (await client.get(f"{prefix}/healthz")).status_code == 200
            servers: list[Any] = json.loads((await client.get("/openapi.json")).content)["servers"]
            assert servers[0]["url"] == settings.get("PUBLIC_URL", path)
            assert (await client.get(f"{path}x/api/chat/sessions")).status_code == 404
            inner = await client.get("/api/chat/sessions/")
            assert inner.headers["location"] == f"{path}/api/chat/sessions"
