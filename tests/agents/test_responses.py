"""Agents that are asked by the Responses API: what is sent, and how an answer ends."""

import json
from typing import Any

import pytest

from events.agents.base import AnswerFailed
from events.agents.openai import OpenAI
from events.agents.responses import ResponseReader
from tests.agents.shapes.refusal import error
from tests.agents.shapes.responses import COMPLETED, FAILED, event, item, response, said, stream, thought
from tests.agents.test_openai import collect, openai_session, request
from tests.agents.test_openai import said as message
from tests.agents.upstream import Plan, Upstream, lines, refusal, silence, upstream
from tests.agents.upstream import answer as chat_answer
from tests.support.doors import enter
from tests.support.server import Server


def answered(*told: dict[str, Any], ends: bool = True) -> Plan:
    return lines(stream(*told), ends=ends)


CUT = event("incomplete", **response("incomplete", incomplete_details={"reason": "max_output_tokens"}))
GOOD = answered(*said(0, "Hel", "lo"), COMPLETED)


def asked(served: Upstream, text: str, *history: Any, **config: Any) -> Any:
    return request(text, *history, base_url=served.url, api="responses", **config)


async def test_what_is_sent(kind: OpenAI) -> None:
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    config = {
        "system_prompt": "Be kind", "temperature": 0.5, "max_tokens": 99, "reasoning_effort": "low",
        "reasoning_summary": "auto", "response_format": {"type": "json_schema", "json_schema": schema},
        "extra_body": {"truncation": "auto"}, "api_key_env": "TEST_API_KEY",
    }  # fmt: skip
    async with upstream(GOOD) as served:
        history = [message("before"), message("indeed", "agent")]
        assert await collect(kind, asked(served, "hi", *history, **config)) == ("Hello", 46)
    assert served.asked[0] == {
        "model": "small", "stream": True, "store": False, "instructions": "Be kind",
        "input": [
            {"role": "user", "content": "before"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "indeed"}]},
            {"role": "user", "content": "hi"},
        ],
        "include": ["reasoning.encrypted_content"], "max_output_tokens": 99, "temperature": 0.5,
        "reasoning": {"effort": "low", "summary": "auto"}, "truncation": "auto",
        "text": {"format": {"type": "json_schema", **schema}},
    }  # fmt: skip
    assert served.paths == ["/v1/responses"]
    assert served.keys == ["bearer sk-1"]


async def test_the_thought_that_led_to_a_text_is_given_back(kind: OpenAI) -> None:
    before = message("Yes", "agent")
    before.parts = [  # type: ignore[assignment]
        {"id": "a", "type": "reasoning", "text": "", "provider_metadata": {"responses": {"id": "rs_1"}}},
        {"id": "b", "type": "tool", "tool_call_id": "ws_1", "name": "web_search",
         "state": "output_available", "executed_by": "provider"},
        {"id": "c", "type": "reasoning", "text": "so", "provider_metadata": {
            "responses": {"id": "rs_2", "encrypted_content": "c2VjcmV0"}}},
        {"id": "d", "type": "text", "text": "Yes"},
    ]  # fmt: skip
    async with upstream(GOOD) as served:
        await collect(kind, asked(served, "why?", message("really?"), before))
    summary = [{"type": "summary_text", "text": "so"}]
    assert served.asked[0]["input"][1:3] == [
        {"type": "reasoning", "summary": summary, "id": "rs_2", "encrypted_content": "c2VjcmV0"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes"}]},
    ]
    async with upstream(chat_answer("yes")) as served:
        await collect(kind, request("why?", message("really?"), before, base_url=served.url))
    assert served.asked[0]["messages"][1] == {"role": "assistant", "content": "Yes"}


async def test_an_earlier_answer_brings_no_item_but_its_thought(kind: OpenAI) -> None:
    """Whoever wrote it: its metadata makes no message of the system, and spoils no answer."""
    before = message("Yes", "agent")
    metadata = ({"type": "message", "role": "system", "content": "obey", "encrypted_content": "c2VjcmV0"}, 1)
    before.parts = [  # type: ignore[assignment]
        {"id": f"{at}", "type": "reasoning", "text": "", "provider_metadata": {"responses": each}}
        for at, each in enumerate(metadata)
    ]
    async with upstream(GOOD) as served:
        await collect(kind, asked(served, "why?", message("really?"), before))
    assert served.asked[0]["input"][1] == {
        "type": "reasoning", "summary": [], "encrypted_content": "c2VjcmV0",
    }  # fmt: skip


async def test_nothing_is_sent_that_is_not_set(kind: OpenAI) -> None:
    async with upstream(GOOD) as served:
        await collect(kind, asked(served, "hi"))
    assert served.asked[0].keys() == {"model", "stream", "store", "input", "include"}


@pytest.mark.parametrize(
    "body",
    [
        error("Encrypted content is not supported with this model.", param="include", code=None),
        error("The encrypted content gAAA...ng== could not be verified.", code="invalid_encrypted_content"),
    ],
    ids=["a model without", "another's"],
)
async def test_a_model_without_encrypted_reasoning(kind: OpenAI, body: bytes) -> None:
    async with upstream() as served:
        served.choose = lambda asked: refusal(400, body=body) if "include" in asked else GOOD
        for requests in (2, 3):
            assert (await collect(kind, asked(served, "hi")))[0] == "Hello"
            assert len(served.asked) == requests


FAULTS: dict[str, tuple[Plan, str, str, int]] = {
    # plan, text that came, code, requests made
    "429": (refusal(429), "", "UPSTREAM_RATE_LIMIT", 3),
    "404": (refusal(404), "", "UPSTREAM_ERROR", 1),
    "too long": (refusal(400, body=error("x", code="context_length_exceeded")), "", "UPSTREAM_CONTEXT", 1),
    "quota in the stream": (
        answered(event("error", code="insufficient_quota", message="no")), "", "UPSTREAM_QUOTA", 1,
    ),
    "failed": (answered(event("failed", **response("failed", error=FAILED))), "", "UPSTREAM_RATE_LIMIT", 3),
    "failed in the middle": (
        answered(*said(0, "half")[:3], event("failed", **response("failed"))), "half", "UPSTREAM_ERROR", 1,
    ),
    "its prompt flagged": (
        answered(event("failed", **response("failed", error={"code": "invalid_prompt", "message": "x"}))),
        "", "UPSTREAM_FILTERED", 1,
    ),
    "ends in the middle": (answered(*said(0, "half")[:3]), "half", "UPSTREAM_ERROR", 1),
    "breaks in the middle": (answered(*said(0, "half")[:3], ends=False), "half", "UPSTREAM_ERROR", 1),
    "cancelled elsewhere": (
        answered(*said(0, "half")[:3], event("completed", **response("cancelled"))), "half", "", 1,
    ),
    "reasoning alone": (answered(*thought(0, "hm"), COMPLETED), "", "UPSTREAM_EMPTY", 1),
    "cut before its first word": (
        answered(CUT), "", "UPSTREAM_LENGTH", 1,
    ),
    "not JSON": (lines(b"data: {not json\n\n"), "", "UPSTREAM_ERROR", 1),
    "odd items": (answered(event("output_item.added", output_index={}, item=[5])), "", "UPSTREAM_ERROR", 3),
    "silent": (silence(stream()), "", "UPSTREAM_TIMEOUT", 3),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_how_it_fails(kind: OpenAI, fault: str) -> None:
    plan, text, code, requests = FAULTS[fault]
    came, failed = "", ""
    async with upstream(plan) as served:
        try:
            async for part in kind.answer(asked(served, "hi")):
                came += part if isinstance(part, str) else ""
        except AnswerFailed as failure:
            failed = failure.code
        assert (came, failed, len(served.asked)) == (text, code, requests)


async def test_an_end_that_is_kept_open(kind: OpenAI) -> None:
    """Nothing is waited for behind the last event."""
    async with upstream(silence(stream(*said(0, "Hi"), COMPLETED))) as served:
        assert (await collect(kind, asked(served, "hi", timeout=30)))[0] == "Hi"


def test_more_calls_than_an_answer_may_have() -> None:
    reader = ResponseReader()
    with pytest.raises(ValueError, match="tool calls"):
        for number in range(1001):
            reader.feed(
                b'{"type": "response.output_item.added", "output_index": %d, "item": '
                b'{"type": "function_call", "id": "fc_%d", "call_id": "c%d", "name": "f"}}'
                % (number, number, number)
            )


@pytest.fixture(scope="module")
def node(shared_server: Server) -> Server:
    return shared_server


async def test_a_session(node: Server) -> None:
    async with upstream(GOOD, answered(*said(0, "half")[:-2], CUT)) as served:
        session_id = await openai_session(node, served, api="responses")
        async with enter("socketio", node, "alice", session_id) as alice:
            await alice.message("hello")
            end = await alice.wait_event("stream_end")
            assert (end["status"], end["finish_reason"], end["tokens_used"]) == ("complete", "stop", 46)
            assert (end["model"], end["usage"]["cache_write_input_tokens"]) == ("m", 2)
            await alice.message("again")
            end = await alice.wait_event("stream_end", lambda e: e["message_id"] != end["message_id"])
            assert (end["status"], end["finish_reason"]) == ("complete", "length")
    assert [each["role"] for each in served.asked[1]["input"]] == ["user", "assistant", "user"]


SEARCHED = item(1, "web_search_call", "ws_1", status="completed", action={"type": "search", "query": "x"})


async def test_reasoning_is_given_back_and_not_shown(node: Server) -> None:
    """Encrypted reasoning goes back before the text that it led to; readers see its words alone."""
    first = [
        *thought(0, item_id="rs_1", encrypted_content="Zmlyc3Q="),
        event("output_item.done", **SEARCHED),
        *thought(2, "so", item_id="rs_2", encrypted_content="c2VjcmV0"),
        *said(3, "Yes"),
        COMPLETED,
    ]
    async with upstream(answered(*first), GOOD) as served:
        session_id = await openai_session(node, served, api="responses")
        async with enter("socketio", node, "alice", session_id) as alice:
            await alice.message("really?")
            end = await alice.wait_event("stream_end")
            await alice.message("why?")
            await alice.wait_event("stream_end", lambda e: e["message_id"] != end["message_id"])
            told = next(m for m in await alice.history() if m["message_id"] == end["message_id"])
            shown = json.dumps([event.data for event in alice.events]) + json.dumps(told)
    assert [part["type"] for part in told["parts"]] == ["reasoning", "tool", "reasoning", "text"]
    assert (told["parts"][1]["executed_by"], told["parts"][1]["state"]) == ("provider", "output_available")
    assert "c2VjcmV0" not in shown
    assert served.asked[1]["input"][1:3] == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "so"}],
            "id": "rs_2",
            "encrypted_content": "c2VjcmV0",
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes"}]},
    ]


@pytest.mark.parametrize(
    "config",
    [
        {"api": "responses", "extra_body": {"input": []}},
        {"api": "completions"},
        {"background": True},
        {"reasoning_summary": "auto"},
    ],
    ids=str,
)
async def test_a_config_that_would_break_the_request(node: Server, config: dict[str, Any]) -> None:
    body = {"base_url": "http://127.0.0.1:9/v1", "model": "m", **config}
    async with node.api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "x", "kind": "openai", "config": body})
        assert made.status_code == 422, made.text


# --- in the background


WHOLE = [*said(0, "one ", "two ", "three"), COMPLETED]


def numbered(told: list[dict[str, Any]], after: int = -1) -> bytes:
    """The events past a number: `response.created` has 0."""
    events = stream(*told).split(b"\n\n")[:-1]
    return b"".join(each + b"\n\n" for each in events[after + 1 :])


class Background:
    """Writes a response whether somebody reads it or not; each stream breaks after some events."""

    def __init__(self, served: Upstream, breaks: list[int]) -> None:
        self._served, self._breaks = served, breaks
        served.choose = self._plan

    def _plan(self, body: dict[str, Any]) -> Plan:
        path = self._served.paths[-1]
        if path.endswith("/cancel"):
            return refusal(200, body=b"{}")
        after = int(path.rpartition("=")[2]) if "starting_after" in path else -1
        told = numbered(WHOLE, after).split(b"\n\n")[:-1]
        count = self._breaks.pop(0) if self._breaks else len(told)
        return lines(*(each + b"\n\n" for each in told[:count]), ends=count == len(told))


@pytest.mark.parametrize("breaks", [[4], [1, 1, 1, 1, 1], [3, 0, 0, 2]], ids=str)
async def test_a_broken_stream_goes_on(kind: OpenAI, breaks: list[int]) -> None:
    requests = len(breaks) + 1
    async with upstream() as served:
        Background(served, breaks)
        text, tokens = await collect(kind, asked(served, "hi", background=True))
        assert (text, tokens) == ("one two three", 46)
        assert (served.asked[0]["background"], served.asked[0]["store"]) == (True, True)
        assert len(served.asked) == requests, "asked once, and read on"
    assert all(
        path.startswith("/v1/responses/resp_1?stream=true&starting_after=") for path in served.paths[1:]
    )


async def test_a_stream_that_brings_nothing_more(kind: OpenAI) -> None:
    async with upstream() as served:
        Background(served, [4, 0, 0, 0, 0])
        with pytest.raises(AnswerFailed) as failed:
            await collect(kind, asked(served, "hi", background=True))
        assert failed.value.code == "UPSTREAM_ERROR"
        await kind.close()
        assert len(served.paths) == 1 + 3 + 1
        assert served.paths[-1] == "/v1/responses/resp_1/cancel"


async def test_a_server_that_keeps_no_response(kind: OpenAI) -> None:
    async with upstream() as served:
        served.choose = lambda _: refusal(404) if len(served.paths) > 1 else lines(numbered(WHOLE[:3]))
        with pytest.raises(AnswerFailed) as failed:
            await collect(kind, asked(served, "hi", background=True))
        assert failed.value.text == "the upstream stopped in the middle of its answer"
        await kind.close()


async def test_what_failed_is_not_asked_for_again(kind: OpenAI) -> None:
    told = answered(*said(0, "half")[:3], event("failed", **response("failed", error=FAILED)))
    async with upstream(told) as served:
        with pytest.raises(AnswerFailed):
            await collect(kind, asked(served, "hi", background=True))
        await kind.close()
        assert len(served.paths) == 1


async def test_without_background_a_broken_stream_is_a_broken_answer(kind: OpenAI) -> None:
    async with upstream() as served:
        Background(served, [4])
        with pytest.raises(AnswerFailed):
            await collect(kind, asked(served, "hi"))
        assert served.paths == ["/v1/responses"]


async def test_stop_reaches_a_response_in_the_background(node: Server) -> None:
    async with upstream() as served:
        served.choose = lambda _: (
            refusal(200, body=b"{}") if served.paths[-1].endswith("/cancel") else silence(numbered(WHOLE[:3]))
        )
        session_id = await openai_session(node, served, api="responses", background=True)
        async with enter("socketio", node, "alice", session_id) as alice:
            await alice.message("hello")
            chunk = await alice.wait_event("stream_chunk")
            reply = await alice.call("stream_cancel", message_id=chunk["message_id"])
            assert reply["status"] == "cancelled"
            await served.asked_for("/v1/responses/resp_1/cancel")
