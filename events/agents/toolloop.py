"""An answer of several model calls, with tools between them. Knows no API, no tools' protocol, no stream."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct

from events.agents.account import MOST_TOKENS
from events.agents.deltas import (
    Citation,
    Delta,
    NextStep,
    ReasoningDelta,
    ToolAsked,
    ToolInput,
    ToolOutput,
    ToolReady,
    Waits,
)
from events.agents.earlier import turns_so_far
from events.agents.modelcall import ModelCall, ModelTurn
from events.agents.modelcaller import ModelCaller
from events.agents.toldfiles import in_words
from events.agents.toolasking import REASON, AskedCall, decisions, number_of, part_id
from events.agents.toolbox import Toolbox, arguments_of
from events.agents.toolresults import ToolResult, failed
from events.agents.turn import TurnReader, WantedCall
from events.asked import MOST_OF_MESSAGE
from events.payloads import ResumedAnswer
from events.schema import MOST_INTERRUPTS, Usage

#: Seconds between signs of life while tools run.
ALIVE = 5.0
#: What a call is told of which people are not asked.
TOO_MANY = "not called: people were asked too many things at once"
#: What a call is told that was allowed, where the tool is gone that people were shown.
NOT_SHOWN = "not called: the tool that was allowed is not there now"
#: What a call is told that came after the last round.
TOO_LATE = "not called: the answer has used up its rounds of tool calls"


class _Numbers(Struct):
    """What an answer's model calls count from 0, each for itself, counted for the answer as a whole."""

    calls: int = 0
    thoughts: int = 0


async def conversed(
    caller: ModelCaller, call: ModelCall, box: Toolbox, rounds: int
) -> AsyncGenerator[Delta, None]:
    """The whole answer, or as much of it as needs no word of people. Raises AnswerFailed."""
    answer = _Answer(box)
    turns: list[ModelTurn] = []
    if call.request.resume is not None:
        async with aclosing(answer.resumed(call.request.resume, turns)) as deltas:
            async for each in deltas:
                yield each
        answer.next_step()
        yield NextStep()
    for number in range(len(turns), rounds + 1):
        asked = msgspec.structs.replace(call, turns=tuple(turns), may_call=number < rounds)
        turn = TurnReader()
        async with aclosing(caller.ask(asked)) as deltas:
            async for delta in deltas:
                told = answer.numbered(delta)
                turn.take(told)
                for each in answer.once(told):
                    yield each
        wanted = turn.calls if asked.tools else []
        if not wanted or not asked.may_call:
            for late in wanted:
                yield ToolOutput(late.number, error=TOO_LATE)
            return
        asking = [each for each in wanted if box.waits(each.name, each.input_text)]
        results: dict[int, ToolResult] = {}
        for beyond in answer.left_out(asking):
            results[beyond.number] = failed(TOO_MANY, REASON)
            yield ToolOutput(beyond.number, error=TOO_MANY)
        async with aclosing(
            answer.carried_out([w for w in wanted if w not in asking and w.number not in results], results)
        ) as shown:
            async for each in shown:
                yield each
        if asking:
            for each in answer.asked(asking):
                yield each
            return
        meanwhile = dict(call.request.steering)
        call.request.steering.clear()
        turns.append(turn.told(results, [in_words(message) for message in meanwhile.values()]))
        answer.next_step()
        yield NextStep(tuple(meanwhile))


class _Answer:
    """What counts over all of an answer's model calls."""

    def __init__(self, box: Toolbox) -> None:
        self._box = box
        self._before, self._now = _Numbers(), _Numbers()
        self._ids: dict[str, int] = {}
        self._urls: set[str] = set()
        self._spent, self._usage = Usage(), Usage()
        self._asked = 0

    def next_step(self) -> None:
        self._before = msgspec.structs.replace(self._now)
        self._spent = self._usage

    def numbered(self, delta: Delta) -> Delta:
        if isinstance(delta, ToolInput):
            number = self._before.calls + delta.call
            self._now.calls = max(self._now.calls, number + 1)
            tool_call_id = delta.tool_call_id
            if self._ids.setdefault(tool_call_id, number) != number:
                # Some count each call of the model's from 0 again.
                tool_call_id = f"{tool_call_id}_{number}"
            return msgspec.structs.replace(delta, call=number, tool_call_id=tool_call_id)
        if isinstance(delta, ToolOutput):
            return msgspec.structs.replace(delta, call=self._before.calls + delta.call)
        if isinstance(delta, ReasoningDelta):
            thought = self._before.thoughts + delta.thought
            self._now.thoughts = max(self._now.thoughts, thought + 1)
            return msgspec.structs.replace(delta, thought=thought)
        if isinstance(delta, Usage):
            self._usage = _sum(self._spent, delta)
            return self._usage
        return delta

    def once(self, delta: Delta) -> list[Delta]:
        """Nothing, if it is a source that was named before."""
        if isinstance(delta, Citation):
            if delta.url in self._urls:
                return []
            self._urls.add(delta.url)
        return [delta]

    def left_out(self, asking: list[WantedCall]) -> list[WantedCall]:
        """Those of which people are not asked any more: `asking` loses them."""
        room = max(0, min(MOST_INTERRUPTS, MOST_OF_MESSAGE - self._asked))
        beyond = asking[room:]
        del asking[room:]
        self._asked += len(asking)
        return beyond

    def asked(self, wanted: Sequence[WantedCall]) -> Iterator[Delta]:
        """What people are asked, with the arguments that count from then on."""
        asking = []
        for call in wanted:
            title, by_page = self._box.title(call.name), self._box.is_of_page(call.name)
            of_server = self._box.of_server(call.name)
            yield ToolAsked(call.number, arguments_of(call.input_text), title, by_page, of_server)
            asking.append(AskedCall(call.number, call.tool_call_id, call.name, title, by_page))
        yield Waits(tuple(each.interrupt() for each in asking), self._box.answer_seconds)

    async def resumed(self, resume: ResumedAnswer, turns: list[ModelTurn]) -> AsyncGenerator[Delta, None]:
        """What people have said takes effect; `turns` are those so far then."""
        parts: list[dict[str, Any]] = list(resume.parts or ())  # type: ignore[arg-type]
        decided = decisions(parts, resume.interrupts, self._box.room)  # type: ignore[arg-type]
        self._take_up(parts, len(decided))
        self._asked = len(resume.interrupts)
        self._usage = resume.usage or Usage()
        results = {each.number: each.result for each in decided if each.result is not None}
        for each in decided:
            for delta in each.shown:
                yield delta
        allowed = []
        for each in decided:
            if not each.is_allowed:
                continue
            name = self._box.name_of(each.of_server)
            if name is None:
                results[each.number] = failed(NOT_SHOWN, REASON)
                yield ToolOutput(each.number, error=NOT_SHOWN)
                continue
            allowed.append(WantedCall(each.number, "", name, msgspec.json.encode(each.input).decode()))
        async with aclosing(self.carried_out(allowed, results, are_shown=True)) as shown:
            async for delta in shown:
                yield delta
        told = {part_id(number): result.text for number, result in results.items()}
        turns += turns_so_far(parts, told, {said.message_id: in_words(said) for said in resume.steered or ()})

    def _take_up(self, parts: Sequence[dict[str, Any]], waited: int) -> None:
        """Count on from what there is; so many of the calls were not made yet."""
        calls = [number_of(part) + 1 for part in parts if part["type"] == "tool"]
        thoughts = sum(part["type"] == "reasoning" for part in parts)
        self._now = _Numbers(max(calls, default=0), thoughts)
        self._ids = {part["tool_call_id"]: number_of(part) for part in parts if part["type"] == "tool"}
        self._urls = {part["url"] for part in parts if part["type"] == "source" and "url" in part}
        self._box.went_on(len(calls) - waited)

    async def carried_out(
        self, wanted: list[WantedCall], results: dict[int, ToolResult], *, are_shown: bool = False
    ) -> AsyncGenerator[Delta, None]:
        """All at once, as far as the bounds allow; closed or cancelled, it cancels what still runs.
        `are_shown`: people have seen their arguments."""
        for call in () if are_shown else wanted:
            try:
                yield ToolReady(call.number, arguments_of(call.input_text), self._box.title(call.name))
            except ValueError:
                continue  # its end says so
        running = {
            asyncio.create_task(self._box.call(call.name, call.input_text), name="a tool's call"): call
            for call in wanted
        }
        left = set(running)
        try:
            while left:
                done, left = await asyncio.wait(left, timeout=ALIVE, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    yield ""  # still at it
                for task in sorted(done, key=lambda each: running[each].number):
                    number = running[task].number
                    result = results[number] = task.result()
                    yield ToolOutput(number, output=result.output, error=result.error)
                    for source in result.sources:
                        for each in self.once(source):
                            yield each
        finally:
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)


async def while_waiting(work: Coroutine[Any, Any, None]) -> AsyncGenerator[str, None]:
    """Signs of life until it is done; closed or cancelled, it is cancelled, too."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=ALIVE)
            if not task.done():
                yield ""
        task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


def _sum(spent: Usage, now: Usage) -> Usage:
    """Of two model calls. A count that only one of them has is that one's."""

    def added(name: str) -> int | None:
        counts = [count for usage in (spent, now) if (count := getattr(usage, name)) is not None]
        return min(sum(counts), MOST_TOKENS) if counts else None

    return Usage(**{name: added(name) for name in Usage.__struct_fields__})
