"""What a search finds and shows, over REST and on both databases."""

import uuid
from typing import Any

import httpx
import pytest

from tests.doors.conftest import QUICK
from tests.support.server import Server

PATH = "/api/chat/sessions"
#: A word that a test looks for, with a mark of its own (M): all tests of a server share its database.
SAID = {
    "latin": "Deployment of the releaseM finished",
    "compound": "내일 회의실 예약M 부탁드립니다",
    "together": "대회의실예약M입니다",
    "emoji": "축하합니다 🎉 M",
    "sign": "costs ₩100 M",
}
#: (what is typed, which of these it finds, each with M beside it)
ASKED = (
    ("deplo", {"latin"}),
    ("DEPLOYM", {"latin"}),
    ("releas", {"latin"}),
    ("ploy", set()),
    ('"deplo"', set()),
    ("deploy finish", {"latin"}),
    ("회의실예약", {"compound", "together"}),
    ("회의실 예약", {"compound", "together"}),
    ("내일회의실예약", {"compound"}),
    ("부탁드립니다", {"compound"}),
    ("🎉", {"emoji"}),
    ("₩", {"sign"}),
    ("₩ 🎉", set()),
)


def mark() -> str:
    """A word of its own, in letters that no other text of the tests begins with."""
    return "zq" + uuid.uuid4().hex[:16]


async def ask(api: httpx.AsyncClient, query: str, **more: Any) -> list[dict[str, Any]]:
    """All results, over all pages."""
    results: list[dict[str, Any]] = []
    while True:
        answer = await api.get("/api/chat/search", params={"q": query, **more})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        results += page["results"]
        assert page["has_more"] == (page["cursor"] is not None)
        if page["cursor"] is None:
            return results
        more["cursor"] = page["cursor"]


async def made(api: httpx.AsyncClient, **given: Any) -> str:
    answer = await api.post(PATH, json=given)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


async def said(api: httpx.AsyncClient, session: str, text: str) -> str:
    answer = await api.post(f"{PATH}/{session}/messages", json={"content": text})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["message_id"])


async def uploaded(api: httpx.AsyncClient, session: str, name: str) -> dict[str, Any]:
    answer = await api.post(f"{PATH}/{session}/files", files={"file": (name, b"some text")})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_people_type_finds_what_was_said(either: Server) -> None:
    me, own = f"user-{mark()}", mark()
    async with either.api(me, "service") as api:
        session = await made(api, user_id=me)
    async with either.api(me) as api:
        messages = {
            await said(api, session, text.replace("M", f" {own}")): name for name, text in SAID.items()
        }
    # A user of a bucket's worth of searches, whoever else asks.
    for number in range(0, len(ASKED), 6):
        async with either.api(f"{me}-{number}") as reader, either.api(me) as owner:
            await owner.put(f"{PATH}/{session}/participants/{me}-{number}", json={"role": "viewer"})
            for query, names in ASKED[number : number + 6]:
                found = await ask(reader, query, session_id=session)
                assert {messages[one["message_id"]] for one in found} == names, query


@pytest.mark.parametrize("query", ["🎉", "👍🏽", "❤️", "★", "→", "₩", "++", "#", "👩‍💻", "🇰🇷"])
async def test_symbols_alone_are_a_query(either: Server, query: str) -> None:
    async with either.api(f"user-{mark()}") as api:
        session = await made(api)
        one = await said(api, session, f"before {query} after")
        await said(api, session, "before and after")
        (hit,) = await ask(api, query)
        assert hit["message_id"] == one
        assert "<mark>" in hit["snippet"]


async def test_a_session_is_found_by_its_title_as_it_is_now(either: Server) -> None:
    me, own = f"user-{mark()}", mark()
    async with either.api(me) as api, either.api(f"{me}-2") as other:
        session = await made(api, title=f"분기 예산 {own}")
        (hit,) = await ask(api, own[:9])
        assert (hit["kind"], hit["session_id"], hit["message_id"]) == ("session", session, None)
        assert hit["session_title"] == f"분기 예산 {own}"
        assert "<mark>" in hit["snippet"]
        assert [one["session_id"] for one in await ask(api, f"분기예산 {own}")] == [session]
        # To nobody who does not see it, and to whoever takes part in it.
        assert await ask(other, own) == []
        await api.put(f"{PATH}/{session}/participants/{me}-2", json={"role": "viewer"})
        assert [one["session_id"] for one in await ask(other, own)] == [session]
        await api.delete(f"{PATH}/{session}/participants/{me}-2")
        assert await ask(other, own) == []
        # Changed, taken away, given back, archived, erased.
        later = mark()
        await api.patch(f"{PATH}/{session}", json={"title": f"<b>{later}</b>"})
        assert await ask(api, own) == []
        (hit,) = await ask(api, later)
        assert hit["snippet"] == f"&lt;b&gt;<mark>{later}</mark>&lt;/b&gt;"
        await api.patch(f"{PATH}/{session}", json={"title": ""})
        assert await ask(api, later) == []
        await api.patch(f"{PATH}/{session}", json={"title": later})
        await api.delete(f"{PATH}/{session}")
        assert [one["session_id"] for one in await ask(api, later)] == [session]
        assert (await api.delete(f"{PATH}/{session}", params={"purge": "true"})).status_code == 200
        assert await ask(api, later) == []


async def test_titles_come_first_and_page_by_page(either: Server) -> None:
    own = mark()
    async with either.api(f"user-{own}") as api:
        sessions = [await made(api, title=f"{own} {number}") for number in range(5)]
        messages = [await said(api, sessions[0], f"{own} said {number}") for number in range(3)]
        for limit in (2, 5, 8):
            found = await ask(api, own, limit=limit)
            assert [one["kind"] for one in found] == ["session"] * 5 + ["message"] * 3
            assert {one["session_id"] for one in found[:5]} == set(sessions)
            assert {one["message_id"] for one in found[5:]} == set(messages)
        # In one session what was said in it.
        inside = await ask(api, own, session_id=sessions[0])
        assert {one["message_id"] for one in inside} == set(messages)


async def test_a_file_is_found_by_its_name_while_it_is_there(either: Server) -> None:
    own = mark()
    async with either.api(f"user-{own}") as api, either.api(f"other-{own}") as other:
        session = await made(api, title="files")
        one = await uploaded(api, session, f"분기 보고서_{own}.txt")
        waiting = await api.post(
            f"{PATH}/{session}/files", files={"file": (f"{own} draft.txt", b"x")}, data={"post": "false"}
        )
        assert waiting.status_code == 201, waiting.text
        (hit,) = await ask(api, f"보고서 {own[:6]}")
        assert (hit["message_id"], hit["message_type"]) == (one["message_id"], "file")
        assert f"보고서</mark>_<mark>{own[:6]}" in hit["snippet"]
        assert hit["session_title"] == "files"
        # What is not posted is nobody's to find, and another's session neither.
        assert [each["message_id"] for each in await ask(api, own)] == [one["message_id"]]
        assert await ask(other, own) == []
        await api.delete(f"{PATH}/{session}/messages/{one['message_id']}")
        assert await ask(api, own) == []


async def test_a_hit_says_whose_it_is_and_where(either: Server) -> None:
    own = mark()
    async with (
        either.api(f"user-{own}", name="Alice Kim") as api,
        either.api(f"bob-{own}") as bob,
        either.api("backend", "service") as service,
    ):
        session = await made(api, title="Harbour")
        await api.put(f"{PATH}/{session}/participants/bob-{own}", json={"role": "member"})
        await said(api, session, f"{own} hers")
        await said(bob, session, f"{own} his")
        names = {one["sender_id"]: one["sender_name"] for one in await ask(bob, own)}
        assert names == {f"user-{own}": "Alice Kim", f"bob-{own}": None}
        assert {one["session_title"] for one in await ask(bob, own)} == {"Harbour"}
        # As the last token says; and gone with the user.
        async with either.api(f"user-{own}", name="Alice Park") as again:
            await said(again, session, f"{own} again")
        assert "Alice Park" in {one["sender_name"] for one in await ask(bob, own)}
        # Who holds a share link of the same `sub` does not say what its user is called.
        link = {"sessions": [session], "session_role": "member"}
        async with either.api(f"user-{own}", name="Somebody", **link) as holder:
            await said(holder, session, f"{own} from a link")
        hits = await ask(bob, own)
        assert len(hits) == 4
        assert "Somebody" not in {one["sender_name"] for one in hits}
        erased = await service.delete(f"/api/server/users/bob-{own}")
        assert erased.status_code == 200, erased.text
        assert {one["sender_id"] for one in await ask(api, own)} == {f"user-{own}"}


async def test_an_agents_name_stands_in_a_hit(either: Server) -> None:
    own = mark()
    async with either.api("backend", "service") as service:
        made_agent = await service.post("/api/chat/agents", json={"name": "Mina", "kind": "remote"})
        assert made_agent.status_code == 201, made_agent.text
        agent = made_agent.json()["id"]
    async with either.api(f"user-{own}") as api, either.api(str(agent), "agent") as mina:
        session = await made(api, agent_id=agent)
        await said(mina, session, f"{own} answer")
        (hit,) = await ask(api, own)
        assert (hit["sender_type"], hit["sender_name"]) == ("agent", "Mina")


async def test_names_are_there_after_a_restart(sqlite_url: str, new_server: Any) -> None:
    node: Server = new_server(sqlite_url, **QUICK)
    async with node.api("alice", name="Alice Kim") as api:
        session = await made(api, title="Harbour")
        await said(api, session, "hello")
    node.stop()
    node.start()
    async with node.api("alice") as api:
        (hit,) = await ask(api, "hello")
        assert hit["sender_name"] == "Alice Kim"
