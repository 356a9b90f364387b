"""Answers of every kind and every end, as OpenAI's own libraries put them together."""

import asyncio
import json
from typing import Any

import openai
import pytest

from server.dialects.answerlines import ToldInFrames
from server.dialects.openai.chunks import ChatChunks
from server.transports.eventstream import COMMENT, RETRY
from tests.doors.test_openai import ASKED, QUESTION, history, library, working
from tests.doors.test_openai_tools import answer_with_a_call, go_on
from tests.support.doors import enter, new_session
from tests.support.server import ROOT, Server
from tests.support.services import program

JS = ROOT / "tests" / "js"


async def test_parts_in_a_stream_and_in_a_whole_answer(parley: Server) -> None:
    """Thoughts, the agent's own tools and sources; the library's helper puts them together."""
    asked: Any = [{"role": "user", "content": "/parts"}]
    async with library(parley) as client:
        async with client.chat.completions.stream(model="Echo", messages=asked) as stream:
            async for _ in stream:
                pass
            streamed = await stream.get_final_completion()
        whole = await client.chat.completions.create(model="Echo", messages=asked)
    session_id = whole.metadata["session_id"]  # type: ignore[attr-defined]
    stored = (await history(parley, session_id))[-1]
    thought = next(part["text"] for part in stored["parts"] if part["type"] == "reasoning")
    for answer in (streamed, whole):
        choice = answer.choices[0]
        message: Any = choice.message
        assert (message.content, choice.finish_reason) == (stored["content"], "stop")
        assert message.reasoning_content == thought
        assert not message.tool_calls  # the agent has called them: its client is to call none
        found, failed = message.agent_tool_calls
        assert (found["id"], found["function"]["name"]) == ("call-1", "look_up")
        assert json.loads(found["function"]["arguments"]) == {"word": "parts"}
        assert (found["state"], failed["state"]) == ("output_available", "output_error")
        assert "source" in found["output"]["parts"]
        (note,) = message.annotations
        citation = note["url_citation"] if isinstance(note, dict) else note.url_citation.model_dump()
        assert (citation["title"], citation["url"]) == (
            "Markdown in a minute",
            "https://commonmark.org/help/",
        )


async def test_a_tool_of_the_callers_is_a_tool_call(parley: Server) -> None:
    tool = {
        "type": "tool", "id": "t1", "tool_call_id": "call-9", "name": "pick", "input": {"of": 2},
        "state": "input_available", "executed_by": "client",
    }  # fmt: skip
    async with working(parley) as (worker, model), library(parley) as client:
        for stream in (True, False):
            asking = asyncio.create_task(_message(client, model=model, messages=ASKED, stream=stream))
            request = await worker.request()
            where = await begun(worker, request)
            await worker.call("stream_part", **where, index=0, part=tool)
            await worker.call("stream_end", **where, finish_reason="tool_calls")
            choice = await asking
            (call,) = choice.message.tool_calls
            called = (call.id, call.function.name, call.function.arguments)
            assert called == (f"call-9@{where['message_id']}", "pick", '{"of":2}')
            assert choice.finish_reason == "tool_calls"


async def _message(client: openai.AsyncOpenAI, *, stream: bool, **asked: Any) -> Any:
    """The one choice of a whole answer."""
    if not stream:
        return (await client.chat.completions.create(**asked)).choices[0]
    async with client.chat.completions.stream(**asked) as told:
        return (await told.get_final_completion()).choices[0]


async def begun(worker: Any, request: dict[str, Any]) -> dict[str, Any]:
    answer = await worker.begin(request)
    return {"session_id": request["session_id"], "message_id": answer["message_id"]}


ENDS: list[tuple[dict[str, Any], str, int]] = [
    ({"status": "interrupted"}, "interrupted", 502),
    ({"status": "cancelled"}, "cancelled", 409),
    ({"status": "failed", "error": {"code": "MODEL_DOWN", "message": "no model"}}, "MODEL_DOWN", 502),
    ({"status": "failed", "error": {"code": "AGENT_UNAVAILABLE"}}, "AGENT_UNAVAILABLE", 503),
    ({"finish_reason": "error"}, "failed", 502),
]


@pytest.mark.parametrize(("end", "code", "status"), ENDS, ids=lambda value: str(value)[:40])
async def test_an_answer_that_is_not_whole_is_an_error(
    parley: Server, end: dict[str, Any], code: str, status: int
) -> None:
    """A clean end would be taken for success. Nor does the library ask again by itself: that would be
    another question."""
    async with working(parley) as (worker, model), library(parley, max_retries=2) as client:
        session_id = await new_session(parley, agent_id=int(model))
        asked: dict[str, Any] = {
            "model": model,
            "messages": ASKED,
            "extra_body": {"conversation": session_id},
        }
        told: list[str] = []

        async def read() -> None:
            async for chunk in await client.chat.completions.create(**asked, stream=True):
                told.append(chunk.choices[0].delta.content or "")

        for call in (read(), client.chat.completions.create(**asked)):
            asking = asyncio.ensure_future(call)  # type: ignore[arg-type]
            where = await begun(worker, await worker.request())
            await worker.call("stream_chunk", **where, index=0, content="So far")
            await worker.call("stream_end", **where, **end)
            with pytest.raises(openai.APIError) as failed:
                await asking
            body: Any = failed.value.body
            assert (failed.value.code, body["message_id"]) == (code, where["message_id"])
        assert "".join(told) == "So far"
        assert isinstance(failed.value, openai.APIStatusError)
        assert failed.value.status_code == status
        assert len(await history(parley, session_id)) == 4


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_waits_for_people_is_not_whole(parley: Server, stream: bool) -> None:
    """A program has nobody to ask. It goes on with whoever answers in the session."""
    async with working(parley) as (worker, model), library(parley) as client:
        asking = asyncio.create_task(_message(client, model=model, messages=ASKED, stream=stream))
        where = await begun(worker, await worker.request())
        asked = [{"id": "pay", "reason": "confirmation", "message": "Pay?"}]
        assert (await worker.call("stream_wait", **where, interrupts=asked))["ok"]
        with pytest.raises(openai.APIError) as waits:
            await asking
        assert waits.value.code == "waiting"
        body: Any = waits.value.body
        assert (await history(parley, body["session_id"]))[-1]["status"] == "waiting"


async def test_what_was_told_and_is_so_no_more_is_an_error(parley: Server) -> None:
    """A producer may write a text anew; a chunk cannot be taken back."""
    async with working(parley) as (worker, model), library(parley) as client:
        stream = asyncio.create_task(client.chat.completions.create(model=model, messages=ASKED, stream=True))
        where = await begun(worker, await worker.request())
        await worker.call("stream_chunk", **where, index=0, content="Wrong", part="t")
        told = await stream
        seen = [(await anext(told)).choices[0].delta.content, (await anext(told)).choices[0].delta.content]
        assert seen == ["", "Wrong"]
        part = {"type": "text", "id": "t", "text": "Right"}
        await worker.call("stream_part", **where, index=1, part=part)
        await worker.call("stream_end", **where)
        with pytest.raises(openai.APIError) as changed:
            async for _ in told:
                pass
        assert changed.value.code == "ANSWER_CHANGED"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_why_an_answer_ended(parley: Server, reason: str) -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "reasoning_tokens": 2, "cached_input_tokens": 5}
    async with working(parley) as (worker, model), library(parley) as client:
        asking = asyncio.create_task(client.chat.completions.create(model=model, messages=ASKED))
        where = await begun(worker, await worker.request())
        await worker.call("stream_chunk", **where, index=0, content="Half of")
        await worker.call("stream_end", **where, finish_reason=reason, usage=usage, model="gpt-x")
        answer = await asking
    assert (answer.choices[0].finish_reason, answer.model) == (reason, model)
    assert answer.usage is not None
    told = answer.usage.model_dump(exclude_none=True)
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (7, 3, 10)
    assert told["prompt_tokens_details"]["cached_tokens"] == 5
    assert told["completion_tokens_details"]["reasoning_tokens"] == 2


async def test_a_client_that_goes_does_not_stop_the_answer(parley: Server) -> None:
    """It stops by name: the completion's id is the message's."""
    session_id = await new_session(parley, agent_id=1)
    asked: dict[str, Any] = {"model": "Echo", "stream": True, "extra_body": {"conversation": session_id}}
    async with enter("socketio", parley, "alice", session_id) as alice, library(parley) as client:
        gone = await client.chat.completions.create(**asked, messages=ASKED)
        await anext(gone)
        await gone.close()
        assert (await alice.wait_event("stream_end"))["status"] == "complete"
        assert (await alice.history())[-1]["content"] == QUESTION
        long: Any = [{"role": "user", "content": QUESTION * 100}]
        stopped = await client.chat.completions.create(**asked, messages=long)
        first = await anext(stopped)
        await client.post(f"{parley.url}/api/chat/streams/{first.id}/cancel", cast_to=object)
        with pytest.raises(openai.APIError) as cancelled:
            async for _ in stopped:
                pass
        assert cancelled.value.code == "cancelled"


async def test_comments_keep_a_stream_awake() -> None:
    """They go through to the client, to which they say nothing; other lines do not."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message["body"])

    chunks = ChatChunks("Echo", "sess_1", 0, with_usage=False)
    told = ToldInFrames(send, chunks)
    for body, more in ((RETRY, True), (COMMENT, True), (b"", False)):
        await told({"type": "http.response.body", "body": body, "more_body": more})
    comment, end = sent
    assert comment == COMMENT
    assert json.loads(end.removeprefix(b"data: "))["error"]["code"] == "CUT_OFF"


async def test_the_javascript_library(parley: Server) -> None:
    """The same through `openai` of npm."""
    async with working(parley) as (worker, model):
        command = [program("node"), "openai.mjs", f"{parley.url}/v1", parley.token(), model]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=JS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(2):
            await answer_with_a_call(worker)
            await go_on(worker)
        for _ in range(4):
            where = await begun(worker, await worker.request())
            await worker.call("stream_chunk", **where, index=0, content="So far")
            await worker.call("stream_end", **where, status="interrupted")
        output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    seen = json.loads(output)
    assert seen["streamed_error"] == seen["whole_error"] == "interrupted"
    assert seen["ran"] == seen["ran_streamed"] == "The second."
    assert seen["streamed_text"] == "So far"
    assert seen["failed"] == ["failed", "interrupted", "So far"]
    assert seen["response_error"] == "interrupted"
    for answer in seen["responses"]:
        stored = (await history(parley, answer["session_id"]))[-1]
        assert (answer["status"], answer["output_text"]) == ("completed", stored["content"])
        assert answer["output"] == ["reasoning", "mcp_call", "mcp_call", "message"]
    assert seen["rest"] == seen["expected"]
    assert seen["again"] == stored["content"]
    assert "Echo" in seen["models"]
    for how in ("whole", "streamed"):
        answer = seen[how]
        stored = (await history(parley, answer["session_id"]))[-1]
        assert (answer["content"], answer["finish_reason"]) == (stored["content"], "stop")
        assert answer["tool_calls"] == 0
    assert seen["whole"]["reasoning"].startswith("They want to see")
    assert seen["not_found"] == ["NotFoundError", "AGENT_NOT_FOUND"]
    assert seen["unauthorized"] == "AuthenticationError"
    assert seen["usage"] > 0
