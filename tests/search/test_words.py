"""Text as tokens, and queries as terms."""

import re
import time
import unicodedata
from bisect import bisect_right

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.snippets import match, snippet
from storage.words import fold, parse, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, A1! foo_b", {"he", "hel", "hell", "a1", "fo", "foo", "b"}),
        ("internationally", {"in", "int", "inte", "intern", "internati"}),
        ("안녕하세요", {*"안녕하세요", "안녕", "녕하", "하세", "세요"}),
        (unicodedata.normalize("NFD", "안녕"), {"안", "녕", "안녕"}),
        ("Python은 좋다", {*tokens("python"), *"은좋다", "은좋", "좋다"}),
        ("회의, 실", {*"회의실", "회의"}),
        ("할 수\n  있다", {*"할수있다", "할수", "수있", "있다"}),
        ("東京タワー", {*"東京タワー", "東京", "京タ", "タワ", "ワー"}),
        ("ｶﾞｷﾞ", {"ガ", "ギ", "ガギ"}),
        ("ไทย", {"ไ", "ท", "ย", "ไท", "ทย"}),
        ("Ｆｕｌｌ CAFÉ Straße", tokens("full café strasse")),  # noqa: RUF001
        ("हिन्दी", {"हिन्दी"[:letters] for letters in (2, 3, 4, 6)}),
        ("... --- !?", set()),
        ("1 + 1 = 2 \N{RIGHTWARDS ARROW} #a 👍🏽❤️", {*"1+=2→#a👍🏽", "\N{HEAVY BLACK HEART}"}),
        ("x" * 500, {"x" * letters for letters in (2, 3, 4, 6, 9)}),
    ],
)
def test_tokens(text: str, expected: set[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("회의", "내일회의실에서 봅시다", True),
        ("회의", "회 의", False),
        ("하세요", "안녕하세요", True),
        ("밥", "김밥", True),
        ("회의실예약", "내일 회의실 예약 부탁", True),
        ("회의실예약", "회의실\n  예약", True),
        ("회의실예약", "회의실, 예약", False),
        ("회의실 예약", "대회의실예약", True),
        ("할수있다", "할 수 있다", True),
        ("可以吗", "可以 吗", True),
        ('"회의실예약"', "회의실 예약", False),
        ("-회의실예약 회의", "회의실 예약", True),
        ("deplo", "the deployment", True),
        ("deplo", "redeploy", False),
        ("deploy rel", "releases were deployed", True),
        ("приве", "Привет", True),
        ("caf", "CAFÉ", True),
        ('"deplo"', "the deployment", False),
        ('"the deplo"', "the deployment", False),
        ("quick -fox", "quick foxes", True),
        ("foo-ba", "a foo bar", True),
        ("a", "abc", False),
        ("internation", "internationally", True),
        ("internationel", "internationally", False),
        ("🎉", "축하합니다🎉", True),
        ("🎉 축하", "축하합니다🎉", True),
        ("👍", "좋아요 👍🏽", True),
        ("👍🏽", "좋아요 👍", False),
        ("❤", "❤️", True),
        ("❤️", "❤", True),
        ("👩‍💻", "👩‍💻", True),
        ("🇰🇷", "가자 🇰🇷!", True),
        ("₩", "₩100", True),
        ("->", "a => b", True),
        ("++", "C++", True),
        ("++", "C + +", True),
        ("fox -🎉", "fox 🎉", False),
        ("fox -🎉", "fox", True),
        ("밥", "빵", False),
        ("cat", "concatenate", False),
        ("CAT", "the cat.", True),
        ('"quick fox"', "the quick, fox", True),
        ('"quick fox"', "the quick brown fox", False),
        ("quick fox", "the fox was quick", True),
        ("quick -fox", "the fox was quick", False),
        ("quick -fox", "the ox was quick", True),
        ('quick -"brown fox"', "quick fox, brown", True),
        ('quick -"brown fox"', "quick brown fox", False),
        ("foo-bar", "a foo bar", True),
        ("foo-bar", "bar foo", False),
        ("café", "CAFE\u0301 open", True),
        ("fine", "a ﬁne day", True),
        ('"東京 タワー"', "東京タワー", True),
        ("“quick fox”", "quick fox", True),
        ('"unfinished phrase', "an unfinished phrase", True),
        ("ब", "किताब", False),
        ("\u0916", "\u200c\u0916", True),
        ("b", "a \u0301b", True),
        ('"a b"', "a \u0301b", True),
        ("b", "a\u093ab", False),
        ("b", "가\u093ab", True),
    ],
)
def test_matching(query: str, text: str, found: bool) -> None:
    terms = parse(query)
    assert (match(text, terms) is not None) == found
    if found:
        # What matches has every token that the index is asked for.
        words = tokens(text)
        for token in (token for term in terms if not term.negative for token in term.tokens):
            assert token in words


@given(st.text(max_size=80), st.integers(0, 80), st.integers(1, 6))
@example("0\u093a0", 2, 1)
def test_whatever_is_in_a_text_is_found_by_its_tokens(text: str, start: int, length: int) -> None:
    query = text[start : start + length]
    for term in parse(query.replace('"', " ").replace("-", " ")):
        if any(term.hits(fold(text)[0])):
            words = tokens(text)
            for token in term.tokens:
                assert token in words


@pytest.mark.parametrize(
    "query", [f'"{" ".join("abcdefghij" * 12)}"', " ".join(f"word{n}" for n in range(16))]
)
def test_the_dearest_query_is_read_in_no_time(query: str) -> None:
    """On the event loop, thirty times a minute and user: the time that it takes, not the time that passes."""
    spent = []
    for _ in range(5):
        re.purge()
        began = time.thread_time()
        assert parse(query)
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.03


def test_letters_of_a_word_are_looked_for_where_one_begins() -> None:
    """Also where they are all that the text has: what does not count is passed over by the word."""
    for text, query, found in (
        ("ж" * 50_000, "ж", []),
        ("ж" * 50_000 + " ж", "ж", [(50_001, 50_002)]),
        ("aa aaa aa", '"aa aa"', []),
        ("aa aa aa aa", '"aa aa"', [(0, 5), (6, 11)]),
        ("\u0301a b\u0301 b", "b", [(6, 7)]),
        ("東a東 a東a", '"a東"', [(1, 3), (4, 6)]),
    ):
        (term,) = parse(query)
        assert list(term.hits(text)) == found, text[:20]


@given(st.text(max_size=300))
def test_places_lead_back_to_the_text(text: str) -> None:
    folded, origins = fold(text)
    if origins is None:
        assert len(folded) == len(text)
    else:
        assert len(origins) == len(folded) + 1
        places = list(origins)
        assert places == sorted(places)
        assert places[-1] == len(text)


def test_snippets_are_safe_html() -> None:
    text = '<img src=x onerror="alert(1)"> & <mark>fox</mark> ' + "word " * 100 + "fox"
    found = match(text, parse("fox"))
    assert found is not None
    shown = snippet(text, found.spans)
    bare = shown.replace("<mark>fox</mark>", "")
    assert "<" not in bare
    assert ">" not in bare
    assert '"' not in bare
    assert shown.endswith("…")
    assert "&lt;mark&gt;<mark>fox</mark>&lt;/mark&gt;" in shown


def test_a_snippet_shows_its_hit() -> None:
    text = "before " * 200 + "회의실 " + "after " * 200
    found = match(text, parse("회의"))
    assert found is not None
    shown = snippet(text, found.spans)
    assert shown.startswith("…before")
    assert "<mark>회의</mark>실" in shown
    assert len(shown) < 300


def test_the_order_of_what_is_found() -> None:
    terms = parse("deploy")
    scores = [
        (match(text, terms) or pytest.fail(text)).score
        for text in ("deploy deploy deploy", "deploy", "deploy " + "x " * 400)
    ]
    assert scores == sorted(scores, reverse=True)
    near, far = match("red fox", parse("red fox")), match("red" + " x" * 40 + " fox", parse("red fox"))
    assert near is not None
    assert far is not None
    assert near.score > far.score


#: Letters that compose, decompose, grow or shrink when they are folded, marks in any order, and plain ones.
ODD = (
    "aZ 1-Jjß\u0130\u00c5\ufb01\uff21\u01f0\ufdfa\u0345\u1e9b\u0323\u0307\u0301\u030c\u0327"
    "\u1100\u1161\u11a8가하힣\u3131\u314f\u3133\u3160\uffa1\uffc2\uff76\uff9e\u304b\u3099"
    "\u0995\u09c7\u09be\u0bc6\u0bbe\u0928\u093c\u0e01\u0e31\u102d\u4e00\ufa10\U0001d400"
)


def one_by_one(text: str) -> tuple[str, list[int]]:
    """Every character with its marks folded by itself: the slow and simple way."""
    folded, origins, start = "", [], 0
    for index in range(1, len(text) + 1):
        char = text[index : index + 1]
        if char and (unicodedata.combining(char) or char in "\uff9e\uff9f" or "\u1160" <= char <= "\u11ff"):
            continue
        part = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text[start:index]).casefold())
        folded, origins, start = folded + part, origins + [start] * len(part), index
    return folded, [*origins, len(text)]


@given(st.text(st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=40), st.integers(0, 300))
def test_folding_in_blocks_is_folding_one_by_one(text: str, before: int) -> None:
    if text and unicodedata.combining(text[0]):
        text = "a" + text
    text = "x" * before + text * 20
    folded, places = fold(text)
    expected, origins = one_by_one(text)
    assert folded == expected
    # A mark has a place of its own where its block is as it was.
    clusters = sorted(set(origins))
    found = places if places is not None else range(len(text) + 1)
    assert [clusters[bisect_right(clusters, place) - 1] for place in found] == origins
