"""An upstream that means harm ends its own answer, and costs nobody else anything."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from events.agents import pacing
from events.agents.account import MOST_TOKENS
from events.agents.base import AnswerFailed
from events.agents.chat import AnswerBounds
from events.agents.completions import CompletionReader
from events.agents.deltas import Citation, ReasoningDelta, Unread
from events.agents.eventstream import EventReader, TooLarge
from events.agents.openai import OpenAI
from events.agents.reading import LONGEST_URL, MOST_SOURCES, MOST_UNREAD, Sources
from events.agents.responses import MOST_ITEMS, ResponseReader
from events.agents.thinking import BLANK, ThinkSplitter
from events.agents.toolcalls import MOST_CALLS
from events.agents.turn import MOST, TurnReader
from events.agents.upstreams import Upstreams
from tests.agents.test_openai import collect, openai_session, request
from tests.agents.upstream import (
    DONE,
    STREAM_HEAD,
    Plan,
    Upstream,
    answer,
    framed,
    lines,
    piece,
    refusal,
    upstream,
)
from tests.support.certificate import Authority
from tests.support.doors import enter, new_session
from tests.support.server import Server

SMALL = AnswerBounds(event=4096, body=32_768, error=100)


@pytest.fixture
async def small() -> AsyncIterator[OpenAI]:
    made = OpenAI({"TEST_API_KEY": "sk-1"}.get, first_wait=0.01, bounds=SMALL)
    yield made
    await made.close()


async def failure(kind: OpenAI, **config: Any) -> AnswerFailed:
    with pytest.raises(AnswerFailed) as raised:
        await collect(kind, request("hi", **config))
    return raised.value


def raw(head: str, *body: bytes) -> Plan:
    async def plan(writer: asyncio.StreamWriter) -> None:
        writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        for part in body:
            writer.write(part)
            await writer.drain()

    return plan


def endless(unit: bytes) -> Plan:
    """Goes on until the client goes."""

    async def plan(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        while True:
            writer.write(framed(unit))
            await writer.drain()

    return plan


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(small: OpenAI, status: int) -> None:
    async with upstream(answer("from elsewhere")) as other, upstream() as served:
        served.plans = [refusal(status, f"Location: {other.url}/chat/completions")]
        failed = await failure(small, base_url=served.url)
        assert (failed.code, len(served.asked), other.asked) == ("UPSTREAM_ERROR", 1, [])


HARM: dict[str, Plan] = {
    "a line without an end": endless(b"x" * 1000),
    "an event without an end": endless(b"data: x\n"),
    "comments without an event": endless(b": here I am\n"),
    "an answer without an end": endless(piece()),
    "one event too large": lines(piece("a" * 5000), piece(finish="stop"), DONE),
    "packed": raw(
        "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nContent-Encoding: gzip\nConnection: close",
        gzip.compress(piece("a") + piece(finish="stop") + DONE),
    ),
}


def called(number: int) -> bytes:
    call = {"id": f"call-{number}", "function": {"name": "f", "arguments": "{}"}}
    return b'data: {"choices": [{"delta": {"tool_calls": [' + json.dumps(call).encode() + b"]}}]}\n\n"


async def test_what_an_answer_may_name_is_bounded() -> None:
    kind = OpenAI({}.get)
    async with upstream(lines(*map(called, range(MOST_CALLS + 1)), piece(finish="stop"))) as served:
        failed = await failure(kind, base_url=served.url)
        assert (failed.code, failed.text) == ("UPSTREAM_ERROR", "the upstream's answer is not valid")
    urls = [f"https://a.example/{n}" for n in range(MOST_SOURCES + 5)]
    reader = CompletionReader()
    found = reader.feed(json.dumps({"citations": urls}).encode())
    found += reader.feed(json.dumps({"choices": [{"delta": {f"f{n}": 1 for n in range(999)}}]}).encode())
    assert sum(isinstance(each, Citation) for each in found) == MOST_SOURCES
    assert sum(isinstance(each, Unread) for each in found) == MOST_UNREAD
    await kind.close()


def told_of(kind: str, number: int) -> bytes:
    event = {"type": kind, "output_index": number if kind.endswith("added") else 0, "content_index": number}
    return json.dumps({**event, "item": {}, "delta": "x"}).encode()


@pytest.mark.parametrize("kind", ["response.output_item.added", "response.reasoning_text.delta"])
def test_what_is_remembered_of_a_response_is_bounded(kind: str) -> None:
    reader = ResponseReader()
    with pytest.raises(ValueError, match="than a"):
        for number in range(MOST_ITEMS + 2):
            reader.feed(told_of(kind, number))


def test_what_goes_back_to_a_model_is_bounded() -> None:
    """Its words are kept up to there; of what is signed or encrypted there is no half."""
    signed, encrypted = TurnReader(), TurnReader()
    for number in range(2 * MOST // 1000):
        signed.take(ReasoningDelta("x" * 1000, {"signature": "s"}))
        encrypted.take(ReasoningDelta("", {"reasoning_details": [{"index": number, "data": "x" * 1000}]}))
    [(text, metadata)] = signed.told({}).reasoning
    assert (MOST - 1000 < len(text) <= MOST, metadata) == (True, {"signature": "s"})
    assert encrypted.told({}).reasoning == []


@pytest.mark.parametrize("harm", HARM)
async def test_what_is_too_much_ends_the_answer_at_once(small: OpenAI, harm: str) -> None:
    async with upstream(HARM[harm]) as served, asyncio.timeout(20):
        failed = await failure(small, base_url=served.url, first_token_timeout=30, timeout=30)
        assert (failed.code, failed.text) == ("UPSTREAM_ERROR", "the upstream's answer is not valid")
        assert len(served.asked) == 1, "it is not asked for more of it"


async def test_the_head_is_bounded(small: OpenAI) -> None:
    async def plan(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async with upstream(plan) as served, asyncio.timeout(20):
        assert (await failure(small, base_url=served.url, first_token_timeout=30)).code == "UPSTREAM_ERROR"


async def test_an_errors_body_is_read_as_far_as_the_log_shows_it(small: OpenAI) -> None:
    sent = 0

    async def plan(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 400 No\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(framed(b"x" * 1000))
            await writer.drain()
            sent += 1000

    async with upstream(plan) as served, asyncio.timeout(20):
        failed = await failure(small, base_url=served.url, first_token_timeout=30)
        assert (failed.code, failed.text) == ("UPSTREAM_ERROR", "the upstream refused the request")
        assert len(failed.detail) < 200
    assert sent < 20_000_000


async def test_an_answer_has_a_time() -> None:
    """Signs of life put the end off, but not for ever."""
    kind = OpenAI({}.get, first_wait=0.01, bounds=AnswerBounds(seconds=1.0))

    async def plan(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        while True:
            writer.write(framed(piece()))
            await asyncio.sleep(0.05)

    async with upstream(plan) as served, asyncio.timeout(20):
        failed = await failure(kind, base_url=served.url, first_token_timeout=60, timeout=60)
        assert failed.code == "UPSTREAM_TIMEOUT"
    await kind.close()


@pytest.mark.parametrize("status", [400, 404, 418, 451, 500, 503])
async def test_users_hear_our_words_alone(small: OpenAI, status: int) -> None:
    async with upstream(refusal(status)) as served:
        failed = await failure(small, base_url=served.url)
    assert failed.code == "UPSTREAM_ERROR"
    assert str(status) not in failed.text
    assert "key" not in failed.text


def counted(usage: Any) -> bytes:
    """`usage` as bytes stands as it is."""
    text = usage if isinstance(usage, bytes) else json.dumps(usage).encode()
    return b'data: {"choices": [], "usage": ' + text + b"}\n\n"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"total_tokens": 2**63}, MOST_TOKENS),
        ({"total_tokens": 10**30}, MOST_TOKENS),
        ({"total_tokens": 12.0}, 12),
        ({"total_tokens": -1}, None),
        ({"total_tokens": "12"}, None),
        ({"total_tokens": True}, None),
        ({"total_tokens": None}, None),
        ({"total_tokens": [1]}, None),
        (b'{"total_tokens": 1e999}', None),
        (b'{"total_tokens": ' + b"9" * 1000 + b"}", MOST_TOKENS),
        ([12], None),
        ("many", None),
        (None, None),
    ],
    ids=str,
)
async def test_a_count_is_what_can_be_stored(small: OpenAI, usage: Any, tokens: int | None) -> None:
    async with upstream(lines(piece("ok"), piece(finish="stop"), counted(usage), DONE)) as served:
        assert await collect(small, request("hi", base_url=served.url)) == ("ok", tokens)


async def test_what_follows_the_end_changes_nothing(small: OpenAI) -> None:
    after = lines(piece("ok"), piece(finish="stop"), DONE, piece("more"), b"data: {junk\n\n", ends=False)
    async with upstream(after) as served:
        assert (await collect(small, request("hi", base_url=served.url)))[0] == "ok"


async def test_halves_of_a_surrogate_pair_are_no_fault(small: OpenAI) -> None:
    half = b'data: {"choices": [{"delta": {"content": "a\\ud83d"}}]}\n\n'
    async with upstream(lines(half, piece("b\0c"), piece(finish="stop"), DONE)) as served:
        assert (await collect(small, request("hi", base_url=served.url)))[0] == "a?bc"


async def test_others_have_their_turn(small: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read brings thousands of small events: the loop is given up between them, not after them all."""
    monkeypatch.setattr(pacing, "SLICE", 0.0)
    turns, events = 0, 2000

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with upstream(lines(b"data: {}\n\n" * events, piece("ok"), piece(finish="stop"), DONE)) as served:
        beside = asyncio.create_task(others())
        assert (await collect(small, request("hi", base_url=served.url)))[0] == "ok"
        beside.cancel()
    assert turns >= events


async def test_others_have_as_much_time_as_its_events_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each of them is dear; what is waited for is no work."""
    slept: list[float] = []
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    turns = pacing.Pacing()
    turns._time, turns._since = lambda: now, now
    monkeypatch.setattr(pacing.asyncio, "sleep", sleep)
    for work, wait in ((0.002, 0.0), (0.001, 9.0), (0.003, 0.0), (0.04, 5.0), (0.001, 0.0), (30.0, 0.0)):
        now += wait
        turns.begin()
        now += work
        await turns.yield_if_due()
    assert slept == pytest.approx([0.006, 0.04, pacing.LONGEST])


def test_blank_letters_before_a_tag_are_not_kept_for_ever() -> None:
    splitter, size = ThinkSplitter("tags"), 0
    for _ in range(10 * BLANK):
        size += sum(len(piece) for piece in splitter.feed(" ") if isinstance(piece, str))
    assert size >= 9 * BLANK
    assert ThinkSplitter("tags").feed(" \n<think>a</think>b") == [ReasoningDelta("a"), "b"]


def test_an_address_without_end_is_no_source() -> None:
    sources = Sources()
    assert sources.feed(["https://a.example/" + "x" * LONGEST_URL]) == []
    assert len(sources.feed(["https://a.example/"])) == 1


@pytest.mark.parametrize("key", ["two\nlines", "ключ", "  "], ids=["lines", "letters", "blank"])
async def test_a_key_that_is_none_goes_nowhere(key: str) -> None:
    kind = OpenAI({"TEST_API_KEY": key}.get)
    failed = await failure(kind, base_url="http://127.0.0.1:9/v1", api_key_env="TEST_API_KEY")
    assert failed.code == "AGENT_UNAVAILABLE"
    assert key.strip() not in failed.text + failed.detail or not key.strip()
    await kind.close()


async def test_an_address_inside_ends_the_answer() -> None:
    kind = OpenAI({}.get, upstreams=Upstreams())
    async with upstream(answer("never")) as served:
        assert (await failure(kind, base_url=served.url)).code == "AGENT_UNAVAILABLE"
        assert served.asked == []
    await kind.close()


def test_events_by_every_line_end_and_in_any_pieces() -> None:
    text = b"data: a\r\ndata:b\r\n\r\n: c\rdata: d\r\revent: x\ndata: e\nid: 1\n\n\ndata\ndata: unfinished\n"
    for size in (1, 2, 3, 7, 1000):
        reader = EventReader(100)
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        assert [event for part in parts for event in reader.feed(part)] == [b"a\nb", b"d", b"e"], size


def test_an_event_has_its_bound_and_the_next_one_has_its_own() -> None:
    reader = EventReader(20)
    assert list(reader.feed(b"data: 0123456789\n\n" * 9)) == [b"0123456789"] * 9
    with pytest.raises(TooLarge):
        list(reader.feed(b"data: 0123456789abcdef"))


async def test_tls_checks_the_name_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection goes to an address, and is for a name, of which a trusted authority has to know."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    for name, trusted, good in (
        ("localhost", True, True),
        ("other", True, False),
        ("localhost", False, False),
    ):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        else:
            monkeypatch.delenv("SSL_CERT_FILE")
        for file, pem in zip(("cert", "key"), authority.sign(name), strict=True):
            (tmp_path / file).write_bytes(pem)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
        served = Upstream()
        served.plans = [answer("by TLS")]
        server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=context)
        kind = OpenAI({}.get, first_wait=0.01, upstreams=Upstreams(loopback=True))
        asked = request("hi", base_url=f"https://localhost:{server.sockets[0].getsockname()[1]}/v1")
        async with server:
            if good:
                assert (await collect(kind, asked))[0] == "by TLS"
            else:
                with pytest.raises(AnswerFailed) as failed:
                    await collect(kind, asked)
                assert failed.value.code == "UPSTREAM_ERROR"
                assert served.asked == []
            await kind.close()


# Through the server.


@pytest.fixture(scope="module")
def node(shared_server: Server) -> Server:
    return shared_server


async def test_the_end_is_stored_whatever_the_count(node: Server) -> None:
    async with upstream(
        lines(piece("all"), piece(finish="stop"), counted({"total_tokens": 2**70}))
    ) as served:
        session_id = await openai_session(node, served)
        async with enter("websocket", node, "alice", session_id) as alice:
            await alice.message("hello")
            end = await alice.wait_event("stream_end")
            assert (end["status"], end["tokens_used"]) == ("complete", MOST_TOKENS)


async def created(node: Server, base_url: str, **config: Any) -> Any:
    body = {"name": "x", "kind": "openai", "config": {"base_url": base_url, "model": "m", **config}}
    async with node.api("backend", "service") as api:
        return await api.post("/api/chat/agents", json=body)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "[fd12::1]", "169.254.169.254", "[::ffff:192.168.0.1]", "0.0.0.0"]
)
async def test_an_address_inside_is_told_when_the_agent_is_made(node: Server, host: str) -> None:
    answered = await created(node, f"http://{host}:8000/v1")
    assert answered.status_code == 422, answered.text
    assert "config" in answered.text
    assert "UPSTREAM_HOSTS" in answered.text


async def test_a_key_goes_to_no_host_that_it_is_not_tied_to(node: Server) -> None:
    answered = await created(node, "https://api.example/v1", api_key_env="SOME_API_KEY")
    assert answered.status_code == 422
    assert "api_key_env" in answered.text


async def test_the_settings_name_the_hosts_and_their_keys(sqlite_url: str, new_server: Any) -> None:
    async with upstream(answer("with its key")) as served, upstream(answer("no")) as other:
        place = served.url.removeprefix("http://").removesuffix("/v1")
        node = new_server(sqlite_url, UPSTREAM_HOSTS=f"{place}=OUR_API_KEY", OUR_API_KEY="sk-ours")
        for url, config in (
            (other.url, {}),
            ("https://api.example/v1", {}),
            (served.url, {"api_key_env": "OTHER_API_KEY"}),
        ):
            answered = await created(node, url, **config)
            assert answered.status_code == 422, answered.text
        session_id = await openai_session(node, served, api_key_env="OUR_API_KEY")
        async with enter("websocket", node, "alice", session_id) as alice:
            await alice.message("hello")
            assert (await alice.wait_event("stream_end"))["status"] == "complete"
        agent = (await created(node, served.url)).json()["id"]
        async with node.api("backend", "service") as api:
            change = {"config": {"base_url": other.url, "model": "m"}}
            assert (await api.patch(f"/api/chat/agents/{agent}", json=change)).status_code == 422
    assert served.keys == ["bearer sk-ours"]
    assert other.asked == []


async def test_this_machine_is_closed_to_a_node_that_others_reach(sqlite_url: str, new_server: Any) -> None:
    async with upstream(answer("mine")) as own, upstream(answer("no")) as other:
        node = new_server(
            sqlite_url, HOST="0.0.0.0", OPENAI_BASE_URL=own.url, OPENAI_MODEL="m", OPENAI_API_KEY="sk-own"
        )
        assert (await created(node, other.url)).status_code == 422
        assert (await created(node, other.url.replace("127.0.0.1", "localhost"))).status_code == 422
        session_id = await new_session(node, agent_id=2)
        async with enter("websocket", node, "alice", session_id) as alice:
            await alice.message("hello")
            assert (await alice.wait_event("stream_end"))["status"] == "complete"
    assert own.keys == ["bearer sk-own"]
    assert other.asked == []
