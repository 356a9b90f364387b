"""Searching and indexing long texts in pieces: what one turn does, what one call does, and what is found."""

import asyncio
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from events import search
from events.access import Caller
from events.errors import RateLimited
from events.snippets import match
from storage.database import Database
from storage.search import _PENDING_SQLITE
from storage.turns import TURN, Turns, Work
from storage.words import BLOCK, CLUSTER, PIECE, WORD, folding, parse, tokenizing, tokens
from tests.search.conftest import Searched

#: Texts of everyday letters, in the forms in which they come.
TEXTS = {
    "ascii": "The quick brown fox jumps over the lazy dog, 42 times. ",
    "korean": "내일 회의실에서 보고서를 함께 봅시다. fox ",
    "decomposed": unicodedata.normalize("NFD", "Phở bò tái lăn ở Việt Nam, 회의 fox. "),
    "wide": "Ｆｕｌｌ ｗｉｄｔｈ ｱｶﾞｻﾞ ﬁne fox ",  # noqa: RUF001
    "without spaces": "会議室で報告書を読む",
}


class Counted(Turns):
    """Counts how much of its work is done in each of its turns, by the characters that the work tells of."""

    def __init__(self) -> None:
        super().__init__(self._round)
        self.done, self.turns = 0, [0]

    async def _round(self) -> None:
        self.turns.append(0)
        await asyncio.sleep(0)

    async def take(self, work: Work[object]) -> object:  # type: ignore[override]
        return await super().take(self._counted(work))

    def _counted(self, work: Work[object]) -> Work[object]:
        while True:
            try:
                done = next(work)
            except StopIteration as end:
                return end.value
            self.turns[-1] += done
            yield done


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_piece_of_long_work_is_long(text: str) -> None:
    text = text * (256 * 1024 // len(text))
    for most, pieces in ((BLOCK + CLUSTER, folding(text)), (TURN, tokenizing(text))):
        told = list(pieces)
        # What is plain is lowered as a whole, which takes no time to speak of.
        assert text.isascii() or sum(told) >= len(text)
        assert not told or max(told) <= most


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_long_texts_have_the_words_of_short_ones(text: str) -> None:
    assert tokens(text * 500) == tokens(text * 2)
    found = match("plain words first, " + text * 500 + "then a needle.", parse("needle"))
    assert found is not None
    start, stop = found.spans[0]
    assert ("plain words first, " + text * 500 + "then a needle.")[start:stop] == "needle"


def test_a_word_as_long_as_a_message() -> None:
    text = "x1" * (128 * 1024)
    assert tokens(text + " fox") == {"x1", "x1x", "x1x1", "x1x1x1", "x1x1x1x1x", "fo", "fox"}
    assert max(tokenizing(text)) <= PIECE + WORD


@pytest.fixture
def counted(searched: Searched) -> Iterator[Counted]:
    turns = Counted()
    searched.service._turns = searched.index._turns = turns
    yield turns


async def test_a_search_over_long_messages_takes_turns(searched: Searched, counted: Counted) -> None:
    await searched.session("s")
    await searched.say_all(("s", text * (60_000 // len(text.encode()))) for text in list(TEXTS.values()) * 3)
    await searched.ask("fox 회의 -nothing")
    assert len(counted.turns) > 10
    assert max(counted.turns) <= TURN + 4 * PIECE


async def test_all_searches_of_a_node_share_its_turns(searched: Searched, counted: Counted) -> None:
    """However many search at a time, between two rounds of the loop one of them does a piece."""
    await searched.session("s")
    await searched.say_all(("s", TEXTS["decomposed"] * 1000) for _ in range(4))
    await searched.ask("fox")  # which brings them into the index
    counted.turns = [0]
    await searched.ask("fox")
    alone, counted.turns = len(counted.turns), [0]
    rounds, searching = 0, True

    async def beat() -> None:
        nonlocal rounds
        while searching:
            rounds += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    await asyncio.gather(*(searched.ask("fox") for _ in range(5)))
    searching = False
    await beating
    assert len(counted.turns) >= 4 * alone
    assert rounds >= len(counted.turns) - 1


async def test_what_one_call_looks_through_is_bounded_by_size(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await searched.session("s")
    texts = ["fox " * 1000 + TEXTS["korean"] * (number % 3) for number in range(40)]
    await searched.say_all(("s", text) for text in texts)
    whole = [one["message_id"] for one in await searched.ask("fox")]
    monkeypatch.setattr(search, "BYTES", 10_000)
    pages, cursor = [], None
    while not pages or cursor is not None:
        page = await searched.service.search(Caller("user", "alice"), "fox", None, 2, cursor)
        pages.append([one["message_id"] for one in page["results"]])
        cursor = page["cursor"]
    # Three messages fill the bound: two and one of them are a page, and none comes twice or never.
    assert max(map(len, pages)) == 2
    assert len(pages) >= 20
    assert sorted(name for page in pages for name in page) == sorted(whole)


@pytest.mark.parametrize("size", [0, 1, 64 * 1024])
async def test_a_step_of_indexing_reads_no_more_than_it_takes(
    tmp_path: Path, sqlite_template: Path, size: int
) -> None:
    """However much waits: SQLite counts the instructions of a query."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1

    shutil.copyfile(sqlite_template, tmp_path / "parley.db")
    db = Database(f"sqlite:///{tmp_path}/parley.db")
    await db.connect()
    store = Searched(db)
    await store.session("s")
    await store.say_all(("s", "word " * 12_000) for _ in range(60))
    async with db.connection(limit=5) as connection:
        await connection.raw.set_progress_handler(count, 1)
        given = {"session": "s", "size": size, "count": 400}
        rows = await connection.raw.execute_fetchall(_PENDING_SQLITE, given)
        await connection.raw.set_progress_handler(None, 1)
    await store.close()
    taken = -(-size // 60_000)
    assert [row[5] is not None for row in rows] == [True] * taken + [False]
    assert 0 < done < 300 * (taken + 1)


async def test_one_users_searches_take_no_place_from_another(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time is looked for of each user, a few wait, and what is more is refused."""
    going = asyncio.Event()
    begun: list[str] = []

    async def held(caller: Caller, *_: object) -> dict[str, object]:
        begun.append(caller.sub)
        await going.wait()
        return {}

    monkeypatch.setattr(searched.service, "_search", held)
    hers = [
        asyncio.create_task(searched.service.search(Caller("user", "alice"), "fox", None, 10, None))
        for _ in range(1 + search.WAITING_EACH)
    ]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited) as refused:
        await searched.service.search(Caller("user", "alice"), "fox", None, 10, None)
    assert refused.value.retry_after == search.FULL
    his = asyncio.create_task(searched.service.search(Caller("user", "bob"), "fox", None, 10, None))
    await asyncio.sleep(0)
    assert begun == ["alice", "bob"]
    going.set()
    await asyncio.gather(his, *hers)
    assert begun.count("alice") == len(hers)
    assert await searched.service.search(Caller("user", "alice"), "fox", None, 10, None) == {}


async def test_a_call_is_bounded_by_what_letters_become(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ligature is three bytes, and eighteen characters when it is looked through."""
    monkeypatch.setattr(search, "BYTES", 40_000)
    await searched.session("s")
    texts = [f"fox {number} " + "\ufdfa" * 500 for number in range(20)]
    await searched.say_all([("s", text) for text in texts])
    page = await searched.service.search(Caller("user", "alice"), "fox", None, 100, None)
    assert page["has_more"]
    assert len(page["results"]) == 5, "of some 9,000 characters each"
    assert len(await searched.ask("fox")) == 20, "none is left out, none comes twice"


async def test_comparing_titles_takes_turns(searched: Searched, counted: Counted) -> None:
    """Titles that grow eighteenfold, each of which has nearly every token."""
    letters = "".join(chr(ord("가") + 28 * number) for number in range(150))
    for number in range(20):
        await searched.session(f"s{number}", title="\ufdfa" * 50 + letters[: 149 + (number == 7)])
    await searched.session("lines", title=f"two\n{letters}")
    assert [one["session_id"] for one in await searched.ask(letters)] == ["lines", "s7"]
    assert len(counted.turns) > 2
    assert max(counted.turns) <= TURN + 4 * PIECE
