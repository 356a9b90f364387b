"""OpenAI's own Python library, unmodified, at `/v1/responses`: what it asks, and what it is told."""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from server.dialects.answerlines import AnswerLine
from server.dialects.openai.responseevents import ResponseEvents
from server.dialects.openai.responseobject import ResponseHead
from tests.doors.test_openai import QUESTION, history, library, working
from tests.doors.test_openai_answers import ENDS, begun
from tests.support.doors import enter, new_session
from tests.support.server import Server

TOOL = {
    "type": "tool", "id": "t1", "tool_call_id": "call-9", "name": "pick", "input": {"of": 2},
    "state": "input_available", "executed_by": "client",
}  # fmt: skip


async def test_a_response(either: Server) -> None:
    async with library(either) as client:
        answer = await client.responses.create(model="Echo", input=QUESTION, metadata={"page": "7"})
        again = await client.responses.retrieve(answer.id)
        items = await client.responses.input_items.list(answer.id)
    assert (answer.output_text, answer.status, answer.model) == (QUESTION, "completed", "Echo")
    assert answer.conversation is not None
    session_id = answer.conversation.id
    assert answer.metadata == {"session_id": session_id, "page": "7"}
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10
    assert again.model_dump() == answer.model_dump()
    asked, answered = await history(either, session_id)
    assert (asked["content"], asked["sender_id"], asked["metadata"]) == (QUESTION, "alice", {"page": "7"})
    assert (answered["message_id"], answered["content"]) == (answer.output[0].id, QUESTION)
    (item,) = items.data
    assert (item.id, item.content[0].text) == (asked["message_id"], QUESTION)  # type: ignore[union-attr]


async def test_a_stream_and_a_second_reader(parley: Server) -> None:
    """By the library's helper, which fails of events that do not fit each other; who is in the session over
    Socket.IO sees the same answer."""
    session_id = await new_session(parley, agent_id=1, members=("bob",))
    async with enter("socketio", parley, "bob", session_id) as bob, library(parley) as client:
        asked: Any = {"model": "Echo", "input": "/parts", "conversation": session_id}
        async with client.responses.stream(**asked) as stream:
            told = [event async for event in stream]
            final = await stream.get_final_response()
        await bob.wait_event("stream_end")
        stored = (await bob.history())[-1]
        whole = await client.responses.retrieve(final.id)
        replayed = [event async for event in await client.responses.retrieve(final.id, stream=True)]
    assert [event.type for event in told][:2] == ["response.created", "response.in_progress"]
    assert told[-1].type == "response.completed"
    numbers = [event.sequence_number for event in told]
    assert numbers == sorted(set(numbers))
    # Pieces are merged on their way; each place in the answer has its number all the same.
    assert _ends(told) == _ends(replayed)
    said = "".join(event.delta for event in told if event.type == "response.output_text.delta")
    assert said == final.output_text == stored["content"]
    thought, found, failed, message = final.output  # text comes after all that
    parts = {part["type"]: part for part in stored["parts"]}
    assert thought.content[0].text == parts["reasoning"]["text"]  # type: ignore[union-attr,index]
    assert (found.type, found.name, found.status) == ("mcp_call", "look_up", "completed")  # type: ignore[union-attr]
    assert json.loads(found.arguments) == {"word": "parts"}  # type: ignore[union-attr]
    assert "source" in json.loads(found.output)["parts"]  # type: ignore[union-attr,arg-type]
    assert failed.status == "failed"  # type: ignore[union-attr]
    assert message.id == stored["message_id"]
    (note,) = message.content[0].annotations  # type: ignore[union-attr]
    assert (note.title, note.url) == ("Markdown in a minute", "https://commonmark.org/help/")
    assert replayed[-1].response == whole  # type: ignore[union-attr]


def _ends(told: list[Any]) -> list[tuple[str, int]]:
    """Events with their numbers; of neighbouring deltas the last."""
    events = [(event.type, event.sequence_number) for event in told]
    return [one for one, other in pairwise([*events, ("", 0)]) if one[0] != other[0] or "delta" not in one[0]]


async def test_the_conversation_goes_on_in_its_session(parley: Server) -> None:
    """By the response before, or by its session; what is sent along has to be so."""
    async with library(parley) as client:
        first = await client.responses.create(model="Echo", input="One", instructions="Be brief.")
        asked: Any = {"model": "Echo", "instructions": "Be brief.", "previous_response_id": first.id}
        second = await client.responses.create(**asked, input="Two")
        given = [item.model_dump() for item in (*first.output, *second.output)]
        along: Any = [
            {"role": "user", "content": "One"}, given[0], {"role": "user", "content": "Two"}, given[1],
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Three"}]},
        ]  # fmt: skip
        assert first.conversation is not None
        third = await client.responses.create(model="1", input=along, conversation=first.conversation.id)
        assert third.output_text == "Three"
        session: Any = {"model": "Echo", "conversation": first.conversation.id}
        refused: list[tuple[dict[str, Any], str]] = [
            ({**session, "input": along[1:]}, "input"),
            ({**session, "input": "Four", "instructions": "Be long."}, "instructions"),
            ({**asked, "input": "Four", "conversation": "sess_other"}, "previous_response_id"),
        ]
        for call, param in refused:
            with pytest.raises(openai.BadRequestError) as wrong:
                await client.responses.create(**call)
            assert wrong.value.param == param
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="Echo", input="Four", previous_response_id="resp_msg_none")
        items = await client.responses.input_items.list(first.id, order="asc", limit=1)
        texts = [each.content[0].text async for each in items]  # type: ignore[union-attr]
    assert texts == ["Be brief.", "One"]
    said = [m["content"] for m in await history(parley, first.conversation.id)]
    assert said == ["Be brief.", "One", "One", "Two", "Two", "Three", "Three"]


async def test_in_the_background(parley: Server) -> None:
    """The response is there before its answer, and is stopped at any time: by its id."""
    async with working(parley) as (worker, model), library(parley) as client:
        one = await client.responses.create(model=model, input="One", background=True)
        assert one.background is True
        assert (one.status, one.output) in [("queued", []), ("in_progress", [])]
        where = await begun(worker, await worker.request())
        assert one.conversation is not None
        two = await client.responses.create(
            model=model, input="Two", background=True, conversation=one.conversation.id
        )
        assert two.status == "queued"
        reading = asyncio.create_task(_read(client, two.id))
        await worker.call("stream_chunk", **where, index=0, content="So far")
        now = await client.responses.retrieve(one.id)
        assert (now.status, now.output_text) == ("in_progress", "So far")
        for _ in range(2):
            assert (await client.responses.cancel(two.id)).status == "cancelled"
        told = await reading
        assert [event.type for event in told] == [
            "response.created",
            "response.in_progress",
            "response.failed",
        ]
        assert told[-1].response.status == "cancelled"
        stopped = await client.responses.cancel(one.id)
        assert (stopped.status, stopped.output_text) == ("cancelled", "So far")
        assert stopped.error is not None
        assert stopped.error.code == "cancelled"


async def _read(client: openai.AsyncOpenAI, response_id: str, after: int | None = None) -> list[Any]:
    more: Any = {} if after is None else {"starting_after": after}
    return [event async for event in await client.responses.retrieve(response_id, stream=True, **more)]


async def test_who_comes_back_goes_on_where_he_was(parley: Server) -> None:
    """From any place, to the character, also in what was merged since; while it is written, and after."""
    tool = {**TOOL, "state": "output_available", "executed_by": "agent", "output": 3}
    async with working(parley) as (worker, model), library(parley) as client:
        stream = await client.responses.create(model=model, input="One", stream=True)
        created = await anext(stream)
        assert created.type == "response.created"  # before the answer begins
        where = await begun(worker, await worker.request())
        think = {"type": "reasoning", "id": "r", "text": ""}
        await worker.call("stream_part", **where, index=0, part=think)
        await worker.call("stream_delta", **where, index=1, part="r", content="Hmm.")
        await worker.call("stream_chunk", **where, index=2, content="One, ")
        first = [created, *[await anext(stream) for _ in range(10)]]
        assert first[-1].delta == "One, "
        late = asyncio.create_task(_read(client, created.response.id, first[-1].sequence_number))
        await stream.close()
        await worker.call("stream_part", **where, index=3, part=tool)
        for index, word in enumerate(("two, ", "three"), 4):
            await worker.call("stream_chunk", **where, index=index, content=word, part="b")
        await worker.call("stream_end", **where, usage={"input_tokens": 1, "output_tokens": 2})
        rest = await late
        whole = [*first, *rest]
        again = await _read(client, created.response.id)
        assert _ends(whole) == _ends(again)
        assert _said(whole) == _said(again) == "One, \n\ntwo, three" == rest[-1].response.output_text
        for number in range(-1, again[-1].sequence_number + 2):
            told = await _read(client, created.response.id, max(number, 0))
            assert [n for _, n in _ends(told)] == [n for _, n in _ends(again) if n > max(number, 0)]
            assert _said(again).endswith(_said(told))
        item = {item.type: item for item in rest[-1].response.output}["mcp_call"]
        assert (item.name, item.arguments, item.output) == ("pick", '{"of":2}', "3")


def _said(told: list[Any]) -> str:
    return "".join(event.delta for event in told if event.type == "response.output_text.delta")


async def test_a_tool_of_the_callers_is_a_function_call(parley: Server) -> None:
    async with working(parley) as (worker, model), library(parley) as client:
        asking = asyncio.create_task(_streamed(client, model=model, input="One"))
        where = await begun(worker, await worker.request())
        await worker.call("stream_part", **where, index=0, part=TOOL)
        await worker.call("stream_end", **where, finish_reason="tool_calls")
        (call,) = (await asking).output
        call_id = f"call-9@{where['message_id']}"
        assert (call.type, call.call_id, call.name) == ("function_call", call_id, "pick")
        assert (call.arguments, call.status) == ('{"of":2}', "completed")


async def _streamed(client: openai.AsyncOpenAI, **asked: Any) -> Any:
    async with client.responses.stream(**asked) as told:
        return await told.get_final_response()


@pytest.mark.parametrize(("end", "code", "status"), ENDS, ids=lambda value: str(value)[:40])
async def test_an_answer_that_is_not_whole_is_told_so(
    parley: Server, end: dict[str, Any], code: str, status: int
) -> None:
    async with working(parley) as (worker, model), library(parley, max_retries=2) as client:
        told: list[Any] = []

        async def read() -> None:
            told.extend([event async for event in await client.responses.create(**asked, stream=True)])

        asked: dict[str, Any] = {"model": model, "input": "One"}
        for call in (read(), client.responses.create(**asked)):
            asking = asyncio.ensure_future(call)  # type: ignore[arg-type]
            where = await begun(worker, await worker.request())
            await worker.call("stream_chunk", **where, index=0, content="So far")
            await worker.call("stream_end", **where, **end)
            await asyncio.wait([asking])
        refused = asking.exception()
        assert isinstance(refused, openai.APIStatusError)
        body: Any = refused.body
        assert (refused.code, refused.status_code, body["message_id"]) == (code, status, where["message_id"])
        kept = await client.responses.retrieve(body["response_id"])
    failed = told[-1]
    assert failed.type == "response.failed"
    for response in (failed.response, kept):
        assert response.error.code == code
        assert response.status == ("cancelled" if code == "cancelled" else "failed")
        assert (response.output_text, response.output[0].status) == ("So far", "incomplete")


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
async def test_why_an_answer_is_incomplete(parley: Server, reason: str, told: str) -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "reasoning_tokens": 2, "cached_input_tokens": 5}
    async with working(parley) as (worker, model), library(parley) as client:
        asking = asyncio.create_task(client.responses.create(model=model, input="One"))
        where = await begun(worker, await worker.request())
        await worker.call("stream_chunk", **where, index=0, content="Half of")
        await worker.call("stream_end", **where, finish_reason=reason, usage=usage)
        answer = await asking
        events = await _read(client, answer.id)
    assert events[-1].type == "response.incomplete"
    for response in (answer, events[-1].response):
        assert (response.status, response.output_text) == ("incomplete", "Half of")
        assert response.incomplete_details.reason == told
        counts = response.usage.model_dump(exclude_none=True)
        assert (counts["input_tokens"], counts["output_tokens"], counts["total_tokens"]) == (7, 3, 10)
        assert counts["input_tokens_details"]["cached_tokens"] == 5
        assert counts["output_tokens_details"]["reasoning_tokens"] == 2


async def test_an_answer_that_waits_for_people_goes_on(parley: Server) -> None:
    """Who comes back behind its wait is told the rest, whenever it was answered."""
    async with working(parley) as (worker, model), library(parley) as client:
        reading = asyncio.create_task(_all(client, model=model, input="One"))
        where = await begun(worker, await worker.request())
        await worker.call("stream_chunk", **where, index=0, content="May I? ")
        asked = [{"id": "pay", "reason": "confirmation", "message": "Pay?"}]
        assert (await worker.call("stream_wait", **where, interrupts=asked))["ok"]
        told = await reading
        last = told[-1]
        assert (last.type, last.response.incomplete_details.reason) == ("response.incomplete", "waiting")
        # The end of what waits is told with the number of the last word, and once more to who comes back.
        again = await _read(client, last.response.id, last.sequence_number)
        assert again == told[-4:]
        assert {event.sequence_number for event in again} == {told[-5].sequence_number}
        async with enter("websocket", parley, "alice", where["session_id"]) as alice:
            given = {"message_id": where["message_id"], "interrupt_id": "pay", "status": "resolved"}
            assert (await alice.call("answer", **given))["ok"]
        request = await worker.request()
        resumed = {**where, "fence": request["fence"]}
        begins = await worker.call("stream_start", **resumed)
        late = asyncio.create_task(_read(client, last.response.id, last.sequence_number))
        await worker.call("stream_chunk", **where, index=begins["next_index"], content="Paid.")
        await worker.call("stream_end", **where)
        rest = await late
        assert _said(rest) == "Paid."
        assert rest[-1].response.output_text == "May I? Paid."
        assert _ends([*told[:-4], *rest]) == _ends(await _read(client, last.response.id))


async def _all(client: openai.AsyncOpenAI, **asked: Any) -> list[Any]:
    return [event async for event in await client.responses.create(**asked, stream=True)]


async def test_what_was_told_and_is_so_no_more_is_an_error(parley: Server) -> None:
    async with working(parley) as (worker, model), library(parley) as client:
        reading = asyncio.create_task(_all(client, model=model, input="One"))
        where = await begun(worker, await worker.request())
        await worker.call("stream_chunk", **where, index=0, content="Wrong", part="t")
        part = {"type": "text", "id": "t", "text": "Right"}
        await worker.call("stream_part", **where, index=1, part=part)
        await worker.call("stream_end", **where)
        with pytest.raises(openai.APIError) as changed:
            await reading
        assert changed.value.code == "ANSWER_CHANGED"
        body: Any = changed.value.body
        assert (await client.responses.retrieve(body["response_id"])).output_text == "Right"


async def test_responses_are_seen_by_who_sees_their_session(parley: Server) -> None:
    async with library(parley) as client:
        mine = await client.responses.create(model="Echo", input="One")
    async with library(parley, "mallory") as client:
        for call in (
            client.responses.retrieve(mine.id),
            client.responses.retrieve(mine.id, stream=True),
            client.responses.cancel(mine.id),
            client.responses.input_items.list(mine.id),
            client.responses.create(model="Echo", input="Two", previous_response_id=mine.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await call


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"input": [{"role": "assistant", "content": "so"}]}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "sound"}]}]}, "input[0].content[0]"),
    ],
)
async def test_what_cannot_be_done_is_refused(parley: Server, asked: dict[str, Any], param: str) -> None:
    async with library(parley) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(**{"model": "Echo", "input": "One", **asked})
        assert refused.value.param is not None
        assert refused.value.param.startswith(param)


async def test_numbers_are_the_same_when_nobody_knows_the_pieces(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """After a restart an answer is told from its parts."""
    node = new_server(sqlite_url, STREAM_DELAY_MS="0")
    async with library(node) as client:
        whole = await client.responses.create(model="Echo", input="/parts")
        told = await _read(client, whole.id)
    node.kill9()
    await node.start_async()
    async with library(node) as client:
        again = await _read(client, whole.id)
        assert _ends(again) == _ends(told)
        assert again[-1].response == whole
        middle = again[len(again) // 2].sequence_number
        rest = await _read(client, whole.id, middle)
    assert rest == [event for event in again if event.sequence_number > middle]


def test_what_is_kept_of_an_answer_is_its_readers() -> None:
    """A response's last event has all of the text."""
    kept: list[int] = []
    events = ResponseEvents(ResponseHead("resp_1", "sess_1", 0, "Echo", {}))
    events.count_for(SimpleNamespace(holds=kept.append))  # type: ignore[arg-type]
    for size in (4000, 4000, 100):
        list(events.tell(AnswerLine("stream_chunk", message_id="msg_1", content="x" * size)))
    assert kept == [8000]
