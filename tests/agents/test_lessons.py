"""What a refusal teaches: the same question is asked again as the model accepts it, the next one at once."""

import asyncio
from typing import Any

import pytest

from events.agents.base import AnswerFailed
from events.agents.openai import OpenAI
from tests.agents.shapes.errors import ERRORS
from tests.agents.shapes.refusal import Refused, error, forbidden
from tests.agents.test_openai import collect, request, said
from tests.agents.upstream import (
    Plan,
    answer,
    refusal,
    upstream,
)


def wants_turns(message: bytes) -> Any:
    """A template that refuses any other order, with these words."""

    def choose(body: dict[str, Any]) -> Plan:
        roles = [each["role"] for each in body["messages"]]
        if roles[0] == "system":
            del roles[0]
        if any(role != ("user", "assistant")[at % 2] for at, role in enumerate(roles)):
            return refusal(400, body=message)
        return answer("yes")

    return choose


OF_TURNS = [shape for shape in ERRORS if shape.kind == "turns"]
OF_CONTEXT = [shape for shape in ERRORS if shape.kind == "context"]


@pytest.mark.parametrize("shape", OF_TURNS, ids=lambda shape: f"{shape.server}: {shape.shows}")
async def test_turns_are_learnt_once(kind: OpenAI, shape: Refused) -> None:
    async with upstream() as served:
        served.choose = wants_turns(shape.body)
        asked = request("b", said("a"), base_url=served.url)
        assert (await collect(kind, asked))[0] == "yes"
        assert [each["content"] for each in served.asked[-1]["messages"]] == ["a\n\nb"]
        assert (await collect(kind, asked))[0] == "yes"
        assert len(served.asked) == 3, "the second question is asked in the right way at once"
        other = request("b", said("a"), base_url=served.url, model="other")
        assert (await collect(kind, other))[0] == "yes"
        assert len(served.asked) == 5, "another model is another template"


async def test_questions_at_the_same_time_learn_from_one_refusal(kind: OpenAI) -> None:
    """All are asked before the first refusal comes: none of them fails because another has learnt already."""
    refused = wants_turns(OF_TURNS[0].body)
    asked = asyncio.Barrier(3)

    def choose(body: dict[str, Any]) -> Plan:
        plan: Plan = refused(body)
        if len(body["messages"]) == 1:
            return plan

        async def together(writer: asyncio.StreamWriter) -> None:
            await asked.wait()
            await plan(writer)

        return together

    async with upstream() as served:
        served.choose = choose
        question = request("b", said("a"), base_url=served.url, first_token_timeout=10)
        answers = await asyncio.gather(*(collect(kind, question) for _ in range(3)))
        assert [text for text, _ in answers] == ["yes"] * 3
        assert len(served.asked) == 6


async def test_turns_as_they_are_set(kind: OpenAI) -> None:
    async with upstream() as served:
        served.choose = wants_turns(OF_TURNS[0].body)
        asked = request("b", said("a"), base_url=served.url, turns="alternate")
        assert (await collect(kind, asked))[0] == "yes"
        assert len(served.asked) == 1
        asked = request("b", said("a"), base_url=served.url, turns="as_is")
        with pytest.raises(AnswerFailed) as failed:
            await collect(kind, asked)
        assert (failed.value.code, len(served.asked)) == ("UPSTREAM_ERROR", 2)


async def test_a_model_without_a_system_role(kind: OpenAI) -> None:
    def choose(body: dict[str, Any]) -> Plan:
        if any(each["role"] == "system" for each in body["messages"]):
            return refusal(400, body=error("System role not supported", code=400))
        return answer("yes")

    async with upstream() as served:
        served.choose = choose
        assert (await collect(kind, request("a", base_url=served.url, system_prompt="p")))[0] == "yes"
        assert served.asked[-1]["messages"] == [{"role": "user", "content": "p\n\na"}]
        assert len(served.asked) == 2


async def test_fields_that_a_server_refuses_are_left_out(kind: OpenAI) -> None:
    limit = next(shape for shape in ERRORS if shape.kind == "max_tokens")

    def choose(body: dict[str, Any]) -> Plan:
        if "stream_options" in body:
            return refusal(422, body=forbidden("stream_options", "include_usage"))
        if "max_tokens" in body:
            return refusal(400, body=limit.body)
        return answer("yes")

    async with upstream() as served:
        served.choose = choose
        asked = request("a", base_url=served.url, max_tokens=9)
        for _ in range(2):
            assert (await collect(kind, asked))[0] == "yes"
            assert served.asked[-1]["max_completion_tokens"] == 9
        assert len(served.asked) == 4


async def test_what_teaches_nothing_is_not_asked_again(kind: OpenAI) -> None:
    async with upstream(refusal(400, body=OF_TURNS[0].body)) as served:
        with pytest.raises(AnswerFailed) as failed:
            await collect(kind, request("b", said("a"), base_url=served.url))
        assert (failed.value.code, len(served.asked)) == ("UPSTREAM_ERROR", 2)


# --- too long


def small_window(size: int, refused: bytes) -> Any:
    """A model whose window has so many characters."""

    def choose(body: dict[str, Any]) -> Plan:
        if sum(len(each["content"]) for each in body["messages"]) > size:
            return refusal(400, body=refused)
        return answer("yes")

    return choose


@pytest.mark.parametrize("shape", OF_CONTEXT, ids=lambda shape: f"{shape.server}: {shape.shows}")
async def test_a_conversation_that_is_too_long_is_cut(kind: OpenAI, shape: Refused) -> None:
    history = [said("x" * 400, sender) for sender in ("user", "agent")] * 20
    async with upstream() as served:
        served.choose = small_window(6000, shape.body)
        asked = request("now", *history, base_url=served.url)
        assert (await collect(kind, asked))[0] == "yes"
        messages = served.asked[-1]["messages"]
        assert messages[0]["role"] == "user"
        assert messages[-1]["content"] == "now"
        before = len(served.asked)
        assert 2 <= before <= 5
        assert (await collect(kind, asked))[0] == "yes"
        assert len(served.asked) == before + 1, "what fits is known now"


@pytest.mark.parametrize("shape", OF_CONTEXT, ids=lambda shape: f"{shape.server}: {shape.shows}")
async def test_a_question_that_is_too_long_says_so(kind: OpenAI, shape: Refused) -> None:
    history = [said("x" * 400, sender) for sender in ("user", "agent")] * 5
    async with upstream() as served:
        served.choose = small_window(500, shape.body)
        with pytest.raises(AnswerFailed) as failed:
            await collect(kind, request("y" * 600, *history, base_url=served.url))
        assert failed.value.code == "UPSTREAM_CONTEXT"
        assert len(served.asked) <= 6
        assert len(served.asked[-1]["messages"]) == 1, "the question was tried alone"
        assert (await collect(kind, request("short", *history, base_url=served.url)))[0] == "yes"


async def test_the_numbers_of_a_refusal_are_used(kind: OpenAI) -> None:
    """A window of 500 tokens, each of four characters: one cut is enough, and leaves little out."""

    def choose(body: dict[str, Any]) -> Plan:
        tokens = sum(len(each["content"]) // 4 + 4 for each in body["messages"])
        if tokens <= 500:
            return answer("yes")
        counts = {"n_prompt_tokens": tokens, "n_ctx": 500}
        return refusal(400, body=error("too long", type="exceed_context_size_error", **counts))

    history = [said("x" * 80, sender) for sender in ("user", "agent")] * 20
    async with upstream() as served:
        served.choose = choose
        assert (await collect(kind, request("now", *history, base_url=served.url)))[0] == "yes"
        assert len(served.asked) == 2
        assert 10 <= len(served.asked[-1]["messages"]) <= 16
