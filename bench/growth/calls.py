"""The calls whose growth is measured: everything that reads, and `read`, which counts."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from bench.growth.seed import COMMON, GUEST, LONG, MANY, OWNER, SELDOM, VISITOR, Size
from tests.support.server import Server

SESSIONS = "/api/chat/sessions"


class Api:
    """One user's calls at one server, one after the other on one connection."""

    def __init__(self, server: Server, user: str, role: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        self._headers = {"Authorization": f"Bearer {server.token(user, role)}"}

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[float, dict[str, Any]]:
        """Milliseconds, and the answer. Raises RuntimeError for a refusal."""
        target = f"{path}?{urlencode(query)}" if query else path
        given = None if body is None else json.dumps(body)
        headers = {**self._headers, "Content-Type": "application/json"}
        while True:
            began = time.perf_counter()
            try:
                self._connection.request(method, target, given, headers)
                answer = self._connection.getresponse()
            except http.client.RemoteDisconnected:
                continue  # it was idle for too long; the next one opens it anew
            text = answer.read()
            taken = (time.perf_counter() - began) * 1000
            break
        if answer.status >= 300:
            raise RuntimeError(f"{method} {target}: {answer.status} {text[:300]!r}")
        return taken, json.loads(text)

    def close(self) -> None:
        self._connection.close()


#: Does it once; milliseconds.
Measured = Callable[[], float]


@dataclass(frozen=True)
class Call:
    """`ready` does what goes before, unmeasured, and returns what is measured."""

    name: str
    user: str
    ready: Callable[[Api, Size], Measured]
    role: str | None = None


def _plain(method: str, path: str, body: Any = None, **query: Any) -> Callable[[Api, Size], Measured]:
    def ready(api: Api, size: Size) -> Measured:
        given = {name: value(size) if callable(value) else value for name, value in query.items()}
        api.call(method, path, body, **given)
        return lambda: api.call(method, path, body, **given)[0]

    return ready


def _last_page(api: Api, _size: Size) -> Measured:
    """By cursor where the build has them, else by offset."""
    _, answer = api.call("GET", SESSIONS)
    given: dict[str, Any] = {}
    if "cursor" in answer:
        while answer["cursor"] is not None:
            given = {"cursor": answer["cursor"]}
            _, answer = api.call("GET", SESSIONS, limit=100, **given)
    elif answer["total"] > 20:
        given = {"offset": answer["total"] - 20}
    return lambda: api.call("GET", SESSIONS, **given)[0]


def _middle(size: Size) -> int:
    return size.messages // 2


def calls() -> Iterator[Call]:
    one = f"{SESSIONS}/{LONG}"
    yield Call("list: three sessions, all unread", VISITOR, _plain("GET", SESSIONS))
    yield Call("list: three own sessions, unread", OWNER, _plain("GET", SESSIONS))
    yield Call("read at 1", VISITOR, _plain("POST", f"{one}/read", {"seq": 1}))
    yield Call("read at 1, own session", OWNER, _plain("POST", f"{one}/read", {"seq": 1}))
    yield Call("list: own sessions", MANY, _plain("GET", SESSIONS))
    yield Call("list: others' sessions", GUEST, _plain("GET", SESSIONS))
    yield Call("list: own sessions, last page", MANY, _last_page)
    yield Call("list: others' sessions, last page", GUEST, _last_page)
    yield Call("list: own sessions, archived", MANY, _plain("GET", SESSIONS, status="archived"))
    yield Call("list: agent's sessions", "1", _plain("GET", SESSIONS), "agent")
    yield Call("list: service", "bench", _plain("GET", SESSIONS), "service")
    search = "/api/chat/search"
    for word, kind in ((COMMON, "common"), (SELDOM, "seldom"), ("zzzqqq", "absent")):
        yield Call(f"search, {kind}: long session", VISITOR, _plain("GET", search, q=word, session_id=LONG))
        yield Call(f"search, {kind}: three sessions", VISITOR, _plain("GET", search, q=word))
        yield Call(f"search, {kind}: own sessions", MANY, _plain("GET", search, q=word))
        yield Call(f"search, {kind}: others' sessions", GUEST, _plain("GET", search, q=word))
        yield Call(f"search, {kind}: service", "bench", _plain("GET", search, q=word), "service")
    yield Call("session", VISITOR, _plain("GET", one))
    yield Call("messages: newest", VISITOR, _plain("GET", f"{one}/messages"))
    yield Call("messages: middle", VISITOR, _plain("GET", f"{one}/messages", before_seq=_middle))
    yield Call("messages: first", VISITOR, _plain("GET", f"{one}/messages", after_seq=0, order="asc"))
    yield Call("messages: changes", VISITOR, _plain("GET", f"{one}/messages", after_revision=_middle))
    yield Call("messages: tree", VISITOR, _plain("GET", f"{one}/messages", tree="true"))
    yield Call("turns", VISITOR, _plain("GET", f"{one}/turns"))
    yield Call("presence", VISITOR, _plain("GET", f"{one}/presence"))
    yield Call("history", VISITOR, _plain("POST", f"{one}/history", {"limit": 50}))
    yield Call("agents", VISITOR, _plain("GET", "/api/chat/agents"))
    yield Call("stats", "bench", _plain("GET", "/api/server/stats"), "service")
    yield Call("connections", "bench", _plain("GET", "/api/server/connections"), "service")
    yield Call("feedback", "bench", _plain("GET", "/api/server/feedback"), "service")
