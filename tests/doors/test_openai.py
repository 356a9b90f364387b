"""OpenAI's own Python library, unmodified, at `/v1`: what it asks, and what it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from tests.agents.worker import Worker
from tests.support.doors import enter, new_session
from tests.support.server import Server
from tests.support.web import web_client

QUESTION = "what is the meaning of all this, please?"
ASKED: Any = [{"role": "user", "content": QUESTION}]
CALLED = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def library(node: Server, sub: str = "alice", **options: Any) -> openai.AsyncOpenAI:
    options = {"api_key": node.token(sub), "max_retries": 0, **options}
    return openai.AsyncOpenAI(base_url=f"{node.url}/v1", **options)


@asynccontextmanager
async def working(node: Server, **settings: Any) -> AsyncIterator[tuple[Worker, str]]:
    """A worker under the test's control, and its agent as a model."""
    async with node.api("backend", "service") as api:
        made = (
            await api.post("/api/chat/agents", json={"name": "Mine", "kind": "remote", **settings})
        ).json()
    async with Worker(node, made["id"]) as worker:
        yield worker, str(made["id"])


async def history(node: Server, session_id: str) -> list[dict[str, Any]]:
    async with node.api() as api:
        messages: list[dict[str, Any]] = (await api.get(f"/api/chat/sessions/{session_id}/messages")).json()[
            "messages"
        ]
        return messages


async def test_a_completion(either: Server) -> None:
    async with library(either) as client:
        answer = await client.chat.completions.create(model="Echo", messages=ASKED)
    (choice,) = answer.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (
        QUESTION,
        "assistant",
        "stop",
    )
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10
    assert answer.model == "Echo"
    asked, answered = await history(either, answer.metadata["session_id"])  # type: ignore[attr-defined]
    assert (asked["content"], asked["sender_id"]) == (QUESTION, "alice")
    assert (answered["message_id"], answered["content"]) == (answer.id, QUESTION)


async def test_a_stream_and_a_second_reader(parley: Server) -> None:
    """Who is in the session over Socket.IO sees the same answer."""
    session_id = await new_session(parley, agent_id=1, members=("bob",))
    async with enter("socketio", parley, "bob", session_id) as bob, library(parley) as client:
        told = [
            chunk
            async for chunk in await client.chat.completions.create(
                model="Echo",
                messages=ASKED,
                stream=True,
                stream_options={"include_usage": True},
                metadata={"session_id": session_id, "page": "7"},
            )
        ]
        end = await bob.wait_event("stream_end")
        seen = "".join(chunk["content"] for chunk in bob.named("stream_chunk"))
        sent = await bob.wait_event("message")
    first, *between, last, usage = told
    assert first.choices[0].delta.role == "assistant"
    assert first.metadata == {"session_id": session_id}  # type: ignore[attr-defined]
    assert len(between) > 1
    assert "".join(chunk.choices[0].delta.content or "" for chunk in between) == seen == QUESTION
    assert (last.choices[0].finish_reason, usage.choices) == ("stop", [])
    assert usage.usage is not None
    assert usage.usage.total_tokens == end["tokens_used"]
    assert {chunk.id for chunk in told} == {end["message_id"]}
    assert sent["metadata"] == {"page": "7"}


async def test_the_conversation_goes_on_in_its_session(parley: Server) -> None:
    """A program that keeps the conversation may send it along, as it was; what is otherwise is refused."""
    async with library(parley) as client:
        conversation: list[Any] = [{"role": "system", "content": "Be brief."}, *ASKED]
        first = await client.chat.completions.create(model="Echo", messages=conversation)
        session: Any = {"conversation": first.metadata["session_id"]}  # type: ignore[attr-defined]
        conversation += [first.choices[0].message.model_dump(exclude_none=True)]
        conversation += [{"role": "user", "content": [{"type": "text", "text": "And then?"}]}]
        second = await client.chat.completions.create(model="Echo", messages=conversation, extra_body=session)
        last: Any = [{"role": "user", "content": "Why?"}]
        third = await client.chat.completions.create(model="1", messages=last, extra_body=session)
        assert third.choices[0].message.content == "Why?"
        for messages in (conversation, [{"role": "system", "content": "Be long."}, *last]):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.chat.completions.create(model="Echo", messages=messages, extra_body=session)
            assert refused.value.param == "messages"
    texts = [m["content"] for m in await history(parley, second.metadata["session_id"])]  # type: ignore[attr-defined]
    assert texts == ["Be brief.", QUESTION, QUESTION, "And then?", "And then?", "Why?", "Why?"]


async def test_what_was_said_before_is_what_the_agent_is_told(either: Server) -> None:
    """In a session that begins with it. A `system` message of a user's has a user's weight."""
    before: list[Any] = [{"role": "developer", "content": "Be brief."}]
    for number in range(3):
        before += [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}]
    async with working(either) as (worker, model), library(either) as client:
        asking = asyncio.create_task(client.chat.completions.create(model=model, messages=[*before, *ASKED]))
        request = await worker.request()
        message_id = await worker.write(request, "So it ", "is.")
        answer = await asking
    told = [(each["sender_type"], each["content"]) for each in request["history"]]
    assert told == [("user", "Be brief.")] + [
        (who, f"{letter}{number}") for number in range(3) for who, letter in (("user", "q"), ("agent", "a"))
    ]
    assert request["message"]["content"] == QUESTION
    assert (answer.id, answer.choices[0].message.content) == (message_id, "So it is.")


async def test_a_picture_is_part_of_the_question(parley: Server) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    asked: Any = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}]
    async with library(parley) as client:
        answer = await client.chat.completions.create(model="Echo", messages=asked)
        picture["image_url"]["url"] = "data:image/png;base64,AAAA"  # type: ignore[index]
        with pytest.raises(openai.BadRequestError, match="http"):
            await client.chat.completions.create(model="Echo", messages=asked)
    asked_for, _ = await history(parley, answer.metadata["session_id"])  # type: ignore[attr-defined]
    text, file = asked_for["parts"]
    assert text["text"] == "What is this?"
    assert (file["url"], file["media_type"]) == ("https://example.com/a.png", "image/png")


async def test_models(parley: Server) -> None:
    async with library(parley) as client:
        names = [model.id async for model in client.models.list()]
        assert "Echo" in names
        assert len(set(names)) == len(names)
        assert (await client.models.retrieve("Echo")).id == "Echo"
        for call in (
            client.models.retrieve("nobody"),
            client.chat.completions.create(model="nobody", messages=ASKED),
        ):
            with pytest.raises(openai.NotFoundError) as missing:
                await call
            assert (missing.value.code, missing.value.param) == ("AGENT_NOT_FOUND", "model")


async def test_two_agents_of_one_name_are_told_apart_by_their_ids(parley: Server) -> None:
    twins = working(parley, name="Twin"), working(parley, name="Twin")
    async with twins[0] as (_, one), twins[1] as (_, other), library(parley) as client:
        names = [model.id async for model in client.models.list()]
        assert {one, other} <= set(names)
        assert "Twin" not in names
        with pytest.raises(openai.BadRequestError, match="ids distinguish them"):
            await client.models.retrieve("Twin")


async def test_a_repeat_with_its_key_is_the_same_question(either: Server) -> None:
    """Also where its first try made the session, and was given up."""
    key = {"Idempotency-Key": f"key-{either.port}"}
    messages: Any = [{"role": "user", "content": "before"}, {"role": "assistant", "content": "so"}, *ASKED]
    async with library(either) as client:
        asking = await client.chat.completions.create(
            model="Echo", messages=messages, stream=True, extra_headers=key
        )
        async for _ in asking:
            break
        await asking.close()
        again = await client.chat.completions.create(model="Echo", messages=messages, extra_headers=key)
        session: Any = {"conversation": again.metadata["session_id"]}  # type: ignore[attr-defined]
        once_more = await client.chat.completions.create(
            model="Echo", messages=messages, extra_headers=key, extra_body=session
        )
    assert again.id == once_more.id
    assert again.choices[0].message.content == once_more.choices[0].message.content == QUESTION
    assert [m["content"] for m in await history(either, session["conversation"])] == [
        "before", "so", QUESTION, QUESTION,
    ]  # fmt: skip
    async with library(either) as client:
        # What brings more along is another question: nothing is put behind what was said.
        more: Any = [*messages[:-1], {"role": "assistant", "content": "indeed"}, *ASKED]
        another = await client.chat.completions.create(model="Echo", messages=more, extra_headers=key)
    assert another.metadata["session_id"] != session["conversation"]  # type: ignore[attr-defined]
    assert len(await history(either, session["conversation"])) == 4
    async with library(either, "bob") as client:
        other = await client.chat.completions.create(model="Echo", messages=messages, extra_headers=key)
    assert other.id != again.id


async def test_sessions_and_rights_are_those_of_every_door(parley: Server) -> None:
    session_id = await new_session(parley, agent_id=1, viewers=("vera",))
    body: Any = {"conversation": session_id}
    link = parley.token("guest", sessions=[session_id])
    cases: list[tuple[dict[str, Any], type[openai.APIStatusError], str]] = [
        ({"sub": "mallory"}, openai.NotFoundError, "SESSION_NOT_FOUND"),
        ({"sub": "vera"}, openai.PermissionDeniedError, "FORBIDDEN"),
        ({"api_key": link}, openai.PermissionDeniedError, "FORBIDDEN"),
        ({"api_key": "nonsense"}, openai.AuthenticationError, "UNAUTHORIZED"),
    ]
    for who, kind, code in cases:
        async with library(parley, **who) as client:
            with pytest.raises(kind) as refused:
                await client.chat.completions.create(model="Echo", messages=ASKED, extra_body=body)
            assert refused.value.code == code
            assert refused.value.type in ("invalid_request_error", "permission_error", "authentication_error")
    async with working(parley) as (_, model), library(parley) as client:
        with pytest.raises(openai.BadRequestError) as other:
            await client.chat.completions.create(model=model, messages=ASKED, extra_body=body)
        assert other.value.param == "model"
    assert await history(parley, session_id) == []


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "assistant", "content": "so"}]}, "messages"),
        ({"messages": [*ASKED, {"role": "tool", "tool_call_id": "1", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 1001}]}, "messages"),
        ({"messages": [*[{"role": "assistant", "tool_calls": [CALLED] * 100}] * 11, *ASKED]}, "messages"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://["}}]}
                ]
            },
            "messages[0].content",
        ),
    ],
)
async def test_what_cannot_be_done_is_refused(parley: Server, asked: dict[str, Any], param: str) -> None:
    """Where leaving it out would give another answer than was asked for."""
    async with library(parley) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**{"model": "Echo", "messages": ASKED, **asked})
        assert refused.value.param == param
        answer = await client.chat.completions.create(  # how a model is asked is its agent's setting
            model="Echo", messages=ASKED, temperature=0.3, max_completion_tokens=3, seed=1, user="u"
        )
        assert answer.choices[0].message.content == QUESTION


async def test_the_library_waits_for_a_busy_agent(parley: Server) -> None:
    """It repeats what may succeed, after the time that it is told; and nothing else."""
    async with working(parley, when_busy="reject") as (worker, model):
        session_id = await new_session(parley, agent_id=int(model))
        body: Any = {"conversation": session_id}
        async with enter("websocket", parley, "alice", session_id) as alice:
            await alice.message("first")
            first = await worker.request()
            async with library(parley) as impatient:
                with pytest.raises(openai.ConflictError) as busy:
                    await impatient.chat.completions.create(model=model, messages=ASKED, extra_body=body)
            headers = busy.value.response.headers
            assert (busy.value.code, headers["retry-after"], headers["x-should-retry"]) == (
                "AGENT_BUSY", "1", "true",
            )  # fmt: skip
            async with library(parley, max_retries=3) as patient:
                asking = asyncio.create_task(
                    patient.chat.completions.create(model=model, messages=ASKED, extra_body=body)
                )
                await worker.write(first, "one")
                await worker.write(await worker.request(), "two")
                assert (await asking).choices[0].message.content == "two"
                async with parley.api() as api:
                    await api.delete(f"/api/chat/sessions/{session_id}")
                with pytest.raises(openai.ConflictError) as archived:
                    await patient.chat.completions.create(model=model, messages=ASKED, extra_body=body)
    assert archived.value.code == "SESSION_ARCHIVED"
    assert archived.value.response.headers["x-should-retry"] == "false"
    assert archived.value.request.headers["x-stainless-retry-count"] == "0"


async def test_what_is_too_much_is_told_as_the_library_reads_it(sqlite_url: str, new_server: Any) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="1")
    async with library(node) as client:
        await client.chat.completions.create(model="Echo", messages=ASKED)
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="Echo", messages=ASKED, stream=True)
    headers = limited.value.response.headers
    assert (limited.value.code, limited.value.type) == ("RATE_LIMIT", "rate_limit_error")
    assert 0 < int(headers["retry-after"]) <= 60
    assert headers["x-should-retry"] == "true"


async def test_the_bytes_of_a_stream(parley: Server) -> None:
    """`data:` lines alone: a `retry:` or an `id:` with nothing behind it is a broken event to the library, as
    is one that a line's separator of Unicode has cut in two."""
    asked = {
        "model": "Echo",
        "stream": True,
        "messages": [{"role": "user", "content": "a\u2028b\u2029c\x85d\r\ne"}],
    }
    async with parley.api() as api:
        answer = await api.post("/v1/chat/completions", json=asked)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, done, nothing = answer.text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    assert all(event.startswith("data: {") and len(event.splitlines()) == 1 for event in events)
    async with library(parley) as client:
        told = [chunk async for chunk in await client.chat.completions.create(**asked)]  # type: ignore[call-overload]
    assert "".join(c.choices[0].delta.content or "" for c in told) == asked["messages"][0]["content"]  # type: ignore[index]


async def test_no_page_of_another_origin(parley: Server) -> None:
    headers = {"Authorization": f"Bearer {parley.token()}", "Origin": "https://elsewhere.example"}
    async with web_client(base_url=parley.url, headers=headers) as page:
        refused = await page.get("/v1/models")
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")
