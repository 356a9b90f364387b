"""Where a page, an application or a native client says it comes from, at every door."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.doors import new_session
from tests.support.jsclient import JsClients
from tests.support.server import Server
from tests.support.web import web_client

LISTED = (
    "https://*.pages.example, https://app-*.deploy.example:8443, https://한글.kr, capacitor://localhost, "
    "ionic://localhost, tauri://localhost, chrome-extension://abcdefghijklmnopabcdefghijklmnop"
)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"
PHONE = "okhttp/4.12.0"
EVERY_DOOR = ("rest", "polling", "socketio", "websocket")
every_door = pytest.mark.parametrize("kind", EVERY_DOOR)


@pytest.fixture(scope="module")
def places(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("origins")
    (folder / "parley.db").write_bytes(sqlite_template.read_bytes())
    settings = {"CORS_ORIGINS": LISTED, "TRUSTED_PROXIES": "127.0.0.1"}
    with Server(folder, f"sqlite:///{folder}/parley.db", **settings) as node:
        yield node


def told_in_log(node: Server) -> list[str]:
    return [line for line in node.log_text().splitlines() if "parley.origins" in line]


async def asked(node: Server, kind: str, origin: str, **headers: str) -> tuple[bool, Any]:
    """Whether a request with this Origin came in, and what a refused one was told."""
    more = {name.replace("_", "-"): value for name, value in headers.items()} | {"Origin": origin}
    if kind in ("rest", "polling"):
        path = "/api/chat/sessions" if kind == "rest" else "/socket.io/?EIO=4&transport=polling"
        async with node.api("alice") as api:
            answer = await api.get(path, headers=more)
        if answer.status_code == 200:
            return True, dict(answer.headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
        return False, answer.json()["error"]
    agent = more.pop("User-Agent", None)
    path = (
        f"/ws/{await new_session(node)}" if kind == "websocket" else "/socket.io/?EIO=4&transport=websocket"
    )
    more["Authorization"] = f"Bearer {node.token('alice')}"
    try:
        async with connect(
            f"ws://{more.pop('Host', f'127.0.0.1:{node.port}')}{path}",
            host="127.0.0.1",
            port=node.port,
            additional_headers=more,
            user_agent_header=agent,
            proxy=None,
        ) as socket:
            try:
                first = await socket.recv()
            except ConnectionClosed as closed:
                return False, closed.rcvd.reason if closed.rcvd else None
            told = json.loads(first) if kind == "websocket" else {}
            return told.get("type") != "error", told
    except InvalidStatus as refused:
        assert refused.response.status_code == 403
        return False, json.loads(refused.response.body or b"")["error"]


@every_door
async def test_patterns_names_and_applications_schemes(places: Server, kind: str) -> None:
    for origin in (
        "https://a.pages.example",
        "https://a.b.pages.example",
        "https://app-git-main.deploy.example:8443",
        "https://xn--bj0bj06e.kr",
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    ):
        came_in, told = await asked(places, kind, origin, User_Agent=BROWSER)
        assert came_in, origin
        if kind in ("rest", "polling"):
            assert told["access-control-allow-origin"] == origin
    for origin in (
        "https://pages.example",
        "https://evilpages.example",
        "https://a.pages.example.evil.example",
        "http://a.pages.example",
        "https://a.pages.example:444",
        "https://*.pages.example",
        "https://.pages.example",
        "https://app-.deploy.example:8443",
        "https://app-x.y.deploy.example:8443",
        "https://xn--bj0bj06e.kr.evil.example",
        "capacitor://elsewhere",
        "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba",
        "file://",
        "null",
    ):
        assert not (await asked(places, kind, origin, User_Agent=BROWSER))[0], origin


@every_door
async def test_native_clients_send_the_address_they_call(places: Server, kind: str) -> None:
    port = places.port
    for origin, host in (
        (places.url, f"127.0.0.1:{port}"),
        ("http://10.0.2.2:8003", "10.0.2.2:8003"),
        ("https://chat.example.com", "chat.example.com"),  # TLS ended before us
        ("https://chat.example.com:443", "chat.example.com"),
    ):
        assert (await asked(places, kind, origin, Host=host, User_Agent=PHONE))[0], origin
    behind = {"Host": "parley", "User_Agent": PHONE, "X_Forwarded_Proto": "https"}
    assert (
        await asked(places, kind, "https://chat.example.com", X_Forwarded_Host="chat.example.com", **behind)
    )[0]
    assert not (await asked(places, kind, "https://chat.example.com", **behind))[0]
    assert not (await asked(places, kind, "https://evil.example", User_Agent=PHONE))[0]


@every_door
async def test_a_browser_that_was_led_here_by_another_name_is_refused(places: Server, kind: str) -> None:
    """Its page has the name of the server that it calls, and would pass for the server's own."""
    host = "rebound.example:8003"
    for shown in ({"User_Agent": BROWSER}, {"User_Agent": "x", "Sec_Fetch_Site": "same-origin"}):
        assert not (await asked(places, kind, f"http://{host}", Host=host, **shown))[0]


async def test_what_a_proxy_says_counts_where_it_is_trusted(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url)
    said = {"X_Forwarded_Host": "chat.example.com", "User_Agent": PHONE}
    for kind in EVERY_DOOR:
        assert not (await asked(node, kind, "https://chat.example.com", **said))[0]


@every_door
async def test_a_refused_page_is_told_what_would_admit_it(
    sqlite_url: str, new_server: Callable[..., Server], kind: str
) -> None:
    node = new_server(sqlite_url)
    _, told = await asked(node, kind, f"https://{kind}.elsewhere.example", User_Agent=BROWSER)
    assert told["code"] == "ORIGIN_NOT_ALLOWED"
    assert told["details"] == {"origin": f"https://{kind}.elsewhere.example", "setting": "CORS_ORIGINS"}
    lines = [line for line in told_in_log(node) if f"https://{kind}.elsewhere.example" in line]
    assert len(lines) == 1 and "CORS_ORIGINS" in lines[0]


async def test_refusals_do_not_fill_the_log(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url)
    async with node.api("alice") as api:
        for number in range(60):
            page = {"Origin": f"https://{number % 30}.elsewhere.example"}
            assert (await api.get("/api/chat/sessions", headers=page)).status_code == 403
    assert 1 <= len(told_in_log(node)) <= 22


async def test_a_preflight_that_is_refused_is_in_the_log(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url)
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with node.api(None) as api:
        refused = await api.options("/api/chat", headers={"Origin": "https://elsewhere.example", **ask})
    assert "access-control-allow-origin" not in refused.headers
    assert "https://elsewhere.example" in node.log_text()


@pytest.mark.parametrize("path", ["/api/chat/sessions", "/socket.io/?EIO=4&transport=polling"])
async def test_headers_of_libraries_pass_the_preflight(places: Server, path: str) -> None:
    wanted = (
        "authorization,traceparent,tracestate,baggage,sentry-trace,x-requested-with,x-datadog-trace-id,b3"
    )
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    async with web_client(base_url=places.url) as api:
        answer = await api.options(path, headers={"Origin": "https://a.pages.example", **ask})
    assert answer.status_code in (200, 204)
    allowed = answer.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    assert set(wanted.split(",")) <= set(allowed)


async def test_the_official_client_shows_why(places: Server, js: JsClients) -> None:
    elsewhere = {"Origin": "https://app.elsewhere.example", "User-Agent": BROWSER}
    socket = await js.open(
        places.url, places.token("alice"), extraHeaders=elsewhere, transports=["polling"], wait=False
    )
    failed = await socket.wait_event("connect_error")
    told = json.loads(failed["context"]["responseText"])["error"]
    assert told["details"] == {"origin": "https://app.elsewhere.example", "setting": "CORS_ORIGINS"}
