"""The playground, in a real browser: see stories.mjs for what happens in each story."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.cluster.proxies import nginx_below, nginx_without_websockets
from tests.people.conftest import SETTINGS, with_client
from tests.people.telling import tell
from tests.support.doors import enter, new_session
from tests.support.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    "story",
    [
        "conversation",
        "unread",
        "stream",
        "markdown",
        "parts",
        "recovery",
        "files",
        "small",
        "search",
        "accessibility",
        "keyboard",
    ],
)
async def test_story(house: Server, story: str) -> None:
    await tell("stories.mjs", story, house.url)


@pytest.mark.parametrize("story", ["details", "names"])
async def test_company(house: Server, story: str) -> None:
    await tell("company.mjs", story, house.url)


async def test_the_back_forward_cache(house: Server) -> None:
    await tell("doors.mjs", "cached", house.url)


async def test_five_thousand_messages_stay_quick(house: Server) -> None:
    session_id = await new_session(house, "olga", title="Long")
    async with enter("websocket", house, "olga", session_id) as olga:
        socket = olga.client  # type: ignore[attr-defined]
        for first in range(0, 5000, 250):
            waiting = [socket.send("message", content=f"line {at}") for at in range(first, first + 250)]
            await asyncio.gather(*waiting)
    await tell("doors.mjs", "many", house.url, session_id, house.token("olga"))


async def test_without_the_official_client(sqlite_template: Path, tmp_path: Path) -> None:
    with Server.on_sqlite(sqlite_template, tmp_path, **SETTINGS) as bare:
        await tell("doors.mjs", "bare", bare.url)


@pytest.mark.parametrize("strips", [True, False])
async def test_below_a_path(sqlite_template: Path, tmp_path: Path, strips: bool) -> None:
    node = Server.on_sqlite(sqlite_template, tmp_path, **SETTINGS, ROOT_PATH="/chat")
    front = nginx_below("/chat", node, strips=strips)
    node.env["PUBLIC_URL"] = front.url
    with node, front:
        session = await new_session(node, "olga")
        await tell("doors.mjs", "below", f"{front.url}/chat", session, node.token("olga"))


async def test_a_websocket_first_then_polling(sqlite_template: Path, tmp_path: Path) -> None:
    with_client(tmp_path)
    node = Server.on_sqlite(sqlite_template, tmp_path, **SETTINGS)
    front = nginx_without_websockets(node)
    node.env["PUBLIC_URL"] = front.url
    with node, front:
        session = await new_session(node, "olga")
        await tell("doors.mjs", "transport", node.url, front.url, session, node.token("olga"))


@pytest.mark.usefixtures("site")
async def test_only_with_debug(sqlite_template: Path, tmp_path: Path) -> None:
    with Server.on_sqlite(sqlite_template, tmp_path) as node:
        async with node.api(None) as api:
            for path in (
                "/",
                "/web/app.js",
                "/web/index.html",
                "/vendor/x.js",
                "/chat/",
                "/vendor/..%2F..%2Fparley.db",
            ):
                assert (await api.get(path)).status_code == 404, path
            for path in ("/docs/", "/docs/docs.css", "/openapi.json", "/asyncapi.json"):
                assert (await api.get(path)).status_code == 200, path
            assert json.loads((await api.get("/openapi.json")).content)["openapi"] == "3.1.0"
