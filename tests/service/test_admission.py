"""Who comes in is asked in one order, whatever the transport."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from events.access import Caller
from events.bounds import RATES
from events.errors import ChatError, Draining, RateLimited
from events.observer import Observer
from events.outbox import Sink
from events.room import Connection
from migrations.run import upgrade
from server.admission import Visitor
from server.config import Settings
from server.node.build import Node, build
from server.node.running import running
from server.transports.codecs import WebSocketCodec
from server.transports.eventstream import StreamConnection
from tests.support.server import ROOT, SECRET, mint


def visitor(token: Any, origin: str) -> Visitor:
    headers = [(b"host", b"chat.example"), (b"origin", origin.encode()), (b"sec-fetch-mode", b"websocket")]
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    scope = {"type": "websocket", "headers": headers, "query_string": b"", "subprotocols": [], "path": "/"}
    return Visitor.of_request(scope, "192.0.2.1")


def connection(number: int, caller: Caller, kind: type[Connection] = Connection) -> Connection:
    return kind(f"conn_{number}", caller, WebSocketCodec(), Sink(None), "websocket", 0.0)  # type: ignore[arg-type]


def node_of(folder: Path, **given: str) -> Node:
    environ = {"JWT_SECRET_KEY": SECRET, "DATABASE_URL": f"sqlite:///{folder}/x.db", **given}
    return build(Settings.load(environ | {"RATE_LIMIT_ENABLED": "true"}, None, data_dir=folder), Observer())


async def test_what_stands_in_the_way_is_told_in_one_order(tmp_path: Path) -> None:
    """Of somebody for whom everything does, and who mends one thing after the other."""
    node = node_of(tmp_path, WS_MAX_CONNECTIONS="1", CORS_ORIGINS="https://chat.example")
    await asyncio.to_thread(upgrade, node.core.settings.database_url)
    admission, hub = node.admission, node.services.hub
    there, mine = connection(1, Caller("user", "bob")), mint("alice")

    async def told(token: Any, origin: str) -> str:
        try:
            caller = await admission.admitted(visitor(token, origin))
            admission.place(Connection, caller, "192.0.2.1")
        except ChatError as error:
            return type(error).__name__
        return caller.key

    good, bad = "https://chat.example", "https://elsewhere.example"
    async with running(node):
        await node.gate.revoked.first()
        for _ in range(RATES["connect"].burst):  # alice has had all that she may
            await admission.admitted(visitor(mine, good))
        hub.add(there)
        admission.draining = True
        assert await told(None, bad) == "Draining"
        admission.draining = False
        assert await told(None, bad) == "ServerFull"
        hub.remove(there)
        assert await told(None, bad) == "OriginNotAllowed"
        assert await told(None, good) == "Unauthorized"
        assert await told(mine, good) == "RateLimited"
        assert await told(mint("carol"), good) == "carol"


async def test_one_who_is_known_is_asked_the_rest(tmp_path: Path) -> None:
    node = node_of(tmp_path, MAX_EVENT_STREAMS_PER_USER="1")
    admission, alice = node.admission, Caller("user", "alice")
    assert await admission.admitted(Visitor("192.0.2.1", caller=alice)) is alice
    admission.place(StreamConnection, alice, "192.0.2.1")
    node.services.hub.add(connection(1, alice, StreamConnection))
    with pytest.raises(RateLimited):
        admission.place(StreamConnection, alice, "192.0.2.1")
    admission.place(Connection, alice, "192.0.2.1")  # another kind has no such bound
    admission.draining = True
    with pytest.raises(Draining):
        admission.place(Connection, alice, "192.0.2.1")


def test_no_transport_asks_for_itself() -> None:
    """Nor does the domain ask which transport a connection is of."""
    own = re.compile(r"\.(places|origins|authenticator|draining)\b|check\([^)]*\"connect\"")
    named = re.compile(r"\.transport\s*(==|!=|in)\s|isinstance\([^)]*(sink|conn)\b")
    for file in (ROOT / "server" / "transports").glob("*.py"):
        assert not own.search(file.read_text()), file
    for folder in ("events", "server/transports", "server/routes", "server/node"):
        for file in (ROOT / folder).rglob("*.py"):
            assert not named.search(file.read_text()), file
