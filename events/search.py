"""Search: the messages and sessions that a caller may see, best first; and keeping the index near.

The index gives candidates; the message itself decides. So an edit or a deletion counts at once, and both
databases answer alike. Sessions are found by their titles, too, before messages. Knows no SQL.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from events.access import Caller
from events.clock import rfc3339
from events.errors import RateLimited, ValidationFailed
from events.identity import key_of
from events.sessions import SessionManager
from events.signing import Signer
from events.snippets import Match, matching, snippet
from storage.candidates import Candidates, Found
from storage.fairness import ASKING, Fair
from storage.records import MessageRecord, Person
from storage.search import Scope, Search
from storage.titles import Title
from storage.turns import Turns
from storage.words import Term, parse

#: Letters, words and phrases, and tokens of a query.
QUERY, TERMS, TOKENS = 256, 16, 64
#: Candidates that are ranked against each other: the newest ones, then the next so many.
WINDOW = 200
#: Windows that one call looks through for its page.
WINDOWS = 5
#: Bytes of messages that one call reads, and folded characters that it looks through: where they are long its
#: page is short, and has a next.
BYTES = 4 * 1024 * 1024
#: Messages that a call takes into the index in one step, and how many steps, before it answers with what
#: is there.
STEP, STEPS = 200, 50
#: Sessions whose newest messages come first, where they have more than a step, and how many these are.
LOADED, NEWEST = 8, 500
#: Searches under way on a node, one of each user; the next wait in line, users by turns. Each keeps a
#: connection of the database busy and holds what it reads, and the others' messages need both, too.
AT_ONCE = 2
#: Searches of one user that wait, and of all: a page may ask while its reader types.
WAITING_EACH, WAITING = 4, 200
#: Milliseconds after which a caller that finds the line full may ask again.
FULL = 1000
_NEWEST = (1 << 62) - 1
#: How a message matches, its number, and the message.
Ranked = tuple[Match, int, MessageRecord]
Titled = tuple[Match, Title]


class Cursor(msgspec.Struct, array_like=True):
    """Where to go on: below (`score`, `number`) in the window from `top` down to `bottom`; or among the
    titles, as long as no message was looked at."""

    asked: str
    top: int
    bottom: int = 0
    score: float = 0.0
    number: int = 0


class SearchService:
    """`GET /api/chat/search`."""

    def __init__(
        self,
        store: Search,
        sessions: SessionManager,
        signer: Signer,
        turns: Turns,
        called: Callable[[str], Person | None] = lambda _: None,
    ) -> None:
        """`called` gives a user's name that the store does not have yet."""
        self._store, self._sessions, self._signer, self._turns = store, sessions, signer, turns
        self._line = Fair(AT_ONCE, 1)
        self._asking: Counter[str] = Counter()
        self._called = called

    async def search(
        self, caller: Caller, query: str, session_id: str | None, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """A page of results. One may be shorter than `limit` and still have a next.

        Raises RateLimited (the line is full), ValidationFailed, SessionNotFound, Unavailable.
        """
        async with self._turn(caller.account):
            ASKING.set("")  # the line is its bound
            return await self._search(caller, query, session_id, limit, cursor)

    @asynccontextmanager
    async def _turn(self, who: str) -> AsyncIterator[None]:
        if self._asking[who] > WAITING_EACH or self._asking.total() >= WAITING:
            raise RateLimited("too many searches wait", retry_after=FULL)
        self._asking[who] += 1
        try:
            await self._line.enter(who)
            try:
                yield
            finally:
                self._line.leave(who)
        finally:
            self._asking[who] -= 1
            if not self._asking[who]:
                del self._asking[who]

    async def _search(
        self, caller: Caller, query: str, session_id: str | None, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        terms = _terms(query)
        asked = _digest(caller, query, session_id)
        place = self._opened(cursor, asked)
        if session_id is not None:
            await self._sessions.readable(caller, session_id)
        scope = _scope(caller, session_id)
        having = dict.fromkeys(token for term in terms if not term.negative for token in term.tokens)
        lacking = [term.tokens[0] for term in terms if term.negative and term.exact]
        found = await self._store.find(scope, having, lacking)
        if found.behind and place is not None and place.bottom:
            found.whole_above = place.bottom  # the window that was begun
        elif found.behind and not await self._caught_up(found, first=place is None):
            found = await self._store.find(scope, having, lacking)
        place = place or Cursor(asked, _NEWEST)
        titles: list[Titled] = []
        if place.top == _NEWEST and session_id is None:
            titles = await self._titles(found, terms, limit, place)
            place = Cursor(asked, _NEWEST)
        results: list[Ranked] = []
        if len(titles) < limit:
            results, place = await self._page(found, terms, limit - len(titles), place)
        else:
            matched, title = titles[-1]
            place = Cursor(asked, _NEWEST, 0, matched.score, title.number)
        return {
            "results": [*map(_title_view, titles), *await self._views(results)],
            "has_more": place is not None,
            "cursor": self._signer.seal(msgspec.json.encode(place).decode()) if place else None,
        }

    async def _caught_up(self, found: Candidates, *, first: bool) -> bool:
        """Indexes what the index lacks of the caller's sessions, so that a search finds all that was
        acknowledged. False: `found` is to be looked for anew.

        Of a session that was loaded whole the newest messages are enough for a first page, if the words are
        common in them.

        Not for `service`, which sees everything: each of its searches would have to look at all sessions. It
        finds what the indexers have reached.
        """
        behind, asked = found.behind, False
        for step in range(STEPS):
            if step == 1 and first and len(behind) <= LOADED:
                floor = await self._store.index_newest(behind, NEWEST)
                newest, asked = await found.newest(WINDOW), True
                if len(newest) == WINDOW and newest[-1] > floor:
                    found.whole_above = newest[-1]
                    return True
            _, more = await self._store.index(behind[:STEP], STEP)
            behind = [*more, *behind[STEP:]]
            if not behind:
                break
        return not asked

    async def _titles(
        self, candidates: Candidates, terms: list[Term], limit: int, place: Cursor
    ) -> list[Titled]:
        """Sessions whose titles match and come after `place`, best first, and the newer of equals first."""
        ranked: list[Titled] = []
        for title in await self._store.titles(candidates):
            matched, _ = await self._turns.take(matching(title.title, terms))
            if matched is not None and _after(place, matched.score, title.number):
                ranked.append((matched, title))
        ranked.sort(key=lambda one: (-one[0].score, -one[1].number))
        return ranked[:limit]

    async def _views(self, ranked: list[Ranked]) -> list[dict[str, Any]]:
        if not ranked:
            return []
        records = [record for _, _, record in ranked]
        labels = await self._store.people.labels(
            {record.session_id for record in records},
            {_user(record) for record in records if record.sender_type == "user"},
            {record.sender_id for record in records if record.sender_type == "agent"},
        )
        views = []
        for matched, _, record in ranked:
            name = labels.get((record.sender_type, record.sender_id))
            if record.sender_type == "user":
                person = self._called(_user(record))
                name = person.name if person is not None else labels.get(("user", _user(record)))
            views.append(_view(record, matched, labels.get(("session", record.session_id)), name))
        return views

    async def _page(
        self, candidates: Candidates, terms: list[Term], limit: int, place: Cursor
    ) -> tuple[list[Ranked], Cursor | None]:
        page: list[Ranked] = []
        left = BYTES
        for _ in range(WINDOWS):
            found, more = await candidates.window(place.top, WINDOW, left)
            bottom = found[-1][0] if found else 0
            if place.bottom:
                # A window that was begun: candidates from below it have their turn in the next one.
                found = [one for one in found if one[0] >= place.bottom]
                bottom, more = max(bottom, place.bottom), True
            ranked, seen, cost = await self._ranked(found, terms, place, left)
            if seen < len(found):
                bottom, more = found[seen - 1][0], True
            room = limit - len(page)
            page += ranked[:room]
            if len(ranked) > room:
                last = page[-1]
                top = min(place.top, found[0][0])
                return page, Cursor(place.asked, top, bottom, last[0].score, last[1])
            if not more:
                return page, None
            place = Cursor(place.asked, bottom - 1)
            left -= cost
            if len(page) == limit or left <= 0 or candidates.whole_above:
                break
        return page, place

    async def _ranked(
        self, found: list[Found], terms: list[Term], place: Cursor, most: int
    ) -> tuple[list[Ranked], int, int]:
        """Those that match and come after `place`, best first, and the newer of equals first; how many were
        looked at until `most` characters were, and how many characters that is."""
        ranked: list[Ranked] = []
        cost = seen = 0
        for number, record in found:
            if cost >= most:
                break
            seen += 1
            if record is None:
                continue
            matched, looked_through = await self._turns.take(matching(record.content, terms))
            cost += looked_through
            if matched is not None and _after(place, matched.score, number):
                ranked.append((matched, number, record))
        ranked.sort(key=lambda one: (-one[0].score, -one[1]))
        return ranked, seen, cost

    def _opened(self, cursor: str | None, asked: str) -> Cursor | None:
        if cursor is None:
            return None
        text = self._signer.open(cursor)
        place = msgspec.json.decode(text, type=Cursor) if text else None
        if place is None or place.asked != asked:
            raise ValidationFailed("not the cursor of this search", field="cursor")
        return place


def _terms(query: str) -> list[Term]:
    if len(query) > QUERY:
        raise ValidationFailed(f"at most {QUERY} characters", field="q")
    terms = parse(query)
    if not any(term.tokens and not term.negative for term in terms):
        raise ValidationFailed("a word to look for", field="q")
    if len(terms) > TERMS or sum(len(term.tokens) for term in terms) > TOKENS * 4:
        raise ValidationFailed(f"at most {TERMS} words and phrases", field="q")
    return terms


def _scope(caller: Caller, session_id: str | None) -> Scope:
    return Scope(
        caller=caller.key,
        everything=caller.role == "service",
        as_agent=caller.agent_id,
        session_ids=sorted(caller.sessions) if caller.sessions is not None else None,
        only=session_id,
    )


def _after(place: Cursor, score: float, number: int) -> bool:
    return not place.number or (score, number) < (place.score, place.number)


def _digest(caller: Caller, query: str, session_id: str | None) -> str:
    text = msgspec.json.encode([caller.key, query, session_id])
    return hashlib.blake2s(text, digest_size=12).hexdigest()


def _user(record: MessageRecord) -> str:
    return key_of("user", record.sender_id)


def _view(
    record: MessageRecord, found: Match, session_title: str | None, sender_name: str | None
) -> dict[str, Any]:
    return {
        "kind": "message",
        "session_id": record.session_id,
        "session_title": session_title,
        "message_id": record.message_id,
        "seq": record.seq,
        "revision": record.revision,
        "sender_type": record.sender_type,
        "sender_id": record.sender_id,
        "sender_name": sender_name,
        "message_type": record.message_type,
        "created_at": rfc3339(record.created_at),
        "snippet": snippet(record.content, found.spans),
        "score": found.score,
    }


def _title_view(titled: Titled) -> dict[str, Any]:
    found, title = titled
    return {
        "kind": "session",
        "session_id": title.session_id,
        "session_title": title.title,
        "message_id": None,
        "seq": None,
        "revision": None,
        "sender_type": None,
        "sender_id": None,
        "sender_name": None,
        "message_type": None,
        "created_at": rfc3339(title.created_at),
        "snippet": snippet(title.title, found.spans),
        "score": found.score,
    }
