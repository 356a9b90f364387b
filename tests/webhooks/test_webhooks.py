"""Webhooks through the public door: what is told, in which order, signed how; and who may not be told."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.support.doors import new_session
from tests.support.receiver import OK, Post, Receiver, answer
from tests.support.server import ROOT, Server

W = "/api/server/webhooks"
S = "/api/chat/sessions"


@asynccontextmanager
async def made(service: httpx.AsyncClient, url: str, **how: Any) -> AsyncIterator[dict[str, Any]]:
    """A webhook, for as long as the test lasts."""
    answered = await service.post(W, json={"url": url, **how})
    assert answered.status_code == 201, answered.text
    webhook: dict[str, Any] = answered.json()
    try:
        yield webhook
    finally:
        assert (await service.delete(f"{W}/{webhook['webhook_id']}")).status_code == 200


async def say(api: httpx.AsyncClient, session: str, content: str, **how: Any) -> dict[str, Any]:
    body = {"content": content, "reply": False, **how}
    answered = await api.post(f"{S}/{session}/messages", json=body)
    assert answered.status_code == 201, answered.text
    sent: dict[str, Any] = answered.json()
    return sent


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("webhooks")
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), folder / "parley.db")
        url = f"sqlite:///{folder}/parley.db"
    else:
        postgres = request.getfixturevalue("postgres")
        url = postgres.url(postgres.create_database(request.getfixturevalue("postgres_template")))
    with Server(folder, url, WEBHOOK_RETRY_MAX="0.1", WEBHOOK_TIMEOUT="0.5") as server:
        yield server


def received() -> Callable[[str, bytes, dict[str, str]], dict[str, Any] | None]:
    """As docs/webhooks.md has it."""
    text = (ROOT / "docs" / "webhooks.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    function: Callable[[str, bytes, dict[str, str]], dict[str, Any] | None] = names["received"]
    return function


async def test_what_is_committed_is_told_in_order_and_signed(node: Server) -> None:
    async with (
        Receiver() as receiver,
        node.api("alice") as alice,
        node.api("bob") as bob,
        node.api("backend", "service") as service,
        AsyncExitStack() as stack,
    ):
        before = await new_session(node, members=("bob",))
        old = await say(alice, before, "before the webhook")
        webhook = await stack.enter_async_context(made(service, receiver.url))
        secret = webhook["secret"]
        session = await new_session(node, agent_id=1, members=("bob",))
        await say(alice, before, "after it")
        await alice.patch(f"{S}/{before}/messages/{old['message_id']}", json={"content": "changed"})
        first = await say(alice, session, "hello", reply=True)
        await receiver.until(lambda r: bool(r.taken("stream_end")))
        await bob.post(f"{S}/{session}/feedback", json={"message_id": first["message_id"], "value": "up"})
        await alice.delete(f"{S}/{session}/messages/{first['message_id']}")
        await receiver.until(lambda r: any(p.data.get("deleted_at") for p in r.taken()))
        await alice.delete(f"{S}/{session}?purge=true")
        await receiver.until(lambda r: any(p.data.get("event") == "deleted" for p in r.taken("session")))
        told = [post for post in receiver.taken() if post.data["session_id"] == session]
        kinds = [post.event["type"] for post in told if post.event["type"] not in ("session", "feedback")]
        assert kinds == ["message", "stream_end", "message_updated"]
        assert told[kinds.index("message") + 1].data["content"] == "hello"
        assert next(p.data["event"] for p in told if p.event["type"] == "session") == "created"
        assert [p.data["value"] for p in told if p.event["type"] == "feedback"] == ["up"]
        others = [post for post in receiver.taken("message", "message_updated") if post not in told]
        assert [(p.event["type"], p.data["content"]) for p in others] == [
            ("message", "after it"),
            ("message_updated", "changed"),
        ]
        read = received()
        for post in receiver.posts:
            assert post.verified(secret) == post.event
            assert read(secret, post.body, post.headers) == post.event
            assert read("whsec_" + "A" * 44, post.body, post.headers) is None
        # A new secret: for a while both sign.
        rotated = (await service.post(f"{W}/{webhook['webhook_id']}/rotate", json={})).json()
        await say(alice, before, "signed twice")
        await receiver.until(lambda r: any(p.data.get("content") == "signed twice" for p in r.taken()))
        last = receiver.posts[-1]
        assert last.verified(secret) == last.verified(rotated["secret"])


async def test_an_address_that_fails_is_told_all_in_order_later(node: Server) -> None:
    """It answers 500, redirects, says too much, says nothing; another one is told meanwhile."""
    bad = [
        answer(500),
        answer(302, "Location: http://127.0.0.1:1/"),
        answer(200, body=b"x" * 200_000),
        b"no HTTP at all\r\n\r\n",
        b"",
    ]

    async def failing(post: Post) -> bytes:
        if bad:
            return bad.pop(0)
        if len(failed.posts) == 6:
            await asyncio.sleep(0.8)  # beyond WEBHOOK_TIMEOUT
        return OK

    failed = Receiver(failing)
    async with (
        failed,
        Receiver() as receiver,
        node.api("alice") as alice,
        node.api("backend", "service") as service,
        AsyncExitStack() as stack,
    ):
        webhook = await stack.enter_async_context(made(service, failed.url, events=["message"]))
        await stack.enter_async_context(made(service, receiver.url, events=["message"]))
        sessions = [await new_session(node) for _ in range(3)]
        for number in range(5):
            for session in sessions:
                await say(alice, session, str(number))
        await receiver.until(lambda r: len(r.taken()) == 15)
        await failed.until(lambda r: len(r.taken()) == 15)
        for each in (receiver, failed):
            for session in sessions:
                mine = [p.data["content"] for p in each.taken() if p.data["session_id"] == session]
                assert mine == list("01234")
        assert len({post.id for post in failed.posts}) == 15
        # Told again, under the same ids.
        told = {post.id for post in failed.taken()}
        count = len(failed.posts)
        body = {"session_id": sessions[0], "after_revision": 2}
        assert (await service.post(f"{W}/{webhook['webhook_id']}/replay", json=body)).status_code == 200
        await failed.until(lambda r: len(r.posts) == count + 3)
        again = failed.posts[count:]
        assert [post.data["content"] for post in again] == list("234")
        assert {post.id for post in again} <= told
        lines = await service.get(f"{W}/{webhook['webhook_id']}/deliveries", params={"state": "all"})
        assert {line["session_id"] for line in lines.json()["deliveries"]} == set(sessions)


async def test_words_that_an_address_fails_on_hold_up_no_other_session(node: Server) -> None:
    """Some three sessions had them: then one of these alone was tried, for days."""

    async def choosy(post: Post) -> bytes:
        return answer(500) if post.data["content"] == "poison" else OK

    async with (
        Receiver(choosy) as receiver,
        node.api("alice") as alice,
        node.api("backend", "service") as service,
        AsyncExitStack() as stack,
    ):
        await stack.enter_async_context(made(service, receiver.url, events=["message"]))
        for _ in range(3):
            await say(alice, await new_session(node), "poison")
        await receiver.until(lambda r: len(r.posts) >= 3)
        await say(alice, await new_session(node), "plain")
        await receiver.until(lambda r: bool(r.taken()))
        assert [post.data["content"] for post in receiver.taken()] == ["plain"]


async def test_what_is_long_is_told_in_order_after_a_failure(node: Server) -> None:
    """Little of it waits in memory: it is read a few at a time."""
    long, open_ = "x" * 150_000, asyncio.Event()

    async def closed(post: Post) -> bytes:
        return OK if open_.is_set() else answer(503)

    async with (
        Receiver(closed) as receiver,
        node.api("alice") as alice,
        node.api("backend", "service") as service,
        AsyncExitStack() as stack,
    ):
        session = await new_session(node)
        await stack.enter_async_context(made(service, receiver.url, session_id=session))
        for number in range(5):
            await say(alice, session, f"{number}{long}")
            changed = await alice.patch(f"{S}/{session}", json={"metadata": {"n": number, "long": long}})
            assert changed.status_code == 200
            await receiver.until(lambda r: bool(r.posts))
        open_.set()
        await receiver.until(lambda r: len(r.taken()) == 10)
        told = [post.data["metadata"].get("n", post.data.get("content", "")[:1]) for post in receiver.taken()]
        assert told == ["0", 0, "1", 1, "2", 2, "3", 3, "4", 4]


async def test_an_event_that_is_refused_is_a_dead_letter_and_410_disables(node: Server) -> None:
    async def choosy(post: Post) -> bytes:
        said = post.data["content"]
        return answer(422) if said == "refused" else answer(410) if said == "gone" else OK

    async with (
        Receiver(choosy) as receiver,
        node.api("alice") as alice,
        node.api("backend", "service") as service,
        AsyncExitStack() as stack,
    ):
        session = await new_session(node)
        webhook = await stack.enter_async_context(made(service, receiver.url, session_id=session))
        one = f"{W}/{webhook['webhook_id']}"
        await say(alice, await new_session(node), "another session's")
        await say(alice, session, "refused")
        await say(alice, session, "taken")
        await receiver.until(lambda r: bool(r.taken()))
        assert [post.data["content"] for post in receiver.posts] == ["refused"] * 8 + ["taken"]
        dead: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while not dead:  # it is written a moment later
                answered = await service.get(f"{one}/deliveries", params={"state": "dead"})
                dead = answered.json()["deliveries"]
        assert [(line["id"], line["error"]) for line in dead] == [(receiver.posts[0].id, "HTTP 422")]
        await say(alice, session, "gone")
        async with asyncio.timeout(10):
            while (await service.get(one)).json()["is_active"]:
                await asyncio.sleep(0.05)
        assert "410" in (await service.get(one)).json()["error"]
        receiver.answering = lambda post: asyncio.sleep(0, OK)
        assert (await service.patch(one, json={"is_active": True})).json()["is_active"]
        await receiver.until(lambda r: r.taken()[-1].data["content"] == "gone")


NONE = [
    ({"url": "http://10.0.0.1/"}, "url"),
    ({"url": "http://169.254.169.254/latest"}, "url"),
    ({"url": "http://[::ffff:10.0.0.1]/"}, "url"),
    ({"url": "ftp://example.com/"}, "url"),
    ({"url": "https://user:word@example.com/"}, "url"),
    ({"url": "https://example.com/", "secret": "short"}, "secret"),
    ({"url": "https://example.com/", "events": ["typing"]}, "events"),
]


async def test_what_no_webhook_is_made_of(node: Server) -> None:
    async with node.api("backend", "service") as service, node.api("alice") as alice:
        for body, field in NONE:
            refused = await service.post(W, json=body)
            assert refused.status_code == 422, body
            assert refused.json()["error"]["details"]["field"].startswith(field)
            assert (await alice.post(W, json=body)).status_code == 403
        assert (await service.get(f"{W}/none")).json()["error"]["code"] == "WEBHOOK_NOT_FOUND"
        assert (await service.get(W)).json() == {"webhooks": []}
