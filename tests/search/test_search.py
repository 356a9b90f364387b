"""Search on both databases: the same answers, what the caller may see, at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from events import search
from events.access import Caller
from events.errors import SessionNotFound, ValidationFailed
from events.search import WINDOW
from events.snippets import match
from migrations.run import upgrade
from storage import candidates
from storage.database import Database
from storage.ops import DeleteMessage, EditMessage
from storage.participants import Participants
from storage.statement import Statement
from storage.tables import messages
from storage.words import parse, tokens
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
            # Of messages that are sent at once, in several sessions, either may get the lower number.
            in_order = "UPDATE chat_messages SET id = 1000 + CAST(substr(message_id, 2) AS integer)"
            await db.execute(Statement(sa.text(in_order)))
            found = [await store.ask(query, limit=30) for query in QUERIES]
            answers.append(
                [[(one["message_id"], one["score"], one["snippet"]) for one in each] for each in found]
            )
        finally:
            await store.close()
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "settings",
    [
        # Walked through in one go, in many, or at first.
        {},
        {"STROLL": 40, "WALK": 60, "FETCHED": 10**9},
        {"STROLL": 40, "FETCHED": 0, "AHEAD": 90},
        # Straight to all; in bands to the end, sessions named or compared; looks smaller than a window.
        {"FEW": -1},
        {"FEW": -1, "REST_NAMED": 0, "MET": 5},
        {"FEW": -1, "REST": 0, "MOST": 3, "NAMED": 0},
        {"FEW": -1, "REST": 60, "NAMED": 0, "AHEAD": 70},
        {"FEW": -1, "MET": 100, "AHEAD": 90},
    ],
    ids=str,
)
async def test_every_way_through_the_index_finds_the_same(
    searched: Searched, monkeypatch: pytest.MonkeyPatch, settings: dict[str, int]
) -> None:
    for name, value in settings.items():
        monkeypatch.setattr(candidates, name, value)
    for room in "stu":
        await searched.session(room, user_id="bob" if room == "u" else "alice")
    said = chatter(5, 700)
    # A third of it is somebody else's.
    said = [("u" if number % 3 == 0 else room, text) for number, (room, text) in enumerate(said)]
    await searched.say_all(said)
    # Far apart, so that they lie in some 70 bands; the oldest ones are missing.
    await searched.db.execute(Statement(sa.text("UPDATE chat_messages SET id = 900 * id + 300000")))
    stored = Statement(sa.select(messages.c.message_id, messages.c.id))
    numbers = {name: number for name, number in await searched.db.fetch_all(stored)}
    for query in ("fox", "red fox", "회의 -회의실", '"red fox"', "밥", "의"):
        for who, rooms in (("alice", "st"), ("bob", "u"), (Caller("service", "backend"), "stu")):
            own = {numbers[f"m{at}"]: text for at, (room, text) in enumerate(said) if room in rooms}
            found = [numbers[one["message_id"]] for one in await searched.ask(query, who, limit=40)]
            assert found == ranked(query, own), (query, who)


async def test_a_session_that_was_loaded_is_searched_from_its_newest_messages(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A common word by what is newest, without the rest; a rare one by all of it; and page after page."""
    for name, value in {"STEP": 20, "STEPS": 60, "NEWEST": 500}.items():
        monkeypatch.setattr(search, name, value)
    await searched.session("s")
    said = [("s", "rare" if at == 3 else f"fox {'red' * (at % 7)}") for at in range(700)]
    await searched.say_all(said)
    stored = Statement(sa.select(messages.c.message_id, messages.c.id))
    numbers = {name: number for name, number in await searched.db.fetch_all(stored)}
    texts = {numbers[f"m{at}"]: text for at, (_, text) in enumerate(said)}
    page = await searched.service.search(Caller("user", "alice"), "fox", None, 30, None)
    assert [numbers[one["message_id"]] for one in page["results"]] == ranked("fox", texts)[:30]
    assert await searched.index.behind(5) == ["s"]  # the rest is for later
    assert [one["message_id"] for one in await searched.ask("rare")] == ["m3"]
    found = [numbers[one["message_id"]] for one in await searched.ask("fox", limit=40)]
    assert found == ranked("fox", texts)


def ranked(query: str, texts: dict[int, str]) -> list[int]:
    """What `docs/search.md` says of the order, by looking at every message."""
    terms = parse(query)
    having = {token for term in terms if not term.negative for token in term.tokens}
    lacking = {term.tokens[0] for term in terms if term.negative and term.exact}
    having_all = [
        number
        for number, text in sorted(texts.items(), reverse=True)
        if having <= tokens(text) and not lacking & tokens(text)
    ]
    order: list[int] = []
    for start in range(0, len(having_all), WINDOW):
        scores = {number: match(texts[number], terms) for number in having_all[start : start + WINDOW]}
        best = sorted((-found.score, -number) for number, found in scores.items() if found is not None)
        order += [-number for _, number in best]
    return order


async def test_the_index_is_what_the_query_asks_for(postgres_url: str) -> None:
    """Words, bands and sessions by one walk through one index, whatever else the tables hold."""
    db = Database(postgres_url)
    await db.connect()
    try:
        async with db.transaction() as connection:
            await connection.command("SET LOCAL enable_seqscan = off")
            for bands, sessions in (([], ""), ([7, 8], ""), ([], "{1,2}"), ([7, 8], "{1,2}")):
                sql, arguments = candidates.postgresql(["fox"], [], 70_000, bands, sessions, named=True)
                lines = [row[0] for row in await connection.raw.fetch("EXPLAIN " + sql, *arguments)]
                used = next(line for line in lines if "Index Cond" in line)
                assert any("Bitmap Index Scan on chat_search_banded_idx" in line for line in lines)
                assert "tokens @@" in used
                assert (f"id >> {candidates.BAND}" in used) == bool(bands)
                assert ("ARRAY[session]" in used) == bool(sessions)
    finally:
        await db.disconnect()


async def test_of_too_many_sessions_the_last_active_are_searched(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.search.SEEN", 3)
    for number in range(5):
        await searched.session(f"s{number}")
        await searched.say("a word", f"s{number}")
        later = searched.clock() + timedelta(minutes=number * 3 % 5)
        await searched.sessions.extend(f"s{number}", None, later)
    assert {one["session_id"] for one in await searched.ask("word")} == {"s1", "s3", "s4"}


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
    await searched.messages.checkpoint([(done.record.message_id, "half an answer", None)])
    assert await searched.ask("answer") == []
    await searched.writer.submit(EndStream("s", done.record.message_id, "complete", "a whole answer"))
    assert await searched.texts("answer") == ["a whole answer"]


async def test_erased_sessions_leave_nothing_in_the_index(searched: Searched, database_url: str) -> None:
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


async def test_what_an_earlier_version_indexed_is_made_anew(searched: Searched) -> None:
    """Its entries are whole words, its marks have no reach; it goes on making some while it is replaced."""
    await searched.session("s", title="quarterly budget")
    await searched.say("deployment finished")
    assert len(await searched.ask("deployment")) == 1
    words = "to_tsvector('simple', 'deployment')" if searched.db.dialect == "postgresql" else "'deployment'"
    for change in (
        f"UPDATE chat_search SET tokens = {words}",
        "DELETE FROM chat_search WHERE {key} < 0",
        "UPDATE search_marks SET reach = 0, title = NULL",
    ):
        key = "id" if searched.db.dialect == "postgresql" else "rowid"
        await searched.db.execute(Statement(sa.text(change.format(key=key))))
    assert await searched.index.behind(10) == ["s"]
    assert await searched.texts("deploy") == ["deployment finished"]
    assert await searched.texts("budg") == ["quarterly budget"]
    assert await searched.index.behind(10) == []
    # A node of that version was faster with the next message.
    await searched.say("rollback planned")
    await searched.db.execute(Statement(sa.text("UPDATE search_marks SET revision = 2")))
    assert await searched.texts("rollb") == ["rollback planned"]


@pytest.mark.parametrize("few", [0, 500])
async def test_titles_of_few_of_many_and_of_all(
    searched: Searched, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """A message with the same words stands in no title's way, nor a title in a message's."""
    monkeypatch.setattr("storage.search.FEW", few)

    for number in range(12):
        owner = "bob" if number % 4 == 0 else "alice"
        await searched.session(
            f"s{number}", user_id=owner, title=f"분기 예산 {number:02}" if number % 3 else None
        )
        await searched.say("예산 회의", f"s{number}")
    for who, own in (("alice", {1, 2, 5, 7, 10, 11}), ("bob", {4, 8}), (Caller("service", "x"), None)):
        expected = {1, 2, 4, 5, 7, 8, 10, 11} if own is None else own
        if own is None:
            while behind := await searched.index.behind(100):
                await searched.index.index(behind, 100)
        found = await searched.ask("분기예산", who)
        assert [one["session_id"] for one in found] == [f"s{n}" for n in sorted(expected, reverse=True)]
        both = await searched.ask("예산", who, limit=3)
        assert len([one for one in both if one["kind"] == "session"]) == len(expected)
        assert len({one["message_id"] for one in both if one["kind"] == "message"}) == len(both) - len(
            expected
        )
    await searched.sessions.purge(["s1", "s4"])
    assert len(await searched.ask("분기", Caller("service", "x"))) == 6
    count = Statement(sa.text("SELECT count(*) FROM chat_search").columns(sa.column("n", sa.Integer)))
    row = await searched.db.fetch_one(count)
    assert row is not None
    assert row[0] == 6 + 10


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
