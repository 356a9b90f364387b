"""Search on both databases: the same answers, what the caller may see, at once."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from events.access import Caller
from events.errors import SessionNotFound, ValidationFailed
from events.snippets import match
from migrations.run import upgrade
from storage.database import Database
from storage.ops import DeleteMessage, EditMessage
from storage.participants import Participants
from storage.statement import Statement
from storage.words import parse
from tests.search.conftest import Searched
from tests.support.server import Server
from tests.support.services import Postgres

WORDS = ("red", "green", "blue", "fox", "dog", "회의", "회의실", "안녕하세요", "보고서", "東京", "東京タワー")
WORDS += ("ภาษา", "café", "x1")
QUERIES = (
    "fox",
    "red fox",
    '"red fox"',
    "회의",
    "하세요",
    "東京",
    "fox -dog",
    '"회의 보고서"',
    "타워",
    "밥",
    "의",
)
QUERIES += ("회의 -회의실", 'blue -"blue fox"', "ไทย", "CAFÉ", "ภา", "밥", "의")


def chatter(seed: int, count: int) -> list[tuple[str, str]]:
    """(session, text), the same for the same seed."""
    chance = random.Random(seed)
    glue = (" ", " ", ", ", "")
    return [
        (chance.choice("st"), chance.choice(glue).join(chance.choices(WORDS, k=chance.randint(1, 8))))
        for _ in range(count)
    ]


async def test_the_same_answers_as_looking_at_every_message(searched: Searched) -> None:
    for room in "st":
        await searched.session(room)
    said = chatter(7, 420)
    await searched.say_all(said)
    for query in QUERIES:
        terms = parse(query)
        expected = {f"m{number}" for number, (_, text) in enumerate(said) if match(text, terms)}
        for limit in (30, 100):
            found = [one["message_id"] for one in await searched.ask(query, limit=limit)]
            assert len(found) == len(set(found)), query
            assert set(found) == expected, query
        # Ranked among the newest 200 candidates, and the newer of equals first.
        first = (await searched.ask(query))[:100]
        assert first[0]["score"] == max(one["score"] for one in first) if first else not expected


async def test_both_databases_rank_alike(sqlite_url: str, postgres_url: str) -> None:
    answers = []
    for url in (sqlite_url, postgres_url):
        db = Database(url)
        await db.connect()
        store = Searched(db)
        try:
            for room in "st":
                await store.session(room)
            await store.say_all(chatter(11, 320))
            found = [await store.ask(query, limit=30) for query in QUERIES]
            answers.append(
                [[(one["message_id"], one["score"], one["snippet"]) for one in each] for each in found]
            )
        finally:
            await store.close()
    assert answers[0] == answers[1]


async def test_edits_and_deletions_count_at_once(searched: Searched) -> None:
    await searched.session()
    one = await searched.say("the old text")
    two = await searched.say("another old text")
    assert len(await searched.ask("old")) == 2
    await searched.writer.submit(EditMessage("s", one.record.message_id, "a new text", "user", "alice"))
    assert await searched.texts("old") == ["another old text"]
    assert await searched.texts("new") == ["a new text"]
    await searched.writer.submit(DeleteMessage("s", two.record.message_id))
    assert await searched.ask("old") == []
    assert len(await searched.ask("text")) == 1


async def test_a_stream_is_found_when_it_has_ended(searched: Searched) -> None:
    from storage.ops import EndStream

    await searched.session()
    done = await searched.say("", message_type="stream", status="streaming")
    await searched.messages.checkpoint([(done.record.message_id, "half an answer")])
    assert await searched.ask("answer") == []
    await searched.writer.submit(EndStream("s", done.record.message_id, "complete", "a whole answer"))
    assert await searched.texts("answer") == ["a whole answer"]


async def test_erased_sessions_leave_nothing_in_the_index(searched: Searched, database_url: str) -> None:
    import sqlalchemy as sa

    count = Statement(sa.text("SELECT count(*) FROM chat_search").columns(sa.column("n", sa.Integer)))
    marks = Statement(sa.text("SELECT count(*) FROM search_marks").columns(sa.column("n", sa.Integer)))
    for name in ("s", "t"):
        await searched.session(name)
        await searched.say("a word", name)
    assert len(await searched.ask("word")) == 2
    await searched.sessions.purge(["s"])
    assert len(await searched.ask("word")) == 1
    for statement in (count, marks):
        row = await searched.db.fetch_one(statement)
        assert row is not None
        assert row[0] == 1


async def test_two_nodes_index_the_same_at_once(searched: Searched) -> None:
    names = [f"s{number}" for number in range(20)]
    for name in names:
        await searched.session(name)
        for number in range(15):
            await searched.say(f"word number {number}", name)

    async def node() -> None:
        more = set(names)
        while more:
            _, more = await searched.index.index(more, 40)

    await asyncio.gather(*(node() for _ in range(4)))
    assert len(await searched.ask("word")) == 300
    assert len(await searched.ask('"number 7"')) == 20


@pytest.mark.parametrize("query", ["", "   ", "-fox", '-"red fox"', "...", "!?", "x" * 257, "a " * 17])
async def test_queries_that_ask_for_nothing(searched: Searched, query: str) -> None:
    with pytest.raises(ValidationFailed):
        await searched.ask(query)


@pytest.mark.parametrize(
    "query",
    ["'; DROP TABLE x; --", "a & b | !c", "fox:*", "a' b", 'fox" OR "x', "NEAR(a b)", "\\", "fox*", "col:x"],
)
async def test_nothing_in_a_query_is_syntax(searched: Searched, query: str) -> None:
    await searched.session()
    await searched.say("an innocent fox")
    try:
        found = await searched.texts(query)
    except ValidationFailed:
        return
    assert found in ([], ["an innocent fox"])


async def test_cursors_belong_to_their_search(searched: Searched) -> None:
    await searched.session()
    for _ in range(10):
        await searched.say("word")
    alice = Caller("user", "alice")
    page = await searched.service.search(alice, "word", None, 3, None)
    cursor = page["cursor"]
    for caller, query, session_id, given in (
        (alice, "words", None, cursor),
        (alice, "word", "s", cursor),
        (Caller("user", "bob"), "word", None, cursor),
        (alice, "word", None, cursor[:-2] + "AA"),
        (alice, "word", None, "x"),
        (alice, "word", None, ""),
    ):
        with pytest.raises(ValidationFailed):
            await searched.service.search(caller, query, session_id, 3, given)
    # What comes and goes between two pages neither repeats nor hides what was there.
    seen = [one["message_id"] for one in page["results"]]
    await searched.say("word word word")
    await searched.writer.submit(DeleteMessage("s", seen[0]))
    while cursor:
        page = await searched.service.search(alice, "word", None, 3, cursor)
        seen += [one["message_id"] for one in page["results"]]
        cursor = page["cursor"]
    assert len(seen) == len(set(seen)) == 10


async def test_a_thousand_users_see_what_is_theirs(searched: Searched) -> None:
    chance = random.Random(3)
    users = [f"user{number}" for number in range(1000)]
    expected: dict[str, set[str]] = {user: set() for user in users}
    people = Participants(searched.db)
    now = searched.clock()

    async def furnish(name: str, owner: str, others: list[str], archived: bool) -> None:
        await searched.session(name, user_id=owner)
        await searched.say("secret plan", name)
        for other in others:
            await people.put(name, other, "viewer" if other.endswith("1") else "member", now)
        await people.remove(name, others[0], now)
        if archived:
            await searched.sessions.update(name, status="archived", ended_at=now, now=now)

    work = []
    for number in range(300):
        owner, *others = chance.sample(users, 5)
        for user in (owner, *others[1:]):
            expected[user].add(f"s{number}")
        work.append(furnish(f"s{number}", owner, others, number % 3 == 0))
    # A few at a time: SQLite has one writer, and nobody waits for it for longer than five seconds.
    for start in range(0, len(work), 10):
        await asyncio.gather(*work[start : start + 10])

    async def check(mine: list[str]) -> None:
        for user in mine:
            found = {one["session_id"] for one in await searched.ask("plan", user)}
            assert found == expected[user], user

    await asyncio.gather(*(check(users[first::4]) for first in range(4)))
    everything = {one["session_id"] for one in await searched.ask("plan", Caller("service", "backend"))}
    assert len(everything) == 300
    # A token for named sessions opens these and no others, and none that its user was removed from.
    mine = sorted(expected["user1"])[:1]
    shared = Caller("user", "user1", sessions=frozenset([*mine, "s7"]))
    assert {one["session_id"] for one in await searched.ask("plan", shared)} == {*mine, "s7"}
    for caller in (Caller("agent", "1"), Caller("agent", "x"), Caller("agent", "user1")):
        assert await searched.ask("plan", caller) == []
    stranger = Caller("user", "nobody")
    with pytest.raises(SessionNotFound):
        await searched.ask("plan", stranger, session_id="s7")


async def test_more_sessions_than_a_query_names(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in range(0, 520, 20):
        await asyncio.gather(*(searched.session(f"s{number}") for number in range(start, start + 20)))
    await searched.session("other", user_id="bob")
    await asyncio.gather(
        *(searched.writer.submit(searched.new("common word", f"s{number}")) for number in range(520)),
        searched.writer.submit(searched.new("common word", "other")),
    )
    assert len(await searched.ask("word")) == 520
    assert len(await searched.ask("word", "bob")) == 1


@pytest.fixture
async def c_locale(postgres: Postgres) -> AsyncIterator[Searched]:
    postgres.sql("CREATE DATABASE c_locale TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
    url = postgres.url("c_locale")
    await asyncio.to_thread(upgrade, url)
    db = Database(url)
    await db.connect()
    store = Searched(db)
    yield store
    await store.close()
    postgres.drop_database("c_locale")


async def test_korean_and_capitals_under_the_c_locale(c_locale: Searched) -> None:
    await c_locale.session()
    await c_locale.say("내일 대회의실에서 봅시다")
    await c_locale.say("ÉCOLE ΣΟΦΟΣ")
    assert len(await c_locale.ask("회의")) == 1
    assert len(await c_locale.ask("école")) == 1
    assert len(await c_locale.ask("σοφος")) == 1
    assert await c_locale.ask("의회") == []


async def test_over_http(any_server: Server) -> None:
    async with any_server.api("alice") as alice, any_server.api("bob") as bob:
        room = (await alice.post("/api/chat/sessions", json={})).json()["session_id"]
        path = f"/api/chat/sessions/{room}/messages"
        for number in range(5):
            sent = await alice.post(path, json={"content": f"안녕하세요 <b>{number}</b>"})
            # At once: the very next request finds it.
            found = (await alice.get("/api/chat/search", params={"q": "하세"})).json()
            assert sent.json()["message_id"] in {one["message_id"] for one in found["results"]}
        assert found["results"][0]["snippet"] == "안녕<mark>하세</mark>요 &lt;b&gt;4&lt;/b&gt;"
        first = (await alice.get("/api/chat/search", params={"q": "하세", "limit": 2})).json()
        assert first["has_more"] is True
        rest = (await alice.get("/api/chat/search", params={"q": "하세", "cursor": first["cursor"]})).json()
        assert len(rest["results"]) == 3
        assert rest["has_more"] is False
        assert (await bob.get("/api/chat/search", params={"q": "하세"})).json()["results"] == []
        answer = await bob.get("/api/chat/search", params={"q": "하세", "session_id": room})
        assert answer.status_code == 404
        for wrong in ({}, {"q": ""}, {"q": "a\0"}, {"q": "a", "limit": "0"}, {"q": "a", "limit": "x"}):
            assert (await alice.get("/api/chat/search", params=wrong)).status_code == 422, wrong


async def test_what_nobody_remembers_is_swept_up(searched: Searched) -> None:
    from events.indexer import Indexer

    await searched.session()
    await searched.say("a word")
    indexer = Indexer(searched.index)
    await indexer.start()
    await indexer.sweep()
    try:
        service = Caller("service", "backend")
        async with asyncio.timeout(10):
            while not await searched.ask("word", service):
                await asyncio.sleep(0.05)
        indexer.on_committed([await searched.say("another word")])
        async with asyncio.timeout(10):
            while len(await searched.ask("word", service)) < 2:
                await asyncio.sleep(0.05)
    finally:
        await indexer.stop()
