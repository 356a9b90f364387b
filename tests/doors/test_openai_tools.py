"""Programs with functions of their own, as OpenAI's documentation has them: they send the whole conversation
each time, and know of no session."""

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.agents.test_openai import openai_session
from tests.agents.toolservers import calling
from tests.agents.upstream import answer, upstream
from tests.agents.worker import Worker
from tests.doors.test_openai import history, library, working
from tests.support.doors import enter
from tests.support.server import Server

SPEC: dict[str, Any] = {
    "name": "pick",
    "description": "Picks one of several.",
    "parameters": {"type": "object", "properties": {"of": {"type": "integer"}}},
}
CALLED = {
    "type": "tool", "id": "t1", "tool_call_id": "call_9", "name": "pick", "input": {"of": 2},
    "state": "input_available", "executed_by": "client",
}  # fmt: skip
AWAITED = {"id": "i1", "reason": "tool_call", "tool_call_id": "call_9"}


class Program:
    """Asks, calls what it is told to call, and goes on with what that gave."""

    def __init__(self, client: openai.AsyncOpenAI, model: str, *, stream: bool) -> None:
        self._client, self._model, self._stream = client, model, stream
        self.said: list[Any] = []
        self.called: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.more: dict[str, Any] = {}

    async def ask(self, question: str) -> str:
        self.said.append({"role": "user", "content": question})
        while (text := await self._step()) is None:
            pass
        return text

    async def _step(self) -> str | None:
        raise NotImplementedError

    def _pick(self, arguments: str) -> str:
        self.called.append(json.loads(arguments))
        return json.dumps({"picked": self.called[-1]["of"]})


class Completions(Program):
    async def _step(self) -> str | None:
        asked: Any = {
            "model": self._model,
            "messages": self.said,
            "tools": [{"type": "function", "function": SPEC}],
            **self.more,
        }
        if self._stream:
            async with self._client.chat.completions.stream(**asked) as told:
                completion: Any = await told.get_final_completion()
        else:
            completion = await self._client.chat.completions.create(**asked)
        self.ids.append(completion.id)
        (choice,) = completion.choices
        self.said.append(choice.message.model_dump(exclude_none=True))
        for call in choice.message.tool_calls or ():
            output = self._pick(call.function.arguments)
            self.said.append({"role": "tool", "tool_call_id": call.id, "content": output})
        assert choice.finish_reason == ("tool_calls" if choice.message.tool_calls else "stop")
        return None if choice.message.tool_calls else choice.message.content


class Responses(Program):
    async def _step(self) -> str | None:
        asked: Any = {
            "model": self._model,
            "input": self.said,
            "tools": [{"type": "function", **SPEC}],
            **self.more,
        }
        if self._stream:
            async with self._client.responses.stream(**asked) as told:
                response: Any = await told.get_final_response()
        else:
            response = await self._client.responses.create(**asked)
        assert response.status == "completed"
        self.ids.append(response.id)
        self.said += [item.model_dump(exclude_none=True, warnings=False) for item in response.output]
        calls = [item for item in response.output if item.type == "function_call"]
        for call in calls:
            output = self._pick(call.arguments)
            self.said.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
        return None if calls else response.output_text


async def answer_with_a_call(worker: Worker) -> dict[str, Any]:
    """What is asked of the worker; it waits for what the tool gives."""
    request = await worker.request()
    message_id = await worker.write(request, "Let me see.", end=False)
    where = {"session_id": request["session_id"], "message_id": message_id}
    assert (await worker.call("stream_part", **where, index=1, part=CALLED))["ok"]
    assert (await worker.call("stream_wait", **where, interrupts=[AWAITED]))["ok"]
    return request


async def go_on(worker: Worker) -> dict[str, Any]:
    """The resumed request."""
    request = await worker.request()
    where = {"session_id": request["session_id"], "message_id": request["resume"]["message_id"]}
    index = (await worker.call("stream_start", **where, fence=request["fence"]))["next_index"]
    (asked,) = request["resume"]["interrupts"]
    done = {**CALLED, "state": "output_available", "output": asked["answer"]["payload"]}
    await worker.call("stream_part", **where, index=index, part=done)
    await worker.call("stream_chunk", **where, index=index + 1, content="The ", part="b")
    await worker.call("stream_chunk", **where, index=index + 2, content="second.", part="b")
    await worker.call("stream_end", **where)
    return request


@pytest.mark.parametrize("kind", [Completions, Responses])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_program_calls_its_own_functions(parley: Server, kind: type[Program], stream: bool) -> None:
    """The answer is one message, of which the program has one part before it calls, and one behind."""
    async with working(parley) as (worker, model), library(parley) as client:
        program = kind(client, model, stream=stream)
        asking = asyncio.create_task(program.ask("Which one?"))
        request = await answer_with_a_call(worker)
        assert request["tools"] == [SPEC]
        resumed = await go_on(worker)
        assert await asking == "The second."
        assert resumed["resume"]["interrupts"][0]["answer"]["payload"] == '{"picked": 2}'
        assert program.called == [{"of": 2}]
        assert len(set(program.ids)) == 2
        _, answered = await history(parley, request["session_id"])
        assert answered["content"] == "Let me see.\n\nThe second."
        # Each new question of a program without a session makes one, with all that was said before.
        asking = asyncio.create_task(program.ask("Why?"))
        again = await worker.request()
        assert again["session_id"] != request["session_id"]
        asked, said = again["history"]
        assert (asked["content"], said["content"]) == ("Which one?", "Let me see.\n\nThe second.")
        called = next(part for part in said["parts"] if part["type"] == "tool")
        assert (called["name"], called["input"], called["output"]) == ("pick", {"of": 2}, '{"picked": 2}')
        await worker.write(again, "Because.")
        assert await asking == "Because."


@pytest.mark.parametrize("kind", [Completions, Responses])
async def test_in_a_session_that_is_there(parley: Server, tmp_path: Path, kind: type[Program]) -> None:
    """With an agent of Parley's own, whose model is offered the tools; and who is in the session sees all."""
    plans = calling(("pick", {"of": 2})), answer("The second."), answer("Because.")
    async with upstream(*plans) as served, library(parley) as client:
        session_id = await openai_session(parley, served, first_token_timeout=20, timeout=20)
        async with enter("socketio", parley, "alice", session_id) as alice:
            async with parley.api() as api:
                session = (await api.get(f"/api/chat/sessions/{session_id}")).json()
            program = kind(client, str(session["agent_id"]), stream=True)
            program.more = {"extra_body": {"conversation": session_id}}
            assert await program.ask("Which one?") == "The second."
            assert await program.ask("Why?") == "Because."
            shown = await alice.history()
    assert [message["content"] for message in shown] == ["Which one?", "The second.", "Why?", "Because."]
    assert {message["status"] for message in shown} == {"complete"}
    assert program.called == [{"of": 2}]
    offered = [[tool["function"]["name"] for tool in asked.get("tools", ())] for asked in served.asked]
    assert offered == [["pick"]] * 3


async def test_what_a_function_gave_is_given_once(parley: Server) -> None:
    """A repeat is the same, and told the same rest; another output comes too late. Of several calls all are
    answered."""
    other = {**CALLED, "id": "t2", "tool_call_id": "call_10"}
    tools: Any = [{"type": "function", **SPEC}]
    async with working(parley) as (worker, model), library(parley) as client:
        asking = asyncio.create_task(client.responses.create(model=model, input="Which?", tools=tools))
        request = await worker.request()
        message_id = await worker.write(request, end=False)
        where = {"session_id": request["session_id"], "message_id": message_id}
        for index, part in enumerate((CALLED, other)):
            assert (await worker.call("stream_part", **where, index=index, part=part))["ok"]
        awaited = [AWAITED, {**AWAITED, "id": "i2", "tool_call_id": "call_10"}]
        assert (await worker.call("stream_wait", **where, interrupts=awaited))["ok"]
        first = await asking
        calls = [item.call_id for item in first.output]  # type: ignore[union-attr]
        assert len(calls) == 2

        def outputs(*given: str) -> dict[str, Any]:
            items = [
                {"type": "function_call_output", "call_id": call, "output": output}
                for call, output in zip(calls, given, strict=False)
            ]
            return {"model": model, "previous_response_id": first.id, "input": items, "tools": tools}

        with pytest.raises(openai.BadRequestError, match="call_10"):
            await client.responses.create(**outputs("1"))
        async with library(parley, "mallory") as stranger:
            with pytest.raises(openai.NotFoundError):
                await stranger.responses.create(**outputs("1", "2"))
            with pytest.raises(openai.BadRequestError):
                await stranger.responses.create(**{**outputs("1", "2"), "previous_response_id": None})
        asking = asyncio.create_task(client.responses.create(**outputs("1", "2")))
        resumed = await worker.request()
        assert [each["answer"]["payload"] for each in resumed["resume"]["interrupts"]] == ["1", "2"]
        index = (await worker.call("stream_start", **where, fence=resumed["fence"]))["next_index"]
        await worker.call("stream_chunk", **where, index=index, content="Both.")
        await worker.call("stream_end", **where)
        second = await asking
        assert (second.output_text, [item.type for item in second.output]) == ("Both.", ["message"])
        for again in (
            await client.responses.create(**outputs("1", "2")),
            await client.responses.retrieve(second.id),
        ):
            assert again == second
        events = [event async for event in await client.responses.retrieve(second.id, stream=True)]
        assert events[-1].response == second  # type: ignore[union-attr]
        whole = await client.responses.retrieve(first.id)
        assert [item.type for item in whole.output] == ["function_call", "function_call", "message"]
        with pytest.raises(openai.ConflictError):
            await client.responses.create(**outputs("1", "3"))
        with pytest.raises(openai.BadRequestError):
            calls[0] = "call_9"
            await client.responses.create(**outputs("1", "2"))


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "a b", "parameters": {}}]}, "tools[0].name"),
        ({"tools": [{"type": "function", **SPEC}] * 2}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_tools_that_cannot_be(parley: Server, asked: dict[str, Any], param: str) -> None:
    async with library(parley) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(**{"model": "Echo", "input": "One", **asked})
        assert refused.value.param is not None
        assert refused.value.param.startswith(param)
